// One entry: what was asked and answered, where it comes from, what it cost and saved, and what people said of it.

import { badge } from "../components/badge.js";
import { card, facts } from "../components/card.js";
import { confirm, dialog } from "../components/dialog.js";
import { empty, failed, loading } from "../components/empty.js";
import { complain, toast } from "../components/toast.js";
import { h, replace } from "../dom.js";
import { ago, bytes, count, moment, plural, span } from "../format.js";
import { icon } from "../icons.js";
import { invalidate } from "./invalidate.js";
import { answerOf, messageOf } from "./messages.js";

/** `back`: where the list is that somebody came from; `gone()` tells it that it is not whole any more. */
export async function mountEntry(root, { api, go, back, gone }, id) {
  const address = `entries/${encodeURIComponent(id)}`;
  replace(root, head(id, back), loading());
  await read();
  return {};

  async function read() {
    try {
      show(await api.get(address));
    } catch (error) {
      if (error.status === 401) return;
      const isGone = error.status === 404;
      const list = h("a", { class: "button", href: `#${back}` }, "All entries");
      const said = isGone ? empty("This entry is gone", "It was removed, it ended, or it never was.", list) : failed("This entry could not be read", error);
      replace(root, head(id, back), h("div", { class: "card" }, said));
    }
  }

  function show(entry) {
    replace(
      root,
      head(id, back, entry, actions(entry)),
      h("div", { class: "columns" }, h("div", { class: "stack" }, asked(entry), answered(entry), aliases(entry)), side(entry)),
    );
  }

  function actions(entry) {
    return [
      h("button", { class: "button", onclick: () => judge("good") }, icon("good", 16), "Good"),
      h("button", { class: "button", onclick: () => judge("bad", entry) }, icon("bad", 16), "Bad…"),
      h("button", { class: "button danger", onclick: () => remove(entry) }, icon("trash", 16), "Delete"),
    ];
  }

  async function judge(verdict) {
    const said = verdict === "good" ? { comment: "", isRetired: false } : await askWhy();
    if (!said) return;
    try {
      const kept = await api.send("POST", `${address}/judge`, { verdict, comment: said.comment });
      if (said.isRetired && kept.state === "kept") await api.send("DELETE", address);
      if (said.isRetired || kept.state === "retired") {
        toast("Judged bad and retired: nobody is served it again.");
        leave();
      } else {
        toast(`Judged ${verdict}.`);
        await read();
        root.querySelectorAll(".head .button")[verdict === "good" ? 1 : 2]?.focus(); // it was drawn anew
      }
    } catch (error) {
      complain(error);
    }
  }

  async function remove(entry) {
    const also = entry.aliases.length ? ` Its ${plural(entry.aliases.length, "alias", "aliases")} go with it.` : "";
    if (!(await confirm("Delete this entry?", `The next one who asks gets a new answer.${also}`, "Delete"))) return;
    try {
      const done = await api.send("DELETE", address);
      toast(`${plural(done?.count ?? done?.removed ?? 1, "entry", "entries")} removed.`);
      leave();
    } catch (error) {
      complain(error);
    }
  }

  function side(entry) {
    const tokens = entry.usage;
    const tags = entry.tags.map((tag) =>
      h("button", { class: "tag", title: "Invalidate everything with this tag", onclick: () => removeTag(tag) }, icon("tag", 13), tag),
    );
    return h(
      "div",
      { class: "stack" },
      card(
        "Use",
        facts([
          ["Hits", count(entry.hits)],
          ["Saved so far", entry.hits ? plural(entry.hits * (tokens.total_tokens ?? 0), "token") : "nothing yet"],
          ["Time saved, about", entry.hits ? span(entry.hits * entry.elapsed_s) : null],
        ]),
      ),
      card(
        "Cost to make",
        facts([
          ["Generation", span(entry.elapsed_s)],
          ["Prompt", plural(tokens.prompt_tokens, "token")],
          ["Completion", plural(tokens.completion_tokens, "token")],
          ["Kept in", bytes(entry.size_bytes)],
        ]),
      ),
      card(
        "Provenance",
        facts([
          ["Model", entry.model],
          ["Revision", entry.revision && h("span", { class: "mono", title: entry.revision }, entry.revision.length > 16 ? `${entry.revision.slice(0, 12)}…` : entry.revision)],
          ["Tenant", h("span", { class: "mono" }, entry.tenant)],
          ["Namespace", entry.namespace],
          ["Made", h("time", { title: moment(entry.created_s) }, ago(entry.created_s))],
          ["Ends", entry.expires_s === null ? "never" : h("time", { title: moment(entry.expires_s) }, ends(entry.expires_s))],
          ["Found by", entry.question === null ? "exact requests only" : "exact requests and meaning"],
          ["Alias of", entry.alias_of && h("a", { class: "mono", href: `#/entries/${encodeURIComponent(entry.alias_of)}` }, entry.alias_of)],
          ["Embedder", entry.embedder && h("span", { title: entry.embedder }, entry.embedder.split(":")[0])],
        ]),
        tags.length > 0 && h("div", { class: "inline tags" }, tags),
      ),
      card("Verdicts", verdicts(entry)),
    );
  }

  async function removeTag(tag) {
    if (await invalidate(api, { tag })) leave();
  }

  function leave() {
    gone();
    go(back);
  }
}

function head(id, back, entry = null, buttons = []) {
  return h(
    "div",
    { class: "head" },
    h("a", { class: "button quiet square", href: `#${back}`, title: "All entries" }, icon("back"), h("span", { class: "visually-hidden" }, "All entries")),
    h(
      "div",
      { class: "titles" },
      h("h1", { class: "clip-2", dir: "auto" }, entry?.preview || "Entry"),
      h("p", { class: "inline muted" }, h("code", {}, id), entry?.alias_of && badge("alias", "accent"), entry && verdictBadges(entry)),
    ),
    h("div", { class: "inline" }, buttons),
  );
}

function verdictBadges(entry) {
  return [entry.bad > 0 && badge(`${entry.bad} bad`, "bad"), entry.good > 0 && badge(`${entry.good} good`, "good")];
}

function ends(unixSeconds) {
  const left = unixSeconds - Date.now() / 1000;
  return left > 0 ? `in ${span(left)}` : `ended ${ago(unixSeconds)}`;
}

function asked(entry) {
  const { messages = [], ...rest } = entry.request;
  return card("Question", messages.map(messageOf), fields(rest));
}

function fields(rest) {
  const text = JSON.stringify(rest, null, 2);
  return text === "{}" ? null : h("details", { class: "raw" }, h("summary", {}, "Other fields of the request"), h("pre", { class: "code", tabindex: "0" }, text));
}

function answered(entry) {
  return card("Answer", entry.choices.map(answerOf));
}

function aliases(entry) {
  if (!entry.aliases.length) return null;
  const links = entry.aliases.map((one) =>
    h("li", {}, h("a", { href: `#/entries/${encodeURIComponent(one.id)}`, dir: "auto" }, one.question ?? one.id), h("span", { class: "muted" }, ` ${plural(one.hits, "hit")}`)),
  );
  return card(`Also asked as (${count(links.length)})`, h("ul", { class: "aliases" }, links));
}

function verdicts(entry) {
  if (!entry.verdicts.length) return h("p", { class: "muted" }, "Nobody said anything yet. Two bad verdicts retire an entry.");
  return h(
    "ul",
    { class: "verdicts" },
    entry.verdicts.map((one) =>
      h("li", {}, badge(one.verdict, one.verdict), h("span", { class: "muted" }, ` ${ago(one.at_s)}`), one.comment && h("p", { class: "prose", dir: "auto" }, one.comment)),
    ),
  );
}

function askWhy() {
  return dialog("What is wrong with it?", (close) => {
    const comment = h("textarea", { id: "why", rows: 3, maxlength: 2000 });
    const retire = h("input", { type: "checkbox", checked: true });
    const submit = (event) => {
      event.preventDefault();
      close({ comment: comment.value.trim(), isRetired: retire.checked });
    };
    return h(
      "form",
      { class: "stack", onsubmit: submit },
      h("div", { class: "field" }, h("label", { for: "why" }, "Comment (optional)"), comment),
      h("label", { class: "check" }, retire, "Retire it now, so nobody is served it again"),
      h(
        "div",
        { class: "dialog-actions" },
        h("button", { class: "button", type: "button", onclick: () => close() }, "Cancel"),
        h("button", { class: "button primary danger", type: "submit" }, "Judge bad"),
      ),
    );
  });
}
