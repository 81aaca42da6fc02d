// Requests: the last ones as they come in, and why each of them was answered the way it was.

import { badge, tierBadge } from "../components/badge.js";
import { empty, failed, loading } from "../components/empty.js";
import { query } from "../api.js";
import { h, replace } from "../dom.js";
import { clock, count, ms, short } from "../format.js";
import { reason } from "../words.js";
import { mountAsk } from "./ask.js";
import { mountServed } from "./served.js";

const SHOWN = 200;
const TIERS = ["", "exact", "semantic", "kv", "full", "error"];

export const view = {
  path: "requests",
  title: "Requests",
  mount(root, context) {
    const [id] = context.path;
    if (id === "ask") return mountAsk(root, context);
    return id ? mountServed(root, context, id) : mountList(root, context);
  },
};

function mountList(root, { api, live, params }) {
  let tier = TIERS.includes(params.get("tier")) ? params.get("tier") : "";
  let rows = [];
  let isHeld = false;
  let frame = 0;
  const buttons = TIERS.map((name) => h("button", { type: "button", onclick: () => choose(name) }, name === "error" ? "errors" : name || "all"));
  const hold = h("button", { class: "button", "aria-pressed": "false", onclick: toggle }, "Hold");
  const body = h("tbody");
  const heads = [["When"], ["Tier"], ["Question", "wide-cell"], ["Model", "model"], ["First token", "num ttft"], ["Total", "num"], ["Saved", "num saved"]];
  const table = h(
    "section",
    { class: "card flush", "aria-label": "Last requests" },
    h(
      "table",
      { class: "requests" },
      h("caption", { class: "visually-hidden" }, "Last requests, newest first"),
      h("thead", {}, h("tr", {}, heads.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))),
      body,
    ),
  );
  const place = h("div", {}, loading());
  replace(
    root,
    h(
      "div",
      { class: "head" },
      h("h1", {}, "Requests"),
      h("div", { class: "segments", role: "group", "aria-label": "Tier" }, buttons),
      hold,
      h("a", { class: "button", href: "#/requests/ask" }, "Ask why…"),
    ),
    place,
  );
  const stops = [
    live.on("request", (line) => {
      if (tier && line.tier !== tier) return; // one that is not shown pushes none out that is
      rows = [line, ...rows].slice(0, SHOWN);
      if (!isHeld) soon();
    }),
    live.on("state", (state) => state === "live" && read()),
    live.on("missed", read),
  ];
  choose(tier);
  return () => [...stops, () => cancelAnimationFrame(frame)].forEach((stop) => stop());

  /** Once per frame, however many came. */
  function soon() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      show();
    });
  }

  function choose(name) {
    tier = name;
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(TIERS[at] === tier)));
    history.replaceState(null, "", `#/requests${query({ tier })}`);
    read();
  }

  function toggle() {
    isHeld = !isHeld;
    hold.setAttribute("aria-pressed", String(isHeld));
    if (!isHeld) show();
  }

  async function read() {
    const wanted = tier;
    try {
      const { data } = await api.get(`requests${query({ limit: SHOWN, tier })}`);
      if (wanted !== tier) return; // another was chosen meanwhile
      rows = data;
      show();
    } catch (error) {
      if (error.status === 0 && rows.length) return; // the banner says it
      if (error.status !== 401) replace(place, h("div", { class: "card" }, failed("The requests could not be read", error)));
    }
  }

  function show() {
    const fitting = rows.filter((line) => !tier || line.tier === tier);
    if (!fitting.length) {
      const what = tier === "error" ? "No request failed lately" : tier ? `No request was answered by the ${tier} tier lately` : "No request has come in since the start";
      const open = h("a", { class: "button primary", href: "#/playground" }, "Open the playground");
      replace(place, h("div", { class: "card" }, empty(what, "Requests show up here by themselves, the newest first.", open)));
      return;
    }
    replace(body, fitting.map(row));
    if (!table.isConnected) replace(place, table);
  }
}

function row(line) {
  const isError = line.status >= 400 || line.error;
  const words = line.question ?? (isError ? String(line.error ?? "error").replaceAll("_", " ") : "(no question of its own)");
  return h(
    "tr",
    {},
    h("td", { class: "muted" }, clock(line.t)),
    h("td", {}, isError ? badge(String(line.status), "bad") : tierBadge(line.tier)),
    h(
      "td",
      { class: "wide-cell" },
      line.id && !isError
        ? h("a", { class: "clip-2", dir: "auto", href: `#/requests/${encodeURIComponent(line.id)}`, title: reason(line.reason) }, words)
        : h("span", { class: "clip-2 muted" }, words),
    ),
    h("td", { class: "muted model" }, line.model),
    h("td", { class: "num ttft" }, ms(line.ttft_ms)),
    h("td", { class: "num" }, ms(line.total_ms)),
    h("td", { class: "num saved", title: `${count(line.saved_tokens)} tokens` }, line.saved_tokens ? `${short(line.saved_tokens)} tok` : "–"),
  );
}
