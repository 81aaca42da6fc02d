// Messages of a chat, whoever wrote them: always as text.

import { h } from "../dom.js";

/** A message of a request. */
export function messageOf(message) {
  return h("div", { class: "message" }, h("span", { class: "role" }, message.role ?? "?"), parts(message));
}

/** A choice of an answer. */
export function answerOf(choice, at, all) {
  const name = all.length > 1 ? `choice ${at + 1}` : "assistant";
  const end = choice.finish_reason === "stop" ? "" : ` · ended by ${choice.finish_reason}`;
  return h("div", { class: "message answer" }, h("span", { class: "role" }, `${name}${end}`), parts(choice.message));
}

function parts(message) {
  const calls = message.tool_calls ?? [];
  const thought = message.reasoning_content ?? message.reasoning;
  return [
    typeof thought === "string" && h("details", {}, h("summary", {}, "Reasoning"), h("div", { class: "prose muted", dir: "auto" }, thought)),
    contents(message.content),
    message.refusal && h("div", { class: "prose", dir: "auto" }, `Refused: ${message.refusal}`),
    calls.map((call) => h("pre", { class: "code", tabindex: "0" }, callOf(call))),
  ];
}

function contents(content) {
  if (typeof content === "string") return h("div", { class: "prose", dir: "auto" }, content);
  if (!Array.isArray(content)) return null;
  return content.map((part) =>
    typeof part.text === "string"
      ? h("div", { class: "prose", dir: "auto" }, part.text)
      : h("pre", { class: "code", tabindex: "0" }, `[${part.type ?? "part"}] ${JSON.stringify(part[part.type] ?? part)}`),
  );
}

function callOf(call) {
  const { name, arguments: given } = call.function ?? {};
  return name ? `${name}(${given ?? ""})` : JSON.stringify(call, null, 2);
}
