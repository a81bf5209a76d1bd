/**
 * JSON whose whole numbers stay what they are, whatever their size.
 *
 * Metadata may hold integers that a JavaScript number can't: those become BigInt and are written
 * as they were read, where the browser tells what was written; elsewhere they are rounded.
 */

const WHOLE = /^-?\d+$/;

/** A BigInt for a whole number that a JavaScript number would round. */
function exact(key, value, context) {
  const rounded = typeof value === "number" && !Number.isSafeInteger(value);
  return rounded && WHOLE.test(context?.source ?? "") ? BigInt(context.source) : value;
}

/**
 * @param {string} text
 * @returns {any} what the text says; raises SyntaxError
 */
export function parse(text) {
  return JSON.parse(text, exact);
}

function raw(key, value) {
  if (typeof value !== "bigint") return value;
  return JSON.rawJSON ? JSON.rawJSON(String(value)) : Number(value);
}

/**
 * @param {any} value
 * @param {number} [indent]
 * @returns {string}
 */
export function stringify(value, indent) {
  return JSON.stringify(value, raw, indent);
}

/**
 * @param {any} value
 * @returns {boolean} whether it is an object of JSON, neither null nor a list
 */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * @param {string} text
 * @returns {any} what the text says, undefined where it isn't JSON
 */
export function tried(text) {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}
