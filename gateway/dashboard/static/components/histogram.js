// How would-be hits are spread: over the chance of being wrong that the lane gave them, with its threshold drawn on it,
// or over their cosine. Bars are stacked by what became of them, or by what labels said afterwards.

import { h, replace, svg } from "../dom.js";
import { count, percent, plural } from "../format.js";
import { segments } from "./segments.js";

const WHAT = [["fate", "What became of them"], ["labels", "What labels said"], ["cosine", "Cosine"]];
const FATES = [["serve", "served"], ["shadow", "kept back as samples"], ["pass", "generated"]];
const LABELS = [["right", "fit"], ["wrong", "did not fit"]];
const WIDTH = 640;
const HEIGHT = 190;
const LEFT = 34;
const BOTTOM = 20;

export function histogram() {
  let what = "fate";
  let lane = null;
  const body = h("div", {});
  const draw = () => lane && replace(body, picture(lane, what));
  const choose = segments("Show", WHAT, what, (next) => {
    what = next;
    draw();
  });
  const element = h("div", {}, h("div", { class: "card-head" }, h("h3", {}, "Would-be hits"), choose), body);
  element.set = (next) => {
    lane = next;
    draw();
  };
  return element;
}

function picture(lane, what) {
  const isCosine = what === "cosine";
  const bars = isCosine ? lane.histograms.cosine : lane.histograms.chance_wrong;
  const parts = what === "labels" ? LABELS : FATES;
  const total = (key) => bars[key].reduce((all, one) => all + one, 0);
  const every = parts.reduce((all, [key]) => all + total(key), 0);
  if (!every) {
    const why = what === "labels" ? "No label of a would-be hit yet: they come from samples, a judge, or users." : "No question came near a stored one since the start.";
    return h("p", { class: "muted" }, why);
  }
  const hint = {
    fate: "From likely wrong on the left to surely right on the right, in decades. What lies right of the threshold may be served.",
    labels: "The same scale: how often what was believed came true.",
    cosine: "Equal cosines meet different fates: what is served is decided by the probability, never by the cosine alone.",
  }[what];
  return [
    h("div", { class: "legend" }, parts.map(([key, text]) => h("span", { class: "legend-item" }, h("span", { class: `swatch ${key}`, "aria-hidden": "true" }), text, h("span", { class: "legend-value" }, count(total(key)))))),
    drawn(lane, bars, parts, isCosine, every),
    h("p", { class: "hint" }, hint),
  ];
}

function drawn(lane, bars, parts, isCosine, every) {
  const size = bars.edges.length - 1;
  const step = (WIDTH - LEFT) / size;
  const heights = Array.from({ length: size }, (_, at) => parts.reduce((all, [key]) => all + bars[key][at], 0));
  const top = Math.max(...heights);
  const floor = HEIGHT - BOTTOM;
  const y = (value) => floor - (value / top) * (floor - 24);
  const columns = heights.map((_, at) => {
    let below = 0;
    return parts.map(([key, text]) => {
      const value = bars[key][at];
      if (!value) return null;
      const bar = svg("rect", { class: `bar ${key}`, x: LEFT + at * step + 1, width: step - 2, y: y(below + value), height: y(below) - y(below + value) }, svg("title", {}, `${between(bars.edges, at, isCosine)}: ${plural(value, "question")} ${text}`));
      below += value;
      return bar;
    });
  });
  const ticks = isCosine ? [0.5, 0.6, 0.7, 0.8, 0.9, 1] : [1, 0.1, 0.01, 0.001, 0.0001];
  const place = isCosine ? (value) => LEFT + ((value - 0.5) / 0.5) * (WIDTH - LEFT) : (chance) => LEFT + (-Math.log10(Math.max(chance, 1e-4)) / 4) * (WIDTH - LEFT);
  const marks = ticks.map((value, at) => {
    const anchor = at === 0 ? "start" : at === ticks.length - 1 ? "end" : "middle";
    return svg("text", { class: "tick", x: place(value), y: HEIGHT - 5, "text-anchor": anchor }, isCosine ? value.toFixed(1) : chanceText(value));
  });
  const scale = [0, top].map((value) => svg("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, count(value)));
  const words = `${plural(every, "would-be hit")} by ${isCosine ? "cosine" : "chance of being wrong"}${isCosine ? "" : `; threshold at ${percent(1 - lane.threshold, 2)}`}`;
  return svg(
    "svg",
    { class: "histogram", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words },
    svg("line", { class: "floor", x1: LEFT, x2: WIDTH, y1: floor, y2: floor }),
    columns,
    marks,
    scale,
    isCosine ? null : threshold(place(1 - lane.threshold), lane.threshold, floor),
  );
}

function threshold(x, value, floor) {
  const isRight = x > WIDTH - 190;
  return [
    svg("line", { class: "threshold", x1: x, x2: x, y1: 2, y2: floor }),
    svg("text", { class: "threshold-text", x: isRight ? x - 6 : x + 6, y: 3, "text-anchor": isRight ? "end" : "start" }, `threshold: ${chanceText(1 - value)} wrong`),
  ];
}

function between(edges, at, isCosine) {
  return isCosine ? `cosine ${edges[at].toFixed(2)} to ${edges[at + 1].toFixed(2)}` : `${chanceText(edges[at + 1])} to ${chanceText(edges[at])} likely to be wrong`;
}

function chanceText(chance) {
  const value = chance * 100;
  return `${value >= 10 ? Math.round(value) : value >= 1 ? Number(value.toFixed(1)) : Number(value.toPrecision(2))} %`;
}
