// Dark, light, or as the system says: `data-theme` of the root is always one of the first two.

const KEY = "twicetold-theme";
const ORDER = ["system", "light", "dark"];
const system = matchMedia("(prefers-color-scheme: dark)");

export function currentTheme() {
  const kept = localStorage.getItem(KEY);
  return ORDER.includes(kept) ? kept : "system";
}

/** What is drawn on a canvas hears "themechange" on the document, and reads `colour` again. */
export function applyTheme() {
  const theme = currentTheme();
  document.documentElement.dataset.theme = theme === "system" ? (system.matches ? "dark" : "light") : theme;
  document.dispatchEvent(new CustomEvent("themechange"));
}

export function nextTheme() {
  const theme = ORDER[(ORDER.indexOf(currentTheme()) + 1) % ORDER.length];
  localStorage.setItem(KEY, theme);
  applyTheme();
  return theme;
}

/** A colour of the design by its name: `colour("--tier-exact")`. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

system.addEventListener("change", applyTheme);
