/** Small parts that all views are built of: messages, bars, copying, fields. */

import { html, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { firstPoints, measured, piecesOf } from "./text.js";

let lastId = 0;

/** An id for an element that a label or a description points at; the same at each rendering. */
export function useId(prefix) {
  const ref = useRef(null);
  if (ref.current === null) ref.current = `${prefix}-${(lastId += 1)}`;
  return ref.current;
}

/** What went wrong, with the server's own words, and a way to try again. */
export function Problem({ error, again }) {
  if (!error) return null;
  const shown = piecesOf(firstPoints(String(error.message ?? error), 2000));
  return html`<p class="problem" role="alert">
    <bdi class="stored">${shown.map((piece) => piece.text)}</bdi>
    ${again && html` <button type="button" onClick=${again}>Try again</button>`}
  </p>`;
}

/** Says that something is on its way; what is there stays where it is. */
export function Loading({ when, what = "Loading…" }) {
  return html`<p class="loading" role="status">${when ? what : ""}</p>`;
}

/**
 * @param {{text: string | (() => string), label?: string, disabled?: boolean, why?: string}} props
 */
export function Copy({ text, label = "Copy", disabled = false, why }) {
  const [said, say] = useState("");
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      say("copied");
    } catch {
      say("the browser doesn't allow it");
    }
    timer.current = setTimeout(() => say(""), 2000);
  };
  return html`<span class="copy">
    <button type="button" class="quiet" disabled=${disabled} title=${why} onClick=${copy}>${label}</button>
    <span role="status" class="faint">${said}</span>
  </span>`;
}

/** The length of a bar beside a number; the number itself stands in the table. */
export function Bar({ share }) {
  const width = `${Math.max(0, Math.min(1, share || 0)) * 100}%`;
  return html`<span class="bar" aria-hidden="true"><span style=${{ width }}></span></span>`;
}

/**
 * Numbers by name, with bars.
 * @param {{caption: string, head: string, unit: string, rows: [any, number][], show?: Function}} props
 */
export function Bars({ caption, head, unit, rows, show = measured }) {
  const greatest = Math.max(...rows.map(([, number]) => number), 0);
  return html`<table class="bars">
    <caption>${caption}</caption>
    <thead><tr><th scope="col">${head}</th><th scope="col" class="number">${unit}</th><td></td></tr></thead>
    <tbody>
      ${rows.map(
        ([name, number], at) => html`<tr key=${at}>
          <th scope="row">${name}</th>
          <td class="number">${show(number)}</td>
          <td class="wide"><${Bar} share=${greatest ? number / greatest : 0} /></td>
        </tr>`,
      )}
    </tbody>
  </table>`;
}

/** Scrolls what is wider than its place, by keys too; for tables. */
export function Scroll({ label, children }) {
  return html`<div class="scroll" role="group" aria-label=${label} tabindex="0">${children}</div>`;
}

/** A labelled control: `children` is called with the id that the label points at. */
export function Field({ label, error, children, className = "" }) {
  const id = useId("field");
  return html`<div class="field ${className}">
    <label for=${id}>${label}</label>
    ${children(id, error ? `${id}-error` : undefined)}
    ${error && html`<span id="${id}-error" class="error">${error}</span>`}
  </div>`;
}

/** A select; options: [value, name, disabled?, title?]. */
export function Choice({ id, value, options, onChange, label, className }) {
  const change = (event) => onChange(event.currentTarget.value);
  return html`<select id=${id} class=${className} value=${value} onChange=${change} aria-label=${label}>
    ${options.map(
      ([name, text, disabled, title]) => html`<option
        key=${name}
        value=${name}
        selected=${name === value}
        disabled=${Boolean(disabled)}
        title=${title}
      >${text}</option>`,
    )}
  </select>`;
}

/**
 * Which state of the collection is shown.
 * @param {any} version the newest state, null while that isn't known
 * @param {boolean} follows whether the newest is always shown; else it waits until asked for
 */
export function useSeen(version, follows) {
  const [seen, setSeen] = useState(version);
  useEffect(() => {
    if (follows || seen === null) setSeen(version);
  }, [version, follows]);
  const update = () => setSeen(version);
  return { seen, isBehind: seen !== null && version !== seen, update };
}

/** Says that what is shown is no longer what is there. */
export function Changed({ when, update, label = "update" }) {
  if (!when) return null;
  return html`<p class="changed" role="status">the collection has changed: <button type="button" onClick=${update}>${label}</button></p>`;
}

/** Moves the focus to an element when it appears. */
export function useFocus(active = true) {
  const ref = useRef(null);
  useEffect(() => {
    if (active) ref.current?.focus();
  }, [active]);
  return ref;
}
