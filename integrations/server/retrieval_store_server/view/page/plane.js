/**
 * The plane of the map: where points lie in it, how it lies in the window, which point is near a
 * place, and which points are inside a line that was drawn.
 */

/**
 * Places scaled to the square from -1 to 1, both axes by the same factor.
 * @param {Float32Array} places x and y of each point in turn
 * @returns {{places: Float32Array, to: (x: number, y: number) => [number, number]}}
 */
export function scaled(places) {
  const [left, right] = extent(places, 0);
  const [bottom, top] = extent(places, 1);
  const middle = [(left + right) / 2, (bottom + top) / 2];
  const factor = 1.9 / Math.max(right - left, top - bottom, 1e-30);
  const to = (x, y) => [(x - middle[0]) * factor, (y - middle[1]) * factor];
  const found = new Float32Array(places.length);
  for (let i = 0; i < places.length; i += 2) [found[i], found[i + 1]] = to(places[i], places[i + 1]);
  return { places: found, to };
}

function extent(places, first) {
  if (!places.length) return [-1, 1];
  let [least, greatest] = [Infinity, -Infinity];
  for (let i = first; i < places.length; i += 2) {
    if (places[i] < least) least = places[i];
    if (places[i] > greatest) greatest = places[i];
  }
  return [least, greatest];
}

/** The view of everything. zoom: how much larger than fitting; x, y: the middle of what is seen. */
export const WHOLE = { zoom: 1, x: 0, y: 0 };

/** Pixels for one unit of the plane. */
export function unit(view, width, height) {
  return (Math.min(width, height) / 2) * view.zoom;
}

/** From the plane to the window. */
export function toWindow(view, width, height, x, y) {
  const size = unit(view, width, height);
  return [width / 2 + (x - view.x) * size, height / 2 - (y - view.y) * size];
}

/** From the window to the plane. */
export function toPlane(view, width, height, left, top) {
  const size = unit(view, width, height);
  return [view.x + (left - width / 2) / size, view.y - (top - height / 2) / size];
}

function within(view) {
  const edge = (number) => Math.max(-1.5, Math.min(1.5, number));
  return { zoom: view.zoom, x: edge(view.x), y: edge(view.y) };
}

/** The view after zooming by a factor around a place of the window. */
export function zoomed(view, factor, width, height, left = width / 2, top = height / 2) {
  const [x, y] = toPlane(view, width, height, left, top);
  const zoom = Math.max(0.5, Math.min(5000, view.zoom * factor));
  const next = { ...view, zoom };
  const [nx, ny] = toPlane(next, width, height, left, top);
  return within({ zoom, x: next.x + x - nx, y: next.y + y - ny });
}

/** The view moved by so many pixels. */
export function moved(view, width, height, right, down) {
  const size = unit(view, width, height);
  return within({ ...view, x: view.x - right / size, y: view.y + down / size });
}

const CELLS = 256;

/** Points by the cells of a grid, so that the nearest is found without looking at all. */
export class Grid {
  /** @param {Float32Array} places from -1 to 1 */
  constructor(places) {
    this.places = places;
    const count = places.length / 2;
    this.starts = new Uint32Array(CELLS * CELLS + 1);
    for (let i = 0; i < count; i += 1) this.starts[this.#cell(i) + 1] += 1;
    for (let i = 0; i < CELLS * CELLS; i += 1) this.starts[i + 1] += this.starts[i];
    this.points = new Uint32Array(count);
    const next = this.starts.slice();
    for (let i = 0; i < count; i += 1) this.points[next[this.#cell(i)]++] = i;
  }

  #cell(point) {
    return row(this.places[2 * point + 1]) * CELLS + row(this.places[2 * point]);
  }

  /** The point nearest to a place, -1 where none is within the distance. */
  nearest(x, y, distance) {
    let [best, least] = [-1, distance * distance];
    for (let down = row(y - distance); down <= row(y + distance); down += 1) {
      const first = this.starts[down * CELLS + row(x - distance)];
      const end = this.starts[down * CELLS + row(x + distance) + 1];
      for (let i = first; i < end; i += 1) {
        const point = this.points[i];
        const far = (this.places[2 * point] - x) ** 2 + (this.places[2 * point + 1] - y) ** 2;
        if (far <= least) [best, least] = [point, far];
      }
    }
    return best;
  }
}

function row(place) {
  return Math.max(0, Math.min(CELLS - 1, Math.floor(((place + 1) / 2) * CELLS)));
}

/**
 * @param {Float32Array} places
 * @param {[number, number][]} line corners of a polygon, which is closed by itself
 * @returns {number[]} the points inside, by the even-odd rule
 */
export function inside(places, line) {
  if (line.length < 3) return [];
  const bounds = [0, 1].map((axis) => extentOf(line.map((corner) => corner[axis])));
  const found = [];
  for (let i = 0; i < places.length; i += 2) {
    const [x, y] = [places[i], places[i + 1]];
    const isNear = x >= bounds[0][0] && x <= bounds[0][1] && y >= bounds[1][0] && y <= bounds[1][1];
    if (isNear && holds(line, x, y)) found.push(i / 2);
  }
  return found;
}

function extentOf(numbers) {
  return [Math.min(...numbers), Math.max(...numbers)];
}

function holds(line, x, y) {
  let isInside = false;
  for (let i = 0, before = line.length - 1; i < line.length; before = i, i += 1) {
    const [ax, ay] = line[i];
    const [bx, by] = line[before];
    if (ay > y !== by > y && x < ax + ((y - ay) * (bx - ax)) / (by - ay)) isInside = !isInside;
  }
  return isInside;
}
