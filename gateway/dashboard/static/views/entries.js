// Entries: look for stored answers by their words or by what they mean; open one, take many out of service.

import { badge } from "../components/badge.js";
import { empty, failed, loading } from "../components/empty.js";
import { longList } from "../components/rows.js";
import { query } from "../api.js";
import { debounced, h, replace } from "../dom.js";
import { ago, bytes, count, plural, score, span } from "../format.js";
import { icon } from "../icons.js";
import { invalidate } from "./invalidate.js";
import { mountEntry } from "./entry.js";

const PAGE = 100;
const FILTERS = [
  ["tag", "Tag"],
  ["model", "Model"],
  ["namespace", "Namespace"],
  ["tenant", "Tenant"],
];

/** The list as somebody left it to look at an entry: what was asked for and found, and how far down they were. */
const left = { search: "", rows: [], next: null, told: "", top: 0, opened: null };

export const view = {
  path: "entries",
  title: "Entries",
  async mount(root, context) {
    if (!context.path.length) return mountList(root, context);
    await mountEntry(root, { ...context, back: `/entries${left.search}`, gone: forget }, context.path[0]);
    return { unmount: () => location.hash.startsWith("#/entries") || forget() };
  },
};

/** Some of what was found is there no more: look for it again. */
function forget() {
  left.rows = [];
}

function mountList(root, { api, params }) {
  const wanted = { mode: params.get("meaning") !== null ? "meaning" : "text", text: params.get("meaning") ?? params.get("text") ?? "" };
  const filters = Object.fromEntries(FILTERS.map(([name]) => [name, params.get(name) ?? ""]));
  let rows = [];
  let next = null;
  let isBusy = false;
  let isLeft = false;
  let asking = null;

  const typed = debounced(() => search(), 250);
  const input = h("input", {
    type: "search",
    value: wanted.text,
    "aria-label": "Search entries",
    oninput: typed,
    onkeydown: (event) => event.key === "Enter" && search(),
  });
  const modes = ["text", "meaning"].map((mode) =>
    h("button", { type: "button", onclick: () => choose(mode) }, mode === "text" ? "Words" : "Meaning"),
  );
  const fields = FILTERS.map(([name, title]) =>
    h(
      "label",
      { class: "field" },
      title,
      h("input", { type: "text", value: filters[name], spellcheck: "false", oninput: debounced((event) => filter(name, event.target.value), 300) }),
    ),
  );
  const more = h("details", { class: "filters", open: Object.values(filters).some(Boolean) }, h("summary", {}, "Filters"), h("div", { class: "grid" }, fields));
  const told = h("p", { class: "muted told", role: "status" });
  const list = longList({ label: "Entries", draw, more: readMore });
  const titles = [["Question"], [""], ["Model"], ["Hits", "num"], ["Took", "num took"], ["Size", "num size"], ["Made", "num"]];
  const heads = titles.map(([title, kind]) => h("span", { class: kind }, title));
  const body = h(
    "section",
    { class: "card flush", "aria-label": "Found entries", hidden: true },
    h("div", { class: "found-head", "aria-hidden": "true" }, heads),
    list.element,
  );
  const nothing = h("div", { hidden: true });

  replace(
    root,
    h(
      "div",
      { class: "head" },
      h("h1", {}, "Entries"),
      h("button", { class: "button danger", onclick: () => removeMany() }, icon("trash", 16), "Invalidate…"),
    ),
    h(
      "div",
      { class: "stack" },
      h(
        "div",
        { class: "finder" },
        h("div", { class: "searchbox" }, icon("search"), input),
        h("div", { class: "segments", role: "group", "aria-label": "Search by" }, modes),
      ),
      more,
      told,
      nothing,
      body,
    ),
  );
  showMode();
  if (left.rows.length && left.search === query(criteria())) restore();
  else search(false);
  return {
    unmount() {
      isLeft = true;
      const isWhole = location.hash.startsWith("#/entries/") && !body.hasAttribute("aria-busy");
      Object.assign(left, { search: query(criteria()), rows: isWhole ? rows : [], next, told: told.textContent, top: scrollY });
      list.stop();
      asking?.abort();
    },
  };

  /** Where somebody was before they opened an entry. */
  function restore() {
    rows = left.rows;
    next = left.next;
    told.textContent = left.told;
    say(null);
    asking = new AbortController();
    list.set(rows);
    list.show(left.top, left.opened);
  }

  function choose(mode) {
    wanted.mode = mode;
    showMode();
    input.focus();
    if (wanted.text) search();
  }

  function showMode() {
    modes.forEach((button, at) => button.setAttribute("aria-pressed", String((at === 1) === (wanted.mode === "meaning"))));
    input.placeholder = wanted.mode === "meaning" ? "A question, in your own words" : "Words of a question or an answer";
  }

  function filter(name, value) {
    filters[name] = value.trim();
    search();
  }

  function criteria() {
    return { ...filters, [wanted.mode]: wanted.text };
  }

  async function search(isNew = true) {
    typed.cancel();
    if (isLeft || location.hash.startsWith("#/entries/")) return; // what was typed last, and an entry opened at once
    wanted.text = input.value.trim();
    const asked = criteria();
    if (isNew) history.replaceState(null, "", `#/entries${query(asked)}`);
    asking?.abort();
    asking = new AbortController();
    isBusy = true;
    body.setAttribute("aria-busy", "true");
    if (!rows.length) say(loading());
    try {
      const found = await api.get(`entries${query({ ...asked, limit: PAGE })}`, { signal: asking.signal });
      rows = found.data;
      next = found.next;
      tell(found);
    } catch (error) {
      if (error.name === "AbortError" || error.status === 401) return;
      rows = [];
      next = null;
      told.textContent = "";
      say(h("div", { class: "card" }, failed("The entries could not be read", error)));
    }
    isBusy = false;
    body.removeAttribute("aria-busy");
    list.set(rows);
  }

  /** Something in the place of the list; null: the list. */
  function say(something) {
    replace(nothing, something);
    nothing.hidden = something === null;
    body.hidden = something !== null;
  }

  function tell(found) {
    say(rows.length ? null : h("div", { class: "card" }, none()));
    if (!rows.length) told.textContent = "";
    else if (wanted.mode === "meaning" && wanted.text) {
      const rest = found.is_whole ? "" : ", as many as there was time for";
      told.textContent = `The nearest ${count(rows.length)} of ${plural(found.searched, "question")}${rest}`;
    } else told.textContent = plural(found.total, "entry", "entries");
  }

  function none() {
    if (wanted.text || Object.values(filters).some(Boolean)) {
      return empty("Nothing was found", "No stored question or answer meets all of this. Try fewer words, or search by meaning.");
    }
    return empty(
      "Nothing is stored yet",
      "Every answer that ends by itself is kept, and shows up here. Ask something through the gateway to make the first.",
      h("a", { class: "button primary", href: "#/playground" }, "Open the playground"),
    );
  }

  async function readMore() {
    if (isBusy || !next) return;
    isBusy = true;
    const mine = asking;
    try {
      const found = await api.get(`entries${query({ ...criteria(), limit: PAGE, after: next })}`, { signal: mine.signal });
      if (mine !== asking) return;
      rows = rows.concat(found.data);
      next = found.next;
      list.set(rows, true);
    } catch (error) {
      if (error.name !== "AbortError") next = null;
    } finally {
      if (mine === asking) isBusy = false;
    }
  }

  function draw(row, index) {
    return h(
      "li",
      {},
      h(
        "a",
        { class: "entry-row", href: `#/entries/${encodeURIComponent(row.id)}`, onclick: () => (left.opened = index) },
        h("span", { class: "question clip", dir: "auto" }, row.preview || "(no text)"),
        h(
          "span",
          { class: "marks" },
          row.similarity !== undefined && badge(score(row.similarity), "semantic", "similarity to what you look for"),
          row.alias_of && badge("alias", "accent", "another wording of a stored question"),
          row.bad > 0 && badge(`${row.bad} bad`, "bad"),
          row.good > 0 && badge(`${row.good} good`, "good"),
          row.tags.slice(0, 2).map((tag) => h("span", { class: "tag" }, tag)),
          row.tags.length > 2 && h("span", { class: "muted" }, `+${row.tags.length - 2}`),
        ),
        h("span", { class: "model clip muted" }, row.model),
        h("span", { class: "num hits" }, count(row.hits), h("span", { class: "visually-hidden" }, row.hits === 1 ? " hit" : " hits")),
        h("span", { class: "num took muted", title: "what it took to make" }, span(row.elapsed_s)),
        h("span", { class: "num size muted" }, bytes(row.size_bytes)),
        h("span", { class: "num age muted" }, ago(row.created_s)),
      ),
    );
  }

  async function removeMany() {
    const given = Object.fromEntries(FILTERS.map(([name], at) => [name, fields[at].querySelector("input").value.trim()]));
    const searched = input.value.trim();
    const note = searched && `Your search for “${searched}” is no part of this: whatever meets the fields below goes, found by it or not.`;
    const done = await invalidate(api, given, note);
    if (done) search(false);
  }
}
