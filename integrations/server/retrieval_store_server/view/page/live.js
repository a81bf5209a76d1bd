/** Writes of other processes, as the server tells of them: one long answer, a line at each change. */

import { answered, pause } from "./api.js";
import { tried } from "./json.js";

const LONGEST_WAIT = 30_000;

/** The lines of a streamed answer, as they come. */
async function* linesOf(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}

async function listen(body, signal, heard) {
  const response = await answered("live", body, signal);
  for await (const line of linesOf(response)) {
    const said = tried(line);
    if (said?.collections) heard(said.collections);
  }
}

/**
 * Follows the store until the signal says to stop. Where the answer ends it is asked for again:
 * soon where it had said something, else after waits that grow.
 * @param {string} collection the one to be watched closely; "" for none
 * @param {{heard: (collections: object) => void, said: (isLive: boolean) => void}} tell
 * @param {AbortSignal} signal
 */
export async function follow(collection, { heard, said }, signal) {
  let wait = 500;
  while (!signal.aborted) {
    try {
      await listen(collection ? { collection } : {}, signal, (collections) => {
        wait = 500;
        said(true);
        heard(collections);
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401 || error.status === 403) return;
    }
    said(false);
    try {
      await pause(wait * (0.75 + Math.random() / 2), signal);
    } catch {
      return;
    }
    wait = Math.min(LONGEST_WAIT, wait * 2);
  }
}
