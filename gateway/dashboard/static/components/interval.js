// How often hits were wrong, as far as outcomes are known: the estimate and its bounds on one line with the target.

import { h, svg } from "../dom.js";
import { percent, plural } from "../format.js";

/** `lane` as /admin/api/quality tells it. */
export function intervalPicture(lane, confidence) {
  const { known, wrong, estimate, lower, upper } = lane.wrong_hit_rate;
  const target = lane.max_wrong_hit_rate;
  const needed = Math.ceil(Math.log(1 - confidence) / Math.log(1 - target));
  if (!known) {
    return h(
      "div",
      {},
      h("h3", {}, "Wrong-hit rate"),
      h("p", { class: "muted" }, `No hit's outcome is known yet. ${plural(needed, "hit")} without a wrong one would show that the rate is under ${percent(target, 1)}. Until labels come only what is surely the same question is served.`),
    );
  }
  const most = Math.min(1, Math.max(target * 2.5, upper * 1.12)); // all of the interval, with room beside it
  const x = (rate) => (rate / most) * 100;
  const words = `${percent(estimate, 2)} wrong (${wrong} of ${known}); with ${percent(confidence, 0)} confidence over ${percent(lower, 2)}, and under ${percent(upper, 2)}; target ${percent(target, 2)}`;
  const picture = svg(
    "svg",
    { class: "interval", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": words },
    svg("rect", { class: "ok", x: 0, y: 6, width: x(target), height: 18 }),
    svg("rect", { class: "rest", x: x(target), y: 6, width: 100 - x(target), height: 18 }),
    svg("rect", { class: upper <= target ? "span good" : lower > target ? "span bad" : "span", x: x(lower), y: 12, width: Math.max(0.6, x(upper) - x(lower)), height: 6 }),
    svg("line", { class: "at", x1: x(estimate), x2: x(estimate), y1: 7, y2: 23 }),
    svg("line", { class: "target", x1: x(target), x2: x(target), y1: 2, y2: 28 }),
  );
  const missing = lower <= target && upper > target && wrong === 0 ? `${plural(needed - known, "more hit")} without a wrong one would show the target.` : "";
  return h(
    "div",
    {},
    h("div", { class: "card-head" }, h("h3", {}, "Wrong-hit rate"), h("span", { class: "hint" }, `${wrong} wrong of ${plural(known, "known hit")}`)),
    picture,
    h("div", { class: "interval-scale" }, h("span", {}, x(target) > 18 ? "0 %" : ""), h("span", { class: "at-target", style: { "--at": x(target) / 100 } }, `target ${percent(target, 1)}`), h("span", {}, percent(most, 1))),
    h("p", { class: "rate" }, h("strong", {}, percent(estimate, 2)), h("span", { class: "muted" }, ` between ${percent(lower, 2)} and ${percent(upper, 2)}, each bound with ${percent(confidence, 0)} confidence. ${missing}`)),
  );
}
