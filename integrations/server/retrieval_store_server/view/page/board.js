/**
 * The board of the map: two canvases on top of each other, points below and what changes often
 * above; and what pointers and keys do with them.
 */

import { Grid, WHOLE, moved, toPlane, toWindow, zoomed } from "./plane.js";
import { canvasPoints } from "./points_canvas.js";
import { webglPoints } from "./points_webgl.js";
import { THEME_CHANGED } from "./theme.js";

const REACH = 9; // pixels from a point within which it is pointed at
const STEP = 60; // pixels that an arrow key moves
const FAINT = 0x38; // the alpha of points that aren't chosen, when some are
const MIXING = 1_000_003; // a prime above any number of points, so that its steps meet each once

/** How large points are drawn: smaller where there are more, larger the closer one looks. */
function sizeOf(count, zoom) {
  const usual = count > 50_000 ? 2 : count > 5_000 ? 3 : count > 500 ? 5 : 7;
  return Math.min(9, usual + Math.log2(Math.max(1, zoom)) * 0.7);
}

/** @returns {Uint32Array} the colours, faint but for the chosen points */
function highlighted(colours, chosen) {
  if (!chosen.length) return colours;
  const found = colours.map((colour) => (colour & 0x00ffffff) | (FAINT << 24));
  for (const point of chosen) found[point] = colours[point];
  return found;
}

/**
 * The order in which points are drawn: mixed, so that those added last don't cover all others, and
 * the chosen ones last.
 */
function drawingOrder(count, chosen) {
  const isChosen = new Uint8Array(count);
  for (const point of chosen) isChosen[point] = 1;
  const order = new Uint32Array(count);
  let [first, last] = [0, count - chosen.length];
  for (let i = 0, point = 0; i < count; i += 1, point = (point + MIXING) % count) {
    if (isChosen[point]) order[last++] = point;
    else order[first++] = point;
  }
  return order;
}

/** Gives the renderer the points in the order in which they are drawn. */
function fill(renderer, places, colours, chosen) {
  const shades = highlighted(colours, chosen);
  const order = drawingOrder(colours.length, chosen);
  const drawn = new Float32Array(places.length);
  order.forEach((point, i) => {
    drawn[2 * i] = places[2 * point];
    drawn[2 * i + 1] = places[2 * point + 1];
  });
  renderer.fill(drawn, Uint32Array.from(order, (point) => shades[point]));
}

export class Board {
  /**
   * @param {{points: HTMLCanvasElement, above: HTMLCanvasElement}} canvases in one element, which
   *   has the focus and the events
   * @param {{hover: Function, choose: Function, press: Function, lasso: Function}} tell hover:
   *   (point, left, top), -1 for none; choose: (line) of the plane; press: (point); lasso: (isOn)
   * @param {"fast" | "webgl" | "canvas"} how points are drawn: by WebGL where it is fast, or in any
   *   case, or without it
   */
  constructor({ points, above }, tell, how) {
    [this.below, this.above, this.tell] = [points, above, tell];
    this.frame = above.parentElement;
    this.renderer = (how === "canvas" ? null : webglPoints(points, how === "fast")) ?? canvasPoints(points);
    [this.view, this.pointers, this.line, this.isLasso] = [WHOLE, new Map(), null, false];
    [this.places, this.colours, this.chosen, this.hits, this.hovered] = [new Float32Array(0), new Uint32Array(0), [], [], -1];
    this.grid = new Grid(this.places);
    this.control = new AbortController();
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(this.frame);
    this.#listen();
    this.resize();
  }

  get kind() {
    return this.renderer.kind;
  }

  /** Shows other points; the view stays. */
  show(places, colours) {
    [this.places, this.colours, this.chosen, this.hovered] = [places, colours, [], -1];
    this.grid = new Grid(places);
    fill(this.renderer, places, colours, []);
    this.draw();
  }

  /** Makes all but these points faint; none chosen makes none faint. */
  choose(points) {
    this.chosen = points;
    fill(this.renderer, this.places, this.colours, points);
    this.draw();
  }

  /** @param {{place: [number, number], number: number}[]} hits drawn on top, with their numbers */
  mark(hits) {
    this.hits = hits;
    this.draw();
  }

  setLasso(isOn) {
    this.isLasso = isOn;
    this.line = null;
    this.draw();
  }

  zoom(factor) {
    this.view = zoomed(this.view, factor, this.width, this.height);
    this.draw();
  }

  whole() {
    this.view = WHOLE;
    this.draw();
  }

  /** The corners of what is seen, in the plane. */
  seen() {
    const corners = [[0, 0], [this.width, 0], [this.width, this.height], [0, this.height]];
    return corners.map(([left, top]) => toPlane(this.view, this.width, this.height, left, top));
  }

  end() {
    this.control.abort();
    this.watcher.disconnect();
    cancelAnimationFrame(this.asked);
    this.renderer.end();
  }

  resize() {
    const box = this.frame.getBoundingClientRect();
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    [this.width, this.height] = [box.width, box.height];
    for (const canvas of [this.below, this.above]) {
      canvas.width = Math.round(box.width * this.ratio);
      canvas.height = Math.round(box.height * this.ratio);
    }
    this.draw();
  }

  /** Draws with the next frame, once for all changes until then. */
  draw() {
    cancelAnimationFrame(this.asked);
    this.asked = requestAnimationFrame(() => {
      this.renderer.draw(this.view, sizeOf(this.colours.length, this.view.zoom) * this.ratio);
      this.#drawAbove();
    });
  }

  #at(x, y) {
    return toWindow(this.view, this.width, this.height, x, y);
  }

  #drawAbove() {
    const context = this.above.getContext("2d");
    const style = getComputedStyle(this.frame);
    const [ink, paper, accent] = ["--ink", "--paper", "--accent"].map((name) => style.getPropertyValue(name).trim());
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    if (this.hovered >= 0) this.#ring(context, ink);
    if (this.line) this.#drawLine(context, accent);
    for (const hit of [...this.hits].reverse()) this.#drawHit(context, hit, ink, paper);
  }

  #ring(context, ink) {
    const [left, top] = this.#at(this.places[2 * this.hovered], this.places[2 * this.hovered + 1]);
    context.strokeStyle = ink;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(left, top, 7, 0, 2 * Math.PI);
    context.stroke();
  }

  #drawLine(context, accent) {
    context.strokeStyle = accent;
    context.lineWidth = 2;
    context.setLineDash([5, 4]);
    context.beginPath();
    for (const [x, y] of this.line) context.lineTo(...this.#at(x, y));
    context.closePath();
    context.stroke();
    context.setLineDash([]);
  }

  #drawHit(context, { place, number }, ink, paper) {
    const [left, top] = this.#at(...place);
    const radius = number > 99 ? 13 : 10;
    context.beginPath();
    context.arc(left, top, radius, 0, 2 * Math.PI);
    context.fillStyle = ink;
    context.fill();
    context.strokeStyle = paper;
    context.lineWidth = 2;
    context.stroke();
    context.fillStyle = paper;
    context.font = "600 11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(String(number), left, top + 0.5);
  }

  #listen() {
    const { signal } = this.control;
    const on = (name, act, options = {}) => this.frame.addEventListener(name, act, { signal, ...options });
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#up(event));
    on("pointerleave", () => this.#hover(-1));
    on("wheel", (event) => this.#wheel(event), { passive: false });
    on("keydown", (event) => this.#key(event));
    for (const source of [matchMedia("(prefers-color-scheme: dark)"), window]) {
      source.addEventListener(source === window ? THEME_CHANGED : "change", () => this.draw(), { signal });
    }
    this.below.addEventListener("webglcontextlost", () => this.tell.lost?.(), { signal });
  }

  #local(event) {
    const box = this.frame.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #down(event) {
    if (event.button) return;
    const [left, top] = this.#local(event);
    this.frame.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [left, top]);
    this.travelled = 0;
    const isDrawn = this.pointers.size === 1 && (this.isLasso || event.shiftKey);
    this.line = isDrawn ? [toPlane(this.view, this.width, this.height, left, top)] : null;
  }

  #move(event) {
    const [left, top] = this.#local(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) return this.#point(left, top);
    this.travelled += Math.hypot(left - before[0], top - before[1]);
    if (this.pointers.size === 2) this.#pinch(event.pointerId, before, [left, top]);
    else if (this.line) this.line.push(toPlane(this.view, this.width, this.height, left, top));
    else this.view = moved(this.view, this.width, this.height, left - before[0], top - before[1]);
    this.pointers.set(event.pointerId, [left, top]);
    this.draw();
  }

  #pinch(id, before, after) {
    const [, other] = [...this.pointers].find(([key]) => key !== id);
    const far = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
    const middle = [(after[0] + other[0]) / 2, (after[1] + other[1]) / 2];
    this.line = null;
    this.view = moved(this.view, this.width, this.height, (after[0] - before[0]) / 2, (after[1] - before[1]) / 2);
    this.view = zoomed(this.view, far(after) / far(before), this.width, this.height, ...middle);
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { line } = this;
    this.line = null;
    if (line && event.type === "pointerup") this.tell.choose(line);
    else if (!line && this.travelled < 4 && event.type === "pointerup") {
      const point = this.#near(...this.#local(event));
      if (point >= 0) this.tell.press(point);
    }
    this.draw();
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    const factor = Math.exp(-Math.max(-200, Math.min(200, event.deltaY * lines)) * 0.002);
    this.view = zoomed(this.view, factor, this.width, this.height, ...this.#local(event));
    this.draw();
  }

  #key(event) {
    const steps = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (steps[event.key]) this.view = moved(this.view, this.width, this.height, ...steps[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.4);
    else if (event.key === "-") this.zoom(1 / 1.4);
    else if (event.key === "0") this.whole();
    else if (event.key.toLowerCase() === "l") this.tell.lasso(!this.isLasso);
    else if (event.key.toLowerCase() === "a") this.tell.choose(this.seen());
    else if (event.key === "Escape" && (this.isLasso || this.chosen.length)) {
      this.tell.lasso(false);
      this.tell.choose([]);
    } else return;
    event.preventDefault();
    this.draw();
  }

  #near(left, top) {
    const [x, y] = toPlane(this.view, this.width, this.height, left, top);
    const [edge] = toPlane(this.view, this.width, this.height, left + REACH, top);
    return this.grid.nearest(x, y, edge - x);
  }

  #point(left, top) {
    if (!this.isLasso) this.#hover(this.#near(left, top), left, top);
  }

  #hover(point, left = 0, top = 0) {
    if (point === this.hovered) return;
    this.hovered = point;
    this.tell.hover(point, left, top);
    this.draw();
  }
}
