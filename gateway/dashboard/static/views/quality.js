// How often a stored answer was given to a question that it does not fit, as far as labels tell: lane by lane, with the
// interval against the target, how would-be hits are spread, and what the operator allows.

import { badge } from "../components/badge.js";
import { facts, figure } from "../components/card.js";
import { empty, failed } from "../components/empty.js";
import { histogram } from "../components/histogram.js";
import { intervalPicture } from "../components/interval.js";
import { segments } from "../components/segments.js";
import { useStyles } from "../components/styles.js";
import { complain, toast } from "../components/toast.js";
import { h, replace, uid } from "../dom.js";
import { count, percent, plural, score, tenantName } from "../format.js";
import { polled } from "../polled.js";

const MODES = [["off", "Off"], ["shadow", "Shadow"], ["on", "On"]];
const MODE_WORDS = {
  off: "Only equal requests are answered from memory.",
  shadow: "Would-be hits are generated all the same and compared: nothing is served, labels are gained.",
  on: "Hits that meet the target are served; a share of them is generated all the same, to keep the rate known.",
};
const EVERY_MS = 5000;

export const view = {
  path: "quality",
  title: "Quality",
  async mount(root, { api, live, params, go }) {
    await useStyles("../live.css");
    let chosen = params.get("lane");
    let lane = null; // the card that is shown
    const body = h("div", { class: "stack" });
    replace(
      root,
      h(
        "div",
        { class: "head" },
        h("h1", {}, "Quality"),
        h("p", { class: "sub" }, "How often an answer by meaning did not fit the question, as labels tell: from shadow samples, judges and users."),
      ),
      body,
    );

    const poll = polled(refresh, EVERY_MS);

    async function refresh(isGone) {
      try {
        const found = await api.get("quality");
        if (!isGone()) show(found);
      } catch (error) {
        if (isGone() || error.status === 401) return;
        if (!body.childElementCount) replace(body, h("div", { class: "card" }, failed("The labels could not be read", error)));
      }
    }

    function show(found) {
      if (!found.is_on) return replace(body, tierIsOff());
      if (!found.lanes.length) return replace(body, figures(found), found.is_ready ? noLanes() : loading());
      const current = found.lanes.find((one) => nameOf(one) === chosen) ?? busiest(found.lanes);
      if (lane?.name !== nameOf(current)) {
        lane = laneCard(current, api, poll.now);
        lane.name = nameOf(current);
      }
      lane.set(current, found.confidence);
      const choose = (one) => {
        chosen = nameOf(one);
        go(`/quality?lane=${encodeURIComponent(chosen)}`, { replace: true });
      };
      // what has the focus stays where it is: only what is around the card is made anew
      const around = found.lanes.length > 1 ? [figures(found), laneTable(found.lanes, current, choose)] : [figures(found)];
      if (lane.element.parentElement !== body) replace(body, ...around, lane.element);
      else {
        const focused = document.activeElement?.closest?.(".lanes") ? document.activeElement.dataset.lane : null;
        while (body.firstElementChild !== lane.element) body.firstElementChild.remove();
        lane.element.before(...around);
        if (focused) body.querySelector(`.lanes [data-lane="${CSS.escape(focused)}"]`)?.focus();
      }
    }

    const stop = live.on("state", (state) => state === "live" && poll.now());
    await poll.now();
    return {
      unmount() {
        poll.stop();
        stop();
      },
      update(_, next) {
        chosen = next.get("lane");
        poll.now();
      },
    };
  },
};

const nameOf = (lane) => `${lane.tenant}/${lane.route}`;
const busiest = (lanes) => lanes.reduce((a, b) => (weight(b) > weight(a) ? b : a));
const weight = (lane) => lane.wrong_hit_rate.known * 1000 + lane.served + lane.shadowed;

function tierIsOff() {
  return empty("The semantic tier is off", "Only equal requests are answered from memory. Set cache.semantic in the configuration to answer the same question in other words.");
}

function loading() {
  return empty("The semantic tier is being loaded", "Embedder and index are not there yet; equal requests are answered from memory meanwhile.");
}

function noLanes() {
  return empty("No question has had a neighbour yet", "Ask the same thing twice in other words: a lane appears for every tenant and route as soon as a stored question comes near.");
}

function figures(found) {
  const { estimate, upper, known, wrong } = found.wrong_hit_rate;
  const tried = Object.values(found.comparisons).reduce((a, b) => a + b, 0);
  const labels = Object.entries(found.labels);
  const total = labels.reduce((all, [, one]) => all + one.right + one.wrong, 0);
  return h(
    "div",
    { class: "tiles four" },
    figure("Wrong hits", known ? percent(estimate, 2) : "–", known ? `${count(wrong)} of ${plural(known, "hit")} whose outcome is known; under ${percent(upper, 1)} with 95 % confidence` : "No hit's outcome is known yet."),
    figure("Hits by meaning", count(found.decided.serve), `served since the start, ${count(found.decided.shadow)} kept back as samples`),
    figure("Labels", count(total), labels.length ? labels.map(([source, one]) => `${source} ${one.right} right, ${one.wrong} wrong`).join(" · ") : "They come from samples, a judge, or users."),
    figure("Answers compared", count(tried), tried ? Object.entries(found.comparisons).map(([what, n]) => `${n} ${what}`).join(", ") : "A fresh answer is compared with stored near ones."),
  );
}

function laneTable(lanes, current, choose) {
  const row = (lane) => {
    const { known, wrong, estimate, upper } = lane.wrong_hit_rate;
    const isCurrent = lane === current;
    return h(
      "tr",
      { "aria-current": isCurrent ? "true" : null },
      h("td", {}, h("button", { class: "link", "data-lane": nameOf(lane), onclick: () => choose(lane), title: lane.tenant }, tenantName(lane.tenant))),
      h("td", {}, lane.route),
      h("td", {}, modeBadge(lane.mode)),
      h("td", { class: "num" }, count(lane.served)),
      h("td", { class: "num" }, known ? `${wrong} of ${known}` : "–"),
      h("td", { class: "num" }, known ? `${percent(estimate, 1)} – ${percent(upper, 1)}` : "–"),
      h("td", { class: "num" }, percent(lane.max_wrong_hit_rate, 1)),
      h("td", {}, standing(lane)),
    );
  };
  const heads = [["Tenant"], ["Route"], ["Mode"], ["Served", "num"], ["Wrong", "num"], ["Rate – bound", "num"], ["Target", "num"], ["Standing"]];
  return h(
    "section",
    { class: "card flush lanes", "aria-label": "Lanes" },
    h("div", { class: "card-head" }, h("h2", {}, plural(lanes.length, "lane")), h("span", { class: "hint" }, "One for each tenant and route: what is learned of one is never used for another.")),
    h(
      "div",
      { class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Lanes" },
      h("table", {}, h("caption", { class: "visually-hidden" }, "Lanes of the semantic tier"), h("thead", {}, h("tr", {}, heads.map(([text, kind]) => h("th", { scope: "col", class: kind ?? null }, text)))), h("tbody", {}, lanes.map(row))),
    ),
  );
}

function modeBadge(mode) {
  return badge(mode, { on: "good", shadow: "accent", off: "" }[mode]);
}

/** What the interval says about the target. */
function standing(lane) {
  const { known, lower, upper } = lane.wrong_hit_rate;
  if (lane.mode === "off") return badge("off");
  if (known && lower > lane.max_wrong_hit_rate) return badge("over the target", "bad", "Even the lower bound is over the target.");
  if (known && upper <= lane.max_wrong_hit_rate) return badge("target shown", "good", "The upper bound is at or under the target.");
  return badge("too few labels", "warn", "The interval reaches over the target: more outcomes are needed to say.");
}

function laneCard(first, api, changed) {
  let now = first;
  const title = h("h2", {});
  const state = h("span", { class: "inline" });
  const interval = h("div", {});
  const spread = histogram();
  const refused = h("div", {});
  const known = h("div", {});
  const modeWords = h("p", { class: "hint" });
  const mode = segments("Mode", MODES, first.mode, (next) => put({ mode: next }, `Mode is ${next} now.`));
  const id = uid("target");
  const target = h("input", { id, type: "number", min: "0.01", max: "50", step: "0.01", value: asPercent(first), "aria-describedby": `${id}-hint` });
  const save = h("button", { class: "button", type: "submit", disabled: true }, "Set");
  const form = h("form", { class: "target", onsubmit: submit }, h("label", { for: id }, "Target: wrong hits of all hits, in percent"), h("div", { class: "inline" }, target, save), h("p", { class: "hint", id: `${id}-hint` }, "A lower target is stricter: fewer hits, fewer of them wrong."));
  target.addEventListener("input", () => {
    save.disabled = target.value === asPercent(now) || !target.checkValidity() || target.value === "";
  });

  async function put(change, words) {
    try {
      await api.send("PUT", "thresholds", { tenant: now.tenant, route: now.route, ...change });
      toast(words);
      await changed();
    } catch (error) {
      mode.set(now.mode);
      complain(error);
    }
  }

  async function submit(event) {
    event.preventDefault();
    const rate = Math.round(Number(target.value) * 1e6) / 1e8;
    save.disabled = true;
    await put({ max_wrong_hit_rate: rate }, `The target is ${percent(rate, 2)} now.`);
  }

  const element = h(
    "section",
    { class: "card lane", "aria-label": "Lane" },
    h("div", { class: "card-head" }, title, state),
    h(
      "div",
      { class: "lane-grid" },
      h("div", { class: "stack" }, interval, spread, refused),
      h(
        "div",
        { class: "lane-side stack" },
        h("div", { class: "field" }, h("span", { class: "label-text" }, "Mode"), mode, modeWords),
        form,
        h("p", { class: "hint" }, "Changes hold at once and until the next start. Write them into the configuration to keep them."),
        known,
      ),
    ),
  );

  return {
    element,
    set(lane, confidence) {
      const isEdited = document.activeElement === target || target.value !== asPercent(now);
      now = lane;
      if (!isEdited) target.value = asPercent(lane);
      replace(title, h("span", { title: lane.tenant }, tenantName(lane.tenant)), " / ", lane.route);
      replace(state, modeBadge(lane.mode), standing(lane));
      mode.set(lane.mode);
      modeWords.textContent = MODE_WORDS[lane.mode];
      replace(interval, intervalPicture(lane, confidence));
      spread.set(lane);
      replace(refused, refusals(lane));
      replace(known, sideFacts(lane));
    },
  };
}

const asPercent = (lane) => String(Math.round(lane.max_wrong_hit_rate * 1e6) / 1e4);

function sideFacts(lane) {
  const labels = Object.entries(lane.labels).map(([source, one]) => [`Labels, ${source}`, `${one.right} right, ${one.wrong} wrong`]);
  return facts([
    ["Threshold", h("span", { title: "Probability from which the next hit is served" }, score(lane.threshold))],
    ["Served", count(lane.served)],
    ["Samples", `${count(lane.shadowed)} (rate ${percent(lane.shadow_rate, 0)})`],
    ...labels,
    ["Verifier", h("span", { class: "mono", title: lane.verifier }, lane.verifier.split(":")[0])],
  ]);
}

/** Questions whose nearest neighbours were out of question, by what was in the way. */
function refusals(lane) {
  const reasons = Object.entries(lane.histograms.refused);
  if (!reasons.length) return null;
  const word = (reason) => reason.replace("guard_", "").replaceAll("_", " ");
  return [
    h("h3", { class: "gap" }, "Kept apart by guards"),
    h("div", { class: "inline" }, reasons.slice(0, 12).map(([reason, n]) => h("span", { class: "tag" }, `${word(reason)} `, h("strong", {}, count(n))))),
    h("p", { class: "hint" }, "Questions that came near a stored one but differ in what changes the answer."),
  ];
}
