// Shared prefixes as an indented tree: what the tokens of each say, how often it was found, and what that saved.

import { h } from "../dom.js";
import { count, plural, short, tenantName } from "../format.js";
import { badge } from "./badge.js";
import { facts } from "./card.js";

const DEEP = 8; // further in, nothing moves to the right any more: a long conversation is a long chain

/** The tree of a flat list whose nodes name their parents; `key` names a node from one reading to the next. */
export function treeOf(nodes) {
  const grown = nodes.map((node) => ({ ...node, children: [], depth: 0, key: "" }));
  const roots = [];
  for (const node of grown) {
    const parent = node.parent === null ? null : grown[node.parent];
    node.depth = parent ? parent.depth + 1 : 0;
    node.key = `${parent ? parent.key : node.salt}/${node.start}:${node.text}`;
    (parent ? parent.children : roots).push(node);
  }
  return roots;
}

/** `open`: the keys of what is unfolded; it is changed as people fold and unfold. */
export function prefixTree(roots, open) {
  const all = Math.max(1, ...roots.map((node) => node.saved_below));
  return h("div", { class: "prefixes" }, groups(roots).map((group) => one(group)));

  function one({ salt, owner, nodes }) {
    const name = owner ? `Tenant ${tenantName(owner)}` : "No tenant";
    return h(
      "section",
      { "aria-label": `${name}, salt ${salt}` },
      h("h3", { class: "salt" }, name, h("span", { class: "muted" }, ` salt ${salt}`)),
      list(nodes),
    );
  }

  function list(nodes) {
    const kind = nodes[0].depth > DEEP ? "prefix-list deep" : "prefix-list";
    return h("ul", { class: kind }, nodes.map((node) => h("li", {}, item(node))));
  }

  function item(node) {
    const hasMore = node.children.length > 0;
    const details = h(
      "details",
      { class: "prefix", "data-key": node.key, open: open.has(node.key) },
      h("summary", {}, line(node)),
      h("div", { class: "prefix-more" }, h("p", { class: "prose prefix-text", dir: "auto" }, node.text.trim()), more(node)),
    );
    details.addEventListener("toggle", () => (details.open ? open.add(node.key) : open.delete(node.key)));
    return [details, hasMore && list(node.children)];
  }

  function line(node) {
    return [
      h("span", { class: "prefix-words", dir: "auto" }, node.text.replace(/\s+/g, " ").trim() || "(no text)"),
      node.pinned > 0 && badge("pinned", "accent", `${plural(node.pinned, "block")} kept from eviction`),
      h("span", { class: "prefix-hits" }, `${count(node.hits)}×`, h("span", { class: "visually-hidden" }, " found,")),
      h("span", { class: "prefix-saved" }, short(node.saved), h("span", { class: "unit" }, " tok")),
      h("span", { class: "meter", "aria-hidden": "true" }, h("span", { style: { "--share": node.saved_below / all } })),
    ];
  }

  function more(node) {
    return facts([
      ["Found", `${plural(node.hits, "time")}`],
      ["Saved here", plural(node.saved, "token")],
      ["Saved with all behind it", plural(node.saved_below, "token")],
      ["Its own length", `${plural(node.tokens, "token")}, ${plural(node.blocks, "block")}`],
      ["Begins at token", count(node.start)],
      ["Pinned", node.pinned ? plural(node.pinned, "block") : ""],
      ["Kept behind it, not found yet", node.unused_tokens ? plural(node.unused_tokens, "token") : ""],
      ["Found behind it, not shown", node.hidden ? plural(node.hidden, "block") : ""],
    ]);
  }
}

function groups(roots) {
  const bySalt = new Map();
  for (const node of roots) {
    if (!bySalt.has(node.salt)) bySalt.set(node.salt, { salt: node.salt, owner: node.owner, nodes: [] });
    bySalt.get(node.salt).nodes.push(node);
  }
  return [...bySalt.values()];
}
