// The shell: who may see it, the frame around a view, and which view the address asks for (`#/entries/e_1?text=moon`).
//
// A view is a module of views/ that exports `view = {path, title, mount(root, context) -> unmount}`. `context` has
//   api     api.get(path), api.send(method, path, body); both throw ApiError with the server's words
//   live    live.on("request" | "state", listener) -> stop
//   go      go("/entries/e_1?text=moon") shows another view; go(path, {replace: true}) leaves no trace in the history
//   path    what the address says behind the view's own name, part by part; `params`: what follows the "?"
// A view that also exports `update(path, params)` from `mount` ({unmount, update}) is kept while its own address changes.

import { createApi } from "./api.js";
import { h, replace } from "./dom.js";
import { icon } from "./icons.js";
import { createLive } from "./live.js";
import { applyTheme, currentTheme, nextTheme } from "./theme.js";
import { empty, failed } from "./components/empty.js";
import { showLogin } from "./login.js";

/** The tabs, in order: name in the address and of the module and the icon, and title. */
const VIEWS = [
  ["overview", "Overview"],
  ["entries", "Entries"],
  ["quality", "Quality"],
  ["kv", "KV cache"],
  ["backends", "Backends"],
  ["requests", "Requests"],
  ["playground", "Playground"],
  ["prices", "Prices"],
  ["keys", "Keys"],
];

const RELOADED = "twicetold-reloaded"; // which files a page was loaded anew for, because one of them did not come

const app = document.getElementById("app");
const api = createApi({ onRefused: askForKey, onReach: (isThere) => live.reached(isThere) });
const live = createLive(api, { onEnded: askForKey });
let frame = null;
let stopShowing = null;
let shown = null; // {name, unmount, update}
let turn = 0; // of the address: what an older one loads is dropped

history.scrollRestoration = "manual"; // a list knows itself where somebody was
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part behind the "#" is where somebody is
  document.getElementById("main")?.focus();
});
applyTheme();
start();

async function start() {
  try {
    const session = await api.get("session");
    api.setCsrf(session.csrf);
    if (session.state === "login") return askForKey();
    showFrame(session);
  } catch (error) {
    replace(app, h("main", { class: "alone" }, empty("The server does not answer", error.message, retry())));
  }
}

function retry() {
  return h("button", { class: "button primary", onclick: () => start() }, "Try again");
}

function askForKey() {
  live.stop();
  leave();
  frame = null;
  showLogin(app, api, start);
}

function showFrame(session) {
  window.removeEventListener("hashchange", route);
  const main = h("main", { id: "main", tabindex: "-1", onagain: again });
  const nav = h("nav", { class: "nav", "aria-label": "Views" }, VIEWS.map(([name, title]) => tab(name, title)));
  const status = h("span", { class: "status", role: "status" });
  const banner = h("div", { class: "banner", role: "alert", hidden: true });
  frame = { main, nav, status, banner };
  replace(
    app,
    h(
      "header",
      { class: "top" },
      h("a", { class: "brand", href: "#/" }, mark(), h("span", {}, "Twicetold")),
      status,
      h("span", { class: "grow" }),
      themeButton(),
      session.state === "session" && logoutButton(),
    ),
    nav,
    h("div", { class: "page" }, banner, main),
  );
  stopShowing?.();
  stopShowing = live.on("state", showState);
  showState(live.state);
  live.start();
  window.addEventListener("hashchange", route);
  route();
}

function mark() {
  return h("img", { class: "mark", src: new URL("icon.svg", import.meta.url).href, alt: "", width: 24, height: 24 });
}

function tab(name, title) {
  return h("a", { href: `#/${name}`, "data-view": name }, icon(name), h("span", {}, title));
}

function themeButton() {
  const names = { system: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };
  const label = h("span", { class: "visually-hidden" }, names[currentTheme()]);
  const button = h("button", { class: "button quiet square", title: names[currentTheme()] }, icon("theme"), label);
  button.addEventListener("click", () => {
    const theme = nextTheme();
    label.textContent = names[theme];
    button.title = names[theme];
  });
  return button;
}

function logoutButton() {
  const leaveIt = async () => {
    await api.send("DELETE", "session").catch(() => {});
    askForKey();
  };
  return h("button", { class: "button quiet", onclick: leaveIt }, icon("logout"), h("span", { class: "wide" }, "Log out"));
}

/** Draw the view anew: what it shows could not be read. */
function again() {
  leave();
  route();
}

function showState(state) {
  if (frame === null) return;
  const words = { connecting: "connecting", live: "live", offline: "disconnected" };
  frame.status.className = `status ${state}`;
  replace(frame.status, h("span", { class: "dot", "aria-hidden": "true" }), words[state]);
  frame.banner.hidden = state !== "offline";
  if (state === "offline") {
    replace(frame.banner, "The server does not answer. What is shown may be old; it is tried again every few seconds.");
  }
  frame.main.classList.toggle("stale", state === "offline");
  if (state === "live" && frame.main.querySelector(".failed")) again();
}

/** Where the address leads. */
function place() {
  const [path, search = ""] = location.hash.replace(/^#(main$|\/)?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decoded);
  return { name: name || VIEWS[0]?.[0] || "", path: rest, params: new URLSearchParams(search) };
}

/** What a part of the address stands for; one that nobody encoded stands for itself. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function go(address, { replace: isQuiet = false } = {}) {
  if (isQuiet || location.hash === `#${address}`) {
    history.replaceState(null, "", `#${address}`); // of which, as of the same address, a browser tells nobody
    route();
  } else {
    location.hash = address;
  }
}

function leave() {
  shown?.unmount?.();
  shown = null;
}

// On a small screen the names lie side by side. `scrollIntoView` would make the link the place from where Tab goes on.
function reveal(link, nav) {
  const at = link.getBoundingClientRect();
  const box = nav.getBoundingClientRect();
  nav.scrollLeft += Math.max(0, at.right - box.right) - Math.max(0, box.left - at.left);
}

async function route() {
  if (frame === null) return;
  const isFirst = turn === 0;
  const at = place();
  const known = VIEWS.find(([name]) => name === at.name);
  for (const link of frame.nav.querySelectorAll("a")) {
    const isHere = link.dataset.view === at.name;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (isHere) reveal(link, frame.nav);
  }
  if (shown?.name === at.name && shown.update) return shown.update(at.path, at.params);
  turn += 1;
  const mine = turn;
  leave();
  document.title = `${known ? known[1] : "Nothing here"} · Twicetold`;
  if (!known) {
    replace(frame.main, empty("There is no such page", "The address names no view of this dashboard."));
    return;
  }
  try {
    const view = await load(at.name);
    if (view === null || mine !== turn || frame === null) return;
    const root = h("div", { class: `view view-${at.name}` });
    replace(frame.main, root);
    window.scrollTo(0, 0);
    const mounted = await view.mount(root, { api, live, go, path: at.path, params: at.params });
    const held = typeof mounted === "function" ? { unmount: mounted } : (mounted ?? {});
    if (mine !== turn) held.unmount?.();
    else shown = { name: at.name, ...held };
  } catch (error) {
    if (mine !== turn || frame === null || error.status === 401) return;
    if (error.status === undefined) console.error(error);
    replace(frame.main, failed("This page could not be shown", error));
  }
  if (mine === turn && frame !== null && !isFirst) focusOn(frame.main);
}

/** Where somebody who does not see the page goes on: at its heading, unless the view knows better. */
function focusOn(main) {
  if (main.contains(document.activeElement) && document.activeElement !== main) return;
  const place = main.querySelector("h1") ?? main;
  place.tabIndex = -1;
  place.focus({ preventScroll: true });
}

/** A view. A browser asks for a module that did not come no second time, and behind a newer server all have other
 * addresses: then the page itself is loaded anew, once, and null returned. */
async function load(name) {
  try {
    const { view } = await import(`./views/${name}.js`);
    sessionStorage.removeItem(RELOADED);
    return view;
  } catch (error) {
    await api.get("session"); // raises when the server is away, and says so
    if (sessionStorage.getItem(RELOADED) === import.meta.url) throw error;
    sessionStorage.setItem(RELOADED, import.meta.url);
    location.reload();
    return null;
  }
}
