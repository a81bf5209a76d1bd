/** Light or dark: as the system says, or as was chosen here. */

const NAME = "retrieval-store:theme";
export const THEME_CHANGED = "retrieval-store:theme";
export const THEMES = { "": "as the system", light: "light", dark: "dark" };

/** @returns {string} "", "light" or "dark" */
export function theme() {
  try {
    const kept = localStorage.getItem(NAME);
    return Object.hasOwn(THEMES, kept) ? kept : "";
  } catch {
    return "";
  }
}

/** @param {string} chosen */
export function useTheme(chosen) {
  document.documentElement.dataset.theme = chosen;
  dispatchEvent(new Event(THEME_CHANGED)); // what is drawn on canvases doesn't change by itself
  try {
    localStorage.setItem(NAME, chosen);
  } catch {
    // The browser keeps nothing for this page: the choice holds until it is closed.
  }
}
