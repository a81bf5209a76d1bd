/** Asking a collection: under one setting, or under two side by side. */

import { html, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { useCall } from "./api.js";
import { Chips, Hits, Moved } from "./hits.js";
import { stringify } from "./json.js";
import { Changed, Copy, Loading, Problem, useId } from "./parts.js";
import { Picture } from "./picture.js";
import { Plan } from "./plan.js";
import { pythonOf } from "./python.js";
import { keep, kept, withQuestion } from "./questions.js";
import { remember } from "./recent.js";
import { bodyOf, functionMissing, modeOf } from "./settings.js";
import { Settings } from "./settings_view.js";
import { change, filterOf, now, type } from "./state.js";
import { counted, plain } from "./text.js";
import { Why, toPassage } from "./why.js";

const WAIT = 250;
const BY = { text: "text", image: "picture", record: "record", vector: "vector" };

/** What is asked: the part of the question that waits for "Ask", other than its settings. */
function subjectOf({ by, text, other, record, vector, sparse, words, image }) {
  return { by, text, other, record, vector, sparse, words, image };
}

function sameSubject(one, other) {
  return Object.keys(one).every((name) => one[name] === other[name]);
}

function Typed({ question, name, label, rows = 1, placeholder, id }) {
  const own = useId("typed");
  const input = (event) => type({ [name]: event.currentTarget.value });
  const common = { id: id ?? own, value: question[name], onInput: input, placeholder, autocomplete: "off" };
  return html`<div class="field grow"><label for=${id ?? own}>${label}</label>
    ${rows > 1
      ? html`<textarea ...${common} rows=${rows} spellcheck=${false}></textarea>`
      : html`<input type="text" ...${common} />`}</div>`;
}

/** Which key a typed id has: integers are ids of their own in collections made by QdrantClient. */
function keyOf(details, id) {
  if (!id) return "";
  return (details.made_by === "QdrantClient" && /^\d+$/.test(id) ? "i:" : "s:") + id;
}

function RecordField({ question, details }) {
  const id = useId("record");
  const input = (event) => type({ record: keyOf(details, event.currentTarget.value) });
  return html`<div class="field grow"><label for=${id}>Id of the record</label>
    <input id=${id} type="text" value=${question.record.slice(2)} onInput=${input} autocomplete="off" spellcheck=${false} /></div>`;
}

/** The field, or fields, of what is asked by. */
function Subject({ question, details, ask }) {
  const isHybrid = [question.a, question.b].some((one) => one && modeOf(one, details, question.by) === "hybrid");
  const isSparse = details.spaces.some((space) => space.kind === "sparse");
  const fields = {
    text: () => html`<${Typed} question=${question} name="text" label="Question" id="question" placeholder="what are you looking for?" />`,
    image: () => html`<${Picture} image=${question.image} chosen=${ask} />`,
    record: () => html`<${RecordField} question=${question} details=${details} />`,
    vector: () => html`<${Typed} question=${question} name="vector" label="Vector, as JSON" rows=${2} placeholder="[0.12, -0.4, …]" />`,
  };
  const asksSparse = isSparse && (question.by === "vector" || (isHybrid && question.by !== "text"));
  return html`<div class="subject">
    ${fields[question.by]()}
    ${asksSparse && html`<${Typed} question=${question} name="sparse" label="Sparse vector, as JSON" rows=${2} placeholder='{"indices": [3, 17], "values": [0.5, 1.2]}' />`}
    ${isHybrid && question.by !== "text" && details.words && html`<${Typed} question=${question} name="words" label="Words" />`}
  </div>`;
}

function Ways({ question, details }) {
  const possible = Object.keys(BY).filter((by) => by !== "image" || details.images);
  const name = useId("by");
  return html`<fieldset class="ways-to-ask"><legend>Ask by</legend>
    ${possible.map(
      (by) => html`<label class="check" key=${by}><input type="radio" name=${name} value=${by} checked=${question.by === by}
        onChange=${() => type({ by })} /> ${BY[by]}</label>`,
    )}</fieldset>`;
}

/** Says why texts can't be embedded, and offers what can be done with them. */
function NoFunction({ question, details }) {
  if (question.by !== "text" || details.function.usable) return null;
  const why = plain(functionMissing(details), 500);
  if (!details.words) return html`<p class="remark">Texts can't be asked here: ${why}. Ask by a record or a vector.</p>`;
  return html`<p class="remark">Search by meaning isn't possible here: ${why}. Search by words is.</p>`;
}

/** One side: what it asks, and what is found. The filter is looked at as it changes. */
function useSide(question, subject, settings, details, version) {
  const isAsked = settings !== null && subject !== null;
  const own = isAsked && question.b !== null && settings === question.b && subject.by === "text" && subject.other !== null;
  const made = isAsked ? bodyOf(own ? { ...subject, text: subject.other } : subject, settings, details) : {};
  const body = made.body ? { collection: details.collection, ...made.body, ...filterOf(question) } : null;
  const result = useCall("query", body, { wait: WAIT });
  const [seen, setSeen] = useState(version);
  useEffect(() => setSeen(version), [result.data]);
  const isBusy = body !== null && (result.loading || result.of !== stringify(body));
  return { body, missing: made.missing, ...result, isBusy, isBehind: result.data !== null && seen !== null && seen !== version };
}

function Result({ name, side, other, question, details, store, wanted, want }) {
  const { data, body, missing, error, loading, isBusy, isBehind, again } = side;
  const python = body ? pythonOf(store, details, body, question.image?.name) : { why: "ask something first" };
  return html`<section class="result" data-side=${name} aria-label="Found under setting ${name}" aria-busy=${isBusy ? "true" : "false"}>
    <header><h2>${name}</h2>
      ${data && html`<span class="faint" role="status">${counted(data.hits.length)} found in ${data.milliseconds.toFixed(1)} ms</span>`}
      <${Copy} text=${python.code} label="Copy as Python" disabled=${python.code === undefined} why=${python.why} />
      ${python.why && body && html`<span class="faint">no Python: ${python.why}</span>`}
    </header>
    ${missing && html`<p class="remark">${missing}</p>`}
    <${Changed} when=${isBehind} update=${again} label="ask again" />
    <${Problem} error=${error} again=${again} />
    <${Loading} when=${loading && !data} what="Asking…" />
    ${data && html`<${Plan} result=${data} />
      <${Hits} hits=${data.hits} offset=${body?.offset ?? 0} other=${other} details=${details} wanted=${wanted} want=${want} />`}
  </section>`;
}

/** Keeps the question with what should be found for it. */
function Save({ store, details, query, wanted, setWanted }) {
  const [said, say] = useState("");
  const save = () => {
    const questions = withQuestion(kept(store.place, details.name), query, wanted);
    const isKept = keep(store.place, details.name, questions);
    say(isKept ? `kept: ${counted(questions.length)} question${questions.length === 1 ? "" : "s"}` : "the browser keeps nothing for this page");
    if (isKept) setWanted([]);
  };
  useEffect(() => say(""), [query]);
  return html`<div class="save" role="group" aria-label="Save the question">
    ${wanted.length > 0 && html`<span>should be found:</span> <${Chips} ids=${wanted} remove=${(id) => setWanted(wanted.filter((one) => one !== id))} />`}
    <button type="button" disabled=${!wanted.length} onClick=${save}>Save the question</button>
    ${!wanted.length && !said && html`<span class="faint">tick what should be found</span>`}
    <span role="status">${said}</span>
  </div>`;
}

function SideB({ question, details }) {
  const otherId = useId("other");
  const set = (b) => change({ b });
  const isText = question.by === "text";
  const input = (event) => type({ other: event.currentTarget.value });
  const turn = (event) => type({ other: event.currentTarget.checked ? question.text : null });
  return html`<div class="side-b">
    <${Settings} name="B" settings=${question.b} set=${set} details=${details} by=${question.by} />
    ${isText && html`<label class="check"><input type="checkbox" checked=${question.other !== null} onChange=${turn} /> another question in B</label>`}
    ${isText && question.other !== null && html`<div class="field grow"><label for=${otherId}>Question B</label>
      <input id=${otherId} type="text" value=${question.other} onInput=${input} autocomplete="off" /></div>`}
  </div>`;
}

/** What was asked last: as the address says at first, and then at each "Ask". */
function useAsked(question) {
  const [subject, setSubject] = useState(() => subjectOf(question));
  const turn = useRef(question.turn);
  useEffect(() => {
    if (turn.current === question.turn) return;
    turn.current = question.turn;
    setSubject(subjectOf(question));
  }, [question.turn]);
  const ask = () => {
    change({}, true);
    setSubject(subjectOf(now()));
  };
  return { subject, ask };
}

/** @param {{question: object, details: object, store: object, version: any}} props */
export function Query({ question, details, store, version }) {
  const { subject, ask } = useAsked(question);
  const [wanted, setWanted] = useState([]);
  const isTwo = question.b !== null;
  const a = useSide(question, subject, question.a, details, version);
  const b = useSide(question, subject, question.b, details, version);
  useEffect(() => a.data && remember(details.collection, a.data.hits, a.body?.offset ?? 0), [a.data]);
  const submit = (event) => {
    event.preventDefault();
    ask();
    a.again();
    if (isTwo) b.again();
  };
  const turnTwo = () => change({ b: isTwo ? null : { ...question.a }, other: null }, true);
  const want = subject.by === "text" && subject.text.trim()
    ? (id) => setWanted((ids) => (ids.includes(id) ? ids.filter((one) => one !== id) : [...ids, id]))
    : null;
  useEffect(() => setWanted([]), [subject.text]);
  const found = (side) => side.data && { hits: side.data.hits, offset: side.body?.offset ?? 0 };
  const sides = [{ name: "A", body: a.body }, ...(isTwo ? [{ name: "B", body: b.body }] : [])].filter((side) => side.body);
  const isChanged = !sameSubject(subject, subjectOf(question));
  return html`<div class="query">
    <form class="ask" onSubmit=${submit}>
      <${Ways} question=${question} details=${details} />
      <div class="ask-line"><${Subject} question=${question} details=${details} ask=${ask} /><button type="submit" class="main">Ask</button></div>
      ${isChanged && html`<p class="faint">not asked yet: press Enter or Ask</p>`}
      <${NoFunction} question=${question} details=${details} />
      <div class="both-settings">
        <${Settings} name="A" settings=${question.a} set=${(next) => change({ a: next })} details=${details} by=${question.by} />
        ${isTwo && html`<${SideB} question=${question} details=${details} />`}
      </div>
      <button type="button" class="quiet" aria-pressed=${isTwo ? "true" : "false"} onClick=${turnTwo}>${isTwo ? "Only one setting" : "Compare with a second setting"}</button>
      <button type="button" class="quiet" onClick=${() => toPassage()}>What should have come?</button>
    </form>
    ${isTwo && a.data && b.data && html`<${Moved} a=${found(a)} b=${found(b)} />`}
    <div class=${isTwo ? "sides two" : "sides"}>
      <${Result} name="A" side=${a} other=${null} question=${question} details=${details} store=${store} wanted=${wanted} want=${want} />
      ${isTwo && html`<${Result} name="B" side=${b} other=${found(a)} question=${question} details=${details} store=${store} wanted=${wanted} want=${want} />`}
    </div>
    ${want && html`<${Save} store=${store} details=${details} query=${subject.text} wanted=${wanted} setWanted=${setWanted} />`}
    <${Why} sides=${sides} version=${version} wanted=${wanted} want=${want} />
  </div>`;
}
