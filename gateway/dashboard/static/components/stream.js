// The live stream of requests: so many rows and no more, put on the page once per frame however many came.

import { h } from "../dom.js";
import { NONE, clock, count, money, ms } from "../format.js";
import { reason } from "../words.js";
import { tierBadge, badge } from "./badge.js";

const ROWS = 100;

/** A table with `add(line)`, `fill(lines)` (newest first), `pause(whether)`, `only(tier)`. */
export function requestStream({ currency = "USD" } = {}) {
  const body = h("tbody");
  const heads = [["Time"], ["Tier"], ["Question"], ["Model", "mid"], ["First", "num"], ["Total", "num"], ["Saved", "num"]];
  const table = h(
    "table",
    { class: "stream" },
    h("caption", { class: "visually-hidden" }, "Requests as they end, newest first"),
    h("thead", {}, h("tr", {}, heads.map(([text, kind]) => h("th", { scope: "col", class: kind ?? null }, text)))),
    body,
  );
  const element = h("div", { class: "table-wrap stream-wrap", tabindex: "0", role: "region", "aria-label": "Live requests" }, table);
  let waiting = []; // oldest first
  let frame = 0;
  let isPaused = false;
  let tier = "";
  let unit = currency;

  function flush() {
    frame = 0;
    if (isPaused) return;
    const rows = document.createDocumentFragment();
    for (let at = waiting.length - 1; at >= 0; at -= 1) rows.append(row(waiting[at], unit));
    waiting = [];
    body.prepend(rows);
    while (body.childElementCount > ROWS) body.lastElementChild.remove();
    element.onrows?.(body.childElementCount);
  }

  function soon() {
    if (!frame && !isPaused) frame = requestAnimationFrame(flush);
  }

  element.add = (line) => {
    if (tier && line.tier !== tier) return;
    waiting.push(line);
    if (waiting.length > ROWS) waiting.shift(); // nobody looks, or it is paused: the newest are kept
    soon();
  };
  element.fill = (lines) => {
    waiting = lines.slice(0, ROWS).reverse();
    body.replaceChildren();
    if (isPaused) {
      isPaused = false;
      flush();
      isPaused = true;
    } else flush();
  };
  element.pause = (whether) => {
    isPaused = whether;
    if (!whether) soon();
  };
  element.only = (wanted) => {
    tier = wanted;
  };
  element.setCurrency = (next) => {
    unit = next;
  };
  element.destroy = () => cancelAnimationFrame(frame);
  return element;
}

function row(line, currency) {
  const isError = line.tier === "error";
  const name = line.question ?? (isError ? line.error : null);
  const shown = name ? h("span", { class: "clip", dir: "auto" }, name) : h("span", { class: "muted" }, "not shown");
  return h(
    "tr",
    {},
    h("td", { class: "muted" }, clock(line.t)),
    h("td", {}, isError ? badge([h("span", { class: "wide" }, "error"), ` ${line.status}`], "bad", line.error) : tierBadge(line.tier)),
    h("td", {}, line.id && !isError ? h("a", { class: "row-link clip", href: `#/requests/${line.id}`, title: name }, shown) : shown, h("span", { class: "why", title: isError ? null : reason(line.reason) }, line.reason.replaceAll("_", " "))),
    h("td", { class: "mid" }, h("span", { class: "clip" }, line.model || NONE)),
    h("td", { class: "num" }, ms(line.ttft_ms)),
    h("td", { class: "num" }, ms(line.total_ms)),
    h("td", { class: "num" }, saved(line, currency)),
  );
}

function saved(line, currency) {
  if (!line.saved_tokens) return h("span", { class: "muted" }, NONE);
  const worth = line.saved_money > 0 ? h("span", { class: "why" }, money(line.saved_money, currency)) : null;
  return [`${count(line.saved_tokens)} tok`, worth];
}
