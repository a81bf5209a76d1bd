/**
 * Filters as rows of a form, and back: what the builder can say, and what only JSON can.
 *
 * A side (metadata or document) is `{join: "and" | "or", rows: [{key, op, kind, value}]}`; values
 * are what was typed, and kind says how it is meant.
 */

import { isObject, stringify, tried } from "./json.js";

/** Operators on metadata, with their names. */
export const METADATA = {
  $eq: "is",
  $ne: "is not",
  $gt: "is more than",
  $gte: "is at least",
  $lt: "is less than",
  $lte: "is at most",
  $in: "is one of",
  $nin: "is none of",
  $contains: "contains",
  $not_contains: "doesn't contain",
  $prefix: "begins with",
  $regex: "matches",
  $not_regex: "doesn't match",
  $exists: "exists",
  $size: "has this many elements",
};

/** Operators on documents, with their names. */
export const DOCUMENT = {
  $contains: "contains",
  $not_contains: "doesn't contain",
  $regex: "matches",
  $not_regex: "doesn't match",
};

/** How a value is meant. */
export const KINDS = { text: "text", number: "number", boolean: "true or false", json: "JSON" };

const LISTS = ["$in", "$nin"];
const TEXTS = ["$prefix", "$regex", "$not_regex"];
const NUMBER = /^\s*-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$/;

/** @returns {object} a row that says nothing yet */
export function emptyRow(operators = METADATA) {
  return { key: "", op: Object.keys(operators)[0], kind: "text", value: "" };
}

/** The kinds that an operator can take. */
export function kindsOf(op) {
  if (op === "$exists") return ["boolean"];
  if (op === "$size") return ["number"];
  if (TEXTS.includes(op)) return ["text"];
  return Object.keys(KINDS);
}

function valueOf(kind, text) {
  if (kind === "text") return text;
  if (kind === "boolean") return text !== "false";
  if (kind === "number") {
    // A number is taken as it was typed: a JavaScript number would round a long one.
    const number = NUMBER.test(text) ? tried(tidied(text)) : undefined;
    if (number === undefined) throw new Error(`${text.trim() || "nothing"} is no number`);
    return number;
  }
  const value = tried(text);
  if (value === undefined) throw new Error("this isn't JSON");
  return value;
}

function tidied(text) {
  const [, sign, digits] = /^\s*(-?)0*(.*?)\s*$/.exec(text);
  const whole = /^\d/.test(digits) ? digits : `0${digits}`;
  return sign + whole.replace(/\.(?=$|[eE])/, "");
}

function operandOf({ op, kind, value }) {
  if (!LISTS.includes(op) || kind === "json") return valueOf(kind, value);
  const parts = value.split(",").map((part) => part.trim());
  return parts.filter((part) => part !== "").map((part) => valueOf(kind, part));
}

/** Whether a row says something yet; an empty text is meant only where it is written as JSON. */
function says({ key, kind, value }, isDocument) {
  return (isDocument || key !== "") && (kind === "boolean" || value !== "");
}

/**
 * @param {{join: string, rows: object[]}} side
 * @param {boolean} isDocument
 * @returns {{filter: object | null, errors: (string | null)[]}} errors: one for each row
 */
export function filterOfSide({ join, rows }, isDocument) {
  const terms = [];
  const errors = rows.map((row) => {
    if (!says(row, isDocument)) return null;
    try {
      const condition = { [row.op]: operandOf(row) };
      terms.push(isDocument ? condition : { [row.key]: condition });
      return null;
    } catch (error) {
      return error.message;
    }
  });
  if (terms.length < 2) return { filter: terms[0] ?? null, errors };
  return { filter: { [`$${join}`]: terms }, errors };
}

function rowOf(key, op, value) {
  if (LISTS.includes(op)) return listRow(key, op, value);
  if (typeof value === "string" && value) return { key, op, kind: "text", value };
  if (typeof value === "boolean") return { key, op, kind: "boolean", value: String(value) };
  const isNumber = typeof value === "number" || typeof value === "bigint";
  return { key, op, kind: isNumber ? "number" : "json", value: stringify(value) };
}

function listRow(key, op, value) {
  const json = { key, op, kind: "json", value: stringify(value) };
  if (!Array.isArray(value) || !value.length) return json;
  const areNumbers = value.every((one) => ["number", "bigint"].includes(typeof one));
  if (areNumbers) return { key, op, kind: "number", value: value.map(String).join(", ") };
  const areWords = value.every((one) => typeof one === "string" && /^[^,]+$/.test(one) && one.trim() === one);
  return areWords ? { key, op, kind: "text", value: value.join(", ") } : json;
}

/** The rows of one condition, such as {"year": {"$gte": 1990, "$lt": 2000}}; null if it is more. */
function rowsOfCondition(condition, isDocument) {
  if (!isObject(condition)) return null;
  const rows = [];
  for (const [key, value] of Object.entries(condition)) {
    const found = isDocument ? documentRow(key, value) : metadataRows(key, value);
    if (found === null) return null;
    rows.push(...found);
  }
  return rows;
}

function documentRow(op, value) {
  return Object.hasOwn(DOCUMENT, op) && typeof value === "string" ? [rowOf("", op, value)] : null;
}

function metadataRows(key, value) {
  if (key.startsWith("$") || Array.isArray(value)) return null;
  const pairs = isObject(value) ? Object.entries(value) : [["$eq", value]];
  const areKnown = pairs.length && pairs.every(([op, operand]) => isKnown(op, operand));
  return areKnown ? pairs.map(([op, operand]) => rowOf(key, op, operand)) : null;
}

function isKnown(op, operand) {
  if (!Object.hasOwn(METADATA, op)) return false;
  if (op === "$exists") return typeof operand === "boolean";
  if (TEXTS.includes(op)) return typeof operand === "string";
  return op !== "$size" || Number.isInteger(operand);
}

/**
 * @param {object | null} filter
 * @param {boolean} isDocument
 * @returns {{join: string, rows: object[]} | null} null where the builder can't say it
 */
export function sideOfFilter(filter, isDocument) {
  if (filter === null) return { join: "and", rows: [] };
  if (!isObject(filter)) return null;
  const names = Object.keys(filter);
  const join = names.length === 1 && { $and: "and", $or: "or" }[names[0]];
  const terms = join ? filter[names[0]] : [filter];
  if (!Array.isArray(terms)) return null;
  const found = terms.map((term) => rowsOfCondition(term, isDocument));
  // Several conditions in one term mean "and", so they can't be flattened into an "or".
  if (found.some((rows) => rows === null || (join === "or" && rows.length !== 1))) return null;
  return { join: join || "and", rows: found.flat() };
}

/**
 * @param {string} text of a filter as JSON
 * @returns {{filter?: object | null, error?: string}}
 */
export function typedFilter(text) {
  if (!text.trim()) return { filter: null };
  const filter = tried(text);
  if (filter === undefined) return { error: "this isn't JSON yet" };
  if (filter === null) return { filter };
  return isObject(filter) ? { filter } : { error: "a filter is an object, as in {\"year\": 2021}" };
}
