// Small words with a colour, which is never all that tells them apart.

import { h } from "../dom.js";

const WHAT = {
  exact: "served from memory: the same request",
  semantic: "served from memory: the same question in other words",
  kv: "resumed from a kept prefix, then generated",
  full: "generated in full",
};

export function tierBadge(tier) {
  return h("span", { class: `badge ${tier in WHAT ? tier : ""}`, title: WHAT[tier] ?? null }, tier);
}

/** `kind`: good, bad, warn, accent, or nothing. */
export function badge(text, kind = "", title = null) {
  return h("span", { class: `badge ${kind}`, title }, text);
}
