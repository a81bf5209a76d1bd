/**
 * Pictures of records: asked for with the key once they come into sight, shown from memory, and
 * given back when they go.
 */

import { html, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { call } from "./api.js";
import { plain } from "./text.js";

/** Calls back once the element is in sight, or at once where the browser can't say. */
function whenSeen(element, seen) {
  if (!window.IntersectionObserver) {
    seen();
    return () => {};
  }
  const watcher = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watcher.disconnect();
    seen();
  });
  watcher.observe(element);
  return () => watcher.disconnect();
}

/** @param {{collection: string, record: object, size?: number, large?: boolean}} props */
export function Thumbnail({ collection, record, size = 96, large = false }) {
  const place = useRef(null);
  const [address, setAddress] = useState("");
  useEffect(() => {
    const control = new AbortController();
    let made = "";
    const load = async () => {
      try {
        const body = { collection, key: record.key, size };
        const bytes = await call("thumbnail", body, { signal: control.signal, as: "bytes" });
        if (control.signal.aborted) return;
        made = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
        setAddress(made);
      } catch {
        setAddress(""); // there is no picture, or it may not be shown: the uri stands there anyway
      }
    };
    const stop = whenSeen(place.current, load);
    return () => {
      stop();
      control.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [collection, record.key, size]);
  return html`<span class=${large ? "large picture" : "thumbnail"} ref=${place}>
    ${address && html`<img src=${address} alt="picture of ${plain(record.id, 60)}" onError=${() => setAddress("")} />`}
  </span>`;
}
