// Why would a request hit or miss? Asked of the gateway without sending it: nothing is generated, counted or kept.

import { card, facts } from "../components/card.js";
import { empty } from "../components/empty.js";
import { debounced, h, replace } from "../dom.js";
import { icon } from "../icons.js";
import { reason } from "../words.js";
import { readNames } from "./models.js";
import { exactSays, link, road, verdict, weighed } from "./road.js";

export async function mountAsk(root, { api }) {
  const models = h("datalist", { id: "known-models" });
  const model = h("input", { type: "text", id: "ask-model", list: "known-models", required: true, spellcheck: "false" });
  const system = h("textarea", { id: "ask-system", rows: 2, dir: "auto", placeholder: "None" });
  const user = h("textarea", { id: "ask-user", rows: 3, dir: "auto", required: true });
  const key = h("input", { type: "password", id: "ask-key", autocomplete: "off", oninput: debounced(readModels, 300) });
  const button = h("button", { class: "button primary", type: "submit" }, "Explain");
  const result = h("div", { class: "stack", "aria-live": "polite" }, h("div", { class: "card" }, empty("Nothing asked yet", "Say what would be sent. It is looked at as if it came now, and nothing is generated or stored.")));

  replace(
    root,
    h(
      "div",
      { class: "head" },
      h("a", { class: "button quiet square", href: "#/requests", title: "All requests" }, icon("back"), h("span", { class: "visually-hidden" }, "All requests")),
      h("h1", {}, "Would it hit?"),
    ),
    h(
      "div",
      { class: "columns reversed" },
      h(
        "form",
        { class: "card stack", onsubmit: ask },
        field("Model", model),
        field("System prompt", system),
        field("Message", user),
        field("API key of the caller", key, "Decides the tenant. Empty: anonymous."),
        models,
        button,
      ),
      result,
    ),
  );
  await readModels();
  user.focus();
  return {};

  async function readModels() {
    const known = await readNames(api, key.value);
    replace(models, known.models.map((name) => h("option", { value: name })));
    if (!model.value && known.models.length) model.value = known.models[0];
    model.placeholder = known.refused ?? "";
  }

  async function ask(event) {
    event.preventDefault();
    button.disabled = true;
    const messages = [...(system.value ? [{ role: "system", content: system.value }] : []), { role: "user", content: user.value }];
    try {
      show(await api.send("POST", "explain", { request: { model: model.value.trim(), messages }, api_key: key.value }));
    } catch (error) {
      if (error.status !== 401) replace(result, h("div", { class: "card" }, empty("It could not be explained", error.message)));
    }
    button.disabled = false;
  }

  function show(told) {
    const { tier, entry } = told.would;
    replace(
      result,
      card("It would be answered by", verdict(tier, told.would.reason), entry && h("p", {}, "Entry ", link(entry))),
      card("The road it would take", road(steps(told))),
    );
  }
}

function field(title, input, hint = null) {
  return h("div", { class: "field" }, h("label", { for: input.id }, title), input, hint && h("span", { class: "hint" }, hint));
}

function steps({ would, plan, exact, semantic, normalised, request }) {
  const at = ["exact", "semantic", "full"].indexOf(would.tier);
  const looks = [plan.read_exact && "exact", plan.read_semantic && "semantic"].filter(Boolean).join(" and ") || "nothing";
  return [
    {
      name: "plan",
      state: "passed",
      says: [
        h("p", {}, `Looks for ${looks}; its answer ${plan.write ? "is" : "is not"} kept. `, plan.bypass && reason(plan.bypass)),
        facts([["Tenant", request.tenant], ["Namespace", request.namespace]]),
        normalised.taken_out.map((one) => h("p", { class: "muted" }, `Taken out by ${one.rule}: “${one.text}”`)),
      ],
    },
    { name: "exact", state: at === 0 ? "hit" : plan.read_exact ? "passed" : "skipped", says: exactSays(exact) },
    {
      name: "semantic",
      state: at === 1 ? "hit" : plan.read_semantic ? "passed" : "skipped",
      says: [plan.semantic_refusal && h("p", {}, reason(plan.semantic_refusal)), !plan.semantic_refusal && semantic.reason && h("p", {}, reason(semantic.reason)), weighed(semantic)],
    },
    { name: "full", state: at === 2 ? "hit" : "skipped", says: [at === 2 ? "A backend would generate it, from the longest prefix that is kept." : "Nothing would be generated."] },
  ];
}
