// Asks for the admin key, and changes it into a session: the key itself is not kept by the page.

import { h, replace } from "./dom.js";

export function showLogin(app, api, done) {
  const said = h("p", { class: "form-error", role: "alert", id: "login-error" });
  const key = h("input", {
    id: "admin-key",
    type: "password",
    autocomplete: "current-password",
    required: true,
    "aria-describedby": "login-error",
  });
  const button = h("button", { class: "button primary", type: "submit" }, "Log in");

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    said.textContent = "";
    try {
      await api.send("POST", "session", { key: key.value });
      key.value = "";
      await done();
    } catch (error) {
      said.textContent = error.message;
      key.select();
    } finally {
      button.disabled = false;
    }
  }

  document.title = "Log in · Twicetold";
  replace(
    app,
    h(
      "main",
      { class: "alone", id: "main" },
      h(
        "form",
        { class: "card login", onsubmit: submit },
        h("h1", {}, "Twicetold"),
        h("p", { class: "muted" }, "Log in with the admin key of this server. The session ends after 12 hours."),
        h("label", { for: "admin-key" }, "Admin key"),
        key,
        said,
        button,
      ),
    ),
  );
  key.focus();
}
