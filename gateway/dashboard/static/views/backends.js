// Backends: who answers what memory cannot, how each of them is, and taking one out of service and back.

import { badge } from "../components/badge.js";
import { facts, figure } from "../components/card.js";
import { confirm } from "../components/dialog.js";
import { empty, failed, loading } from "../components/empty.js";
import { table } from "../components/table.js";
import { useStyles } from "../components/styles.js";
import { complain, toast } from "../components/toast.js";
import { h, replace } from "../dom.js";
import { ago, count, percent, plural, short } from "../format.js";
import { polledWithRequests } from "../polled.js";

const EVERY_MS = 3000;
const SOON_MS = 400; // after a request
const STATES = {
  ready: ["good", "takes requests"],
  resting: ["warn", "said that it has too much to do, and is asked after the others"],
  down: ["bad", "its health check fails; it is asked last"],
  open: ["bad", "failed too often and is left alone for a while"],
  half_open: ["warn", "was left alone, and is tried with one request"],
  open_for_some: ["warn", "is left alone by tenants who alone saw it fail"],
  draining: ["warn", "takes nothing new, and finishes what runs"],
  drained: ["", "takes nothing new, and nothing runs: it may be stopped"],
};

export const view = { path: "backends", title: "Backends", mount };

async function mount(root, { api, live }) {
  await useStyles("../kv.css");
  let last = ""; // what is shown
  const place = h("div", { class: "stack" }, loading());
  replace(root, h("div", { class: "head" }, h("h1", {}, "Backends")), place);
  const poll = polledWithRequests(read, EVERY_MS, live, SOON_MS);
  await poll.now();
  return poll.stop;

  async function read(isGone) {
    try {
      const report = await api.get("backends");
      const told = JSON.stringify([report, report.backends.map((one) => one.last_error && ago(one.last_error.at))]);
      if (!isGone() && told !== last) {
        last = told;
        show(report);
      }
    } catch (error) {
      if (!isGone() && !last && error.status !== 401) replace(place, h("div", { class: "card" }, failed("The backends could not be read", error)));
    }
  }

  function show(report) {
    const held = document.activeElement?.closest?.("[data-backend]")?.dataset.backend;
    const { backends } = report;
    if (!backends.length) {
      const text = "Only stored answers can be served. Name a server with --upstream, or load a model with --model.";
      return replace(place, h("div", { class: "card" }, empty("There is no backend", text)));
    }
    replace(place, tiles(report), backends.map((one) => shown(one)), others(report));
    if (held) place.querySelector(`[data-backend="${CSS.escape(held)}"] button`)?.focus();
    return null;
  }

  function shown(one) {
    const [kind, meaning] = STATES[one.state] ?? ["", ""];
    const isOut = one.state === "draining" || one.state === "drained";
    const word = isOut ? "Resume" : "Drain…";
    const act = h("button", { class: "button small", onclick: () => turn(one, isOut), "aria-label": `${isOut ? "Resume" : "Drain"} ${one.name}` }, word);
    return h(
      "section",
      { class: "card backend", "aria-label": one.name, "data-backend": one.name },
      h("div", { class: "card-head" }, h("h2", {}, one.name), badge(one.state.replaceAll("_", " "), kind, meaning), h("span", { class: "hint" }, meaning), act),
      one.models.length > 0 && h("div", { class: "models" }, one.models.map((name) => h("span", { class: "tag", title: one.lacks.includes(name) ? "it said that it has not got it" : null }, name === "*" ? "any name" : name, one.lacks.includes(name) && " (lacking)"))),
      figures(one),
      trouble(one),
      engine(one.engine),
    );
  }

  async function turn(one, isOut) {
    const text = `${one.name} takes no new request from now on and finishes what runs. Others answer for it where they serve the same model; where nobody does, its models are refused.`;
    if (!isOut && !(await confirm(`Drain ${one.name}?`, text, "Drain", ""))) return;
    try {
      await api.send("POST", `backends/${encodeURIComponent(one.name)}/${isOut ? "resume" : "drain"}`);
      toast(isOut ? `${one.name} takes requests again.` : `${one.name} takes nothing new.`);
      await poll.now();
    } catch (error) {
      complain(error);
    }
  }
}

function tiles({ backends, failovers, fallbacks, retry_budget: budget, policy }) {
  const ready = backends.filter((one) => one.state === "ready").length;
  const sum = (name) => backends.reduce((total, one) => total + one[name], 0);
  const prompt = sum("prompt_tokens");
  return h(
    "div",
    { class: "five" },
    figure("Ready", `${ready} of ${backends.length}`, `chosen by ${policy}`),
    figure("At work", count(sum("running")), `${count(sum("waiting"))} in queues`),
    figure("Sent", short(sum("requests")), `${plural(sum("retries"), "time")} once more`),
    figure("Prompt tokens kept", prompt ? percent(sum("cached_tokens") / prompt) : "–", `of ${short(prompt)} reported`),
    figure("Answered by another", count(failovers + fallbacks.reduce((n, one) => n + one.times, 0)), budget.refused ? `${plural(budget.refused, "retry", "retries")} not worth it` : "replica or model"),
  );
}

function figures(one) {
  const failed = Object.values(one.failures).reduce((sum, n) => sum + n, 0);
  const limit = one.max_concurrency ? ` of ${count(one.max_concurrency)}` : "";
  const pairs = [
    ["At work", [count(one.running), h("small", {}, limit)]],
    ["In its queue", count(one.waiting)],
    ["Sent", short(one.requests)],
    ["Failed", [count(failed), failed > 0 && h("small", {}, ` ${percent(failed / Math.max(1, one.requests))}`)]],
    ["Prompt tokens kept", one.cached_share === null ? "–" : percent(one.cached_share)],
    ["Weight", String(one.weight)],
  ];
  return h("dl", { class: "backend-figures" }, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function trouble(one) {
  const parts = [];
  const { breaker, health, queue } = one;
  if (breaker.state !== "closed") parts.push(h("p", { class: "trouble" }, `Left alone for ${Math.ceil(breaker.wait_s)} s more; that has happened ${plural(breaker.opened, "time")}.`));
  if (!health.is_up) parts.push(h("p", { class: "trouble" }, `Its health: ${health.detail || "no answer"}.`));
  if (one.last_error) parts.push(h("p", { class: "trouble past" }, `Last error ${ago(one.last_error.at)}: ${one.last_error.message}`));
  const reasons = Object.entries(one.failures);
  if (reasons.length || queue.refused || queue.timed_out) {
    parts.push(
      h(
        "div",
        { class: "models" },
        reasons.map(([reason, times]) => badge(`${reason.replaceAll("_", " ")} ${count(times)}`, "bad")),
        queue.refused > 0 && badge(`queue full ${count(queue.refused)}`, "warn"),
        queue.timed_out > 0 && badge(`waited too long ${count(queue.timed_out)}`, "warn"),
      ),
    );
  }
  return parts;
}

function engine(told) {
  const pairs = Object.entries(told);
  if (!pairs.length) return null;
  const read = (name, value) => (/usage|share|ratio/.test(name) ? percent(value) : count(value));
  return h("details", {}, h("summary", {}, "What the engine says of itself"), facts(pairs.map(([name, value]) => [name.replaceAll("_", " "), read(name, value)])));
}

function others({ aliases, fallbacks }) {
  const shown = [];
  if (aliases.length) {
    const columns = [
      { title: "Name", cell: (one) => one.name },
      { title: "Goes to", cell: (one) => Object.entries(one.targets).map(([model, weight]) => `${model} (${weight})`).join(", ") },
      { title: "Else", cell: (one) => one.fallback.join(", ") || "–" },
      { title: "", cell: (one) => (one.unserved.length ? badge(`nobody serves ${one.unserved.join(", ")}`, "bad") : "") },
    ];
    shown.push(h("section", { class: "card flush", "aria-label": "Names for other models" }, h("h2", {}, "Names for other models"), table("Names for other models", columns, aliases)));
  }
  if (fallbacks.length) {
    const columns = [
      { title: "Asked for", cell: (one) => one.model },
      { title: "Answered by", cell: (one) => one.answered_by },
      { title: "Times", num: true, cell: (one) => count(one.times) },
    ];
    shown.push(h("section", { class: "card flush", "aria-label": "Models that answered for others" }, h("h2", {}, "Models that answered for others"), table("Models that answered for others", columns, fallbacks)));
  }
  return shown;
}
