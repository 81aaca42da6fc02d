// Keys for callers: who has one, what it opens, how long; made, rotated and ended. A key's text is shown once, when it is
// made: on the page, not in a dialog that a click beside it would close for good.

import { badge } from "../components/badge.js";
import { confirm, dialog } from "../components/dialog.js";
import { empty, failed, loading } from "../components/empty.js";
import { table } from "../components/table.js";
import { complain, toast } from "../components/toast.js";
import { h, replace } from "../dom.js";
import { NONE, ago, moment, plural, tenantName } from "../format.js";
import { icon } from "../icons.js";

const EVERY_MS = 5000;
const MOST = 200; // rows at once
const SCOPES = [
  ["chat", "Ask: everything below /v1 that answers"],
  ["feedback", "Say whether an answer was good"],
  ["admin:read", "Look at what this dashboard shows"],
  ["admin:write", "Change it, keys included"],
];
const ENDS = [["", "Never"], ["86400", "After a day"], ["604800", "After a week"], ["2592000", "After 30 days"], ["31536000", "After a year"]];
const GRACES = [["0", "At once"], ["3600", "After an hour"], ["86400", "After a day"], ["604800", "After a week"]];
const STATES = { active: "good", revoked: "bad", expired: "warn" };

export const view = { path: "keys", title: "Keys", mount };

async function mount(root, { api }) {
  let all = null;
  let last = "";
  let gone = false;
  const place = h("div", {}, loading());
  const fresh = h("div", { role: "status" });
  const filter = h("input", { type: "search", "aria-label": "Find a key", placeholder: "Name, beginning, tenant", oninput: () => show() });
  const ended = h("input", { type: "checkbox", onchange: () => show() });
  const create = h("button", { class: "button primary", type: "button", onclick: make }, icon("plus"), "New key");
  replace(
    root,
    h("div", { class: "head" }, h("h1", {}, "Keys"), create, h("p", { class: "sub" }, "Whoever sends a key is its tenant, however often it is rotated. Kept is a hash: a key that is lost is rotated, not found.")),
    h("div", { class: "stack" }, fresh, h("div", { class: "inline" }, h("div", { class: "searchbox" }, icon("search"), filter), h("label", { class: "check" }, ended, "Ended ones, too")), place),
  );
  await read();
  const timer = setInterval(read, EVERY_MS);
  return () => {
    gone = true;
    clearInterval(timer);
  };

  async function read() {
    try {
      const { data } = await api.get("keys");
      const told = JSON.stringify(data);
      if (gone || told === last) return;
      last = told;
      all = data;
      show();
    } catch (error) {
      if (!gone && !all && error.status !== 401) replace(place, h("div", { class: "card" }, failed("The keys could not be read", error)));
    }
  }

  function show() {
    if (!all) return null;
    const held = document.activeElement?.dataset?.act;
    const wanted = filter.value.trim().toLowerCase();
    const found = all.filter((one) => (ended.checked || one.state === "active") && (!wanted || [one.name, one.prefix, one.id, one.tenant].some((text) => text.toLowerCase().includes(wanted))));
    if (!found.length) {
      const text = all.length ? "No key is as you ask." : "Without keys every credential is a tenant of its own, and who sends none is anonymous.";
      return replace(place, h("div", { class: "card" }, empty(all.length ? "Nothing found" : "There is no key yet", text)));
    }
    const more = found.length > MOST && h("p", { class: "hint" }, `The newest ${MOST} of ${plural(found.length, "key")}.`);
    replace(place, h("section", { class: "card flush", "aria-label": "Keys" }, table("Keys", columns(), found.slice(0, MOST))), more);
    if (held) place.querySelector(`[data-act="${CSS.escape(held)}"]`)?.focus();
    return null;
  }

  function columns() {
    return [
      { title: "Name", cell: (one) => [h("div", { dir: "auto" }, one.name || NONE), h("div", { class: "hint mono" }, one.prefix ? `${one.prefix}…` : one.id)] },
      { title: "State", cell: (one) => [badge(one.state, STATES[one.state]), h("div", { class: "hint" }, one.ends_s === null ? "no end" : `${one.state === "active" ? "until" : "since"} ${moment(one.ends_s)}`)] },
      { title: "Opens", cell: (one) => h("span", { class: "inline" }, one.scopes.map((scope) => h("span", { class: "tag" }, scope)), one.policy && h("span", { class: "tag", title: JSON.stringify(one.policy) }, "policy")) },
      { title: "Tenant", cell: (one) => h("span", { class: "mono", title: one.tenant }, tenantName(one.tenant)) },
      { title: "Last used", cell: (one) => (one.last_used_s === null ? NONE : h("span", { title: moment(one.last_used_s) }, ago(one.last_used_s))) },
      { title: "Actions", class: "act", cell: (one) => one.state === "active" && h("span", { class: "inline" }, act(one, "Rotate", rotate), act(one, "Revoke", revoke)) },
    ];
  }

  function act(one, word, run) {
    return h("button", { class: `button small${word === "Revoke" ? " danger" : ""}`, type: "button", "data-act": `${word} ${one.id}`, "aria-label": `${word} ${one.name}`, onclick: () => run(one) }, `${word}…`);
  }

  async function make() {
    const body = await wish();
    if (body) await done(() => api.send("POST", "keys", body), shown);
  }

  async function rotate(one) {
    const grace = h("select", { name: "grace" }, GRACES.map(([value, text]) => h("option", { value }, text)));
    const isSure = await dialog(`Rotate ${one.name}?`, (close) => [
      h("p", {}, "There is another text for the same tenant, with the same scopes and end."),
      h("label", { class: "field" }, "The old one ends", grace),
      h("div", { class: "dialog-actions" }, h("button", { class: "button", onclick: () => close(false) }, "Cancel"), h("button", { class: "button primary", onclick: () => close(true) }, "Rotate")),
    ]);
    if (isSure) await done(() => api.send("POST", `keys/${one.id}/rotate`, { grace_s: Number(grace.value) }), shown);
  }

  async function revoke(one) {
    if (!(await confirm(`Revoke ${one.name}?`, "Whoever sends it is refused from now on, by every gateway within seconds. It cannot be taken back.", "Revoke"))) return;
    await done(() => api.send("DELETE", `keys/${one.id}`), () => toast(`${one.name} is revoked.`));
  }

  async function done(work, then) {
    try {
      then(await work());
      await read();
    } catch (error) {
      complain(error);
    }
  }

  /** The text of a new key, until somebody has it. */
  function shown(made) {
    const text = h("input", { type: "text", class: "mono", readonly: true, value: made.key, "aria-label": `Key of ${made.name}`, onfocus: (event) => event.target.select() });
    const copy = async () => {
      try {
        await navigator.clipboard.writeText(made.key);
        toast("Copied.");
      } catch {
        text.focus(); // where a browser lets no page near the clipboard
      }
    };
    const clear = () => {
      replace(fresh);
      create.focus();
    };
    replace(
      fresh,
      h(
        "section",
        { class: "card stack", "aria-label": "A new key" },
        h("h2", {}, `The key of ${made.name}`),
        h("p", { class: "note-line warn" }, "This is the only time it is shown. Put it where its holder keeps secrets."),
        text,
        h("div", { class: "dialog-actions" }, h("button", { class: "button", type: "button", onclick: copy }, icon("copy"), "Copy"), h("button", { class: "button primary", type: "button", onclick: clear }, "I have it")),
      ),
    );
    text.focus();
  }
}

/** Asks for what a key has to be; resolves with the body of the request, or nothing. */
function wish() {
  return dialog("New key", (close) => {
    const name = h("input", { type: "text", name: "name", maxlength: "200", required: true, autocomplete: "off", autofocus: true });
    const tenant = h("input", { type: "text", name: "tenant", class: "mono", pattern: "[0-9a-f]{32}|anonymous", title: "32 hexadecimal digits", placeholder: "a new one", autocomplete: "off", spellcheck: "false" });
    const end = h("select", { name: "end" }, ENDS.map(([value, text]) => h("option", { value }, text)));
    const scopes = SCOPES.map(([scope], at) => h("input", { type: "checkbox", name: scope, checked: at < 2 }));
    const said = h("p", { class: "form-error", role: "alert" });
    const submit = (event) => {
      event.preventDefault();
      const chosen = SCOPES.map(([scope]) => scope).filter((_, at) => scopes[at].checked);
      if (!name.value.trim()) return replace(said, "Say what it is for.");
      if (!chosen.length) return replace(said, "A key has to open something.");
      return close({ name: name.value.trim(), tenant: tenant.value.trim(), expires_in_s: end.value ? Number(end.value) : null, scopes: chosen });
    };
    return h(
      "form",
      { class: "stack", onsubmit: submit },
      h("label", { class: "field" }, "What it is for", name),
      h("div", { class: "grid pairs" }, h("label", { class: "field" }, "Tenant", tenant), h("label", { class: "field" }, "It ends", end)),
      h("fieldset", { class: "field" }, h("legend", { class: "label-text" }, "What it opens"), SCOPES.map(([scope, meaning], at) => h("label", { class: "check" }, scopes[at], h("span", {}, h("strong", {}, scope), ` ${meaning}`)))),
      said,
      h("div", { class: "dialog-actions" }, h("button", { class: "button", type: "button", onclick: () => close() }, "Cancel"), h("button", { class: "button primary", type: "submit" }, "Make it")),
    );
  });
}
