/**
 * A query of the page as Python that asks the same, for a program.
 *
 * Only what is exactly the same is written; for the rest there is a reason instead of code.
 */

import { isObject } from "./json.js";
import { usualSpace } from "./settings.js";

const ESCAPES = { "\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t" };
// What can't be seen, or would change how the code around it reads, is written by its number.
const UNSEEN =
  /["\\\n\r\t]|[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u205f-\u206f\ufeff\ufff9-\uffff\ud800-\udfff\u{e0000}-\u{e0fff}]/gu;
const WIDTH = 88;

function escaped(character) {
  if (ESCAPES[character]) return ESCAPES[character];
  const code = character.codePointAt(0);
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}

/**
 * @param {any} value of JSON
 * @returns {string} the literal of Python
 */
export function literal(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "string") return `"${value.replace(UNSEEN, escaped)}"`;
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (!isObject(value)) return Object.is(value, -0) ? "-0.0" : String(value);
  return `{${Object.entries(value).map(([key, part]) => `${literal(key)}: ${literal(part)}`).join(", ")}}`;
}

/** A call with an argument a line, or in one line where it fits. */
function called(name, given) {
  const lines = given.map(([argument, code]) => (argument ? `${argument}=${code}` : code));
  const line = `${name}(${lines.join(", ")})`;
  if (line.length <= WIDTH) return line;
  return `${name}(\n${lines.map((one) => `    ${one},`).join("\n")}\n)`;
}

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

/**
 * How a program gets to the store, as an argument of a client: by its directory, or by the server
 * where the page came from another machine. Null for a store in memory.
 */
function placeOf({ place }) {
  if (!LOOPBACK.includes(location.hostname)) return ["url", literal(location.origin)];
  if (place.startsWith("at ")) return ["path", literal(place.slice(3))];
  return /^https?:\/\//.test(place) ? ["url", literal(place)] : null;
}

const idOf = (key) => key.slice(2);
const isText = (key) => key.startsWith("s:");

function modeOf(body) {
  const parts = ["fusion", "alpha"].filter((name) => body[name] !== undefined);
  if (body.mode !== "hybrid" || !parts.length) return literal(body.mode);
  return `rs.Hybrid(${parts.map((name) => `${name}=${literal(body[name])}`).join(", ")})`;
}

function groupsOf(body) {
  if (body.group_size === undefined) return literal(body.group_by);
  return `rs.Groups(${literal(body.group_by)}, ${literal(body.group_size)})`;
}

/** The arguments of `Collection.query` for a body; raises Error where there are none. */
function argumentsOf(body, picture) {
  const given = [];
  if (body.record !== undefined) given.push(["like", literal(idOf(body.record))]);
  if (body.image !== undefined) {
    given.push(["query_images", `[np.asarray(Image.open(${literal(picture || "picture.png")}).convert("RGB"))]`]);
  }
  if (body.vector !== undefined) given.push(["query_embeddings", `[${literal(body.vector)}]`]);
  if (body.text !== undefined) given.push(["query_texts", `[${literal(body.text)}]`]);
  if (body.sparse !== undefined) given.push(["query_sparse", `[${literal(body.sparse)}]`]);
  given.push(["n_results", literal(body.k)]);
  if (body.where) given.push(["where", literal(body.where)]);
  if (body.where_document) given.push(["where_document", literal(body.where_document)]);
  if (body.keys) given.push(["ids", literal(body.keys.map(idOf))]);
  given.push(["mode", modeOf(body)]);
  for (const name of ["exact", "ef", "offset", "max_distance", "min_score"]) {
    if (body[name] !== undefined) given.push([name, literal(body[name])]);
  }
  if (body.group_by !== undefined) given.push(["group_by", groupsOf(body)]);
  return given;
}

function againstCollection(body) {
  if ([...(body.keys ?? []), body.record ?? "s:"].some((key) => !isText(key))) return "Collection.query has ids that are texts only";
  if (body.record !== undefined && body.mode !== "dense") return "Collection.query takes like in mode dense only";
  if (body.image !== undefined && body.mode !== "dense") return "Collection.query takes images in mode dense only";
  return null;
}

function ofCollection(store, details, body, picture) {
  const why = againstCollection(body);
  if (why) return { why };
  const [argument, place] = placeOf(store);
  const imports = ["import retrieval_store as rs"];
  if (body.image !== undefined) imports.unshift("import numpy as np", "from PIL import Image");
  const client = called("rs.Client", [[argument === "path" ? "" : argument, place]]);
  const code = [
    ...imports,
    "",
    `client = ${client}`,
    `collection = client.get_collection(${literal(details.name)})`,
    `result = ${called("collection.query", argumentsOf(body, picture))}`,
    'print(result["ids"][0])',
    "",
  ];
  return { code: code.join("\n") };
}

const ONLY_OF_COLLECTIONS = ["where", "where_document", "keys", "max_distance", "group_by"];

function againstQdrant(body) {
  if (body.mode !== "dense") return "only a search by one vector is the same with QdrantClient";
  if (body.vector === undefined && body.record === undefined) return "only a search by a vector or a record is the same with QdrantClient";
  const extra = ONLY_OF_COLLECTIONS.find((name) => body[name]);
  return extra ? `${extra} isn't written the same way with QdrantClient` : null;
}

function ofQdrant(store, details, body) {
  const why = againstQdrant(body);
  if (why) return { why };
  const id = body.record === undefined ? "" : idOf(body.record);
  const query = body.vector === undefined ? (isText(body.record) ? literal(id) : id) : literal(body.vector);
  const given = [["collection_name", literal(details.name)], ["query", query]];
  const space = body.space ?? usualSpace(details, ["dense", "multi"]);
  if (space) given.push(["using", literal(space)]);
  given.push(["limit", literal(body.k)]);
  if (body.offset) given.push(["offset", literal(body.offset)]);
  const params = [];
  if (body.exact) params.push(["exact", "True"]);
  if (body.ef) params.push(["hnsw_ef", literal(body.ef)]);
  if (params.length) given.push(["search_params", called("SearchParams", params)]);
  const code = [
    ...(params.length ? ["from qdrant_client.models import SearchParams", ""] : []),
    "from retrieval_store.qdrant import QdrantClient",
    "",
    `client = ${called("QdrantClient", [placeOf(store)])}`,
    `result = ${called("client.query_points", given)}`,
    "print([point.id for point in result.points])",
    "",
  ];
  return { code: code.join("\n") };
}

/**
 * @param {object} store as the server tells of it
 * @param {object} details of the collection
 * @param {object} body of the query, with its filter
 * @param {string} [picture] the name of the file that was chosen
 * @returns {{code?: string, why?: string}}
 */
export function pythonOf(store, details, body, picture) {
  if (!placeOf(store)) return { why: "a store in memory can't be opened by another program" };
  const isQdrant = details.made_by === "QdrantClient";
  return isQdrant ? ofQdrant(store, details, body) : ofCollection(store, details, body, picture);
}
