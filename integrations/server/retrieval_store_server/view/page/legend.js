/** What the colours of the map mean, and how many points have each. */

import { html, useMemo } from "./vendor/htm-preact-standalone.module.js";
import { NONE, ofCategory, rampColours } from "./colours.js";
import { Inline, counted, measured } from "./text.js";

function Swatch({ colour }) {
  return html`<span class="swatch" style=${{ backgroundColor: colour }} aria-hidden="true"></span>`;
}

function tallied(values, names) {
  const counts = new Array(names.length).fill(0);
  let none = 0;
  for (const value of values) {
    if (counts[value] === undefined) none += 1;
    else counts[value] += 1;
  }
  return { counts, none };
}

function Categories({ color, values, label }) {
  const { counts, none } = useMemo(() => tallied(values, color.names), [values]);
  return html`<table class="legend"><caption>Colours, by ${label}</caption>
    <thead class="hidden"><tr><th scope="col">value</th><th scope="col">points</th></tr></thead>
    <tbody>${color.names.map(
      (name, at) => html`<tr key=${at}><th scope="row"><${Swatch} colour=${ofCategory(at, color.names)} /> <${Inline} text=${name} limit=${40} /></th>
        <td class="number">${counted(counts[at])}</td></tr>`,
    )}${none > 0 && html`<tr><th scope="row"><${Swatch} colour=${NONE} /> <span class="faint">no value</span></th><td class="number">${counted(none)}</td></tr>`}</tbody></table>`;
}

const numbered = (number) => (Number.isInteger(number) ? counted(number) : measured(number));

function Numbers({ color, label }) {
  return html`<table class="legend"><caption>Colours, by ${label}</caption>
    <thead class="hidden"><tr><th scope="col">end</th><th scope="col">value</th></tr></thead>
    <tbody><tr><th scope="row">least</th><td class="number">${numbered(color.least)}</td></tr>
      <tr aria-hidden="true"><td colspan="2"><span class="ramp">${rampColours(24).map((colour) => html`<${Swatch} colour=${colour} />`)}</span></td></tr>
      <tr><th scope="row">greatest</th><td class="number">${numbered(color.greatest)}</td></tr></tbody></table>`;
}

/** @param {{color: object | null, values: Float32Array, name: string}} props name: the key */
export function Legend({ color, values, name }) {
  if (!color) return null;
  const label = html`<${Inline} text=${name} limit=${40} />`;
  return color.kind === "categories"
    ? html`<${Categories} color=${color} values=${values} label=${label} />`
    : html`<${Numbers} color=${color} label=${label} />`;
}
