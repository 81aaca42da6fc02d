// A word about what was done; it goes by itself, an error stays longer.

import { h } from "../dom.js";

export function toast(text, kind = "good") {
  let place = document.querySelector(".toasts");
  if (!place) {
    place = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(place);
  }
  const one = h("div", { class: `toast ${kind}` }, text);
  place.append(one);
  setTimeout(() => one.remove(), kind === "bad" ? 9000 : 4500);
}

/** What went wrong, in the server's words. */
export function complain(error) {
  if (error.status !== 401 && error.name !== "AbortError") toast(error.message, "bad");
}
