/** What the last query of a collection found, for the map, which draws it on top. */

let last = { collection: "", hits: [] };

/** @param {string} collection @param {object[]} hits */
export function remember(collection, hits) {
  last = { collection, hits };
}

/** @returns {object[]} the hits of this collection's last query */
export function recent(collection) {
  return last.collection === collection ? last.hits : [];
}
