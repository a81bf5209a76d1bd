/**
 * The question: view, collection, filter, query and settings, kept in the address.
 *
 * Reload, back and a bookmark bring it back. What is secret (the key) or large (a picture, a long
 * vector, many chosen records) is not part of the address; it is forgotten with the page. What an
 * address says is untrusted, and taken only where it can be meant.
 */

import { useEffect, useState } from "./vendor/htm-preact-standalone.module.js";
import { keepKey } from "./api.js";
import { isObject, stringify, tried } from "./json.js";
import { settingsOf } from "./settings.js";

export const VIEWS = ["collections", "records", "query", "questions", "map"];
const KINDS = ["text", "image", "record", "vector"];
const LONGEST = 6000;
const PAUSE = 150;

const EMPTY = {
  view: "collections",
  collection: "",
  where: null,
  document: null,
  keys: null,
  by: "text",
  text: "",
  other: null,
  record: "",
  vector: "",
  sparse: "",
  words: "",
  a: {},
  b: null,
  offset: 0,
  order: "",
  down: false,
  open: "",
  color: "",
  space: "",
};

/** What isn't written down. turn: grows when the address has said something else. */
const FORGOTTEN = { image: null, turn: 0 };

const FILTER = (text) => {
  const value = tried(text);
  return isObject(value) ? value : null;
};
const TEXT = (text) => text;
const JSON_TEXT = (value) => (value === null ? null : stringify(value));

/** Of each part: how it is read from the address, and written into it. */
const FORMS = {
  view: [(text) => (VIEWS.includes(text) ? text : "collections"), TEXT],
  by: [(text) => (KINDS.includes(text) ? text : "text"), TEXT],
  where: [FILTER, JSON_TEXT],
  document: [FILTER, JSON_TEXT],
  keys: [keysOf, JSON_TEXT],
  a: [(text) => settingsOf(tried(text)), stringify],
  b: [(text) => settingsOf(tried(text)), JSON_TEXT],
  offset: [(text) => Math.min(1e9, Math.max(0, Math.trunc(Number(text)) || 0)), String],
  down: [(text) => text === "1", (value) => (value ? "1" : "")],
};

function keysOf(text) {
  const keys = tried(text);
  const areKeys = Array.isArray(keys) && keys.length <= 1000 && keys.every((key) => typeof key === "string");
  return areKeys && keys.length ? keys : null;
}

function read(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const question = { ...EMPTY, ...FORGOTTEN };
  for (const name of Object.keys(EMPTY)) {
    const text = given.get(name);
    if (text !== null) question[name] = (FORMS[name]?.[0] ?? TEXT)(text);
  }
  return question;
}

function written(question) {
  const parts = new URLSearchParams();
  for (const [name, usual] of Object.entries(EMPTY)) {
    const text = (FORMS[name]?.[1] ?? TEXT)(question[name]);
    const isUsual = text === null || text === (FORMS[name]?.[1] ?? TEXT)(usual);
    if (!isUsual && text.length <= LONGEST) parts.set(name, text);
  }
  return `#${parts}`;
}

/** Moves the token of the command from the address into sessionStorage. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1));
  const token = given.get("token");
  if (token === null) return;
  keepKey(token);
  given.delete("token");
  history.replaceState(null, "", `${location.pathname}${location.search}#${given}`);
}

let current = { ...EMPTY, ...FORGOTTEN };
let timer = 0;
const listeners = new Set();

function tell() {
  for (const listener of listeners) listener(current);
}

function write(isStep) {
  clearTimeout(timer);
  timer = 0;
  const address = location.pathname + location.search + written(current);
  if (location.hash === written(current)) return;
  history[isStep ? "pushState" : "replaceState"](null, "", address);
}

/** Reads the address, now and whenever the user goes back, forward, or changes it. */
export function followAddress() {
  const again = () => {
    if (location.hash === written(current)) return;
    takeToken();
    // The picture and what else is too large for an address stays while the collection does.
    const next = { ...read(location.hash), turn: current.turn + 1 };
    current = next.collection === current.collection ? { ...next, image: current.image } : next;
    tell();
  };
  current = read(location.hash);
  addEventListener("popstate", again);
  addEventListener("hashchange", again);
  addEventListener("pagehide", () => timer && write(false));
}

/**
 * @param {object} patch of the question
 * @param {boolean} [isStep] whether going back should undo it; else the address changes in place,
 *   after a moment, since browsers refuse to change it at every key
 */
export function change(patch, isStep = false) {
  if (isStep && timer) write(false);
  current = { ...current, ...patch };
  if (isStep) write(true);
  else {
    clearTimeout(timer);
    timer = setTimeout(() => write(false), PAUSE);
  }
  tell();
}

/** Takes what is being typed, without an address for it until it is asked. */
export function type(patch) {
  current = { ...current, ...patch };
  tell();
}

/** What has to be forgotten when another collection is chosen. */
export function chosen(collection) {
  const { view, turn } = current;
  return { ...EMPTY, ...FORGOTTEN, turn, view, collection };
}

/** The question as it is now, for handlers that outlive a rendering. */
export function now() {
  return current;
}

/** @returns {object} the question, as long as the component lives */
export function useQuestion() {
  const [question, set] = useState(current);
  useEffect(() => {
    listeners.add(set);
    set(current);
    return () => listeners.delete(set);
  }, []);
  return question;
}

/** The filter of the question as calls take it. */
export function filterOf({ where, document, keys }) {
  return {
    ...(where && { where }),
    ...(document && { where_document: document }),
    ...(keys && { keys }),
  };
}
