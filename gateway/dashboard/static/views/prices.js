// What a million tokens of each model cost. A name may be a pattern; the longest that matches holds. Edited in place,
// saved as a whole: prices hold for everything that was counted, before and after.

import { figure } from "../components/card.js";
import { confirm, dialog } from "../components/dialog.js";
import { useStyles } from "../components/styles.js";
import { complain, toast } from "../components/toast.js";
import { h, replace } from "../dom.js";
import { icon } from "../icons.js";
import { money, percent, plural } from "../format.js";

const KINDS = [["prompt", "Prompt"], ["cached_prompt", "Cached prompt"], ["completion", "Completion"]];

export const view = {
  path: "prices",
  title: "Prices",
  async mount(root, { api }) {
    await useStyles("../live.css");
    let list = await api.get("prices");
    let sums = (await api.get("stats")).money;
    let gone = false;
    const rows = h("tbody");
    const told = h("div", {});
    const tiles = h("div", { class: "tiles four" });
    const state = h("span", { class: "hint", role: "status" });
    const currency = h("input", { type: "text", id: "currency", maxlength: "3", class: "currency", autocomplete: "off", spellcheck: "false" });
    const save = h("button", { class: "button primary", type: "submit" }, "Save prices");
    const undo = h("button", { class: "button", type: "button", onclick: () => fill() }, "Discard changes");
    const add = h("button", { class: "button", type: "button", onclick: () => addRow("", true) }, icon("plus"), "Add a model");
    const heads = [["Model or pattern"], ...KINDS.map(([, title]) => [title, "num"]), ["", "act"]];
    const table = h(
      "table",
      { class: "price-table" },
      h("caption", { class: "visually-hidden" }, "Prices of a million tokens"),
      h("thead", {}, h("tr", {}, heads.map(([text, kind]) => (text ? h("th", { scope: "col", class: kind ?? null }, text) : h("td", { class: kind }))))),
      rows,
    );
    const form = h(
      "form",
      { class: "card flush", onsubmit: submit, novalidate: true },
      h("div", { class: "card-head" }, h("h2", {}, "Price of a million tokens"), h("span", { class: "inline" }, h("label", { for: "currency" }, "Currency"), currency)),
      h("div", { class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Prices" }, table),
      h("div", { class: "price-actions" }, add, state, h("span", { class: "grow" }), undo, save),
    );
    form.addEventListener("input", changed);
    replace(
      root,
      h("div", { class: "head" }, h("h1", {}, "Prices"), h("p", { class: "sub" }, "What a stored answer saves is what its tokens would have cost; prompt tokens that were resumed save the difference between prompt and cached prompt.")),
      h("div", { class: "stack" }, tiles, told, form, patterns()),
    );
    const leaving = (event) => isChanged() && event.preventDefault();
    window.addEventListener("beforeunload", leaving);
    const keep = stayWhile(isChanged);
    fill();

    function fill() {
      currency.value = list.currency;
      replace(rows, Object.entries(list.models).map(([name, price]) => row(name, price, sums)));
      fillTiles(tiles, sums);
      replace(told, notes(list, (name) => addRow(name, true)));
      changed();
    }

    function addRow(name, isFocused) {
      const made = row(name, { prompt: "", cached_prompt: "", completion: "" }, sums);
      rows.append(made);
      changed();
      if (isFocused) made.querySelector(name ? "input.price" : "input").focus();
    }

    /** What stands in the table; raises at the first field that cannot be used. */
    function read() {
      const models = Object.create(null); // a model may have the name of what every object has
      for (const one of rows.children) {
        const [name, ...prices] = one.querySelectorAll("input");
        for (const input of [name, ...prices]) input.removeAttribute("aria-invalid");
        const key = name.value.trim();
        if (!key) throw complaint(name, "A model needs a name or a pattern.");
        if (Object.hasOwn(models, key)) throw complaint(name, `${key} is there twice.`);
        models[key] = Object.fromEntries(prices.map((input, at) => [KINDS[at][0], amount(input)]));
        if (models[key].cached_prompt > models[key].prompt) throw complaint(prices[1], "Cached prompt tokens cannot cost more than others.");
      }
      return { currency: currency.value.trim().toUpperCase(), models };
    }

    function isChanged() {
      try {
        const { currency: unit, models } = read();
        return unit !== list.currency || JSON.stringify(models) !== JSON.stringify(list.models);
      } catch {
        return true;
      }
    }

    function changed() {
      const is = isChanged();
      for (const input of rows.querySelectorAll("[aria-invalid]")) if (document.activeElement !== input) input.removeAttribute("aria-invalid");
      save.disabled = undo.disabled = !is;
      replace(state, is ? "Not saved yet" : list.is_shipped ? "List prices, not saved as yours" : "Saved");
    }

    async function submit(event) {
      event.preventDefault();
      if (save.disabled) return;
      try {
        const wanted = { ...read(), version: list.version };
        save.disabled = true;
        list = await api.send("PUT", "prices", wanted);
        sums = (await api.get("stats")).money;
        if (gone) return;
        toast("Prices are saved. They hold for everything that was counted since the start.");
        fill();
      } catch (error) {
        save.disabled = false;
        if (error.field) {
          error.field.setAttribute("aria-invalid", "true");
          error.field.focus();
          replace(state, h("span", { class: "bad-text" }, error.message));
        } else if (error.code === "prices_changed" && !gone) await readAgain(error).catch(complain);
        else complain(error);
      }
    }

    /** Somebody else has saved in between: nothing of his is lost unseen, nor of ours unasked. */
    async function readAgain({ message }) {
      const isSure = await confirm("Read the prices again?", `${message} What you changed on this page is then gone.`, "Read again");
      if (!isSure || gone) return;
      list = await api.get("prices");
      fill();
    }

    function row(name, price, totals) {
      const used = Object.hasOwn(totals.by_model, name) && totals.by_model[name];
      const drop = h("button", { class: "button quiet small square", type: "button", title: "Remove", "aria-label": `Remove ${name || "this model"}` }, icon("trash", 16));
      const made = h(
        "tr",
        {},
        h("td", {}, h("input", { type: "text", class: "name", value: name, title: name, "aria-label": "Model or pattern", autocomplete: "off", spellcheck: "false" }), used && h("span", { class: "why" }, `${money(used.saved, totals.currency)} saved, ${money(used.spent, totals.currency)} spent`)),
        KINDS.map(([key, title]) => h("td", { class: "num", "data-title": title }, h("input", { class: "price", inputmode: "decimal", type: "text", value: price[key], "aria-label": `${title}, ${name || "new model"}`, placeholder: key === "cached_prompt" ? "as prompt" : "0" }))),
        h("td", { class: "act" }, drop),
      );
      drop.addEventListener("click", () => {
        const next = made.nextElementSibling ?? made.previousElementSibling;
        made.remove();
        changed();
        (next?.querySelector("button") ?? add).focus();
      });
      return made;
    }

    return () => {
      gone = true;
      window.removeEventListener("beforeunload", leaving);
      keep();
    };
  },
};

/** Asks before a link leads away from what is not saved; the function returned ends that. */
function stayWhile(isChanged) {
  const clicked = async (event) => {
    const link = event.target.closest?.("a[href^='#/']");
    if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || !isChanged()) return;
    event.preventDefault();
    const isSure = await confirm("Leave without saving?", "The prices on this page were changed and are not saved.", "Leave");
    if (isSure) location.hash = link.hash;
  };
  document.addEventListener("click", clicked, true);
  return () => document.removeEventListener("click", clicked, true);
}

function amount(input) {
  const text = input.value.trim().replace(",", ".");
  if (text === "" && input.placeholder === "as prompt") return amount(input.closest("tr").querySelector("input.price"));
  const value = text === "" ? 0 : Number(text);
  if (!Number.isFinite(value) || value < 0 || value > 1e6) throw complaint(input, "A price is a number from 0 to 1,000,000.");
  return value;
}

function complaint(field, message) {
  return Object.assign(new Error(message), { field });
}

function fillTiles(tiles, { saved, spent, currency, by_model }) {
  const models = Object.values(by_model);
  const priced = models.filter((one) => one.is_priced).length;
  const whole = saved + spent;
  replace(
    tiles,
    figure("Saved", money(saved, currency), "since the start, at these prices"),
    figure("Spent", money(spent, currency), "on tokens that a model worked on"),
    figure("Share saved", whole > 0 ? percent(saved / whole, 0) : "–", "of what everything would have cost"),
    figure("Models priced", models.length ? `${priced} of ${models.length}` : "–", models.length ? "of those that had requests" : "No request yet."),
  );
}

function notes(list, addRow) {
  const unpriced = list.unpriced.map((name) => h("button", { class: "tag", type: "button", onclick: () => addRow(name) }, `+ ${name}`));
  return [
    unpriced.length > 0 && h("div", { class: "note-line warn" }, h("span", {}, `${plural(list.unpriced.length, "model")} had requests and ${list.unpriced.length === 1 ? "has no price, so what it saves" : "have no price, so what they save"} counts as nothing:`), unpriced),
    list.is_shipped && h("div", { class: "note-line" }, "These are list prices in US dollars as their makers told them in autumn 2025. Change them to what you pay, then save."),
  ];
}

function patterns() {
  const show = () =>
    dialog("How a price is found", (close) => [
      h("p", {}, "A name written out wins, for dated versions of that model too: gpt-4o-2024-08-06 is a gpt-4o. Else the longest pattern that matches: * stands for any characters, ? for one. So my-model-mini* wins over my-model* and over *."),
      h("p", {}, "A model without a price costs nothing and saves nothing; * gives every other model one, a local model with the cost of its machine for example."),
      h("div", { class: "dialog-actions" }, h("button", { class: "button primary", onclick: () => close() }, "Close")),
    ]);
  return h("p", { class: "hint" }, "Names may be patterns, and empty fields are zero. ", h("button", { class: "link", type: "button", onclick: show }, "How a price is found"));
}
