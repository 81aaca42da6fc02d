// The road of one request as a picture in words: what each tier found, and where it ended.

import { badge, tierBadge } from "../components/badge.js";
import { h } from "../dom.js";
import { percent, score, span } from "../format.js";
import { reason } from "../words.js";

const NAMES = { plan: "Plan", exact: "Exact", semantic: "Semantic", kv: "KV prefix", full: "Generation" };

/** A list of steps: {name, state: "hit" | "passed" | "skipped", says: [...]}. */
export function road(steps) {
  return h(
    "ol",
    { class: "road" },
    steps.map(({ name, state, says }) =>
      h(
        "li",
        { class: `step ${name} ${state}` },
        h("div", { class: "step-head" }, h("h3", {}, NAMES[name]), state === "hit" && badge("answered here", name), state === "skipped" && badge("not asked")),
        h("div", { class: "step-body" }, says),
      ),
    ),
  );
}

/** What the semantic tier weighed: `semantic` of both explain routes. */
export function weighed(semantic) {
  if (semantic.threshold === undefined) return null;
  const isLeft = semantic.probability !== null && semantic.probability !== undefined;
  const sure = isLeft ? `The best is right with a probability of ${percent(semantic.probability)}` : "No candidate was left";
  return [
    h("p", {}, `${sure}; at least ${percent(semantic.threshold)} are asked for.`),
    semantic.candidates?.length > 0 && candidates(semantic.candidates, semantic.threshold),
  ];
}

function candidates(list, threshold) {
  return h(
    "ul",
    { class: "candidates" },
    list.map((one) =>
      h(
        "li",
        {},
        h("a", { class: "clip-2", href: `#/entries/${encodeURIComponent(one.entry)}` }, one.question ?? one.entry),
        h("span", { class: "muted num" }, `similarity ${score(one.similarity)}`),
        one.refusal ? badge(`refused: ${one.refusal.replaceAll("_", " ")}`, "warn") : chance(one.probability, threshold),
      ),
    ),
  );
}

/** A bar of how likely a candidate is right, with the threshold on it. */
function chance(probability, threshold) {
  if (probability === null || probability === undefined) return badge("not weighed");
  const isSure = probability >= threshold;
  return h(
    "span",
    { class: "chance", title: `${percent(probability, 2)} likely to be right; ${percent(threshold, 2)} are asked for` },
    h("span", { class: "bar", "aria-hidden": "true", style: { "--share": probability, "--at": threshold } }, h("span"), h("i")),
    h("span", { class: isSure ? "sure" : "muted" }, percent(probability)),
  );
}

/** What keeps the nearest stored request, or the same one elsewhere, from being an exact hit. */
export function exactSays(exact) {
  if (exact.found) {
    const life = exact.ttl_s === null ? "never ends" : exact.ttl_s > 0 ? `ends in ${span(exact.ttl_s)}` : "has ended";
    return [
      h("p", {}, exact.miss ? reason(exact.miss) : "The very same request is stored: ", link(exact.entry)),
      h("p", { class: "muted" }, `${span(exact.age_s)} old, ${life}, ${exact.good} good and ${exact.bad} bad verdicts.`),
    ];
  }
  const says = [h("p", {}, reason(exact.miss))];
  for (const place of exact.elsewhere ?? []) {
    says.push(h("p", {}, "It is stored behind another wall (", place.walls.join(", "), "): ", link(place.entry)));
  }
  if (exact.nearest) {
    says.push(
      h("p", {}, "The nearest stored request, ", link(exact.nearest.entry), ", differs:"),
      h("ul", { class: "differences" }, exact.nearest.differences.map((one) => h("li", { class: "prose" }, one.text))),
    );
  }
  return says;
}

export function link(entry) {
  return h("a", { class: "mono", href: `#/entries/${encodeURIComponent(entry)}` }, entry);
}

/** The answer in one line: the tier and why. */
export function verdict(tier, code) {
  return h("p", { class: "verdict inline" }, tierBadge(tier), h("span", {}, reason(code)));
}
