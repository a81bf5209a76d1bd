/** Records in pages, in the order they came in or by a key; and how one record is shown. */

import { html } from "./vendor/htm-preact-standalone.module.js";
import { useCall } from "./api.js";
import { Changed, Choice, Copy, Loading, Problem, useSeen } from "./parts.js";
import { change, filterOf } from "./state.js";
import { Inline, Text, counted, plain } from "./text.js";
import { Thumbnail } from "./thumbnail.js";
import { Tree } from "./tree.js";

const LIMIT = 25;

/** A uri is shown as text and can be copied; it is never a link, since it may be anything. */
export function Uri({ uri }) {
  if (!uri) return null;
  return html`<p class="uri"><span class="faint">uri</span> <${Text} text=${uri} short=${200} /> <${Copy} text=${uri} label="Copy the uri" /></p>`;
}

/** An id that opens its record. */
export function OpenId({ record }) {
  const open = () => change({ open: record.key }, true);
  return html`<button type="button" class="id" onClick=${open} aria-label="Open record ${plain(record.id, 60)}">
    <${Inline} text=${record.id} limit=${80} /></button>`;
}

/** What is stored of a record, but for its vectors. */
export function Stored({ record, details, marks, short }) {
  return html`<div class="stored-record">
    ${details.loader && record.uri && html`<${Thumbnail} collection=${details.collection} record=${record} />`}
    <div class="stored-texts">
      ${record.document === null
        ? html`<p class="faint">no document</p>`
        : html`<${Text} text=${record.document} marks=${marks} whole=${record.length} short=${short} />`}
      <${Uri} uri=${record.uri} />
    </div>
    <div class="stored-metadata"><${Tree} metadata=${record.metadata} /></div>
  </div>`;
}

function Pages({ offset, shown, more, total }) {
  const to = (next) => change({ offset: next }, true);
  return html`<nav class="pages" aria-label="Pages">
    <button type="button" disabled=${offset === 0} onClick=${() => to(0)}>First</button>
    <button type="button" disabled=${offset === 0} onClick=${() => to(Math.max(0, offset - LIMIT))}>Previous</button>
    <span>${shown ? `${counted(offset + 1)} – ${counted(offset + shown)}` : "none"}${total === null ? "" : ` of ${counted(total)}`}</span>
    <button type="button" disabled=${!more} onClick=${() => to(offset + LIMIT)}>Next</button>
  </nav>`;
}

function Order({ question, details }) {
  const options = [["", "as added"], ...details.keys.map((one) => [one.key, plain(one.key, 40)])];
  if (question.order && !details.keys.some((one) => one.key === question.order)) {
    options.push([question.order, plain(question.order, 40)]);
  }
  const set = (order) => change({ order, offset: 0 }, true);
  const turn = (event) => change({ down: event.currentTarget.checked, offset: 0 }, true);
  return html`<div class="order">
    <label>Order <${Choice} value=${question.order} options=${options} onChange=${set} /></label>
    ${question.order && html`<label class="check"><input type="checkbox" checked=${question.down} onChange=${turn} /> descending</label>`}
    ${question.order && html`<span class="faint">records without a number or a date there are left out</span>`}
  </div>`;
}

/** @param {{question: object, details: object, version: any, points: number}} props */
export function Records({ question, details, version, points }) {
  // The first page follows what is written; others would slip away under who reads them.
  const { seen, isBehind, update } = useSeen(version, question.offset === 0);
  const filter = filterOf(question);
  const order = question.order ? { order_by: question.order, descending: question.down } : {};
  const body = { collection: question.collection, ...filter, ...order, offset: question.offset, limit: LIMIT };
  const { data, error, loading, again } = useCall("records", body, { wait: 100, version: seen });
  const isAll = !Object.keys(filter).length && !question.order;
  return html`<section class="records" aria-label="Records">
    <div class="toolbar">
      <${Order} question=${question} details=${details} />
      ${data && html`<${Pages} offset=${question.offset} shown=${data.records.length} more=${data.more} total=${isAll ? points : null} />`}
      <${Changed} when=${isBehind} update=${update} />
    </div>
    <${Problem} error=${error} again=${again} />
    <${Loading} when=${loading && !data} />
    ${data && !data.records.length && html`<p class="faint">${isAll ? "There are no records." : "No records here."}</p>`}
    <ol class="cards" start=${question.offset + 1}>
      ${data?.records.map(
        (record) => html`<li key=${record.key} class="card">
          <div class="card-head"><${OpenId} record=${record} /></div>
          <${Stored} record=${record} details=${details} short=${400} />
        </li>`,
      )}
    </ol>
  </section>`;
}
