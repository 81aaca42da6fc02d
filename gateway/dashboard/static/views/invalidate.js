// Takes many answers out of service. First it is said how many that would be; only what was counted can be removed.

import { complain, toast } from "../components/toast.js";
import { dialog } from "../components/dialog.js";
import { h, replace } from "../dom.js";
import { plural } from "../format.js";

const FIELDS = [
  ["tag", "Tag"],
  ["model", "Model"],
  ["namespace", "Namespace"],
  ["tenant", "Tenant"],
];
const AGES = [
  ["", "of any age"],
  ["3600", "older than an hour"],
  ["86400", "older than a day"],
  ["604800", "older than a week"],
  ["2592000", "older than 30 days"],
];

/** Asks what, shows how many, removes. `note`: what the page shows and this does not heed. Resolves with the number
 * removed, or undefined. */
export function invalidate(api, given = {}, note = "") {
  return dialog("Invalidate entries", (close) => {
    const inputs = FIELDS.map(([name, title]) => {
      const input = h("input", { type: "text", name, value: given[name] ?? "", spellcheck: "false", oninput: changed });
      return h("label", { class: "field" }, title, input);
    });
    const age = h("select", { name: "older_than", onchange: changed }, AGES.map(([value, text]) => h("option", { value }, text)));
    const said = h("div", { class: "preview", role: "status" });
    const preview = h("button", { class: "button", type: "submit" }, "Count first");
    const remove = h("button", { class: "button primary danger", type: "button", disabled: true, onclick: run }, "Invalidate");
    const form = h(
      "form",
      { class: "stack", onsubmit: look },
      h("p", { class: "muted" }, "What meets every field that is filled in is removed, with its aliases, everywhere. It cannot be undone."),
      note && h("p", { class: "note-line warn", dir: "auto" }, note),
      h("div", { class: "grid pairs" }, inputs, h("label", { class: "field" }, "Made", age)),
      said,
      h("div", { class: "dialog-actions" }, h("button", { class: "button", type: "button", onclick: () => close() }, "Cancel"), preview, remove),
    );
    let counted = null; // {body, at}: the criteria that the number on the page is of, and when it was asked for

    function criteria() {
      const texts = [...form.querySelectorAll("input")].map((input) => [input.name, input.value.trim()]);
      const body = Object.fromEntries(texts.filter(([, value]) => value));
      if (age.value) body.older_than = Number(age.value);
      return body;
    }

    function changed() {
      counted = null;
      remove.disabled = true;
      replace(remove, "Invalidate");
      replace(said);
    }

    async function look(event) {
      event.preventDefault();
      changed();
      const body = criteria();
      if (!Object.keys(body).length) {
        replace(said, h("p", { class: "form-error" }, "Fill in at least one field."));
        return;
      }
      preview.disabled = true;
      const at = performance.now();
      try {
        const found = await api.send("POST", "invalidate", { ...body, dry_run: true });
        counted = { body, at };
        remove.disabled = found.count === 0;
        replace(remove, found.count ? `Invalidate ${plural(found.count, "entry", "entries")}` : "Invalidate");
        replace(
          said,
          h("p", {}, found.count ? [h("strong", {}, plural(found.count, "entry", "entries")), " would go."] : "Nothing would go."),
          found.count > 0 && h("p", { class: "hint mono clip" }, found.sample.slice(0, 4).join("  ")),
        );
        if (found.count) remove.focus();
      } catch (error) {
        replace(said, h("p", { class: "form-error" }, error.message));
      }
      preview.disabled = false;
    }

    async function run() {
      remove.disabled = true;
      try {
        const done = await api.send("POST", "invalidate", { ...counted.body, older_than: agedSince(counted), dry_run: false });
        toast(`${plural(done.count, "entry", "entries")} removed.`);
        close(done.count);
      } catch (error) {
        complain(error);
        remove.disabled = false;
      }
    }

    return form;
  });
}

/** The age that leaves what came in since the count where it is: in whole tenths of a second and one more, because one
 * request may take longer to arrive than another. */
function agedSince({ body, at }) {
  const tenths = Math.ceil((performance.now() - at) / 100) + 1;
  return (body.older_than ?? 0) + tenths / 10;
}
