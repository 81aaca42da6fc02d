// Dialogs on the browser's own <dialog>: it keeps the focus inside, and Escape closes it.

import { h, uid } from "../dom.js";

/** Shows a dialog; `build(close)` returns its children. Resolves with what `close` was given, or undefined. */
export function dialog(title, build) {
  return new Promise((resolve) => {
    let result;
    const id = uid("dialog");
    const close = (value) => {
      result = value;
      element.close();
    };
    const element = h("dialog", { "aria-labelledby": id });
    element.append(h("div", { class: "dialog-body" }, h("h2", { id }, title), ...[build(close)].flat()));
    element.addEventListener("close", () => {
      element.remove();
      resolve(result);
    });
    element.addEventListener("click", (event) => {
      if (event.target === element) element.close(); // outside of it
    });
    document.body.append(element);
    element.showModal();
  });
}

/** Asks before something is done that cannot be undone. */
export function confirm(title, text, action, kind = "danger") {
  return dialog(title, (close) => [
    h("p", {}, text),
    h(
      "div",
      { class: "dialog-actions" },
      h("button", { class: "button", onclick: () => close(false), autofocus: true }, "Cancel"),
      h("button", { class: `button primary ${kind}`, onclick: () => close(true) }, action),
    ),
  ]);
}
