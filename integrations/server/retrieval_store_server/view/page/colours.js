/**
 * The colours of the map: of categories, told apart by eyes that don't tell red from green, and of
 * numbers, in even steps from dark to light.
 */

/** Neighbours in the list differ most; more categories than these are "other". */
const CATEGORIES = [
  "#0077d0", "#f0762e", "#009f81", "#e054a8", "#8b3fe0", "#c79400",
  "#e2203e", "#12a8d8", "#9f2162", "#4f9a1e", "#b07bd6", "#8a5a2b",
];
const RAMP = ["#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];
const NONE = "#8d949c";
const ONE = "#2f7fc1";

// As the server calls the last one where it stands for all others.
const OTHERS = ["other", "other values"];

function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

const packed = (channelsOf) => (255 << 24) | (channelsOf[2] << 16) | (channelsOf[1] << 8) | channelsOf[0];

/** The colour of a category, as CSS. */
export function ofCategory(index, names) {
  return OTHERS.includes(names[index]) && index === names.length - 1 ? NONE : CATEGORIES[index % CATEGORIES.length];
}

/** The channels of a share of the ramp, from 0 to 1. */
function onRamp(share) {
  const at = Math.max(0, Math.min(1, share)) * (RAMP.length - 1);
  const below = Math.min(RAMP.length - 2, Math.floor(at));
  const [one, other] = [channels(RAMP[below]), channels(RAMP[below + 1])];
  return one.map((channel, i) => Math.round(channel + (other[i] - channel) * (at - below)));
}

/** Colours along the ramp, as CSS, for its legend. */
export function rampColours(count) {
  return Array.from({ length: count }, (_, i) => `rgb(${onRamp(i / (count - 1)).join(" ")})`);
}

export { NONE };

/**
 * @param {object | null} color of a map, as the server tells
 * @param {Float32Array} values of the points: indices of categories, or numbers from 0, the least, to 1; NaN for none
 * @returns {Uint32Array} for each point its colour: RGBA, a byte each, in memory's order
 */
export function coloursOf(color, values) {
  const found = new Uint32Array(values.length);
  if (color === null) return found.fill(packed(channels(ONE)));
  const none = packed(channels(NONE));
  const steps = color.kind === "categories"
    ? color.names.map((_, i) => packed(channels(ofCategory(i, color.names))))
    : Array.from({ length: 256 }, (_, i) => packed(onRamp(i / 255)));
  const scale = color.kind === "categories" ? 1 : 255;
  for (let i = 0; i < values.length; i += 1) {
    const at = Math.round(values[i] * scale);
    found[i] = steps[at] ?? none;
  }
  return found;
}
