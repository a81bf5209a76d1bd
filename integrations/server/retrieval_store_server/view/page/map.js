/** The map: a collection's vectors in a plane, with the hits of the last query on top. */

import { html, useEffect, useMemo, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { call, useCall } from "./api.js";
import { Board } from "./board.js";
import { coloursOf } from "./colours.js";
import { Legend } from "./legend.js";
import { messageOf } from "./message.js";
import { Changed, Choice, Loading, Problem, Scroll, useSeen } from "./parts.js";
import { inside, scaled } from "./plane.js";
import { OpenId } from "./records.js";
import { recent } from "./recent.js";
import { change, filterOf } from "./state.js";
import { Inline, Text, counted, plain } from "./text.js";

const SAMPLE = 200_000;
const LISTED = 100;
const MOST_KEYS = 1000;
const HOVER_WAIT = 120;
// "1" draws without a graphics card, "0" by WebGL even where it would be slow; for tests.
const WISH = new URLSearchParams(location.search).get("canvas");

let cached = { of: "", map: null };

/** The points of a map, ready to be drawn. */
async function askMap(name, body, { signal }) {
  const { version, ...asked } = body;
  const of = JSON.stringify(body);
  if (cached.of === of) return cached.map;
  const { data, arrays } = messageOf(await call(name, asked, { signal, as: "bytes" }));
  const [raw, values, axes] = arrays;
  const map = { ...data, ...scaled(raw), values, axes, colours: coloursOf(data.color, values) };
  cached = { of, map };
  return map;
}

function base64(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** Where the hits lie: in the sample, or where the server says that its axes put them. */
function useHits(map, collection, space) {
  const [marks, setMarks] = useState([]);
  useEffect(() => {
    const hits = recent(collection);
    setMarks([]);
    if (!map || !hits.length) return undefined;
    const control = new AbortController();
    placed(map, hits, { collection, space }, control.signal).then(setMarks, () => {});
    return () => control.abort();
  }, [map, collection, space]);
  return marks;
}

async function placed(map, hits, { collection, space }, signal) {
  const wanted = new Set(hits.map((hit) => hit.key));
  const found = new Map();
  map.keys.forEach((key, i) => wanted.has(key) && found.set(key, [map.places[2 * i], map.places[2 * i + 1]]));
  const missing = [...wanted].filter((key) => !found.has(key));
  if (missing.length) {
    const body = { collection, space, keys: missing, axes: base64(map.axes) };
    const { places } = await call("place", body, { signal });
    missing.forEach((key, i) => places[i] && found.set(key, map.to(...places[i])));
  }
  const numbered = hits.map((hit) => ({ hit, place: found.get(hit.key), number: hit.number }));
  return numbered.filter((one) => one.place);
}

/** The record under the pointer, asked for once the pointer rests. */
function useHovered(collection) {
  const [hovered, setHovered] = useState(null);
  const known = useRef(new Map());
  const control = useRef(null);
  useEffect(() => () => control.current?.abort(), []);
  const hover = (key, left, top) => {
    control.current?.abort();
    if (key === null) return setHovered(null);
    setHovered({ left, top, record: known.current.get(key) ?? null });
    if (known.current.has(key)) return undefined;
    const { signal } = (control.current = new AbortController());
    const timer = setTimeout(async () => {
      try {
        const { record } = await call("record", { collection, key, neighbours: 0 }, { signal });
        known.current.set(key, record);
        if (!signal.aborted) setHovered({ left, top, record });
      } catch {
        if (!signal.aborted) setHovered(null); // deleted meanwhile: nothing to show
      }
    }, HOVER_WAIT);
    signal.addEventListener("abort", () => clearTimeout(timer));
    return undefined;
  };
  return [hovered, hover];
}

function Hovered({ hovered, width }) {
  if (!hovered?.record) return null;
  const { left, top, record } = hovered;
  const isRight = left > width / 2;
  const style = { top: `${top + 12}px`, ...(isRight ? { right: `${width - left + 12}px` } : { left: `${left + 12}px` }) };
  return html`<div class="hover-card" style=${style}>
    <strong><${Inline} text=${record.id} limit=${60} /></strong>
    ${record.document !== null && html`<p><${Inline} text=${record.document} limit=${240} /></p>`}
    ${record.metadata && html`<p class="faint">${Object.entries(record.metadata).slice(0, 5).map(
      ([key, value]) => html`<span class="pair"><${Inline} text=${key} limit=${30} />: <${Inline} text=${typeof value === "object" ? "…" : value} limit=${40} /></span> `,
    )}</p>`}
  </div>`;
}

/** Makes the board once, and tells it what changes. */
function useBoard(map, marks, chosen, isLasso, tell, isPlain) {
  const frame = useRef(null);
  const board = useRef(null);
  const latest = useRef(tell);
  latest.current = tell;
  const [kind, setKind] = useState("");
  useEffect(() => {
    const [points, above] = frame.current.querySelectorAll("canvas");
    const names = ["hover", "choose", "press", "lasso", "lost"];
    const told = Object.fromEntries(names.map((name) => [name, (...given) => latest.current[name](...given)]));
    board.current = new Board({ points, above }, told, isPlain ? "canvas" : WISH === "0" ? "webgl" : "fast");
    setKind(board.current.kind);
    return () => board.current.end();
  }, [isPlain]);
  useEffect(() => map && board.current.show(map.places, map.colours), [map, kind]);
  useEffect(() => board.current.choose(chosen), [chosen, map, kind]);
  useEffect(() => board.current.mark(marks), [marks, kind]);
  useEffect(() => board.current.setLasso(isLasso), [isLasso, kind]);
  return { frame, board, kind };
}

function Chosen({ keys, collection, total }) {
  const listed = keys.slice(0, LISTED);
  const { data, error, loading } = useCall("records", listed.length ? { collection, keys: listed, limit: LISTED } : null);
  const filter = () => change({ keys: keys.slice(0, MOST_KEYS), offset: 0 }, true);
  const records = () => change({ keys: keys.slice(0, MOST_KEYS), offset: 0, view: "records" }, true);
  if (!keys.length) return html`<p class="faint">Nothing is chosen. Draw around points with the lasso, or choose all that are in sight.</p>`;
  return html`<div class="chosen-points">
    <p role="status"><strong>${counted(keys.length)}</strong> of ${counted(total)} points chosen${keys.length > LISTED ? `, the first ${LISTED} listed` : ""}</p>
    <p class="ways"><button type="button" onClick=${filter}>Filter to ${keys.length > MOST_KEYS ? "the first 1,000 of " : ""}these</button>
      <button type="button" onClick=${records}>Open in Records</button></p>
    <${Problem} error=${error} />
    <${Loading} when=${loading && !data} />
    ${data && html`<${Scroll} label="Chosen points"><table class="chosen-table"><caption class="hidden">Chosen points</caption>
      <thead><tr><th scope="col">id</th><th scope="col">document</th></tr></thead>
      <tbody>${data.records.map(
        (record) => html`<tr key=${record.key}><th scope="row"><${OpenId} record=${record} /></th>
          <td>${record.document === null ? html`<span class="faint">none</span>` : html`<${Text} text=${record.document} short=${120} />`}</td></tr>`,
      )}</tbody></table><//>`}
  </div>`;
}

function HitTable({ marks }) {
  if (!marks.length) return null;
  return html`<table class="map-hits"><caption>Hits of the last query</caption>
    <thead class="hidden"><tr><th scope="col">place</th><th scope="col">id</th></tr></thead>
    <tbody>${marks.map(({ hit, number }) => html`<tr key=${hit.key}><td class="number">${number}</td><th scope="row"><${OpenId} record=${hit} /></th></tr>`)}</tbody></table>`;
}

function Told({ map, kind }) {
  if (!map) return null;
  const drawn = map.keys.length;
  const said = map.sampled ? `${counted(drawn)} of ${counted(map.total)} points drawn, a sample by the seed 0` : `all ${counted(drawn)} points drawn`;
  const shares = map.explained.map((share) => `${(100 * share).toFixed(1)} %`).join(" and ");
  return html`<p class="told" role="status" data-kind=${kind}>${said}; the axes hold ${shares} of the variance</p>`;
}

function Tools({ question, details, isLasso, setLasso, board, seeAll }) {
  const spaces = details.spaces.filter((space) => space.kind !== "sparse").map((space) => [space.name, plain(space.name || "(unnamed)", 40)]);
  const colors = [["", "nothing"], ...details.keys.map((one) => [one.key, plain(one.key, 40)])];
  return html`<div class="toolbar">
    ${spaces.length > 1 && html`<label>Space <${Choice} value=${question.space || spaces[0][0]} options=${spaces} onChange=${(space) => change({ space }, true)} /></label>`}
    <label>Colour by <${Choice} className="color" value=${question.color} options=${colors} onChange=${(color) => change({ color }, true)} /></label>
    <button type="button" aria-pressed=${isLasso ? "true" : "false"} onClick=${() => setLasso(!isLasso)}>Lasso (L)</button>
    <button type="button" onClick=${seeAll}>Choose all in sight (A)</button>
    <button type="button" aria-label="Zoom in" onClick=${() => board.current.zoom(1.4)}>+</button>
    <button type="button" aria-label="Zoom out" onClick=${() => board.current.zoom(1 / 1.4)}>−</button>
    <button type="button" onClick=${() => board.current.whole()}>See all</button>
  </div>`;
}

function useMap(question, details, version) {
  const spaces = details.spaces.filter((one) => one.kind !== "sparse");
  const space = spaces.some((one) => one.name === question.space) ? question.space : (spaces[0]?.name ?? "");
  const { seen, isBehind, update } = useSeen(version, false);
  const color = question.color ? { color: question.color } : {};
  const body = { collection: details.collection, space, ...filterOf(question), sample: SAMPLE, seed: 0, ...color, version: seen };
  const asked = useCall("map", spaces.length ? body : null, { wait: 100, ask: askMap });
  return { ...asked, space, hasVectors: spaces.length > 0, isBehind, update };
}

/** @param {{question: object, details: object, version: any}} props */
export function PointMap({ question, details, version }) {
  const { data: map, error, loading, again, space, hasVectors, isBehind, update } = useMap(question, details, version);
  const [chosen, setChosen] = useState([]);
  const [isLasso, setLasso] = useState(false);
  const [isPlain, setPlain] = useState(WISH === "1");
  const [hovered, hover] = useHovered(details.collection);
  const marks = useHits(map, details.collection, space);
  useEffect(() => setChosen([]), [map]);
  const choose = (line) => {
    setChosen(map ? inside(map.places, line) : []);
    setLasso(false);
  };
  const tell = {
    choose,
    lasso: setLasso,
    lost: () => setPlain(true),
    hover: (point, left, top) => hover(point < 0 || !map ? null : map.keys[point], left, top),
    press: (point) => map && change({ open: map.keys[point] }, true),
  };
  const { frame, board, kind } = useBoard(map, marks, chosen, isLasso, tell, isPlain);
  const keys = useMemo(() => (map ? chosen.map((point) => map.keys[point]) : []), [chosen]);
  return html`<section class="map" aria-label="Map">
    <${Tools} question=${question} details=${details} isLasso=${isLasso} setLasso=${setLasso} board=${board} seeAll=${() => choose(board.current.seen())} />
    ${!hasVectors && html`<p class="faint">There are no vectors to draw.</p>`}
    <${Problem} error=${error} again=${again} />
    <${Changed} when=${isBehind} update=${update} />
    <div class="map-body">
      <div class="board-side">
        <div class=${isLasso ? "board lasso" : "board"} ref=${frame} tabindex="0" role="application"
          aria-label="Map of the vectors; arrow keys move, plus and minus zoom, 0 shows all, A chooses what is in sight">
          <canvas key=${isPlain ? "plain-points" : "points"} aria-hidden="true"></canvas><canvas key="above" aria-hidden="true"></canvas>
          <${Hovered} hovered=${hovered} width=${frame.current?.clientWidth ?? 0} />
          ${loading && html`<p class="board-loading" role="status">Making the map…</p>`}
        </div>
        <${Told} map=${map} kind=${kind} />
      </div>
      <div class="map-side">
        ${map && html`<${Legend} color=${map.color} values=${map.values} name=${question.color} />`}
        <${HitTable} marks=${marks} />
        <${Chosen} keys=${keys} collection=${details.collection} total=${map?.keys.length ?? 0} />
      </div>
    </div>
  </section>`;
}
