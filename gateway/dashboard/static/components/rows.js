// A long list that scrolls with the page: only the rows that can be seen are drawn, so ten thousand are no more work
// than thirty. Rows are all of one height (`--row` in CSS); what comes next is asked for before the end is reached.

import { h } from "../dom.js";

const OVERSCAN = 8;

/** `draw(row, index)` makes an <li>; `more()` is called when the end is near, and adds what it has by `set`. */
export function longList({ label, draw, more }) {
  const above = h("li", { class: "spacer", role: "presentation" });
  const below = h("li", { class: "spacer", role: "presentation" });
  const element = h("ul", { class: "rows", "aria-label": label }, above, below);
  const drawn = new Map(); // index -> <li>
  let rows = [];
  let frame = 0;

  function height() {
    return parseFloat(getComputedStyle(element).getPropertyValue("--row")) || 56;
  }

  function update() {
    frame = 0;
    if (!element.isConnected) return;
    const row = height();
    const top = element.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / row) - OVERSCAN);
    const last = Math.min(rows.length, Math.ceil((innerHeight - top) / row) + OVERSCAN);
    const held = element.contains(document.activeElement) ? document.activeElement.closest("li") : null;
    for (const [index, item] of drawn) {
      if ((index < first || index >= last) && item !== held) {
        item.remove();
        drawn.delete(index);
      }
    }
    let before = above;
    for (let index = first; index < last; index += 1) {
      const item = drawn.get(index) ?? place(index);
      if (before.nextSibling !== item) before.after(item);
      before = item;
    }
    const aside = held && [...drawn].find(([, item]) => item === held)[0]; // the row with the focus, wherever it is
    const isAbove = aside !== null && aside < first;
    const isBelow = aside !== null && aside >= last;
    if (isAbove) above.after(held);
    if (isBelow) below.before(held);
    above.style.height = `${(first - isAbove) * row}px`;
    below.style.height = `${Math.max(0, rows.length - last - isBelow) * row}px`;
    if (last >= rows.length - 40) more();
  }

  function place(index) {
    const item = draw(rows[index], index);
    item.setAttribute("aria-setsize", "-1");
    item.setAttribute("aria-posinset", String(index + 1));
    drawn.set(index, item);
    return item;
  }

  function soon() {
    if (!frame) frame = requestAnimationFrame(update);
  }

  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", soon);

  return {
    element,
    /** Show these rows; those that are drawn already are kept when `isLonger` says that rows were only added. */
    set(next, isLonger = false) {
      rows = next;
      if (!isLonger) {
        drawn.forEach((item) => item.remove());
        drawn.clear();
      }
      soon();
    },
    /** Go down to `top`, as the page was before, with the focus on the row that was opened, if any. */
    show(top, index = null) {
      update();
      scrollTo(0, top);
      update();
      drawn.get(index)?.querySelector("a")?.focus({ preventScroll: true });
    },
    stop() {
      removeEventListener("scroll", soon);
      removeEventListener("resize", soon);
      cancelAnimationFrame(frame);
    },
  };
}
