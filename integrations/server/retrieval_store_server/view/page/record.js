/** The panel of one record: all of it, its vectors, and its neighbours. */

import { html, useEffect, useState } from "./vendor/htm-preact-standalone.module.js";
import { useCall } from "./api.js";
import { Choice, Copy, Loading, Problem, Scroll, useFocus } from "./parts.js";
import { OpenId, Stored } from "./records.js";
import { change } from "./state.js";
import { Inline, Text, counted, measured, plain } from "./text.js";
import { Thumbnail } from "./thumbnail.js";

const FEW = 6; // numbers of a vector that are shown

function numbers(vector) {
  if (vector.kind === "sparse") {
    const pairs = (vector.indices ?? []).map((index, at) => `${index}: ${measured(vector.values[at])}`);
    return pairs.slice(0, FEW).join(", ") + (pairs.length > FEW ? ", …" : "");
  }
  const first = (vector.first ?? []).flat();
  return first.slice(0, FEW).map((number) => Number(number).toPrecision(3)).join(", ") + (vector.dimension > FEW ? ", …" : "");
}

function Vectors({ vectors }) {
  const names = Object.keys(vectors ?? {});
  if (!names.length) return html`<p class="faint">no vectors</p>`;
  return html`<${Scroll} label="Vectors"><table class="vectors">
    <caption>Vectors</caption>
    <thead><tr><th scope="col">space</th><th scope="col">kind</th><th scope="col" class="number">numbers</th><th scope="col" class="number">length</th><th scope="col">first</th></tr></thead>
    <tbody>${names.map(
      (name) => html`<tr key=${name}>
        <th scope="row">${name ? html`<${Inline} text=${name} />` : "(unnamed)"}</th>
        <td>${vectors[name].kind}</td>
        <td class="number">${counted(vectors[name].dimension ?? vectors[name].number)}</td>
        <td class="number">${measured(vectors[name].length)}</td>
        <td class="numbers">${numbers(vectors[name])}</td>
      </tr>`,
    )}</tbody>
  </table><//>`;
}

function Neighbours({ hits }) {
  if (!hits?.length) return html`<p class="faint">no neighbours</p>`;
  return html`<ol class="neighbours">${hits.map(
    (hit) => html`<li key=${hit.key}>
      <${OpenId} record=${hit} /> <span class="measure">distance ${measured(hit.distance)}</span>
      ${hit.document !== null && html`<${Text} text=${hit.document} short=${160} />`}
    </li>`,
  )}</ol>`;
}

const PAGE_SIZE = 800; // pixels

/** The passages of its file around a record, which stands among them, and the page it is on. */
function InFile({ cited, around, record, details }) {
  const open = record.key;
  const isOnPage = /\.pdf$/i.test(record.metadata?.path ?? "") && Number.isInteger(record.metadata?.page);
  return html`<h3>In its file</h3>
    <p class="faint"><${Inline} text=${cited} /></p>
    ${details.loader && isOnPage && html`<${Thumbnail} collection=${details.collection} record=${record} size=${PAGE_SIZE} large />`}
    <ol class="neighbours">${around.map(
      (one) => html`<li key=${one.key}>
        ${one.key === open ? html`<strong>this record</strong>` : html`<${OpenId} record=${one} />`}
        ${one.document !== null && html`<${Text} text=${one.document} short=${600} />`}
      </li>`,
    )}</ol>`;
}

/** Calls back at Escape, wherever the focus is, as long as the component lives. */
function useEscape(close) {
  useEffect(() => {
    const pressed = (event) => event.key === "Escape" && !event.defaultPrevented && close();
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

let opener = null;

/** The element that had the focus gets it back when the last panel closes. */
function useReturn() {
  useEffect(() => {
    if (!document.activeElement?.closest(".panel")) opener = document.activeElement;
    return () => requestAnimationFrame(() => {
      if (!document.querySelector(".panel") && opener?.isConnected) opener.focus();
    });
  }, []);
}

/** @param {{question: object, details: object, version: any}} props */
export function Panel({ question, details, version }) {
  const { collection, open } = question;
  const spaces = details.spaces.filter((space) => space.kind === "dense");
  const [space, setSpace] = useState(spaces[0]?.name ?? "");
  const body = { collection, key: open, neighbours: 10, ...(spaces.length && { space }) };
  const { data, error, loading, again } = useCall("record", body, { version });
  const close = () => change({ open: "" }, true);
  useReturn();
  const heading = useFocus();
  useEscape(close);
  const record = data?.record;
  const ask = () => change({ view: "query", by: "record", record: open, open: "" }, true);
  return html`<aside class="panel" aria-label="Record">
    <header>
      <h2 tabindex="-1" ref=${heading}>Record <${Inline} text=${record?.id ?? open.slice(2)} limit=${80} /></h2>
      <button type="button" onClick=${close}>Close</button>
    </header>
    <${Problem} error=${error} again=${again} />
    <${Loading} when=${loading && !data} />
    ${record &&
    html`<div class="panel-tools">
        <${Copy} text=${record.id} label="Copy the id" />
        ${spaces.length > 0 && html`<button type="button" class="quiet" onClick=${ask}>Ask by this record</button>`}
      </div>
      <${Stored} record=${record} details=${details} short=${3000} />
      ${record.cut && html`<p class="faint">The document is longer than what is shown here.</p>`}
      ${data.around.length > 0 && html`<${InFile} cited=${data.cited} around=${data.around} record=${record} details=${details} />`}
      <${Vectors} vectors=${record.vectors} />
      ${spaces.length > 0 &&
      html`<h3>Neighbours</h3>
        ${spaces.length > 1 && html`<label>in the space <${Choice} value=${space} options=${spaces.map((one) => [one.name, plain(one.name || "(unnamed)", 40)])} onChange=${setSpace} /></label>`}
        <${Neighbours} hits=${data.neighbours} />`}`}
  </aside>`;
}
