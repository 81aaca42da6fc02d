// What is shown where there is nothing to show: why, and what to do about it.

import { h } from "../dom.js";

export function empty(title, text, ...actions) {
  return h("div", { class: "empty" }, h("h2", {}, title), text && h("p", {}, text), ...actions);
}

export function loading(text = "Loading…") {
  return h("p", { class: "loading", role: "status" }, text);
}
