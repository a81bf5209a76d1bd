/** "What should have come?": why a record was found, or wasn't, in words and tables. */

import { html, useState } from "./vendor/htm-preact-standalone.module.js";
import { useCall } from "./api.js";
import { stringify } from "./json.js";
import { Bars, Loading, Problem, Scroll, useId } from "./parts.js";
import { OpenId } from "./records.js";
import { Inline, Text, counted, measured, plain } from "./text.js";

const LEGS = { dense: "meaning", text: "words", sparse: "sparse" };

/** The reason in a sentence. */
function verdict(reason, k) {
  const { exists, found, place, rank, excluded_by: excluded } = reason;
  if (!exists) return "There is no record with this id.";
  if (found) return `Found, at place ${counted(place)}${rank && rank !== place ? `; exactly it would be at ${counted(rank)}` : ""}.`;
  if (excluded?.length) return "Not found: the conditions leave it out.";
  if (rank) return `Not found: it would come at place ${counted(rank)}, and the first ${counted(k)} are asked for.`;
  return "Not found: no way of this search reaches it.";
}

function Legs({ legs }) {
  const names = Object.keys(legs ?? {});
  if (!names.length) return null;
  return html`<${Scroll} label="By each way of searching"><table class="legs"><caption>By each way of searching</caption>
    <thead><tr><th scope="col">way</th><th scope="col" class="number">candidates</th><th scope="col" class="number">rank</th><th scope="col" class="number">distance</th><th scope="col" class="number">score</th></tr></thead>
    <tbody>${names.map(
      (name) => html`<tr key=${name}><th scope="row">${LEGS[name] ?? plain(name)}</th>
        <td class="number">${legs[name].asked === null ? "not asked" : counted(legs[name].asked)}</td>
        <td class="number">${legs[name].rank ? counted(legs[name].rank) : "none"}</td>
        <td class="number">${measured(legs[name].distance)}</td><td class="number">${measured(legs[name].score)}</td></tr>`,
    )}</tbody></table><//>`;
}

function met(value) {
  if (value === undefined || value === null) return html`<span class="faint">nothing there</span>`;
  return html`<${Text} text=${typeof value === "string" ? value : stringify(value)} short=${200} />`;
}

function Excluded({ conditions }) {
  if (!conditions?.length) return null;
  return html`<${Scroll} label="Conditions that leave it out"><table class="excluded"><caption>Conditions that leave it out</caption>
    <thead><tr><th scope="col">condition</th><th scope="col">what it met</th><th scope="col">of</th></tr></thead>
    <tbody>${conditions.map(
      (one, at) => html`<tr key=${at}><td><code><${Text} text=${stringify(one.condition)} short=${300} /></code></td>
        <td>${met(one.met)}</td><td>${plain(one.argument ?? "")}</td></tr>`,
    )}</tbody></table><//>`;
}

function Words({ shared, missing }) {
  const rows = Object.entries(shared ?? {}).sort((one, other) => other[1] - one[1]);
  return html`${rows.length > 0 && html`<${Bars} caption="Words of the question that it has" head="word" unit="weight"
      rows=${rows.map(([word, weight]) => [html`<${Inline} text=${word} />`, weight])} />`}
    ${missing?.length > 0 && html`<p class="missing">Words of the question that it hasn't: ${missing.map((word, at) => html`${at ? ", " : ""}<${Inline} text=${word} />`)}</p>`}`;
}

function Ids({ ids, label }) {
  if (!ids?.length) return null;
  return html`<p>${label}: ${ids.slice(0, 20).map((id, at) => html`${at ? ", " : ""}<${Inline} text=${id} limit=${60} />`)}${ids.length > 20 ? ` and ${counted(ids.length - 20)} more` : ""}</p>`;
}

function Reason({ reason, k, isWanted, want }) {
  return html`<article class="reason ${reason.found ? "found" : "missed"}">
    <h4>${reason.key ? html`<${OpenId} record=${reason} />` : html`<${Inline} text=${reason.id} />`}
      ${want && reason.exists && html`<label class="check wanted"><input type="checkbox" checked=${isWanted} onChange=${() => want(reason.id)}
        aria-label="${plain(reason.id, 60)} should be found" /> should be found</label>`}</h4>
    <p class="verdict">${verdict(reason, k)}</p>
    <${Excluded} conditions=${reason.excluded_by} />
    <${Legs} legs=${reason.legs} />
    <${Words} shared=${reason.shared_words} missing=${reason.missing_words} />
    <${Ids} ids=${reason.ahead} label="Before it stand" />
    <${Ids} ids=${reason.same_key} label="Hits of the same group" />
    ${reason.advice?.length > 0 && html`<ul class="advice">${reason.advice.map((sentence, at) => html`<li key=${at}>${plain(sentence, 2000)}</li>`)}</ul>`}
    ${reason.document !== null && reason.document !== undefined && html`<details><summary>Its document</summary><${Text} text=${reason.document} /></details>`}
  </article>`;
}

/** The reasons under one setting. */
function Reasons({ name, body, sought, version, wanted, want }) {
  const { data, error, loading, again } = useCall("why", body && { ...body, ...sought }, { wait: 100, version });
  return html`<div class="reasons" data-side=${name}>
    <h3>Under setting ${name}</h3>
    <${Problem} error=${error} again=${again} />
    <${Loading} when=${loading && !data} what="Finding out…" />
    ${data?.note && html`<p class="remark">${plain(data.note, 1000)}</p>`}
    ${data && !data.reasons.length && html`<p class="faint">No record is like that.</p>`}
    ${data?.reasons.map((reason) => html`<${Reason} key=${reason.key ?? reason.id} reason=${reason} k=${body.k} isWanted=${wanted.includes(reason.id)} want=${want} />`)}
  </div>`;
}

/** Leads to the field for a passage, which stands behind all that was found. */
export function toPassage() {
  const field = document.querySelector(".why textarea");
  field?.scrollIntoView({ block: "center" });
  field?.focus({ preventScroll: true });
}

/**
 * @param {{sides: {name: string, body: object}[], version: any, wanted: string[],
 *   want: ((id: string) => void) | null}} props sides: the queries that were asked
 */
export function Why({ sides, version, wanted, want }) {
  const [passage, setPassage] = useState("");
  const [id, setId] = useState("");
  const [sought, setSought] = useState(null);
  const passageId = useId("passage");
  const idId = useId("wanted-id");
  // One of both is meant: typing in a field empties the other.
  const typePassage = (event) => {
    setPassage(event.currentTarget.value);
    setId("");
  };
  const typeId = (event) => {
    setId(event.currentTarget.value);
    setPassage("");
  };
  const explain = (event) => {
    event.preventDefault();
    if (id.trim()) setSought({ ids: [id] });
    else if (passage.trim()) setSought({ containing: passage });
  };
  return html`<section class="why" aria-label="What should have come?">
    <h2>What should have come?</h2>
    <form onSubmit=${explain}>
      <div class="field grow"><label for=${passageId}>A passage of it, pasted</label>
        <textarea id=${passageId} rows="2" value=${passage} onInput=${typePassage}></textarea></div>
      <div class="field"><label for=${idId}>or its id</label>
        <input id=${idId} value=${id} onInput=${typeId} autocomplete="off" spellcheck=${false} /></div>
      <button type="submit" disabled=${!sides.length || !(passage.trim() || id.trim())}>Say why</button>
      ${!sides.length && html`<span class="faint">ask something first</span>`}
    </form>
    <div class="sides">${sought && sides.map((side) => html`<${Reasons} key=${side.name} name=${side.name} body=${side.body} sought=${sought}
      version=${version} wanted=${wanted} want=${want} />`)}</div>
  </section>`;
}
