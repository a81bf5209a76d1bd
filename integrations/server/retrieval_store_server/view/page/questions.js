/**
 * Questions with what should be found for them: kept in localStorage, as JSON lines for
 * `retrieval-store evaluate`, and how much of it is found.
 *
 * What localStorage or a file holds is untrusted: only what has the form of a question is taken.
 */

import { isObject, stringify, tried } from "./json.js";

const PREFIX = "retrieval-store:questions:";
const LONGEST = 20_000;

function nameOf(place, collection) {
  return `${PREFIX}${place}:${collection}`;
}

/** A question of these, or null: ids are a list of texts, or an object of texts and grades. */
function questionOf(given) {
  if (!isObject(given) || typeof given.query !== "string" || !given.query.trim()) return null;
  const ids = expectedIds(given.ids);
  if (!ids.length || ids.length > 10_000 || given.query.length > LONGEST) return null;
  return { query: given.query, ids: Array.isArray(given.ids) ? [...new Set(ids)] : gradesOf(given.ids) };
}

function expectedIds(ids) {
  if (Array.isArray(ids)) return ids.every((id) => typeof id === "string") ? ids : [];
  return isObject(ids) ? Object.keys(gradesOf(ids)) : [];
}

function gradesOf(ids) {
  return Object.fromEntries(Object.entries(ids).filter(([, grade]) => typeof grade === "number" && grade > 0));
}

/**
 * @param {string} place of the store
 * @param {string} collection its name
 * @returns {{query: string, ids: string[] | object}[]}
 */
export function kept(place, collection) {
  try {
    const given = tried(localStorage.getItem(nameOf(place, collection)) ?? "[]");
    return Array.isArray(given) ? given.map(questionOf).filter(Boolean) : [];
  } catch {
    return []; // the browser keeps nothing for this page
  }
}

/** Keeps the questions; returns whether the browser took them. */
export function keep(place, collection, questions) {
  try {
    localStorage.setItem(nameOf(place, collection), stringify(questions));
    return true;
  } catch {
    return false;
  }
}

/** The questions with one more; a question that is there already gets the ids of both. */
export function withQuestion(questions, query, ids) {
  const same = questions.find((one) => one.query === query);
  if (!same) return [...questions, { query, ids: [...ids] }];
  const both = Array.isArray(same.ids)
    ? [...new Set([...same.ids, ...ids])]
    : { ...Object.fromEntries(ids.map((id) => [id, 1])), ...same.ids };
  return questions.map((one) => (one === same ? { query, ids: both } : one));
}

/** The questions as the JSON lines that `retrieval-store evaluate` takes. */
export function linesOf(questions) {
  return questions.map(({ query, ids }) => `${stringify({ query, ids })}\n`).join("");
}

/**
 * @param {string} text of a file of JSON lines
 * @returns {{questions: object[], refused: number[]}} refused: the numbers of lines that are none
 */
export function questionsOf(text) {
  const questions = [];
  const refused = [];
  for (const [at, line] of text.replace(/^\ufeff/, "").split("\n").entries()) {
    if (!line.trim()) continue;
    const question = questionOf(tried(line));
    if (question) questions.push(question);
    else refused.push(at + 1);
  }
  return { questions, refused };
}

/** The ids that should be found for a question. */
export function expectedOf({ ids }) {
  return Array.isArray(ids) ? ids : Object.keys(ids);
}

/**
 * @param {string[]} found ids, best first
 * @param {string[]} expected
 * @param {number} k
 * @returns {number} the share of the expected that is among the first k
 */
export function recall(found, expected, k) {
  const first = new Set(found.slice(0, k));
  return expected.filter((id) => first.has(id)).length / expected.length;
}

/** The mean of numbers, null of none. */
export function mean(numbers) {
  return numbers.length ? numbers.reduce((sum, number) => sum + number, 0) / numbers.length : null;
}
