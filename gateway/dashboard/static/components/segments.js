// One of a few: buttons side by side, of which one is pressed.

import { h } from "../dom.js";

/** `choices`: [[value, text]]. `onchange` hears the value; `element.set(value)` presses another without telling. */
export function segments(name, choices, value, onchange) {
  const buttons = choices.map(([one, text]) => h("button", { type: "button", "data-value": one }, text));
  const element = h("div", { class: "segments", role: "group", "aria-label": name }, buttons);
  element.set = (next) => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.value === next));
  };
  element.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || button.getAttribute("aria-pressed") === "true") return;
    element.set(button.dataset.value);
    onchange(button.dataset.value);
  });
  element.set(value);
  return element;
}
