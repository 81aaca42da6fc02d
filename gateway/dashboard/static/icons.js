// Line icons of 20 by 20, drawn here. They say nothing to a screen reader: what they stand beside does.

import { svg } from "./dom.js";

const PATHS = {
  overview: "M3 16V9m5 7V4m5 12v-5m4 5V7",
  entries: "M4 5h12M4 10h12M4 15h8",
  quality: "M10 2.5 4 5v5c0 3.6 2.5 6.3 6 7.5 3.5-1.2 6-3.9 6-7.5V5zM7.3 10l2 2 3.5-4",
  kv: "M10 3v4m0 0H5v4m5-4h5v4M5 11v2m10-2v2M3 13h4v4H3zm10 0h4v4h-4z",
  backends: "M3 4h14v5H3zm0 7h14v5H3zM6 6.5h.01M6 13.5h.01",
  requests: "M4 4h12v12H4zM7 8h6M7 11h4",
  playground: "M3 4h14v9H9l-4 3.5V13H3z",
  prices: "M13.5 6.2C12.8 5 11.500 4.500 10 4.500c-2 0-3.500 1-3.500 2.700 0 3.700 7.200 1.800 7.200 5.600 0 1.700-1.700 2.700-3.700 2.700-1.800 0-3.200-.7-3.800-2M10 2.500v15",
  keys: "M13 3.500a3.800 3.800 0 1 1-3.300 5.700L3 15.900V17h2.500v-2H7v-1.500h1.600l2-2M13.500 6.500h.01",
  search: "M8.500 14a5.500 5.500 0 1 0 0-11 5.500 5.500 0 0 0 0 11zM12.500 12.500 17 17",
  theme: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14",
  logout: "M8 4H4v12h4M13 7l3 3-3 3M7.500 10H16",
  good: "M6 9v7H3V9zm0 0 3.500-6c1.300 0 2 .8 1.800 2l-.5 2.500H16c1 0 1.600.9 1.300 1.800l-1.600 5c-.2.500-.7.700-1.200.700H6",
  bad: "M14 11V4h3v7zm0 0-3.500 6c-1.300 0-2-.8-1.800-2l.5-2.500H4c-1 0-1.600-.9-1.300-1.800l1.600-5C4.500 5.200 5 5 5.500 5H14",
  trash: "M4 6h12M8 6V4h4v2m2 0-.7 10H6.700L6 6",
  tag: "M3 3h6l8 8-6 6-8-8zM6.500 6.500h.01",
  back: "M12 4 6 10l6 6",
  close: "M5 5l10 10M15 5 5 15",
  send: "M4 10h11M10 5l5 5-5 5",
  stop: "M6 6h8v8H6z",
  help: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM8 8c0-1.200.9-2 2-2s2 .8 2 1.800c0 1.400-2 1.500-2 3M10 13.500h.01",
  plus: "M10 4v12M4 10h12",
  copy: "M7 7h9v9H7zM4 13V4h9",
};

export function icon(name, size = 18) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 20 20", width: size, height: size, "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] }),
  );
}
