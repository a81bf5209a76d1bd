/**
 * Stored text, made fit to be looked at.
 *
 * Whatever is stored is shown as text nodes and nothing else. Characters that are invisible, or
 * that turn the direction of what stands around them, are replaced by signs for them, so that what
 * is seen is what is there; and every piece of stored text is isolated from its surroundings.
 */

import { html, useState } from "./vendor/htm-preact-standalone.module.js";

const HIDDEN =
  /([\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]|\r(?!\n)|[\u{e0000}-\u{e007f}])/u;
const SHORT = 600;
const STEP = 10_000;

/**
 * @param {string} character one that can't be seen
 * @returns {string} a sign for it: a control picture, or its code point
 */
export function signOf(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/**
 * @param {string} text
 * @param {number} count
 * @returns {string} its first code points; a pair of surrogates is never divided
 */
export function firstPoints(text, count) {
  if (text.length <= count) return text;
  let at = 0;
  for (let seen = 0; seen < count && at < text.length; seen += 1) at += widthAt(text, at);
  return text.slice(0, at);
}

function widthAt(text, at) {
  return text.codePointAt(at) > 0xffff ? 2 : 1;
}

function pointsIn(text) {
  let count = 0;
  for (let at = 0; at < text.length; at += widthAt(text, at)) count += 1;
  return count;
}

/**
 * Ranges of code points as ranges of UTF-16 units, by which JavaScript counts.
 * @param {string} text
 * @param {[number, number][]} ranges sorted, not overlapping
 * @returns {[number, number][]} those that lie in the text; the last one cut if need be
 */
export function unitsOf(text, ranges) {
  const found = [];
  let at = 0;
  let point = 0;
  const walk = (target) => {
    for (; point < target && at < text.length; point += 1) at += widthAt(text, at);
    return at;
  };
  for (const [start, end] of ranges) {
    const from = walk(start);
    const to = walk(end);
    if (to > from) found.push([from, to]);
  }
  return found;
}

/** The text as pieces: plain runs and runs of hidden characters' signs. */
function runs(text, marked) {
  const pieces = [];
  for (const part of text.split(HIDDEN)) {
    if (!part) continue;
    const hidden = HIDDEN.test(part);
    const shown = hidden ? signOf(part) : part;
    const last = pieces.at(-1);
    if (last && last.hidden === hidden) last.text += hidden ? ` ${shown}` : shown;
    else pieces.push({ text: shown, hidden, marked });
  }
  return pieces;
}

/**
 * @param {string} text
 * @param {[number, number][]} [marks] ranges of code points to be marked
 * @returns {{text: string, hidden: boolean, marked: boolean}[]}
 */
export function piecesOf(text, marks = []) {
  const pieces = [];
  let at = 0;
  for (const [start, end] of unitsOf(text, marks)) {
    pieces.push(...runs(text.slice(at, start), false), ...runs(text.slice(start, end), true));
    at = end;
  }
  return [...pieces, ...runs(text.slice(at), false)];
}

/**
 * Stored text for places that hold plain strings: labels, titles, options.
 * @param {any} text
 * @param {number} [limit] of code points
 */
export function plain(text, limit = 120) {
  const whole = String(text);
  const cut = firstPoints(whole, limit);
  const shown = runs(cut, false).map((piece) => (piece.hidden ? `[${piece.text}]` : piece.text));
  return shown.join("") + (cut.length < whole.length ? "…" : "");
}

function Piece({ piece }) {
  const body = piece.hidden ? html`<span class="hidden-character">${piece.text}</span>` : piece.text;
  return piece.marked ? html`<mark>${body}</mark>` : body;
}

/** A short stored string within a line: an id, a key, a name. */
export function Inline({ text, limit = 200 }) {
  const cut = firstPoints(String(text), limit);
  const pieces = piecesOf(cut).map((piece) => html`<${Piece} piece=${piece} />`);
  return html`<bdi class="stored">${pieces}${cut.length < String(text).length ? "…" : ""}</bdi>`;
}

/**
 * A stored text, cut where it is long.
 * @param {{text: string, marks?: [number, number][], whole?: number, short?: number}} props
 *   whole: how many characters it has where it is stored; text may be its beginning
 */
export function Text({ text, marks, whole, short = SHORT }) {
  const [limit, setLimit] = useState(short);
  const cut = firstPoints(text, limit);
  const isCut = cut.length < text.length;
  const pieces = piecesOf(cut, marks).map((piece) => html`<${Piece} piece=${piece} />`);
  const more = () => setLimit(limit + STEP);
  return html`<div class="text" dir="auto">
    <bdi class="stored">${pieces}${isCut ? "…" : ""}</bdi>
    ${isCut && html` <button type="button" class="quiet" onClick=${more}>show more</button>`}
    ${!isCut && whole > pointsIn(text) && html`<span class="faint"> … of ${counted(whole)} characters</span>`}
  </div>`;
}

const NUMBER = new Intl.NumberFormat("en");

/** A count with its thousands divided; an en dash for what isn't known. */
export function counted(number) {
  return number === null || number === undefined ? "–" : NUMBER.format(number);
}

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/** Bytes in the unit that reads best. */
export function sized(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const power = bytes < 1 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10));
  const number = bytes / 1024 ** power;
  return `${power && number < 100 ? number.toFixed(1) : Math.round(number)} ${UNITS[power]}`;
}

/** A measure (a distance, a score, a weight) with as many digits as one compares. */
export function measured(number) {
  if (number === null || number === undefined) return "–";
  const size = Math.abs(number);
  return size !== 0 && (size < 0.001 || size >= 1e6) ? number.toExponential(2) : number.toFixed(4);
}
