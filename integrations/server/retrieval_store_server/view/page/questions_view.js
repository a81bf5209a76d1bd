/** Questions with what should be found for them: a list, files of them, and how well two settings do. */

import { html, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { call } from "./api.js";
import { Problem, Scroll } from "./parts.js";
import { expectedOf, keep, kept, linesOf, mean, questionsOf, recall } from "./questions.js";
import { bodyOf } from "./settings.js";
import { Settings } from "./settings_view.js";
import { change, filterOf } from "./state.js";
import { Inline, Text, counted, plain } from "./text.js";

const AT_ONCE = 2;
const LARGEST = 10 * 2 ** 20;

const share = (number) => (number === null ? "–" : number.toFixed(4));

/** What a setting finds for a question: the ids, best first. */
async function foundBy(settings, question, { details, filter }, signal) {
  const subject = { by: "text", text: question.query, record: "", vector: "", sparse: "", words: "", image: null };
  const { body, missing } = bodyOf(subject, settings, details);
  if (!body) throw new Error(missing || "the question is empty");
  delete body.offset; // recall is of the first k
  const { hits } = await call("query", { collection: details.collection, ...body, ...filter }, { signal });
  return { ids: hits.map((hit) => hit.id), k: body.k };
}

async function measuredUnder(settings, question, context, signal) {
  if (settings === null) return null;
  const { ids, k } = await foundBy(settings, question, context, signal);
  const expected = expectedOf(question);
  return { k, recall: recall(ids, expected, k), places: new Map(expected.map((id) => [id, ids.indexOf(id) + 1])) };
}

/** Runs all questions, a few at once; tells after each. */
async function runAll(questions, [a, b], context, signal, tell) {
  const results = new Array(questions.length).fill(null);
  let next = 0;
  const worker = async () => {
    while (next < questions.length && !signal.aborted) {
      const at = next;
      next += 1;
      const sides = [a, b].map((settings) => measuredUnder(settings, questions[at], context, signal));
      results[at] = await Promise.all(sides);
      tell([...results]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function Changes({ result }) {
  const [a, b] = result;
  const changed = [...a.places].filter(([id, place]) => place !== b.places.get(id));
  if (!changed.length) return html`<span class="faint">nothing</span>`;
  const said = (place) => (place ? String(place) : "not found");
  return html`${changed.map(([id, place], at) => html`${at ? "; " : ""}<${Inline} text=${id} limit=${40} />: ${said(place)} → ${said(b.places.get(id))}`)}`;
}

function Ids({ question }) {
  return html`${expectedOf(question).slice(0, 20).map((id, at) => html`${at ? ", " : ""}<${Inline} text=${id} limit=${40} />`)}`;
}

function Line({ question, result, isTwo, remove }) {
  const ask = () => change({ view: "query", by: "text", text: question.query, other: null }, true);
  const cells = (isTwo ? [0, 1] : [0]).map((side) => html`<td class="number" key=${side}>${result?.[side] ? share(result[side].recall) : "–"}</td>`);
  return html`<tr>
    <th scope="row"><${Text} text=${question.query} short=${200} /></th>
    <td><${Ids} question=${question} /></td>
    ${cells}
    ${isTwo && html`<td>${result?.[1] ? html`<${Changes} result=${result} />` : "–"}</td>`}
    <td class="tools"><button type="button" class="quiet" onClick=${ask} aria-label="Ask: ${plain(question.query, 60)}">Ask</button>
      <button type="button" class="quiet" onClick=${remove} aria-label="Delete: ${plain(question.query, 60)}">Delete</button></td>
  </tr>`;
}

function Sums({ results, isTwo }) {
  const done = results.filter(Boolean);
  if (!done.length) return null;
  const [a, b] = [0, 1].map((side) => mean(done.map((one) => one[side]).filter(Boolean).map((one) => one.recall)));
  const better = done.filter(([one, other]) => other && other.recall > one.recall).length;
  const worse = done.filter(([one, other]) => other && other.recall < one.recall).length;
  return html`<div class="sums" role="status">
    <p><strong>A</strong> recall@${done[0][0].k} <strong class="sum" data-side="A">${share(a)}</strong></p>
    ${isTwo && done[0][1] && html`<p><strong>B</strong> recall@${done[0][1].k} <strong class="sum" data-side="B">${share(b)}</strong></p>
      <p>B: ${counted(better)} better, ${counted(worse)} worse, ${counted(done.length - better - worse)} the same</p>`}
    <p class="faint">of ${counted(done.length)} ${done.length === 1 ? "question" : "questions"}</p>
  </div>`;
}

/** Hands a text to the browser as a file. */
function download(text, name) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function fileName(name) {
  return `${name.replace(/[^A-Za-z0-9_-]+/g, "_").slice(0, 60) || "collection"}-questions.jsonl`;
}

function Files({ questions, use, name }) {
  const [said, say] = useState("");
  const load = async (event) => {
    const input = event.currentTarget;
    const [file] = input.files;
    if (!file) return;
    if (file.size > LARGEST) return say("this file is larger than 10 MiB");
    const { questions: loaded, refused } = questionsOf(await file.text());
    const known = new Set(loaded.map((one) => one.query));
    use([...questions.filter((one) => !known.has(one.query)), ...loaded]);
    const lines = refused.slice(0, 5).join(", ") + (refused.length > 5 ? ", …" : "");
    say(`${counted(loaded.length)} loaded${refused.length ? `; no question in the lines ${lines}` : ""}`);
    input.value = "";
  };
  return html`<div class="files">
    <label>Load a file <input type="file" accept=".jsonl,.json,.ndjson,application/x-ndjson" onChange=${load} /></label>
    <button type="button" disabled=${!questions.length} onClick=${() => download(linesOf(questions), fileName(name))}>Download as JSON lines</button>
    <span role="status">${said}</span>
  </div>`;
}

/** The questions that are kept, changed through one function. */
function useKept(store, details) {
  const [questions, setQuestions] = useState(() => kept(store.place, details.name));
  const [isKept, setKept] = useState(true);
  const use = (next) => {
    setQuestions(next);
    setKept(keep(store.place, details.name, next));
  };
  return { questions, use, isKept };
}

/** Runs of all questions; a new one ends the one before. */
function useRun(questions, context) {
  const [state, setState] = useState({ results: [], running: false, error: null });
  const control = useRef(null);
  useEffect(() => () => control.current?.abort(), []);
  const stop = () => {
    control.current?.abort();
    setState((known) => ({ ...known, running: false }));
  };
  const run = async (sides) => {
    control.current?.abort();
    const { signal } = (control.current = new AbortController());
    setState({ results: [], running: true, error: null });
    try {
      await runAll(questions, sides, context, signal, (results) => !signal.aborted && setState((known) => ({ ...known, results })));
      if (!signal.aborted) setState((known) => ({ ...known, running: false }));
    } catch (error) {
      if (!signal.aborted) setState((known) => ({ ...known, running: false, error }));
      if (control.current?.signal === signal) control.current.abort();
    }
  };
  const forget = () => {
    stop();
    setState({ results: [], running: false, error: null });
  };
  return { ...state, run, stop, forget };
}

/** @param {{question: object, details: object, store: object}} props */
export function Questions({ question, details, store }) {
  const { questions, use, isKept } = useKept(store, details);
  const filter = filterOf(question);
  const { results, running, error, run, stop, forget } = useRun(questions, { details, filter });
  const isTwo = question.b !== null;
  const replace = (next) => {
    forget();
    use(next);
  };
  const turnTwo = () => change({ b: isTwo ? null : { ...question.a } }, true);
  const done = results.filter(Boolean).length;
  return html`<div class="questions">
    <p class="faint">Questions are kept in this browser, with what should be found for them. They are saved in Query, by ticking hits.</p>
    <${Files} questions=${questions} use=${replace} name=${details.name} />
    ${!isKept && html`<${Problem} error="the browser keeps nothing for this page; download the questions" />`}
    <div class="both-settings">
      <${Settings} name="A" settings=${question.a} set=${(a) => change({ a })} details=${details} by="text" />
      ${isTwo && html`<${Settings} name="B" settings=${question.b} set=${(b) => change({ b })} details=${details} by="text" />`}
    </div>
    <p class="ways">
      <button type="button" class="quiet" aria-pressed=${isTwo ? "true" : "false"} onClick=${turnTwo}>${isTwo ? "Only one setting" : "Compare with a second setting"}</button>
      <button type="button" class="main" disabled=${!questions.length || running} onClick=${() => run([question.a, question.b])}>Run all</button>
      ${running && html`<button type="button" onClick=${stop}>Stop</button>`}
      <span role="status" class="faint">${running ? `${counted(done)} of ${counted(questions.length)}` : ""}</span>
    </p>
    <${Problem} error=${error} />
    <${Sums} results=${results} isTwo=${isTwo} />
    ${!questions.length
      ? html`<p class="faint">No questions are kept for this collection.</p>`
      : html`<${Scroll} label="Questions"><table>
          <caption class="hidden">Questions</caption>
          <thead><tr><th scope="col">question</th><th scope="col">should be found</th><th scope="col" class="number">recall A</th>
            ${isTwo && html`<th scope="col" class="number">recall B</th><th scope="col">places from A to B</th>`}<td></td></tr></thead>
          <tbody>${questions.map(
            (one, at) => html`<${Line} key=${one.query} question=${one} result=${results[at]} isTwo=${isTwo}
              remove=${() => replace(questions.filter((other) => other !== one))} />`,
          )}</tbody></table><//>`}
  </div>`;
}
