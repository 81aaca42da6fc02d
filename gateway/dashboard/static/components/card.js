// Boxes: a card, and a single figure with its name.

import { h, replace } from "../dom.js";

export function card(title, ...children) {
  return h("section", { class: "card", "aria-label": title }, h("h2", {}, title), ...children);
}

/** A figure that can be set again: `figure("Saved", "12 s", "of generation").set("13 s")`. */
export function figure(label, value = "–", note = "") {
  const shown = h("div", { class: "value" }, value);
  const below = h("div", { class: "note" }, note);
  const element = h("div", { class: "card figure" }, h("div", { class: "label" }, label), shown, below);
  element.set = (next, nextNote) => {
    replace(shown, next);
    if (nextNote !== undefined) replace(below, nextNote);
  };
  return element;
}

/** Names and values, one a line; values may be elements. Empty ones are left out. */
export function facts(pairs) {
  const given = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, given.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
