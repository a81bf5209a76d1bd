/** A picture to ask by: chosen, dropped or pasted; kept in memory only. */

import { html, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { change } from "./state.js";
import { Inline, sized } from "./text.js";

const LARGEST = 20 * 2 ** 20;

/** The picture of a file: its bytes as base64, and an address to show it by. */
function readPicture(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onerror = () => reject(new Error("the file can't be read"));
    reader.onload = () => resolve({ name: file.name || "picture.png", size: file.size, data: reader.result.replace(/^.*?,/, ""), file });
    reader.readAsDataURL(file);
  });
}

function Preview({ picture }) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    const made = URL.createObjectURL(picture.file);
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [picture]);
  return html`<span class="preview">${address && html`<img src=${address} alt="the picture that is asked by" />`}
    <${Inline} text=${picture.name} limit=${60} /> <span class="faint">${sized(picture.size)}</span></span>`;
}

/** @param {{image: object | null, chosen: () => void}} props chosen: called once there is one */
export function Picture({ image, chosen }) {
  const [error, setError] = useState("");
  const input = useRef(null);
  const take = async (file) => {
    if (!file) return;
    if (!file.type.startsWith("image/")) return setError("this is no picture");
    if (file.size > LARGEST) return setError(`this picture has ${sized(file.size)}, at most ${sized(LARGEST)} can be asked by`);
    try {
      change({ image: await readPicture(file) });
      setError("");
      chosen();
    } catch (problem) {
      setError(problem.message);
    }
  };
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => {
    const pasted = (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
      if (file) latest.current(file);
    };
    addEventListener("paste", pasted);
    return () => removeEventListener("paste", pasted);
  }, []);
  const drop = (event) => {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  };
  return html`<div class="drop" onDragOver=${(event) => event.preventDefault()} onDrop=${drop}>
    <label>Picture <input type="file" accept="image/*" ref=${input} onChange=${(event) => take(event.currentTarget.files[0])} /></label>
    <span class="faint">or drop or paste one here</span>
    ${image && html`<${Preview} picture=${image} />`}
    <span class="error" role="alert">${error}</span>
  </div>`;
}
