// Charts over time: stacked bars or lines on one canvas (uPlot), with a legend of our own that reads the values where
// the pointer is, and their sums or last values where it is not. Colours are those of the design, in dark and in light.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { h } from "../dom.js";
import { colour } from "../theme.js";
import { useStyles } from "./styles.js";

export const ready = Promise.all([useStyles("../vendor/uplot/uPlot.min.css"), useStyles("../live.css")]);

const WHOLE = [1, 2, 5].flatMap((one) => [0, 1, 2, 3, 4, 5, 6].map((power) => one * 10 ** power)).sort((a, b) => a - b);
const FEWEST = 24; // columns a chart has room for, though it has fewer: the first of them is no wall
const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

/**
 * `series`: [{key, label, colour: "--tier-exact"}], the lowest of a stack first. `options`:
 *   kind     "bars" (stacked) or "lines"
 *   read     (value) -> text of a value; `axis`: (value) -> text at the axis
 *   rest     (column) -> value the legend shows when nobody points; default: the sum
 *   resting  what those values are of, in a word
 *   most     the top of the scale, when it is known; else that of the data
 *   whole    whether bars count something that has no parts (default)
 */
export function timeChart(name, series, options) {
  const { kind = "bars", read = String, axis = read, rest = sum, resting = "", most = null, whole = true, height = 190 } = options;
  const values = series.map(() => h("span", { class: "legend-value" }));
  const when = h("span", { class: "legend-when muted" });
  const legend = h(
    "div",
    { class: "legend" },
    series.map((one, at) =>
      h("span", { class: "legend-item" }, h("span", { class: `swatch ${one.key}`, "aria-hidden": "true" }), one.label, values[at]),
    ),
    when,
  );
  const canvas = h("div", { class: "chart", role: "img", "aria-label": name, style: { height: `${height}px` } });
  const element = h("div", { class: "chart-box" }, legend, canvas);
  let columns = [[], ...series.map(() => [])]; // x, and the values as they came
  let step = 5;
  let plot = null;

  function draw() {
    plot?.destroy();
    plot = null;
    if (!canvas.isConnected || canvas.clientWidth < 40) return;
    plot = new uPlot(setup(canvas.clientWidth), shown(), canvas);
  }

  function setup(width) {
    const grid = { stroke: colour("--line"), width: 1 };
    const text = { stroke: colour("--muted"), font: FONT, ticks: { show: false } };
    return {
      width,
      height,
      padding: [8, 26, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      select: { show: false },
      scales: { x: { time: true, range: () => extent() }, y: { range: (_, __, top) => [0, most ?? nice(top, whole)] } },
      axes: [
        { ...text, grid: { show: false }, size: 26, gap: 6, space: 64, values: (_, at) => at.map((t) => label(t, columns[0])) },
        { ...text, grid, size: axisRoom, gap: 6, space: 36, ...(kind === "bars" && whole ? { incrs: WHOLE } : {}), values: (_, at) => at.map(axis) },
      ],
      series: [{}, ...(kind === "bars" ? series.map(bar).reverse() : series.map(line))],
      hooks: { setCursor: [({ cursor }) => tell(cursor.idx)] },
    };
  }

  function extent() {
    const times = columns[0];
    if (!times.length) return [0, 1];
    const end = times[times.length - 1] + step;
    return [Math.min(times[0], end - FEWEST * step), end];
  }

  function bar(one) {
    const fill = colour(one.colour);
    return { fill, stroke: fill, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.82, 64] }) };
  }

  function line(one) {
    return { stroke: colour(one.colour), width: 2, points: { show: () => columns[0].length < 2, size: 5 }, spanGaps: false };
  }

  /** What uPlot draws: for a stack each column on top of those below it, the highest first. */
  function shown() {
    if (kind === "lines") return columns;
    const [times, ...own] = columns;
    const below = times.map(() => 0);
    const stacked = own.map((column) => column.map((value, at) => (below[at] += value ?? 0)));
    return [times.map((t) => t + step / 2), ...stacked.reverse()]; // a bar stands over its seconds, not over their beginning
  }

  function tell(at) {
    const isPointing = at !== null && at !== undefined && columns[0][at] !== undefined;
    series.forEach((_, n) => {
      const value = isPointing ? columns[n + 1][at] : rest(columns[n + 1]);
      values[n].textContent = value === null || value === undefined ? "–" : read(value);
    });
    when.textContent = isPointing ? moment(columns[0][at], step) : resting;
  }

  const watch = new ResizeObserver(() => {
    if (!plot) return draw();
    if (canvas.clientWidth >= 40 && Math.abs(plot.width - canvas.clientWidth) > 1) {
      plot.setSize({ width: canvas.clientWidth, height });
    }
  });
  watch.observe(canvas);
  document.addEventListener("themechange", draw);

  element.setPoints = (points, stepSeconds) => {
    step = stepSeconds;
    columns = [points.map((point) => point.t), ...series.map((one) => points.map((point) => point[one.key] ?? null))];
    const told = series.map((one, at) => `${one.label} ${told_(rest(columns[at + 1]))}`);
    canvas.setAttribute("aria-label", `${name}: ${told.join(", ")}`);
    if (plot) plot.setData(shown());
    else draw();
    tell(plot?.cursor.idx);
  };
  const told_ = (value) => (value === null || value === undefined ? "none" : read(value));
  element.destroy = () => {
    watch.disconnect();
    document.removeEventListener("themechange", draw);
    plot?.destroy();
  };
  return element;
}

const sum = (column) => column.reduce((total, value) => total + (value ?? 0), 0);

/** The last value there is. */
export function latest(column) {
  for (let at = column.length - 1; at >= 0; at -= 1) if (column[at] !== null) return column[at];
  return null;
}

/** Room for the widest text at an axis. */
function axisRoom(plot, values) {
  const widest = Math.max(0, ...(values ?? []).map((text) => String(text).length));
  return Math.max(40, 14 + widest * 7);
}

/** A round number over the highest bar. */
function nice(top, whole) {
  if (whole && !(top > 4)) return 5;
  if (!(top > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(top));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((one) => one * unit >= top * 1.04) * unit;
}

function label(seconds, times) {
  const date = new Date(seconds * 1000);
  const reach = times.length ? times[times.length - 1] - times[0] : 0;
  if (reach > 2 * 86_400) return date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  const withSeconds = reach < 240 ? { second: "2-digit" } : {};
  return date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...withSeconds });
}

function moment(seconds, step) {
  const date = new Date(seconds * 1000);
  const day = step >= 600 ? `${date.toLocaleDateString("en-GB", { weekday: "short" })} ` : "";
  return day + date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...(step < 60 ? { second: "2-digit" } : {}) });
}
