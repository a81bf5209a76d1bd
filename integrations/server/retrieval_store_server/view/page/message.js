/** Messages of arrays (application/x-retrieval-store): JSON, and numbers at multiples of 16 bytes. */

import { parse } from "./json.js";

const MAGIC = "rsw2";
const STEP = 16;
const KINDS = { "<f4": Float32Array, "<f8": Float64Array, "<i4": Int32Array, "<i8": BigInt64Array, "|u1": Uint8Array };

/**
 * @param {ArrayBuffer} buffer
 * @returns {{data: any, arrays: (Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array)[]}}
 *   the arrays lie in the buffer; raises Error for what is no such message
 */
export function messageOf(buffer) {
  const start = new TextDecoder().decode(new Uint8Array(buffer, 0, Math.min(4, buffer.byteLength)));
  if (start !== MAGIC) throw new Error("the answer is no message of arrays");
  const length = new DataView(buffer).getUint32(4, true);
  const { data, arrays } = parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  let at = 8 + length;
  const found = arrays.map(([kind, shape]) => {
    at = Math.ceil(at / STEP) * STEP;
    const count = shape.reduce((product, size) => product * size, 1);
    const array = new KINDS[kind](buffer, at, count);
    at += array.byteLength;
    return array;
  });
  return { data, arrays: found };
}
