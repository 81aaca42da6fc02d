// KV cache: what the local engines keep of prompts they have read, in which tier, and which prefixes people share most.

import { query } from "../api.js";
import { card, facts, figure } from "../components/card.js";
import { confirm } from "../components/dialog.js";
import { empty, failed, loading } from "../components/empty.js";
import { icicle } from "../components/icicle.js";
import { prefixTree, treeOf } from "../components/prefixtree.js";
import { segments } from "../components/segments.js";
import { useStyles } from "../components/styles.js";
import { complain, toast } from "../components/toast.js";
import { h, replace } from "../dom.js";
import { bytes, count, ms, percent, plural, short } from "../format.js";
import { polledWithRequests } from "../polled.js";

const EVERY_MS = 5000;
const SOON_MS = 1100; // after a request: engines are asked once a second at most
const NODES = 80;
const MIB = 1024 * 1024;
const MISSES = {
  no_prefix: "nothing like it was kept",
  below_block: "what is kept of it is too short to use",
  evicted: "it was kept, and made way for others",
  disabled: "nothing is kept (engine.kv_mb is 0)",
  breakeven: "to load it would have taken longer than to compute it",
  tier_error: "disk or Redis failed",
};
const TIER_NAMES = { ram: "Memory", disk: "Disk", redis: "Redis" };

export const view = { path: "kv", title: "KV cache", mount };

async function mount(root, { api, live }) {
  await useStyles("../kv.css");
  const open = new Set();
  let chosen = "";
  let last = "";
  const place = h("div", { class: "stack" }, loading());
  const choice = h("span");
  const clear = h("button", { class: "button", onclick: forget }, "Forget all…");
  replace(root, h("div", { class: "head" }, h("h1", {}, "KV cache"), choice, clear), place);
  const poll = polledWithRequests(read, EVERY_MS, live, SOON_MS);
  await poll.now();
  return poll.stop;

  async function read(isGone) {
    try {
      const { models } = await api.get(`kv${query({ nodes: NODES })}`);
      const told = JSON.stringify(models);
      if (!isGone() && told !== last && !root.querySelector(".prefix summary:active")) {
        last = told;
        show(models);
      }
    } catch (error) {
      if (!isGone() && !last && error.status !== 401) {
        replace(place, h("div", { class: "card" }, failed("The engines could not be asked", error)));
      }
    }
  }

  function show(models) {
    const names = Object.keys(models);
    clear.hidden = !names.length;
    if (!names.length) {
      const text =
        "Keys and values are kept by engines in this gateway. Servers behind it keep their own: what they report as " +
        "cached stands with the backends.";
      const link = h("a", { class: "button", href: "#/backends" }, "See the backends");
      return replace(place, h("div", { class: "card" }, empty("There is no local model", text, link)));
    }
    if (!names.includes(chosen)) chosen = names[0];
    replace(choice, names.length > 1 && segments("Model", names.map((name) => [name, name]), chosen, choose));
    const focused = root.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : null;
    replace(place, shownModel(models[chosen]));
    if (focused) place.querySelector(`[data-key="${CSS.escape(focused)}"] > summary`)?.focus();
    return null;
  }

  function choose(name) {
    chosen = name;
    last = "";
    poll.now();
  }

  function shownModel(model) {
    const { tiers, counters, prefixes } = model;
    if (counters.lookups === undefined) {
      const text = "It is starting, or starting again after it ended. What it keeps shows up here by itself.";
      return h("div", { class: "card" }, empty("The engine is not there yet", text, h("a", { class: "button", href: "#/backends" }, "See the backends")));
    }
    const misses = Object.entries(counters).filter(([name, times]) => name.startsWith("miss_") && times);
    return [
      tiles(tiers, counters, prefixes),
      h("div", { class: "kv-columns" }, occupancy(model), why(misses, counters.lookups)),
      shared(prefixes),
    ];
  }

  function shared(prefixes) {
    const title = "Most shared prefixes";
    if (!prefixes) return card(title, empty("The engine is not there", "It is starting, or starting again. It is asked every few seconds."));
    if (!prefixes.nodes.length) {
      const text = "A prefix shows up here once a second request begins with the same words: a system prompt, a document, a conversation that goes on.";
      return card(title, empty("Nothing has been found twice yet", text, h("a", { class: "button primary", href: "#/playground" }, "Open the playground")));
    }
    const roots = treeOf(prefixes.nodes);
    const tree = prefixTree(roots, open);
    const note = `${short(prefixes.saved)} tokens saved by what is in memory now; ${plural(prefixes.found_blocks, "block")} of ${count(prefixes.blocks)} were found at least once.`;
    return h(
      "section",
      { class: "card", "aria-label": title },
      h("h2", {}, title),
      h("p", { class: "hint prefix-note" }, note),
      icicle(roots, (node) => pick(tree, node)),
      tree,
    );
  }

  function pick(tree, node) {
    const details = tree.querySelector(`[data-key="${CSS.escape(node.key)}"]`);
    if (!details) return;
    details.open = true;
    details.querySelector("summary").focus({ preventScroll: true });
    details.scrollIntoView({ block: "center" });
  }

  async function forget() {
    const text = `Every prefix that ${chosen} keeps is forgotten, in memory, on disk and in Redis. Answers stay. The next requests are read from the start.`;
    if (!(await confirm("Forget all kept prefixes?", text, "Forget all"))) return;
    try {
      await api.send("DELETE", `kv${query({ model: chosen })}`);
      toast(`${chosen} keeps no prefix any more.`);
      await poll.now();
    } catch (error) {
      complain(error);
    }
  }
}

function tiles(tiers, counters, prefixes) {
  const hits = counters.lookups - Object.entries(counters).reduce((sum, [name, n]) => sum + (name.startsWith("miss_") ? n : 0), 0);
  const share = counters.asked_tokens ? counters.hit_tokens / counters.asked_tokens : null;
  const cold = (tiers.disk?.hit_tokens ?? 0) + (tiers.redis?.hit_tokens ?? 0);
  return h(
    "div",
    { class: "five" },
    figure("Tokens not computed", short(counters.hit_tokens), share === null ? "nothing has been asked yet" : `${percent(share)} of ${short(counters.asked_tokens)} asked`),
    figure("Lookups that hit", counters.lookups ? percent(hits / counters.lookups) : "–", `${count(hits)} of ${count(counters.lookups)}`),
    figure("From disk or Redis", short(cold), "tokens not computed"),
    figure("Let go for room", count(counters.evicted_blocks), "blocks"),
    figure("Tenants and salts", prefixes ? count(prefixes.salts) : "–", "kept apart"),
  );
}

function occupancy({ tiers, settings }) {
  return h(
    "section",
    { class: "card", "aria-label": "What is kept where" },
    h("h2", {}, "What is kept where"),
    h("div", { class: "stack" }, Object.entries(tiers).map(([name, tier]) => (name === "ram" ? memory(tier) : cold(name, tier, settings)))),
    h("p", { class: "hint kv-foot" }, `When memory is full, blocks go by the policy “${settings.kv_policy}”.`),
  );
}

function memory(tier) {
  const parts = [
    ["leased", "in use", tier.blocks_leased],
    ["pinned", "pinned", tier.blocks_pinned],
    ["cached", "kept", Math.max(0, tier.blocks_cached - tier.blocks_pinned)],
    ["free", "free", tier.blocks_free],
  ];
  const total = Math.max(1, tier.blocks_total);
  const used = tier.budget_bytes ? `${bytes(tier.resident_bytes)} of ${bytes(tier.budget_bytes)}` : "keeps nothing (engine.kv_mb is 0)";
  return bar("ram", used, parts.map(([kind, word, blocks]) => [kind, `${plural(blocks, "block")} ${word}`, blocks / total]), `${short(tier.hit_tokens)} tokens found`);
}

function cold(name, tier, settings) {
  const budget = name === "disk" ? settings.kv_disk_mb * MIB : 0;
  const hasSize = tier.resident_bytes !== undefined;
  const share = budget ? Math.min(1, tier.resident_bytes / budget) : 0;
  const used = !hasSize ? "how full it is, Redis says itself" : budget ? `${bytes(tier.resident_bytes)} of ${bytes(budget)}` : bytes(tier.resident_bytes);
  const parts = hasSize ? [["cached", `${plural(tier.blocks, "block")} in ${plural(tier.segments, "segment")}`, share], ["free", "", 1 - share]] : [];
  const speed = tier.bytes_per_s ? `, read at ${bytes(tier.bytes_per_s)}/s${tier.latency_us >= 100 ? `, first answer after ${ms(tier.latency_us / 1000)}` : ""}` : "";
  const trouble = tier.errors + tier.bad + tier.failures;
  const note = `${short(tier.hit_tokens)} tokens found in ${plural(tier.hits, "hit")}${speed}, ${bytes(tier.write_bytes)} written${trouble ? `, ${plural(trouble, "fault")}` : ""}`;
  return bar(name, used, parts, note);
}

function bar(name, used, parts, note) {
  const told = parts.map(([, text]) => text).filter(Boolean);
  return h(
    "div",
    { class: "tier-bar" },
    h("div", { class: "tier-head" }, h("h3", {}, TIER_NAMES[name] ?? name), h("span", { class: "muted" }, used)),
    parts.length > 0 && h("div", { class: "occupancy", role: "img", "aria-label": `${TIER_NAMES[name] ?? name}: ${told.join(", ")}` }, parts.map(([kind, text, share]) => share > 0 && h("span", { class: kind, style: { "flex-grow": share }, title: text || null }))),
    parts.length > 0 && h("div", { class: "legend-row" }, parts.filter(([, text]) => text).map(([kind, text]) => h("span", {}, h("i", { class: kind, "aria-hidden": "true" }), text))),
    h("p", { class: "hint" }, note),
  );
}

function why(misses, lookups) {
  const body = misses.length
    ? facts(misses.sort((one, other) => other[1] - one[1]).map(([name, times]) => [MISSES[name.slice(5)] ?? name, count(times)]))
    : h("p", { class: "muted" }, lookups ? "Every lookup found something." : "Nothing has been asked yet.");
  return card("Why nothing was found", body);
}
