// Shared prefixes as an icicle: every prefix is as wide as what it and all behind it saved, and stands under the one it
// goes on from. It is a picture of the tree beside it, which says the same in words; so it is hidden from readers.

import { h } from "../dom.js";
import { plural, short } from "../format.js";

const DEPTH = 6; // rows
const LEAST = 0.008; // of the whole width; what is narrower is a hatched rest

/** `roots`: nodes with `children`, `saved_below`, `saved`, `hits`, `text`. `pick(node)` when one is clicked. */
export function icicle(roots, pick) {
  const all = roots.reduce((sum, node) => sum + node.saved_below, 0);
  const most = Math.max(1, ...roots.map((node) => node.hits));
  return h("div", { class: "icicle", "aria-hidden": "true" }, row(roots, all, 0));

  function row(nodes, width, depth) {
    const wide = nodes.filter((node) => node.saved_below / all >= LEAST);
    const narrow = nodes.filter((node) => !wide.includes(node)).reduce((sum, node) => sum + node.saved_below, 0);
    const left = width - wide.reduce((sum, node) => sum + node.saved_below, 0) - narrow;
    return h(
      "div",
      { class: "ice-row" },
      wide.map((node) => cell(node, depth)),
      narrow / all >= LEAST / 2 && h("div", { class: "ice-rest", style: { "flex-grow": narrow }, title: "many small ones" }),
      left > 0 && h("div", { style: { "flex-grow": left } }),
    );
  }

  function cell(node, depth) {
    const share = node.saved_below / all;
    const told = `${plural(node.hits, "hit")} · ${short(node.saved_below)} tokens saved\n${node.text}`;
    return h(
      "div",
      { class: "ice", style: { "flex-grow": node.saved_below } },
      h(
        "div",
        { class: "ice-cell", title: told, style: { "--heat": 0.16 + 0.5 * (node.hits / most) }, onclick: () => pick(node) },
        share > 0.035 && h("span", {}, node.text.replace(/\s+/g, " ")),
      ),
      depth + 1 < DEPTH && node.children.length > 0 && row(node.children, node.saved_below, depth + 1),
    );
  }
}
