// A plain table. A column is {title, cell(row) -> text or element, num?: true, class?: string}.

import { h, replace } from "../dom.js";

export function table(caption, columns, rows = []) {
  const body = h("tbody");
  const head = columns.map((one) => h("th", { scope: "col", class: one.num ? "num" : one.class }, one.title));
  const element = h(
    "div",
    { class: "table-wrap", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "visually-hidden" }, caption), h("thead", {}, h("tr", {}, head)), body),
  );
  element.setRows = (next) => {
    replace(body, next.map((row) => h("tr", {}, columns.map((one) => cell(one, row)))));
  };
  element.setRows(rows);
  return element;
}

function cell(column, row) {
  return h("td", { class: [column.num && "num", column.class].filter(Boolean).join(" ") || null }, column.cell(row));
}
