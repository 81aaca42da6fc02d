// A stylesheet that only some views need, asked for when the first of them is shown.

const asked = new Map();

/** Resolves when it is there, so nothing is drawn without it. */
export function useStyles(url) {
  const href = new URL(url, import.meta.url).href;
  if (!asked.has(href)) {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = href;
    asked.set(href, new Promise((resolve) => {
      link.onload = resolve;
      link.onerror = () => {
        asked.delete(href); // the next view that wants it asks again
        resolve();
      };
    }));
    document.head.append(link);
  }
  return asked.get(href);
}
