// Why one response came the way it did: what was decided about it then.

import { card, facts } from "../components/card.js";
import { empty, failed, loading } from "../components/empty.js";
import { h, replace } from "../dom.js";
import { count, moment, ms, percent, plural, score, span } from "../format.js";
import { icon } from "../icons.js";
import { reason } from "../words.js";
import { link, road, verdict, weighed } from "./road.js";

export async function mountServed(root, { api }, id) {
  replace(root, head(id), loading());
  try {
    const [told, recent] = await Promise.all([
      api.get(`explain/${encodeURIComponent(id)}`),
      api.get("requests?limit=1000").catch(() => ({ data: [] })),
    ]);
    const line = recent.data.find((one) => one.id === id);
    replace(root, head(id, told.question ?? line?.question), h("div", { class: "columns" }, story(told, line), side(told, line)));
  } catch (error) {
    if (error.status === 401) return {};
    const text = "The gateway remembers some thousand responses, since it was started. This one is not among them.";
    const said = error.status === 404 ? empty("This response is not known", text, h("a", { class: "button", href: "#/requests" }, "All requests")) : failed("This response could not be read", error);
    replace(root, head(id), h("div", { class: "card" }, said));
  }
  return {};
}

function head(id, title = null) {
  return h(
    "div",
    { class: "head" },
    h("a", { class: "button quiet square", href: "#/requests", title: "All requests" }, icon("back"), h("span", { class: "visually-hidden" }, "All requests")),
    h("div", { class: "titles" }, h("h1", { class: "clip-2", dir: "auto" }, title ?? "Why this answer?"), h("p", { class: "muted clip" }, h("code", {}, id))),
  );
}

function story(told, line) {
  const tier = line?.tier ?? told.tier;
  return h(
    "div",
    { class: "stack" },
    card("Answered by", verdict(tier, told.reason), told.entry && h("p", {}, "Entry ", link(told.entry)), told.stored_question && stored(told)),
    card("The road it took", road(steps(told, tier))),
  );
}

function stored(told) {
  return h(
    "dl",
    { class: "pair" },
    h("div", { class: "message" }, h("dt", { class: "role" }, "asked"), h("dd", { class: "prose", dir: "auto" }, told.question ?? "–")),
    h("div", { class: "message" }, h("dt", { class: "role" }, "stored"), h("dd", { class: "prose", dir: "auto" }, told.stored_question)),
  );
}

function steps(told, tier) {
  const order = ["exact", "semantic", "kv", "full"];
  const at = order.indexOf(tier);
  const asked = told.bypass && told.bypass !== "stale" ? [reason(told.bypass)] : null;
  const state = (name) => (name === tier ? "hit" : order.indexOf(name) < at ? "passed" : "skipped");
  const says = {
    exact: tier === "exact" ? [reason(told.reason)] : (asked ?? ["No stored request was the same to the letter, or it could not be served."]),
    semantic: semantic(told, at),
    kv: tier === "kv" ? ["A kept prefix of the prompt was taken up again; the rest was computed."] : at > 2 ? ["No part of the prompt was kept."] : [],
    full: tier === "full" ? ["The whole answer was generated."] : tier === "kv" ? ["The answer was generated behind the prefix."] : ["Nothing was generated."],
  };
  return order.map((name) => ({ name, state: name === "full" && tier === "kv" ? "passed" : state(name), says: says[name] }));
}

function semantic(told, at) {
  if (at === 0) return [];
  if (told.bypass && told.bypass !== "stale") return [reason(told.bypass)];
  return [
    h("p", { class: "muted" }, `Mode ${told.semantic.mode}; at most ${percent(told.semantic.target)} of its hits may be wrong.`),
    weighed(told.semantic) ?? h("p", { class: "muted" }, "No stored question was near enough to be weighed."),
  ];
}

function side(told, line) {
  return h(
    "div",
    { class: "stack" },
    line &&
      card(
        "Time",
        facts([
          ["When", moment(line.t)],
          ["First token", ms(line.ttft_ms)],
          ["Total", ms(line.total_ms)],
          ["Gateway's own", ms(line.overhead_ms)],
        ]),
      ),
    line &&
      card(
        "Tokens",
        facts([
          ["Prompt", plural(line.prompt_tokens, "token")],
          ["of them cached", count(line.cached_tokens)],
          ["Completion", plural(line.completion_tokens, "token")],
          ["Saved", plural(line.saved_tokens, "token")],
          ["Time saved", line.saved_seconds ? span(line.saved_seconds) : null],
        ]),
      ),
    card(
      "Request",
      facts([
        ["Model", told.model],
        ["Tenant", h("span", { class: "mono" }, told.tenant)],
        ["Route", line?.route],
        ["Similarity", told.similarity === null ? null : score(told.similarity)],
        ["Age of the answer", told.age_s === null ? null : span(told.age_s)],
      ]),
    ),
  );
}
