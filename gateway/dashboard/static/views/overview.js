// What the gateway does right now: what it saves, who served what over time, how fast each tier is, and every request.

import { figure } from "../components/card.js";
import { latest, ready, timeChart } from "../components/chart.js";
import { empty } from "../components/empty.js";
import { latencies } from "../components/latencies.js";
import { segments } from "../components/segments.js";
import { requestStream } from "../components/stream.js";
import { table } from "../components/table.js";
import { debounced, h, replace } from "../dom.js";
import { ago, count, money, percent, plural, short, span } from "../format.js";
import { polled } from "../polled.js";

const RANGES = [["15", "15 min"], ["60", "1 h"], ["360", "6 h"], ["1440", "24 h"], ["10080", "7 d"]];
const TIERS = ["exact", "semantic", "kv", "full"];
const SERIES = TIERS.map((key) => ({ key, label: key, colour: `--tier-${key}` }));
const SAVED = [
  ["share", "Share"],
  ["saved_tokens", "Tokens"],
  ["saved_seconds", "Time"],
  ["saved_money", "Money"],
];
const STREAM = [["", "All"], ...TIERS.map((one) => [one, one]), ["error", "errors"]];
const EVERY_MS = 2500;
const KEPT = "twicetold-overview-minutes";

export const view = {
  path: "overview",
  title: "Overview",
  async mount(root, { api, live }) {
    await ready;
    let minutes = RANGES.some(([value]) => value === localStorage.getItem(KEPT)) ? localStorage.getItem(KEPT) : "15";
    let turn = 0;
    let gone = false;

    const tiles = {
      requests: figure("Requests"),
      stored: figure("From memory"),
      tokens: figure("Tokens saved"),
      time: figure("Time saved"),
      money: figure("Money saved"),
      wrong: figure("Wrong hits"),
    };
    const since = h("p", { class: "sub" });
    const counts = timeChart("Requests by tier", SERIES, { read: count, axis: short });
    const rates = timeChart("Hit rate by tier", SERIES.slice(0, 3), {
      kind: "lines",
      read: (value) => percent(value, 0),
      axis: (value) => percent(value, 0),
      rest: latest,
      resting: "just now",
      most: 1,
    });
    const gains = gainChart(rates);
    const speed = latencies();
    const costs = costTable();
    const stream = requestStream();
    const nothing = h("div", { class: "stream-empty" });
    const charts = h("div", { class: "charts" }, requestChart(counts), gains);
    const range = segments("Range", RANGES, minutes, (value) => {
      minutes = value;
      localStorage.setItem(KEPT, value);
      poll.now();
    });
    replace(
      root,
      h("div", { class: "head" }, h("h1", {}, "Overview"), range, since),
      h(
        "div",
        { class: "stack" },
        h("div", { class: "tiles" }, Object.values(tiles)),
        charts,
        h("div", { class: "charts-below" }, speed, h("section", { class: "card", "aria-label": "Cost by model" }, costs)),
        streamCard(stream, nothing, (tier) => fill(tier)),
      ),
    );

    const poll = polled(refresh, EVERY_MS);

    async function refresh() {
      const asked = minutes;
      try {
        const [stats, series] = await Promise.all([api.get("stats"), api.get(`series?minutes=${asked}`)]);
        if (gone || asked !== minutes) return;
        show(stats, series);
      } catch (error) {
        if (error.status === undefined) throw error; // else the frame says that the server is away
      }
    }

    function show(stats, { step_s, points }) {
      counts.setPoints(points, step_s);
      rates.setPoints(smooth(points), step_s);
      gains.set(points, step_s, stats.money.currency);
      const label = RANGES.find(([value]) => value === minutes)[1];
      fillTiles(tiles, stats, summed(points));
      replace(since, `Figures and charts: the last ${label}. The gateway started ${ago(stats.started)}.`);
      speed.set(stats);
      costs.set(stats.money);
      stream.setCurrency(stats.money.currency);
    }

    async function fill(tier = stream.tier ?? "") {
      stream.tier = tier;
      stream.only(tier);
      turn += 1;
      const mine = turn;
      const late = []; // what ends while the answer is on its way
      const hearing = live.on("request", (line) => late.push(line));
      const { data } = await api.get(`requests?limit=100${tier ? `&tier=${tier}` : ""}`).catch(() => ({ data: null }));
      hearing();
      if (gone || mine !== turn || data === null) return;
      stream.fill(data);
      late.filter((line) => !data.some((one) => one.id === line.id && one.t === line.t)).forEach(stream.add);
      nothing.replaceChildren();
      if (!data.length) nothing.append(tier ? empty("None of these yet", "No request of this kind is among the last thousand.") : howTo());
    }

    const back = debounced(() => {
      poll.now();
      fill();
    }, 400); // a connection that comes and goes is not asked at every turn
    stream.onrows = (rows) => rows && nothing.replaceChildren();
    const stops = [
      live.on("request", stream.add),
      live.on("missed", () => fill()),
      live.on("state", (state) => {
        if (state === "live") back();
        else back.cancel();
      }),
    ];
    await Promise.all([poll.now(), fill()]);
    return () => {
      gone = true;
      poll.stop();
      back.cancel();
      [...stops, counts.destroy, gains.destroy, stream.destroy].forEach((stop) => stop());
    };
  },
};

function summed(points) {
  const total = { errors: 0, saved_tokens: 0, saved_seconds: 0, saved_money: 0, exact: 0, semantic: 0, kv: 0, full: 0 };
  for (const point of points) for (const key of Object.keys(total)) total[key] += point[key];
  return { ...total, requests: TIERS.reduce((all, tier) => all + total[tier], 0) };
}

function fillTiles(tiles, stats, range) {
  const tokens = stats.tokens.saved_prompt + stats.tokens.saved_completion;
  const ever = (now, all) => (now === all ? "" : ` · ${all} since the start`);
  const stored = stats.tiers.exact.requests + stats.tiers.semantic.requests;
  tiles.requests.set(short(range.requests), [
    range.errors ? h("span", { class: "bad-text" }, plural(range.errors, "error")) : "no errors",
    ever(short(range.requests), short(stats.requests)),
  ]);
  const share = range.requests ? (range.exact + range.semantic) / range.requests : null;
  const all = stats.requests ? percent(stored / stats.requests, 0) : "–";
  const resumed = range.kv ? percent(range.kv / range.requests, 0) : "none";
  tiles.stored.set(percent(share, 0), `${resumed} resumed (kv)${ever(percent(share, 0), all)}`);
  tiles.tokens.set(short(range.saved_tokens), `prompt and completion${ever(short(range.saved_tokens), short(tokens))}`);
  tiles.time.set(time(range.saved_seconds), `of generation${ever(span(range.saved_seconds), span(stats.saved_seconds))}`);
  fillMoney(tiles.money, stats.money, range);
  fillWrong(tiles.wrong, stats.semantic);
}

function fillMoney(tile, { currency, saved, spent, by_model }, range) {
  const unpriced = Object.entries(by_model).filter(([, one]) => !one.is_priced);
  const isBare = unpriced.length && unpriced.length === Object.keys(by_model).length;
  if (isBare) {
    tile.set("–", [h("a", { href: "#/prices" }, "Set a price"), ` for ${unpriced[0][0]} to see money`]);
    return;
  }
  const missing = unpriced.length ? [" · ", h("a", { href: "#/prices" }, `${unpriced.length} without a price`)] : [];
  tile.set(money(range.saved_money, currency), [`${money(saved, currency)} saved, ${money(spent, currency)} spent since the start`, ...missing]);
}

function fillWrong(tile, semantic) {
  if (!semantic) {
    tile.set("off", "The semantic tier is off.");
    return;
  }
  const { estimate, upper } = semantic.wrong_hit_rate;
  const more = h("a", { href: "#/quality" }, "Quality");
  if (estimate === null) tile.set("–", ["No hit was judged yet. ", more]);
  else tile.set(percent(estimate, 2), [`under ${percent(upper, 1)} with 95 % confidence. `, more]);
}

/** Shares of what was served around each point: a share of one request says nothing. */
function smooth(points) {
  const reach = Math.max(1, Math.round(points.length / 40));
  return points.map((point, at) => {
    const near = summed(points.slice(Math.max(0, at - reach), at + reach + 1));
    const share = (tier) => (near.requests ? near[tier] / near.requests : null);
    return { t: point.t, exact: share("exact"), semantic: share("semantic"), kv: share("kv") };
  });
}

function requestChart(counts) {
  return h("section", { class: "card", "aria-label": "Requests by tier" }, h("div", { class: "card-head" }, h("h2", {}, "Requests by tier")), counts);
}

const time = (seconds) => (seconds ? span(seconds) : "0 s");

/** The share of each tier over time, or what was saved: one at a time in one card. */
function gainChart(rates) {
  let which = "share";
  let drawn = rates;
  let last = null;
  let currency = "USD";
  const title = h("h2", {}, "Share by tier");
  const body = h("div", {}, rates);
  const kinds = {
    saved_tokens: { title: "Tokens saved", read: (value) => short(Math.round(value)), axis: short },
    saved_seconds: { title: "Time saved", read: time, axis: time },
    saved_money: { title: "Money saved", read: (value) => money(value, currency), axis: (value) => money(value, currency), whole: false },
  };
  const choose = segments("Chart", SAVED, which, (next) => {
    which = next;
    if (drawn !== rates) drawn.destroy();
    const kind = kinds[which];
    drawn = kind ? timeChart(kind.title, [{ key: which, label: "saved", colour: "--accent" }], kind) : rates;
    title.textContent = kind ? kind.title : "Share by tier";
    replace(body, drawn);
    if (kind && last) drawn.setPoints(...last);
  });
  const element = h("section", { class: "card", "aria-label": "Share and savings" }, h("div", { class: "card-head" }, title, choose), body);
  element.set = (points, step, unit) => {
    last = [points, step];
    currency = unit;
    if (drawn !== rates) drawn.setPoints(points, step);
  };
  element.destroy = () => {
    if (drawn !== rates) drawn.destroy();
    rates.destroy();
  };
  return element;
}

function costTable() {
  const columns = [
    { title: "Model", class: "words", cell: ([name]) => h("span", { class: "clip" }, name) },
    { title: "Saved", num: true, cell: ([, one, unit]) => (one.is_priced ? money(one.saved, unit) : "no price") },
    { title: "Spent", num: true, cell: ([, one, unit]) => (one.is_priced ? money(one.spent, unit) : "–") },
  ];
  const rows = table("Saved and spent by model, since the start", columns);
  const body = h("div", {});
  const head = h("div", { class: "card-head" }, h("h2", {}, "Cost by model"), h("a", { href: "#/prices" }, "Prices"));
  const element = h("div", {}, head, body);
  element.set = ({ by_model, currency }) => {
    const models = Object.entries(by_model).sort(([, a], [, b]) => b.saved + b.spent - a.saved - a.spent);
    rows.setRows(models.slice(0, 8).map(([name, one]) => [name, one, currency]));
    replace(body, models.length ? rows : h("p", { class: "muted" }, "No tokens were counted yet."));
  };
  return element;
}

function streamCard(stream, nothing, choose) {
  const pause = h("button", { class: "button small", "aria-pressed": "false" }, "Pause");
  pause.addEventListener("click", () => {
    const isPaused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = isPaused ? "Go on" : "Pause";
    stream.pause(isPaused);
  });
  const tiers = segments("Tier", STREAM, "", choose);
  return h(
    "section",
    { class: "card flush", "aria-label": "Live requests" },
    h("div", { class: "card-head" }, h("h2", {}, "Live requests"), tiers, pause),
    stream,
    nothing,
  );
}

function howTo() {
  return empty(
    "No request yet",
    "Point a client at this server, or ask something in the playground. Every request shows up here as it ends.",
    h("pre", { class: "code" }, `client = OpenAI(base_url="${location.origin}/v1", api_key="none")`),
    h("a", { class: "button primary", href: "#/playground" }, "Open the playground"),
  );
}
