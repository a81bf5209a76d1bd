/** Starts the page. */

import { App } from "./app.js";
import { followAddress, takeToken } from "./state.js";
import { theme, useTheme } from "./theme.js";
import { html, render } from "./vendor/htm-preact-standalone.module.js";

useTheme(theme());
takeToken();
followAddress();
// A link to a part of the page would take the place of the question in the address.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main")?.focus();
});
const page = document.getElementById("page");
page.replaceChildren();
render(html`<${App} />`, page);
