/** The filter above records, queries and the map: a builder, the same as JSON, and a count. */

import { html, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { useCall } from "./api.js";
import {
  DOCUMENT,
  KINDS,
  METADATA,
  emptyRow,
  filterOfSide,
  kindsOf,
  sideOfFilter,
  typedFilter,
} from "./filter.js";
import { stringify } from "./json.js";
import { Choice, Field, useId } from "./parts.js";
import { change, filterOf, now } from "./state.js";
import { Inline, counted, plain } from "./text.js";

const TYPING = 250;
let wasOpen = false; // the filter stays open, or closed, from view to view
const SIDES = {
  where: { isDocument: false, operators: METADATA, legend: "Metadata", noun: "condition" },
  document: { isDocument: true, operators: DOCUMENT, legend: "Document", noun: "condition on the document" },
};

/** The kind that fits a key whose values are known. */
function kindFor(details, key, usual) {
  const kinds = details.keys.find((one) => one.key === key)?.kinds ?? [];
  if (kinds.length !== 1) return usual;
  return { string: "text", number: "number", integer: "number", float: "number", boolean: "boolean", bool: "boolean" }[kinds[0]] ?? usual;
}

function Row({ row, name, isDocument, operators, details, error, change, remove, keysId }) {
  const errorId = useId("row-error");
  const set = (patch) => change({ ...row, ...patch });
  const setKey = (event) => {
    const key = event.currentTarget.value;
    const kind = kindsOf(row.op).length > 1 ? kindFor(details, key, row.kind) : row.kind;
    set({ key, kind, value: kind === "boolean" && row.kind !== "boolean" ? "true" : row.value });
  };
  const setOp = (op) => {
    const kinds = kindsOf(op);
    const kind = kinds.includes(row.kind) ? row.kind : kinds[0];
    set({ op, kind, value: kind === "boolean" && row.kind !== "boolean" ? "true" : row.value });
  };
  const setKind = (kind) => set({ kind, value: kind === "boolean" ? "true" : row.value });
  const setValue = (event) => set({ value: event.currentTarget.value });
  const kinds = kindsOf(row.op).map((kind) => [kind, KINDS[kind]]);
  return html`<div class="condition" role="group" aria-label=${name}>
    ${!isDocument &&
    html`<input class="key" list=${keysId} value=${row.key} onInput=${setKey} aria-label="Key" placeholder="key" spellcheck=${false} autocomplete="off" />`}
    <${Choice} className="operator" label="Operator" value=${row.op} options=${Object.entries(operators)} onChange=${setOp} />
    ${!isDocument && kinds.length > 1 &&
    html`<${Choice} className="kind" label="Kind of the value" value=${row.kind} options=${kinds} onChange=${setKind} />`}
    ${row.kind === "boolean"
      ? html`<${Choice} className="value" label="Value" value=${row.value === "false" ? "false" : "true"}
          options=${[["true", "true"], ["false", "false"]]} onChange=${(value) => set({ value })} />`
      : html`<input class="value" value=${row.value} onInput=${setValue} aria-label="Value"
          placeholder=${["$in", "$nin"].includes(row.op) && row.kind !== "json" ? "values, divided by commas" : "value"}
          aria-invalid=${error ? "true" : undefined} aria-describedby=${error ? errorId : undefined}
          spellcheck=${false} autocomplete="off" />`}
    <button type="button" class="quiet" aria-label="Remove ${name}" onClick=${remove}>Remove</button>
    ${error && html`<span id=${errorId} class="error">${error}</span>`}
  </div>`;
}

function Builder({ kind, side, errors, details, set, keysId }) {
  const { isDocument, operators, legend, noun } = SIDES[kind];
  if (side === null) {
    return html`<p class="faint">${legend}: this filter says more than the builder can show; change it as JSON.</p>`;
  }
  const { join, rows } = side;
  const replace = (at, row) => set({ join, rows: rows.map((one, i) => (i === at ? row : one)) });
  const remove = (at) => set({ join, rows: rows.filter((_, i) => i !== at) });
  const add = () => set({ join, rows: [...rows, emptyRow(operators)] });
  return html`<fieldset class="builder">
    <legend>${legend}</legend>
    ${rows.length > 1 &&
    html`<${Choice} className="join" label="${legend}: how conditions are joined" value=${join}
      options=${[["and", "all of these hold"], ["or", "at least one holds"]]} onChange=${(next) => set({ join: next, rows })} />`}
    ${rows.map(
      (row, at) => html`<${Row} key=${at} row=${row} name="${noun} ${at + 1}" isDocument=${isDocument}
        operators=${operators} details=${details} error=${errors[at]} keysId=${keysId}
        change=${(next) => replace(at, next)} remove=${() => remove(at)} />`,
    )}
    <button type="button" class="quiet add-${kind}" onClick=${add}>Add a ${noun}</button>
  </fieldset>`;
}

function written(filter) {
  return filter === null ? "" : stringify(filter, 1).replace(/\n */g, " ");
}

/** One side of the filter, its rows and its JSON in step; returns what is shown of it. */
function useSide(kind, filter) {
  const { isDocument } = SIDES[kind];
  const [side, setSide] = useState(() => sideOfFilter(filter, isDocument));
  const [text, setText] = useState(() => written(filter));
  const [errors, setErrors] = useState([]);
  const [error, setError] = useState(null);
  const made = useRef(stringify(filter));
  useEffect(() => {
    // Going back, or a choice elsewhere, has changed the filter: what is typed here follows. The
    // filter is the newest one: by the time this runs, something more may have been typed.
    const newest = now()[kind];
    if (stringify(newest) === made.current) return;
    made.current = stringify(newest);
    setSide(sideOfFilter(newest, isDocument));
    setText(written(newest));
    setErrors([]);
    setError(null);
  }, [filter]);
  const use = (next) => {
    made.current = stringify(next);
    change({ [kind]: next, offset: 0 });
  };
  const build = (next) => {
    const { filter: found, errors: wrong } = filterOfSide(next, isDocument);
    setSide(next);
    setErrors(wrong);
    if (wrong.some(Boolean)) return;
    setText(written(found));
    setError(null);
    use(found);
  };
  const type = (event) => {
    const typed = event.currentTarget.value;
    const { filter: found, error: wrong } = typedFilter(typed);
    setText(typed);
    setError(wrong ?? null);
    if (wrong) return;
    setSide(sideOfFilter(found, isDocument));
    setErrors([]);
    use(found);
  };
  return { side, text, errors, error, build, type };
}

/** How many match: at once if that is soon known, else at least how many, and then all. */
function useCount(collection, filter, version) {
  const body = Object.keys(filter).length ? { collection, ...filter } : null;
  const quick = useCall("count", body, { wait: TYPING, version });
  const isPart = body !== null && !quick.loading && quick.data?.whole === false;
  const whole = useCall("count", isPart ? { ...body, whole: true } : null, { version });
  return { quick, isPart, whole, hasFilter: body !== null };
}

function Count({ collection, filter, version, points }) {
  const { quick, isPart, whole, hasFilter } = useCount(collection, filter, version);
  if (!hasFilter) return html`<p class="count" role="status">${counted(points)} records, no filter</p>`;
  const error = quick.error ?? whole.error;
  if (error) return html`<p class="count error" role="status">${plain(error.message, 500)}</p>`;
  if (!quick.data) return html`<p class="count" role="status">counting…</p>`;
  const found = isPart && whole.data ? whole.data : quick.data;
  const text = found.whole
    ? `${counted(found.count)} of ${counted(points)} records match`
    : `more than ${counted(found.count)} of ${counted(points)} records match, counting…`;
  return html`<p class="count" role="status" aria-busy=${quick.loading ? "true" : "false"}>${text}</p>`;
}

function Raw({ label, side, placeholder }) {
  return html`<${Field} label=${label} error=${side.error}>
    ${(id, errorId) => html`<textarea id=${id} rows="2" value=${side.text} onInput=${side.type} placeholder=${placeholder}
      aria-invalid=${side.error ? "true" : undefined} aria-describedby=${errorId} spellcheck=${false}></textarea>`}
  <//>`;
}

/**
 * @param {{question: object, details: object, version: any, points: number}} props version: changes
 *   when the collection does, so that the count is right again
 */
export function Filter({ question, details, version, points }) {
  const where = useSide("where", question.where);
  const document = useSide("document", question.document);
  const keysId = useId("keys");
  const clear = () => change({ where: null, document: null, keys: null, offset: 0 }, true);
  const filter = filterOf(question);
  const isSet = Object.keys(filter).length > 0;
  const [isOpen, setOpen] = useState(wasOpen);
  const turn = () => {
    wasOpen = !isOpen;
    setOpen(wasOpen);
  };
  return html`<section class="filter" aria-label="Filter">
    <div class="filter-head">
      <button type="button" class="quiet" aria-expanded=${isOpen ? "true" : "false"} onClick=${turn}>Filter</button>
      <${Count} collection=${question.collection} filter=${filter} version=${version} points=${points} />
      ${!isOpen && [question.where, question.document].map((one) => one && html`<code><${Inline} text=${stringify(one)} limit=${120} /></code>`)}
      ${question.keys && html`<span class="chip">only ${counted(question.keys.length)} chosen records
        <button type="button" class="quiet" onClick=${() => change({ keys: null, offset: 0 }, true)}>all again</button></span>`}
      ${isSet && html`<button type="button" class="quiet" onClick=${clear}>Clear the filter</button>`}
    </div>
    ${isOpen &&
    html`<div class="filter-body">
      <datalist id=${keysId}>${details.keys.map((one) => html`<option key=${one.key} value=${one.key}>${plain(one.kinds.join(", "))}</option>`)}</datalist>
      <${Builder} kind="where" side=${where.side} errors=${where.errors} details=${details} set=${where.build} keysId=${keysId} />
      <${Builder} kind="document" side=${document.side} errors=${document.errors} details=${details} set=${document.build} keysId=${keysId} />
      <details class="raw">
        <summary>As JSON</summary>
        <${Raw} label="where" side=${where} placeholder='{"year": {"$gte": 2000}}' />
        <${Raw} label="where_document" side=${document} placeholder='{"$contains": "text"}' />
      </details>
    </div>`}
  </section>`;
}
