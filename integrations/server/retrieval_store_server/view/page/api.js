/**
 * Requests to the server: one function, and a hook for what a view shows.
 *
 * The token, or key, lies in sessionStorage, which no other tab and no other host sees, and goes
 * into a header; it is never part of an address.
 */

import { useEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { parse, stringify } from "./json.js";

const ROOT = new URL("api/", import.meta.url);
const KEY = "retrieval-store:key";

/** A request that wasn't answered with a result. status: of HTTP, 0 where nothing answered. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** @param {string} key the token of the command, or the key of a server */
export function keepKey(key) {
  sessionStorage.setItem(KEY, key);
}

function headers() {
  const key = sessionStorage.getItem(KEY);
  const plain = { "Content-Type": "application/json" };
  return key ? { ...plain, Authorization: `Bearer ${key}` } : plain;
}

async function refusal(response) {
  const text = await response.text();
  let message = "";
  try {
    message = JSON.parse(text).status.error;
  } catch {
    message = text.slice(0, 500);
  }
  return new ApiError(message || `the server answered ${response.status}`, response.status);
}

/**
 * @param {string} name of the call
 * @param {object} body
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>} one with a result; raises ApiError
 */
export async function answered(name, body, signal) {
  let response;
  try {
    response = await fetch(new URL(name, ROOT), {
      method: "POST",
      headers: headers(),
      body: stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("the server can't be reached; is it still running?", 0);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

const READERS = {
  json: async (response) => parse(await response.text()),
  bytes: (response) => response.arrayBuffer(),
};

/**
 * @param {string} name
 * @param {object} body
 * @param {{signal?: AbortSignal, as?: "json" | "bytes"}} [options]
 */
export async function call(name, body, { signal, as = "json" } = {}) {
  const response = await answered(name, body, signal);
  try {
    return await READERS[as](response);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("the answer broke off", 0);
  }
}

/** A promise that is kept after so many milliseconds, or broken by the signal. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("aborted", "AbortError"));
    });
  });
}

/**
 * The answer to a request, asked anew whenever the request changes; the earlier one is aborted,
 * and its answer stays until the next is there.
 * @param {string} name
 * @param {object | null} body null asks nothing
 * @param {{wait?: number, version?: any, ask?: typeof call}} [options] wait: milliseconds without
 *   a change before it is asked; version: asks anew when it changes
 * @returns {{data: any, of: string, error: ApiError | null, loading: boolean, again: () => void}}
 *   of: the body, as JSON, that data answers
 */
export function useCall(name, body, { wait = 0, version = null, ask = call } = {}) {
  const [state, setState] = useState({ data: null, of: "", error: null, loading: body !== null });
  const [attempt, setAttempt] = useState(0);
  const asked = body === null ? "" : stringify(body);
  const latest = useRef(body);
  latest.current = body;
  useEffect(() => {
    if (!asked) return setState({ data: null, of: "", error: null, loading: false });
    const control = new AbortController();
    setState((known) => ({ ...known, loading: true }));
    (wait ? pause(wait, control.signal) : Promise.resolve())
      .then(() => ask(name, latest.current, { signal: control.signal }))
      .then((data) => setState({ data, of: asked, error: null, loading: false }))
      .catch((error) => {
        if (!control.signal.aborted) setState({ data: null, of: asked, error, loading: false });
      });
    return () => control.abort();
  }, [name, asked, version, attempt]);
  return { ...state, again: () => setAttempt((count) => count + 1) };
}
