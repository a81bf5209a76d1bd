/** The page as a whole: its head, the tabs, the chosen view, and the panel of a record. */

import { html, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { keepKey, useCall } from "./api.js";
import { Collections } from "./collections.js";
import { Filter } from "./filter_view.js";
import { follow } from "./live.js";
import { PointMap } from "./map.js";
import { Choice, Loading, Problem, useFocus } from "./parts.js";
import { Query } from "./query.js";
import { Questions } from "./questions_view.js";
import { Panel } from "./record.js";
import { Records } from "./records.js";
import { VIEWS, change, chosen, now, useQuestion } from "./state.js";
import { Inline, plain } from "./text.js";
import { THEMES, theme, useTheme } from "./theme.js";

const NAMES = { collections: "Collections", records: "Records", query: "Query", questions: "Questions", map: "Map" };
const FILTERED = ["records", "query", "questions", "map"];

/** Asks for the key of a served store. */
function KeyPrompt({ error, taken }) {
  const field = useFocus();
  const [key, setKey] = useState("");
  const give = (event) => {
    event.preventDefault();
    keepKey(key.trim());
    taken();
  };
  return html`<main id="main" class="key-prompt" tabindex="-1">
    <h1>This store wants a key</h1>
    <form onSubmit=${give}>
      <label>Key <input ref=${field} type="password" value=${key} onInput=${(event) => setKey(event.currentTarget.value)} autocomplete="off" /></label>
      <button type="submit" class="main" disabled=${!key.trim()}>Open</button>
    </form>
    <p class="faint">It is kept until this tab is closed, and goes nowhere but to this server.</p>
    <p role="alert" class="error">${error && sessionStorage.length ? plain(error.message, 300) : ""}</p>
  </main>`;
}

function Theme() {
  const [value, setValue] = useState(theme());
  const set = (next) => {
    useTheme(next);
    setValue(next);
  };
  return html`<label class="theme">Colours <${Choice} value=${value} options=${Object.entries(THEMES)} onChange=${set} /></label>`;
}

function Picker({ store, collection }) {
  const options = store.collections.map((one) => [one.collection, plain(one.name, 60)]);
  if (!store.collections.some((one) => one.collection === collection)) options.unshift(["", "choose a collection"]);
  return html`<label class="picker">Collection <${Choice} value=${collection} options=${options} onChange=${(next) => change(chosen(next), true)} /></label>`;
}

function Head({ store, question, isLive }) {
  return html`<header class="head">
    <h1>retrieval-store</h1>
    <span class="where"><${Inline} text=${store.place} limit=${120} /></span>
    <span class="faint version">${store.version}</span>
    ${store.read_only && html`<span class="badge">read-only</span>`}
    <span class="live faint" data-live=${isLive ? "yes" : "no"}>${isLive ? "live" : "not live"}</span>
    <${Picker} store=${store} collection=${question.collection} />
    <${Theme} />
  </header>`;
}

/** Tabs by the pattern of their role: arrows move among them, and only one is in the tab order. */
function Tabs({ view, canAsk }) {
  const list = useRef(null);
  const enabled = VIEWS.filter((name) => canAsk || name === "collections");
  const go = (name) => {
    change({ view: name }, true);
    list.current.querySelector(`#tab-${name}`).focus();
  };
  const keyed = (event) => {
    const at = enabled.indexOf(view);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: enabled.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(enabled[(to + enabled.length) % enabled.length]);
  };
  return html`<nav aria-label="Views"><div class="tabs" role="tablist" aria-label="Views" ref=${list} onKeyDown=${keyed}>
    ${VIEWS.map(
      (name) => html`<button key=${name} type="button" role="tab" id="tab-${name}" aria-controls="view" aria-selected=${name === view ? "true" : "false"}
        tabindex=${name === view ? 0 : -1} disabled=${!enabled.includes(name)} onClick=${() => go(name)}>${NAMES[name]}</button>`,
    )}
  </div></nav>`;
}

/** What the server tells of writes: the newest state of each collection. */
function useLive(collection, isOpen) {
  const [live, setLive] = useState({});
  const [isLive, setIsLive] = useState(false);
  useEffect(() => {
    if (!isOpen) return undefined;
    let control = null;
    const heard = (collections) => setLive((known) => ({ ...known, ...collections }));
    const start = () => {
      control = new AbortController();
      follow(collection, { heard, said: setIsLive }, control.signal);
    };
    const stop = () => control.abort();
    const shown = (event) => event.persisted && start();
    // A page that the browser keeps for going back to would keep its connection, of which it has few.
    addEventListener("pagehide", stop);
    addEventListener("pageshow", shown);
    start();
    return () => {
      removeEventListener("pagehide", stop);
      removeEventListener("pageshow", shown);
      stop();
    };
  }, [collection, isOpen]);
  return { live, isLive };
}

/** `/` leads to the question, from wherever nothing is being typed. */
function useSlash() {
  useEffect(() => {
    const pressed = (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest?.("input, textarea, select, [contenteditable]") || !now().collection) return;
      event.preventDefault();
      change({ view: "query", by: "text", open: "" }, now().view !== "query");
      requestAnimationFrame(() => requestAnimationFrame(() => document.getElementById("question")?.focus()));
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

function View({ question, details, store, live, version }) {
  if (question.view === "collections") return html`<${Collections} store=${store} live=${live} question=${question} details=${details} />`;
  if (!details.data) return html`<${Problem} error=${details.error} again=${details.again} /><${Loading} when=${details.loading} />`;
  const common = { key: question.collection, question, details: details.data, store, version };
  const points = live[question.collection]?.points ?? details.data.points;
  const views = { records: Records, query: Query, questions: Questions, map: PointMap };
  return html`${FILTERED.includes(question.view) && html`<${Filter} ...${common} points=${points} />`}
    <${views[question.view]} ...${common} points=${points} />`;
}

/** Which collection's details are shown, and the state of it that is the newest. */
function useDetails(question, store, live) {
  const listed = store.data?.collections.find((one) => one.collection === question.collection);
  const version = live[question.collection]?.seq ?? listed?.seq ?? null;
  const body = question.collection ? { collection: question.collection } : null;
  return { version, details: useCall("collection", body, { version: `${version}` }) };
}

/** Where there is one collection it is the one that is meant. */
function useOnly(store, collection) {
  const only = store?.collections.length === 1 ? store.collections[0].collection : "";
  useEffect(() => {
    if (only && !collection) change(chosen(only));
  }, [only]);
}

export function App() {
  const question = useQuestion();
  const store = useStore();
  const { live, isLive } = useLive(question.collection, Boolean(store.data));
  const { version, details } = useDetails(question, store, live);
  useEffect(() => store.follow(live), [live]);
  useOnly(store.data, question.collection);
  useSlash();
  if (store.error?.status === 401) return html`<${KeyPrompt} error=${store.error} taken=${store.again} />`;
  if (!store.data) return html`<main id="main" tabindex="-1"><${Problem} error=${store.error} again=${store.again} /><${Loading} when=${store.loading} what="Opening the store…" /></main>`;
  const shown = details.data?.collection === question.collection ? details : { ...details, data: null };
  const view = question.collection ? question.view : "collections";
  return html`
    <${Head} store=${store.data} question=${question} isLive=${isLive} />
    <${Tabs} view=${view} canAsk=${Boolean(question.collection)} />
    <div class=${question.open && shown.data ? "body with-panel" : "body"}>
      <main id="main" tabindex="-1">
        <div id="view" role="tabpanel" aria-labelledby="tab-${view}">
          <${View} question=${{ ...question, view }} details=${shown} store=${store.data} live=${live} version=${version} />
        </div>
      </main>
      ${question.open && shown.data && html`<${Panel} key=${question.open} question=${question} details=${shown.data} version=${version} />`}
    </div>`;
}

/** The store, asked again, after a moment, when the server tells of changes. */
function useStore() {
  const [version, setVersion] = useState(0);
  const { data, error, loading, again } = useCall("store", {}, { version });
  const last = useRef(null);
  const timer = useRef(0);
  const [kept, setKept] = useState(null);
  useEffect(() => data && setKept(data), [data]);
  const follow = (live) => {
    const state = JSON.stringify(live);
    if (last.current === state) return;
    const isFirst = last.current === null;
    last.current = state;
    clearTimeout(timer.current);
    if (!isFirst || Object.keys(live).length) timer.current = setTimeout(() => setVersion((count) => count + 1), 500);
  };
  // What is known stays in sight while the server can't be reached; a wrong key hides it.
  return { data: error?.status === 401 ? null : (data ?? kept), error, loading, again, follow };
}
