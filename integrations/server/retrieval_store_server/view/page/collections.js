/** The collections of the store, and what there is to know of the chosen one. */

import { html } from "./vendor/htm-preact-standalone.module.js";
import { Bars, Loading, Problem, Scroll } from "./parts.js";
import { change, chosen } from "./state.js";
import { functionMissing } from "./settings.js";
import { Inline, Text, counted, plain, sized } from "./text.js";
import { Tree } from "./tree.js";

function behind({ index_lag: lag, uncoded }) {
  const parts = [];
  if (lag) parts.push(`${counted(lag)} not in the index`);
  if (uncoded) parts.push(`${counted(uncoded)} without codes`);
  return parts.join(", ") || (lag === null && uncoded === null ? "–" : "nothing");
}

function aliasesOf(store, name) {
  return Object.entries(store.aliases ?? {}).filter(([, of]) => of === name).map(([alias]) => alias);
}

function Line({ one, store, live, isChosen }) {
  const points = live?.points ?? one.points;
  const choose = () => change({ ...chosen(one.collection), view: "collections" }, true);
  const aliases = aliasesOf(store, one.name);
  return html`<tr class=${isChosen ? "chosen" : ""}>
    <th scope="row">
      <button type="button" class="id" onClick=${choose} aria-pressed=${isChosen ? "true" : "false"}
        aria-label="Collection ${plain(one.name, 60)}"><${Inline} text=${one.name} limit=${80} /></button>
      ${aliases.length > 0 && html` <span class="faint">also ${aliases.map((alias, at) => html`${at ? ", " : ""}<${Inline} text=${alias} />`)}</span>`}
    </th>
    <td class="number">${counted(points)}</td>
    <td class="number">${sized(one.bytes)}</td>
    <td class="number">${sized(one.memory)}</td>
    <td>${behind(one)}</td>
    <td>${one.problem ? html`<span class="bad"><${Text} text=${one.problem} short=${300} /></span>` : html`<span class="faint">none</span>`}</td>
  </tr>`;
}

function List({ store, live, collection }) {
  if (!store.collections.length) return html`<p class="faint">This store has no collections yet.</p>`;
  return html`<${Scroll} label="Collections"><table class="collections">
    <caption class="hidden">Collections of this store</caption>
    <thead><tr><th scope="col">collection</th><th scope="col" class="number">records</th><th scope="col" class="number">on disk</th>
      <th scope="col" class="number">in memory</th><th scope="col">behind</th><th scope="col">problems</th></tr></thead>
    <tbody>${store.collections.map(
      (one) => html`<${Line} key=${one.collection} one=${one} store=${store} live=${live[one.collection]} isChosen=${one.collection === collection} />`,
    )}</tbody>
  </table><//>`;
}

const percent = (part) => `${Number((100 * part).toFixed(1))} %`;

/** The share of the true nearest that searches of a space find. What is measured is the default's. */
function Recall({ space: { exact, recall } }) {
  if (exact) return "exact";
  if (!recall) return "not measured";
  const [worst] = recall.measured;
  if (!worst) return `${percent(recall.target)} wanted`;
  const day = new Date(1000 * recall.at).toISOString().slice(0, 10);
  const under = worst.filter === "all" ? "" : `, where ${worst.filter} matches`;
  return html`${percent(recall.target)} wanted
    <div class="faint">${percent(worst.recall)} found of the hardest questions for the default of ${percent(recall.usual)}: the
      nearest ${worst.k}, ${worst.kind}${under}; measured with ${counted(recall.questions)} questions on ${day}</div>`;
}

function Spaces({ spaces }) {
  if (!spaces.length) return html`<p class="faint">There are no vectors yet.</p>`;
  return html`<${Scroll} label="Vector spaces"><table>
    <caption>Vector spaces</caption>
    <thead><tr><th scope="col">space</th><th scope="col">kind</th><th scope="col">metric</th><th scope="col" class="number">dimension</th>
      <th scope="col" class="number">vectors</th><th scope="col">index</th><th scope="col" class="number">indexed</th>
      <th scope="col" class="number">coded</th><th scope="col" class="number">dead</th><th scope="col">recall</th></tr></thead>
    <tbody>${spaces.map(
      (space) => html`<tr key=${space.name}>
        <th scope="row">${space.name ? html`<${Inline} text=${space.name} />` : "(unnamed)"}</th>
        <td>${space.kind}</td><td>${space.metric ?? "–"}</td>
        <td class="number">${counted(space.dimension)}</td><td class="number">${counted(space.vectors)}</td>
        <td>${space.index ?? "none"}</td><td class="number">${counted(space.indexed)}</td>
        <td class="number">${counted(space.coded)}</td><td class="number">${counted(space.dead)}</td>
        <td><${Recall} space=${space} /></td>
      </tr>`,
    )}</tbody>
  </table><//>`;
}

function Facts({ details }) {
  const { name, usable } = details.function;
  const facts = [
    ["made by", details.made_by],
    ["function", html`${name ? html`<${Inline} text=${name} />` : "none remembered"}${!usable && html` <span class="bad">${plain(functionMissing(details), 500)}</span>`}`],
    ["asked by", [usable && "texts", details.words && "words", details.images && "pictures", "vectors"].filter(Boolean).join(", ")],
  ];
  return html`<dl class="facts">${facts.map(([term, said]) => html`<div key=${term}><dt>${term}</dt><dd>${said}</dd></div>`)}</dl>`;
}

function parts(given) {
  return Object.entries(given ?? {}).sort((one, other) => other[1] - one[1]).map(([name, bytes]) => [plain(name), bytes]);
}

function Keys({ keys }) {
  if (!keys.length) return null;
  return html`<details class="keys"><summary>Keys of the metadata (${counted(keys.length)}, of the first records)</summary>
    <table><caption class="hidden">Keys of the metadata</caption>
      <thead><tr><th scope="col">key</th><th scope="col">kinds</th><th scope="col">for example</th></tr></thead>
      <tbody>${keys.map(
        (one) => html`<tr key=${one.key}><th scope="row"><${Inline} text=${one.key} /></th><td>${one.kinds.join(", ")}</td>
          <td>${one.examples.slice(0, 3).map((example, at) => html`${at ? ", " : ""}<${Inline} text=${typeof example === "string" ? example : String(example)} limit=${40} />`)}</td></tr>`,
      )}</tbody></table></details>`;
}

function Details({ details }) {
  const to = (view) => () => change({ view }, true);
  return html`<section class="details" aria-label="Details of the collection">
    <h2><${Inline} text=${details.name} /></h2>
    <p class="ways"><button type="button" onClick=${to("records")}>Look through its records</button>
      <button type="button" onClick=${to("query")}>Ask it</button>
      <button type="button" onClick=${to("map")}>See its map</button></p>
    <${Facts} details=${details} />
    <${Spaces} spaces=${details.spaces} />
    <div class="columns">
      <${Bars} caption="On disk" head="part" unit="bytes" rows=${parts(details.disk)} show=${sized} />
      <${Bars} caption="In memory" head="part" unit="bytes" rows=${parts(details.memory)} show=${sized} />
    </div>
    ${details.metadata && html`<h3>Metadata of the collection</h3><${Tree} metadata=${details.metadata} />`}
    <${Keys} keys=${details.keys} />
  </section>`;
}

/** @param {{store: object, live: object, question: object, details: object}} props details: as `useCall` tells */
export function Collections({ store, live, question, details }) {
  return html`<div>
    <${List} store=${store} live=${live} collection=${question.collection} />
    ${question.collection &&
    html`<${Problem} error=${details.error} again=${details.again} />
      <${Loading} when=${details.loading && !details.data} />
      ${details.data && html`<${Details} details=${details.data} />`}`}
  </div>`;
}
