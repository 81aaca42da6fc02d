// Playground: chat through the gateway as an app would, and see beside each answer where it came from and what it saved.

import { tierBadge } from "../components/badge.js";
import { empty } from "../components/empty.js";
import { complain, toast } from "../components/toast.js";
import { complaint } from "../api.js";
import { debounced, h, replace } from "../dom.js";
import { count, ms, plural, score } from "../format.js";
import { icon } from "../icons.js";
import { reason } from "../words.js";
import { readNames } from "./models.js";
import { events } from "../sse.js";

const TIERS = ["exact", "semantic", "kv"];

export const view = {
  path: "playground",
  title: "Playground",
  mount: (root, context) => mount(root, context),
};

function mount(root, { api }) {
  let history = []; // messages of the conversation so far
  let running = null; // AbortController of the answer that is being made

  const model = h("select", { id: "play-model" });
  const system = h("textarea", { id: "play-system", rows: 3, dir: "auto", placeholder: "None" });
  const key = h("input", { type: "password", id: "play-key", autocomplete: "off", oninput: debounced(readModels, 300) });
  const tiers = TIERS.map((tier) => h("input", { type: "checkbox", checked: true, value: tier }));
  const isFresh = h("input", { type: "checkbox" });
  const keepsTurns = h("input", { type: "checkbox", checked: true });
  const talk = h("div", { class: "talk", "aria-live": "polite" });
  const input = h("textarea", { class: "say", dir: "auto", rows: 1, "aria-label": "Message", placeholder: "Ask something, then ask it again in other words", onkeydown: typed });
  const send = h("button", { class: "button primary square", type: "submit" });
  const form = h("form", { class: "composer", onsubmit: submit }, input, send);

  replace(
    root,
    h(
      "div",
      { class: "head" },
      h("h1", {}, "Playground"),
      h("button", { class: "button", onclick: restart }, icon("plus", 16), "New conversation"),
    ),
    h(
      "div",
      { class: "columns" },
      h("section", { class: "card chat", "aria-label": "Conversation" }, talk, form),
      h(
        "details",
        { class: "card settings", open: innerWidth > 900 },
        h("summary", {}, h("h2", {}, "Settings")),
        h(
          "div",
          { class: "stack" },
          field("Model", model),
          field("System prompt", system),
          field("API key", key, "What your app would send. Decides whose answers may be reused."),
          h("fieldset", { class: "tiers" }, h("legend", { class: "label-text" }, "Tiers that may be used"), tiers.map((box) => h("label", { class: "check" }, box, tierBadge(box.value)))),
          h("label", { class: "check" }, keepsTurns, "Send earlier turns along"),
          h("label", { class: "check" }, isFresh, "Answer anew (no-cache)"),
        ),
      ),
    ),
  );
  idle();
  restart();
  readModels();
  return () => running?.abort();

  async function readModels() {
    const chosen = model.value;
    const { models, refused } = await readNames(api, key.value);
    if (models.length) replace(model, models.map((name) => h("option", { value: name, selected: name === chosen }, name)));
    else replace(model, h("option", { value: "" }, refused ?? "no models: no backend is ready"));
  }

  function credentials() {
    return key.value ? { authorization: `Bearer ${key.value}` } : {};
  }

  function restart() {
    running?.abort();
    history = [];
    replace(talk, empty("Try it", "The first answer is generated. Ask the same in a new conversation: it comes from memory, and what that saved stands beside it."));
    input.focus();
  }

  function typed(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  }

  function idle() {
    running = null;
    replace(send, icon("send"), h("span", { class: "visually-hidden" }, "Send"));
  }

  async function submit(event) {
    event.preventDefault();
    if (running) return running.abort();
    const text = input.value.trim();
    if (!text) return undefined;
    input.value = "";
    if (!history.length) replace(talk);
    history.push({ role: "user", content: text });
    talk.append(h("div", { class: "bubble user prose", dir: "auto" }, text));
    const answer = h("div", { class: "prose", dir: "auto" });
    const facts = h("div", { class: "answer-facts inline" }, h("span", { class: "muted" }, "…"));
    talk.append(h("div", { class: "bubble assistant" }, answer, facts));
    follow();
    running = new AbortController();
    replace(send, icon("stop"), h("span", { class: "visually-hidden" }, "Stop"));
    try {
      await stream(answer, facts, running.signal);
    } catch (error) {
      history.pop();
      const said = error.name === "AbortError" ? "Stopped." : error.message;
      if (!answer.textContent) answer.remove();
      facts.parentElement.classList.toggle("failed", error.name !== "AbortError");
      replace(facts, h("span", { class: error.name === "AbortError" ? "muted" : "form-error" }, said));
    }
    idle();
    return follow();
  }

  function request() {
    const turns = keepsTurns.checked ? history : history.slice(-1);
    const messages = [...(system.value.trim() ? [{ role: "system", content: system.value }] : []), ...turns];
    const body = { model: model.value, messages, stream: true, stream_options: { include_usage: true } };
    const wanted = tiers.filter((box) => box.checked).map((box) => box.value);
    const cache = {};
    if (wanted.length < TIERS.length) cache.tiers = wanted;
    if (isFresh.checked) cache["no-cache"] = true;
    return Object.keys(cache).length ? { ...body, cache } : body;
  }

  async function stream(answer, facts, signal) {
    const began = performance.now();
    const response = await api.v1("chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", ...credentials() },
      body: JSON.stringify(request()),
      signal,
    });
    if (!response.ok) throw complaint(response.status, await response.text());
    const got = { text: "", id: null, usage: null, firstMs: null };
    for await (const event of events(response)) {
      if (event.error) throw complaint(502, JSON.stringify(event));
      take(event, got, began);
      answer.textContent = got.text;
      follow();
    }
    history.push({ role: "assistant", content: got.text });
    if (!got.text) replace(answer, h("span", { class: "muted" }, "(an empty answer)"));
    replace(facts, told(response.headers, got, performance.now() - began));
  }

  function take(event, got, began) {
    got.id ??= event.id;
    got.usage = event.usage ?? got.usage;
    const delta = event.choices?.[0]?.delta?.content;
    if (!delta) return;
    got.firstMs ??= performance.now() - began;
    got.text += delta;
  }

  function told(headers, got, totalMs) {
    const name = (key) => headers.get(`x-twicetold-${key}`);
    const cached = got.usage?.prompt_tokens_details?.cached_tokens ?? 0;
    const tier = name("tier") === "full" && cached ? "kv" : name("tier");
    const saved = Number(name("saved-tokens") ?? 0) || (tier === "kv" ? cached : 0);
    return [
      tierBadge(tier),
      name("similarity") && h("span", { title: "How near the stored question is" }, `similarity ${score(name("similarity"))}`),
      h("span", { class: saved ? "saved" : "muted" }, saved ? `${plural(saved, "token")} saved` : "nothing saved"),
      h("span", { class: "muted", title: `all of it ${ms(totalMs)}, the gateway's own part ${ms(Number(name("overhead-ms")))}` }, `first token ${ms(got.firstMs ?? totalMs)}, total ${ms(totalMs)}`),
      got.usage && h("span", { class: "muted" }, `${count(got.usage.prompt_tokens)} + ${count(got.usage.completion_tokens)} tokens`),
      h(
        "div",
        { class: "answer-actions inline" },
        got.id && h("a", { class: "button quiet small", href: `#/requests/${encodeURIComponent(got.id)}`, title: reason(name("reason")) }, "Why?"),
        name("entry") && h("a", { class: "button quiet small", href: `#/entries/${encodeURIComponent(name("entry"))}` }, "Entry"),
        got.id && thumbs(got.id),
      ),
    ];
  }

  function thumbs(id) {
    const buttons = ["good", "bad"].map((verdict) =>
      h("button", { class: "button quiet small square", type: "button", title: `A ${verdict} answer`, "aria-pressed": "false", onclick: () => judge(verdict) }, icon(verdict, 16), h("span", { class: "visually-hidden" }, `A ${verdict} answer`)),
    );
    async function judge(verdict) {
      try {
        const headers = { "content-type": "application/json", ...credentials() };
        const response = await api.v1("cache/feedback", { method: "POST", headers, body: JSON.stringify({ id, verdict }) });
        if (!response.ok) throw complaint(response.status, await response.text());
        const { state } = await response.json();
        buttons.forEach((button, at) => button.setAttribute("aria-pressed", String((at === 0) === (verdict === "good"))));
        toast(state === "retired" ? "Noted, and the entry is retired." : "Noted.");
      } catch (error) {
        complain(error);
      }
    }
    return buttons;
  }

  function follow() {
    talk.scrollTop = talk.scrollHeight;
  }
}

function field(title, input, hint = null) {
  return h("div", { class: "field" }, h("label", { for: input.id }, title), input, hint && h("span", { class: "hint" }, hint));
}
