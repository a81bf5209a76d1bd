/**
 * What a query may be set to: which settings a mode knows, how they are read from forms and
 * addresses, and which body of a request they make.
 */

import { isObject, tried } from "./json.js";

/** By kind of search, in the words of the page. */
export const MODES = { dense: "meaning", text: "words", sparse: "sparse", hybrid: "hybrid" };

const INTEGERS = { k: [1, 1000], offset: [0, 1_000_000], ef: [1, 100_000], group_size: [1, 1000] };
const DECIMALS = { alpha: [0, 1], max_distance: [-1e12, 1e12], min_score: [-1e12, 1e12] };
const TEXTS = ["space", "sparse_space", "group_by"];
const FUSIONS = ["adaptive", "rrf", "weighted"];
const DENSE = ["space", "exact", "ef"];

/** The settings that each mode knows, besides k, offset and groups. */
export const KNOWN = {
  dense: [...DENSE, "max_distance"],
  text: ["min_score"],
  sparse: ["sparse_space", "min_score"],
  hybrid: [...DENSE, "sparse_space", "alpha", "fusion", "min_score"],
};
const ALWAYS = ["k", "offset", "group_by", "group_size"];

/**
 * @param {any} given settings of an address or of localStorage, whatever they hold
 * @returns {object} those that can be meant
 */
export function settingsOf(given) {
  const found = {};
  if (!isObject(given)) return found;
  if (Object.hasOwn(MODES, given.mode)) found.mode = given.mode;
  if (FUSIONS.includes(given.fusion)) found.fusion = given.fusion;
  if (given.exact === true) found.exact = true;
  for (const name of TEXTS) if (typeof given[name] === "string") found[name] = given[name].slice(0, 500);
  for (const [name, range] of Object.entries({ ...INTEGERS, ...DECIMALS })) {
    const number = numberIn(given[name], range, name in INTEGERS);
    if (number !== null) found[name] = number;
  }
  return found;
}

function numberIn(given, [least, greatest], isWhole) {
  if (typeof given !== "number" || !Number.isFinite(given)) return null;
  if (isWhole && !Number.isInteger(given)) return null;
  return given >= least && given <= greatest ? given : null;
}

/**
 * @param {string} name of a setting
 * @param {string} text typed for it
 * @returns {{value?: number, error?: string}} neither where nothing was typed
 */
export function typedNumber(name, text) {
  if (!text.trim()) return {};
  const isWhole = name in INTEGERS;
  const range = INTEGERS[name] ?? DECIMALS[name];
  const value = numberIn(Number(text), range, isWhole);
  if (value !== null) return { value };
  const kind = isWhole ? "a whole number" : "a number";
  return { error: `${kind} from ${range[0]} to ${range[1]}` };
}

/**
 * @param {object} details of the collection
 * @param {"text" | "image" | "record" | "vector"} by what is asked
 * @returns {{mode: string, why: string | null}[]} the modes; why: what stands against one
 */
export function modesFor(details, by) {
  return Object.keys(MODES).map((mode) => ({ mode, why: against(details, by, mode) }));
}

function against(details, by, mode) {
  const has = (...kinds) => details.spaces.some((space) => kinds.includes(space.kind));
  if (mode !== "sparse" && mode !== "text" && by === "image" && !details.images) {
    return "this collection's function takes no pictures";
  }
  return AGAINST[mode](details, by, has);
}

/** Of each mode: what stands against it, null if nothing does. */
const AGAINST = {
  dense: (details, by, has) => {
    if (by === "text") return details.function.usable ? null : functionMissing(details);
    return has("dense", "multi") ? null : "there are no vectors";
  },
  text: (details, by) => {
    if (by !== "text") return "search by words takes a text";
    return details.words ? null : "there are no words to search";
  },
  sparse: (details, by, has) => {
    if (!has("sparse")) return "there are no sparse vectors";
    return by === "vector" || by === "record" ? null : "sparse search takes a vector or a record";
  },
  hybrid: (details, by, has) => {
    if (!details.words && !has("sparse")) return "there are neither words nor sparse vectors";
    return AGAINST.dense(details, by, has);
  },
};

/** The space that is searched where none is named: the unnamed one, or else the first. */
export function usualSpace(details, kinds) {
  const spaces = details.spaces.filter((space) => kinds.includes(space.kind));
  return (spaces.find((space) => !space.name) ?? spaces[0])?.name ?? "";
}

/** Why texts can't be embedded here. */
export function functionMissing(details) {
  const { name, why } = details.function;
  return why || (name ? `the function ${name} can't be used here` : "the collection remembers no function");
}

/** The mode that is used: the one set, else the first that is possible. */
export function modeOf(settings, details, by) {
  const possible = modesFor(details, by).filter((one) => one.why === null).map((one) => one.mode);
  if (settings.mode && (possible.includes(settings.mode) || !possible.length)) return settings.mode;
  return possible[0] ?? "dense";
}

/**
 * The body of a query, but for the collection and the filter.
 * @param {{by: string, text: string, record: string, vector: string, sparse: string, words: string,
 *   image: {data: string} | null}} asked
 * @param {object} settings
 * @param {object} details of the collection
 * @returns {{body?: object, missing?: string}}
 */
export function bodyOf(asked, settings, details) {
  const mode = modeOf(settings, details, asked.by);
  const refused = modesFor(details, asked.by).find((one) => one.mode === mode)?.why;
  if (refused) return { missing: refused };
  const subject = SUBJECTS[asked.by](asked, mode);
  if ("missing" in subject) return subject;
  const body = { mode, k: settings.k ?? 10, ...subject };
  for (const name of [...ALWAYS, ...KNOWN[mode]]) {
    if (settings[name] !== undefined && settings[name] !== "") body[name] = settings[name];
  }
  if (body.group_by === undefined) delete body.group_size;
  return { body };
}

const SUBJECTS = {
  text: ({ text }) => (text.trim() ? { text } : { missing: "" }),
  image: ({ image, ...besides }, mode) =>
    image ? beside(besides, mode, { image: image.data }) : { missing: "choose a picture" },
  record: ({ record, ...besides }, mode) =>
    record ? beside(besides, mode, { record }) : { missing: "choose a record" },
  vector: ({ vector, ...besides }, mode) => {
    if (mode === "sparse") return sparseOf(besides.sparse);
    if (!vector.trim()) return { missing: "" };
    const numbers = tried(vector);
    if (isNumbers(numbers)) return beside(besides, mode, { vector: numbers });
    return { missing: "the vector must be a list of numbers, as in [0.1, -0.2]" };
  },
};

/** In hybrid search, the words or the sparse vector that go beside something else. */
function beside({ words, sparse }, mode, subject) {
  if (mode !== "hybrid") return subject;
  if (sparse.trim()) {
    const found = sparseOf(sparse);
    return "missing" in found ? found : { ...subject, ...found };
  }
  if (words.trim()) return { ...subject, text: words };
  return { missing: "hybrid search takes words, or a sparse vector, besides" };
}

function sparseOf(text) {
  if (!text.trim()) return { missing: "" };
  const given = tried(text);
  if (isSparse(given)) return { sparse: { indices: given.indices, values: given.values } };
  return { missing: 'the sparse vector must be as in {"indices": [3, 17], "values": [0.5, 1.2]}' };
}

function isNumbers(value) {
  if (!Array.isArray(value) || !value.length) return false;
  if (Array.isArray(value[0])) return value.every((row) => isNumbers(row) && !Array.isArray(row[0]));
  return value.every((number) => typeof number === "number");
}

function isSparse(value) {
  return isObject(value) && isNumbers(value.indices) && isNumbers(value.values);
}
