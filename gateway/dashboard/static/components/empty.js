// What is shown where there is nothing to show: why, and what to do about it.

import { h } from "../dom.js";

export function empty(title, text, ...actions) {
  return h("div", { class: "empty" }, h("h2", {}, title), text && h("p", {}, text), ...actions);
}

/** In the place of what could not be read; the frame draws the view anew when the server is back, or somebody asks. */
export function failed(title, error) {
  const words = error.status === 0 ? "The server does not answer. It is tried again every few seconds." : error.message;
  const ask = (event) => event.target.dispatchEvent(new Event("again", { bubbles: true }));
  const element = empty(title, words, h("button", { class: "button primary", type: "button", onclick: ask }, "Try again"));
  element.classList.add("failed");
  return element;
}

export function loading(text = "Loading…") {
  return h("p", { class: "loading", role: "status" }, text);
}
