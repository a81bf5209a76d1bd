/** Metadata as a tree whose branches open; only what is open is made. */

import { html, useState } from "./vendor/htm-preact-standalone.module.js";
import { Inline, Text, counted } from "./text.js";

const AT_ONCE = 50;

function isBranch(value) {
  return typeof value === "object" && value !== null;
}

function Leaf({ value }) {
  if (typeof value === "string") return html`<${Text} text=${value} short=${200} />`;
  return html`<span class="value-${value === null ? "null" : typeof value}">${String(value)}</span>`;
}

function Branch({ name, value, level }) {
  const [isOpen, setOpen] = useState(false);
  const isList = Array.isArray(value);
  const size = isList ? value.length : Object.keys(value).length;
  const noun = isList ? (size === 1 ? "element" : "elements") : size === 1 ? "key" : "keys";
  return html`<details open=${isOpen} onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary><${Inline} text=${name} /> <span class="faint">${counted(size)} ${noun}</span></summary>
    ${isOpen && html`<${Entries} value=${value} level=${level + 1} />`}
  </details>`;
}

function Entries({ value, level }) {
  const [limit, setLimit] = useState(AT_ONCE);
  const entries = Object.entries(value);
  return html`<ul class="tree">
    ${entries.slice(0, limit).map(
      ([name, part]) => html`<li key=${name}>
        ${isBranch(part)
          ? html`<${Branch} name=${name} value=${part} level=${level} />`
          : html`<span class="entry"><span class="name"><${Inline} text=${name} /></span> <${Leaf} value=${part} /></span>`}
      </li>`,
    )}
    ${entries.length > limit &&
    html`<li><button type="button" class="quiet" onClick=${() => setLimit(limit + AT_ONCE * 4)}>
      ${counted(entries.length - limit)} more</button></li>`}
  </ul>`;
}

/** @param {{metadata: object | null}} props */
export function Tree({ metadata }) {
  if (metadata === null || !Object.keys(metadata).length) return html`<span class="faint">no metadata</span>`;
  return html`<${Entries} value=${metadata} level=${0} />`;
}
