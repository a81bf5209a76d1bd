/** What the last query of a collection found, for the map, which draws it on top. */

let last = { collection: "", hits: [] };

/**
 * @param {string} collection
 * @param {object[]} hits
 * @param {number} offset how many better ones were left out
 */
export function remember(collection, hits, offset) {
  last = { collection, hits: hits.map((hit, at) => ({ ...hit, number: offset + at + 1 })) };
}

/** @returns {object[]} the hits of this collection's last query; number: the place of each */
export function recent(collection) {
  return last.collection === collection ? last.hits : [];
}
