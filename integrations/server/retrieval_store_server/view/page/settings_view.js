/** The form of a query's settings. */

import { html, useEffect, useState } from "./vendor/htm-preact-standalone.module.js";
import { Choice, Field, useId } from "./parts.js";
import { KNOWN, MODES, modeOf, modesFor, typedNumber, usualSpace } from "./settings.js";
import { plain } from "./text.js";

function without(settings, name) {
  const { [name]: _, ...rest } = settings;
  return rest;
}

/** A number; while it can't be meant, the setting stays what it was. */
function Number({ name, label, settings, set, usual }) {
  const stored = settings[name];
  const [text, setText] = useState(stored === undefined ? "" : String(stored));
  const { value, error } = typedNumber(name, text);
  useEffect(() => {
    // Another setting was restored, by going back or from a bookmark.
    if (!error && stored !== value) setText(stored === undefined ? "" : String(stored));
  }, [stored]);
  const type = (event) => {
    const typed = event.currentTarget.value;
    setText(typed);
    const next = typedNumber(name, typed);
    if (next.error) return;
    set(next.value === undefined ? without(settings, name) : { ...settings, [name]: next.value });
  };
  return html`<${Field} label=${label} error=${error}>
    ${(id, errorId) => html`<input id=${id} class="short" inputmode="decimal" value=${text} placeholder=${usual} onInput=${type}
      aria-invalid=${error ? "true" : undefined} aria-describedby=${errorId} autocomplete="off" />`}
  <//>`;
}

function Space({ name, label, kinds, settings, set, details }) {
  const spaces = details.spaces.filter((space) => kinds.includes(space.kind));
  if (spaces.length < 2) return null;
  const options = spaces.map((space) => [space.name, plain(space.name || "(unnamed)", 40)]);
  const value = settings[name] ?? usualSpace(details, kinds);
  return html`<${Field} label=${label}>
    ${(id) => html`<${Choice} id=${id} value=${value} options=${options} onChange=${(next) => set({ ...settings, [name]: next })} />`}
  <//>`;
}

function Fusion({ settings, set }) {
  const options = [["", "as usual"], ["adaptive", "adaptive"], ["rrf", "reciprocal ranks"], ["weighted", "weighted sum"]];
  const change = (next) => set(next ? { ...settings, fusion: next } : without(settings, "fusion"));
  return html`<${Field} label="fusion">${(id) => html`<${Choice} id=${id} value=${settings.fusion ?? ""} options=${options} onChange=${change} />`}<//>`;
}

function GroupBy({ settings, set, details }) {
  const listId = useId("group-keys");
  const type = (event) => {
    const key = event.currentTarget.value;
    set(key ? { ...settings, group_by: key } : without(settings, "group_by"));
  };
  return html`<${Field} label="group by key">
    ${(id) => html`<input id=${id} list=${listId} value=${settings.group_by ?? ""} onInput=${type} autocomplete="off" spellcheck=${false} />
      <datalist id=${listId}>${details.keys.map((one) => html`<option key=${one.key} value=${one.key}></option>`)}</datalist>`}
  <//>`;
}

/**
 * @param {{name: string, settings: object, set: (settings: object) => void, details: object,
 *   by: string}} props name: "A" or "B"
 */
export function Settings({ name, settings, set, details, by }) {
  const mode = modeOf(settings, details, by);
  const modes = modesFor(details, by).map((one) => [one.mode, MODES[one.mode] + (one.why ? " (not possible)" : ""), one.why !== null, one.why ?? undefined]);
  const knows = (setting) => KNOWN[mode].includes(setting);
  const common = { settings, set };
  const tick = (event) => set(event.currentTarget.checked ? { ...settings, exact: true } : without(settings, "exact"));
  return html`<fieldset class="settings" data-side=${name}>
    <legend>Setting ${name}</legend>
    <${Field} label="search by">
      ${(id) => html`<${Choice} id=${id} className="mode" value=${mode} options=${modes} onChange=${(next) => set({ ...settings, mode: next })} />`}
    <//>
    <${Number} name="k" label="how many (k)" usual="10" ...${common} />
    <details class="more">
      <summary>More settings</summary>
      <div class="more-body">
        ${knows("space") && html`<${Space} name="space" label="vector space" kinds=${["dense", "multi"]} details=${details} ...${common} />`}
        ${knows("sparse_space") && html`<${Space} name="sparse_space" label="sparse space" kinds=${["sparse"]} details=${details} ...${common} />`}
        <${Number} name="offset" label="leave out the first" usual="0" ...${common} />
        ${knows("ef") && html`<${Number} name="ef" label="candidates of the index (ef)" usual="as set" ...${common} />`}
        ${knows("exact") && html`<label class="check"><input type="checkbox" checked=${settings.exact === true} onChange=${tick} /> exact, without the index</label>`}
        ${knows("fusion") && html`<${Fusion} ...${common} />`}
        ${knows("alpha") && html`<${Number} name="alpha" label="weight of meaning (alpha)" usual="as usual" ...${common} />`}
        ${knows("max_distance") && html`<${Number} name="max_distance" label="greatest distance" usual="any" ...${common} />`}
        ${knows("min_score") && html`<${Number} name="min_score" label="least score" usual="any" ...${common} />`}
        <${GroupBy} details=${details} ...${common} />
        ${settings.group_by && html`<${Number} name="group_size" label="of each group" usual="1" ...${common} />`}
      </div>
    </details>
  </fieldset>`;
}
