// How fast each tier is: percentiles of the time to the first word and to the last, on one scale of decades, so that a
// thousandth of a second from memory can be seen beside a second of generation.

import { h, replace } from "../dom.js";
import { count, ms } from "../format.js";
import { segments } from "./segments.js";
import { tierBadge } from "./badge.js";

const WHICH = [["ttft", "First token"], ["total", "Total"]];
const WHEN = [["latency_last_hour", "Last hour"], ["latency", "Since start"]];
const LEAST_S = 1e-4;

export function latencies() {
  let which = "ttft";
  let when = "latency_last_hour";
  let stats = null;
  const body = h("div", { class: "latency" });
  const draw = () => stats && replace(body, rows(stats[when], which));
  const choose = (name, choices, value, set) => segments(name, choices, value, (next) => { set(next); draw(); });
  const element = h(
    "section",
    { class: "card", "aria-label": "Latency" },
    h(
      "div",
      { class: "card-head" },
      h("h2", {}, "Latency"),
      choose("Measure", WHICH, which, (next) => { which = next; }),
      choose("Period", WHEN, when, (next) => { when = next; }),
    ),
    body,
    h("p", { class: "hint" }, "Bars reach from the median to the 99th percentile, on a logarithmic scale. Percentiles are right to about 5 %."),
  );
  element.set = (next) => {
    stats = next;
    draw();
  };
  return element;
}

function rows(tiers, which) {
  const used = Object.values(tiers).filter((tier) => tier.count);
  if (!used.length) return h("p", { class: "muted" }, "No request in this time.");
  const slowest = Math.max(...used.map((tier) => tier[which].p99));
  const place = (seconds) => Math.log(Math.max(seconds, LEAST_S) / LEAST_S) / Math.log(Math.max(slowest * 1.15, LEAST_S * 10) / LEAST_S);
  return h(
    "table",
    {},
    h("caption", { class: "visually-hidden" }, "Percentiles by tier"),
    h("thead", {}, h("tr", {}, ["Tier", "", "p50", "p90", "p99", "n"].map((text, at) => (text ? h("th", { scope: "col", class: at > 1 ? "num" : null }, text) : h("td", { class: "scale" }))))),
    h("tbody", {}, Object.entries(tiers).map(([name, tier]) => one(name, tier, which, place))),
  );
}

function one(name, tier, which, place) {
  const at = tier[which];
  const shown = (key) => h("td", { class: "num" }, tier.count ? ms(at[key] * 1000) : "–");
  const bar = tier.count > 0 && h("span", { class: `reach ${name}`, style: { "--from": place(at.p50), "--to": place(at.p99), "--mid": place(at.p90) } });
  return h("tr", {}, h("td", {}, tierBadge(name)), h("td", { class: "scale" }, bar), shown("p50"), shown("p90"), shown("p99"), h("td", { class: "num muted" }, count(tier.count)));
}
