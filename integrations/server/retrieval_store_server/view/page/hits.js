/** The hits of a query, and what moved between two of them. */

import { html } from "./vendor/htm-preact-standalone.module.js";
import { OpenId, Stored } from "./records.js";
import { Inline, counted, measured, plain } from "./text.js";

/**
 * Where the hits of one side stand in the other.
 * @param {{hits: object[], offset: number} | null} other
 * @returns {Map<string, number> | null} places by key; null where there is no other side
 */
export function placesOf(other) {
  return other && new Map(other.hits.map((hit, at) => [hit.key, other.offset + at + 1]));
}

function Move({ place, before }) {
  if (before === undefined) return html`<span class="move new">new</span>`;
  if (before === place) return html`<span class="move same">same place</span>`;
  const way = before > place ? "up" : "down";
  return html`<span class="move ${way}">${way} from ${before}</span>`;
}

function Hit({ hit, place, places, details, isWanted, want }) {
  return html`<li class="card hit" value=${place}>
    <div class="card-head">
      <span class="place">${place}</span>
      <${OpenId} record=${hit} />
      <span class="measures">
        ${hit.distance !== null && html`<span class="measure" title="smaller is nearer">distance ${measured(hit.distance)}</span>`}
        <span class="measure" title="greater is better">score ${measured(hit.score)}</span>
      </span>
      ${places && html`<${Move} place=${place} before=${places.get(hit.key)} />`}
      ${want &&
      html`<label class="check wanted"><input type="checkbox" checked=${isWanted} onChange=${() => want(hit.id)}
        aria-label="${plain(hit.id, 60)} should be found" /> should be found</label>`}
    </div>
    <${Stored} record=${hit} details=${details} marks=${hit.marks} short=${400} />
  </li>`;
}

/** The ids that the other side has, and this one doesn't. */
function Gone({ other, hits }) {
  const here = new Set(hits.map((hit) => hit.key));
  const gone = other.hits.map((hit, at) => [hit, other.offset + at + 1]).filter(([hit]) => !here.has(hit.key));
  if (!gone.length) return null;
  return html`<div class="gone"><h3>Gone: in A, not in B</h3>
    <ul>${gone.map(([hit, place]) => html`<li key=${hit.key}><span class="place">${place}</span> <${OpenId} record=${hit} /></li>`)}</ul></div>`;
}

/**
 * @param {{hits: object[], offset: number, other: {hits: object[], offset: number} | null,
 *   details: object, wanted: string[], want: ((id: string) => void) | null}} props
 *   other: the side that is compared with; want: turns an id's being expected over
 */
export function Hits({ hits, offset, other, details, wanted, want }) {
  const places = placesOf(other);
  return html`<div class="hits">
    ${!hits.length && html`<p class="faint">Nothing is found.</p>`}
    <ol class="cards">
      ${hits.map(
        (hit, at) => html`<${Hit} key=${hit.key} hit=${hit} place=${offset + at + 1} places=${places} details=${details}
          isWanted=${wanted.includes(hit.id)} want=${want} />`,
      )}
    </ol>
    ${other && html`<${Gone} other=${other} hits=${hits} />`}
  </div>`;
}

/** What moved from A to B, in a line. */
export function Moved({ a, b }) {
  const before = placesOf(a);
  const now = placesOf(b);
  let [same, moved, fresh] = [0, 0, 0];
  for (const [key, place] of now) {
    if (!before.has(key)) fresh += 1;
    else if (before.get(key) === place) same += 1;
    else moved += 1;
  }
  const gone = [...before.keys()].filter((key) => !now.has(key)).length;
  return html`<p class="moved" role="status">From A to B: ${counted(same)} at the same place, ${counted(moved)} moved, ${counted(fresh)} new, ${counted(gone)} gone.</p>`;
}

/** Ids as chips that can be taken away. */
export function Chips({ ids, remove }) {
  return html`<span class="chips">${ids.map(
    (id) => html`<span key=${id} class="chip"><${Inline} text=${id} limit=${60} />
      <button type="button" class="quiet" onClick=${() => remove(id)} aria-label="Take ${plain(id, 60)} away">×</button></span>`,
  )}</span>`;
}
