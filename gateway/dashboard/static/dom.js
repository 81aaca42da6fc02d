// Elements from plain calls. There is no way in here from a string to markup: children become text, and what a model
// or a user wrote stays text. An attribute that starts with "on" is a listener; `style` takes CSS properties by name.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attrs, ...children) {
  return fill(document.createElement(tag), attrs, children);
}

export function svg(tag, attrs, ...children) {
  return fill(document.createElementNS(SVG, tag), attrs, children);
}

function fill(element, attrs, children) {
  for (const [name, value] of Object.entries(attrs ?? {})) set(element, name, value);
  append(element, children);
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on") && typeof value === "function") return element.addEventListener(name.slice(2), value);
  if (name === "style") return Object.entries(value).forEach(([key, one]) => element.style.setProperty(key, one));
  if (name === "dataset") return Object.assign(element.dataset, value);
  if (name === "value" || name === "checked" || name === "selected" || name === "indeterminate") {
    element[name] = value;
    return;
  }
  if ((name === "href" || name === "src") && !/^(#|\/|\.|https?:|blob:|admin\/)/.test(value)) {
    throw new Error(`${name} leads nowhere we know: ${value}`);
  }
  element.setAttribute(name, value === true ? "" : String(value));
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Put other children in the place of those that are there. */
export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** A name for `id`, `for` and `aria-labelledby` that no other element has. */
export function uid(prefix = "id") {
  counter += 1;
  return `${prefix}-${counter}`;
}
let counter = 0;

/** Calls `work` once, `ms` after the last of many calls. */
export function debounced(work, ms) {
  let timer = 0;
  const later = (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), ms);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}
