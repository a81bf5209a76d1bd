/** How a query was answered: its steps, the ways that were weighed, and remarks. */

import { html } from "./vendor/htm-preact-standalone.module.js";
import { Bars } from "./parts.js";
import { counted, plain } from "./text.js";

const FACTS = { points: "records", matching: "match the filter" };
const BEHIND = { fresh: "not in the index yet", uncoded: "without codes" };

const milliseconds = (number) => `${number.toFixed(2)} ms`;
const microseconds = (number) => `${counted(Math.round(number))} µs`;

function numbersOf(given) {
  return Object.entries(given ?? {}).filter(([, number]) => typeof number === "number");
}

function Way({ plan }) {
  const costs = numbersOf(plan.costs);
  const name = `Way taken: ${plan.method}${plan.ef ? `, among ${counted(plan.ef)} candidates` : ""}`;
  if (!costs.length) return html`<p>${name}</p>`;
  return html`<${Bars} caption="${name}; what each way was estimated to cost" head="way" unit="estimate" rows=${costs} show=${microseconds} />`;
}

/** @param {{result: object}} props the answer to a query */
export function Plan({ result }) {
  const { explain } = result;
  const counts = Object.entries(FACTS).filter(([name]) => typeof explain[name] === "number");
  const facts = [...counts, ...Object.entries(BEHIND).filter(([name]) => explain[name] > 0)];
  const legs = Object.entries(explain.legs ?? {});
  const alphas = (explain.alphas ?? []).filter((number) => typeof number === "number");
  return html`<details class="plan">
    <summary>How it was answered</summary>
    <p class="faint">${facts.map(([name, said]) => `${counted(explain[name])} ${said}`).join(", ")}</p>
    ${numbersOf(explain.steps).length > 0 && html`<${Bars} caption="Steps" head="step" unit="time" rows=${numbersOf(explain.steps)} show=${milliseconds} />`}
    ${(explain.plans ?? []).map((plan, at) => html`<${Way} key=${at} plan=${plan} />`)}
    ${legs.length > 0 && html`<p>Candidates: ${legs.map(([name, numbers]) => `${counted(numbers[0])} by ${name}`).join(", ")}</p>`}
    ${alphas.length > 0 && html`<p>The vectors weighed ${alphas.map((number) => number.toFixed(2)).join(", ")}</p>`}
    ${(explain.remarks ?? []).map((remark, at) => html`<p key=${at} class="remark">${plain(remark, 1000)}</p>`)}
  </details>`;
}
