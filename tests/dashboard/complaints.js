// What somebody could not use on this page, one sentence for each: run inside of it by looking.py.
() => {
  const found = [];
  const parse = (text) => {
    const rgb = text.match(/^rgba?\(([^)]+)\)$/);
    if (rgb) {
      const [r, g, b, a = 1] = rgb[1].split(/[ ,/]+/).map(Number);
      return [r, g, b, a];
    }
    const srgb = text.match(/^color\(srgb ([^)]+)\)$/);
    if (!srgb) return null;
    const [r, g, b, a = 1] = srgb[1].split(/[ /]+/).map(Number);
    return [r * 255, g * 255, b * 255, a];
  };
  const over = (top, under) => [0, 1, 2].map((at) => top[at] * top[3] + under[at] * (1 - top[3])).concat(1);
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((one) => {
      const share = one / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour && colour[3] > 0) layers.push(colour);
      if (colour && colour[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const isShown = (element) =>
    element.checkVisibility({ visibilityProperty: true }) && element.getBoundingClientRect().width > 1;
  const say = (element) =>
    `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> ${(element.textContent || "").trim().slice(0, 40)}`;
  const named = (element) => {
    const by = (element.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id));
    const labels = [...(element.labels ?? [])].map((label) => label.textContent);
    const texts = [element.getAttribute("aria-label"), element.textContent, element.title, ...labels];
    const isField = ["INPUT", "SELECT", "TEXTAREA"].includes(element.tagName);
    if (isField) texts.splice(1, 1); // what is written in it is no name
    return [...texts, ...by.map((one) => one?.textContent)].some((text) => text && text.trim());
  };

  for (const element of document.querySelectorAll("a[href], button, input, select, textarea, [role=button], [tabindex='0']")) {
    if (isShown(element) && element.type !== "hidden" && !named(element)) found.push(`no name: ${element.outerHTML.slice(0, 120)}`);
  }
  for (const image of document.querySelectorAll("img")) {
    if (!image.hasAttribute("alt")) found.push(`no alt: ${image.outerHTML.slice(0, 120)}`);
  }
  for (const picture of document.querySelectorAll("svg, canvas")) {
    const isHidden = picture.closest("[aria-hidden=true]");
    const holder = picture.closest("[aria-label], [role=img], figure");
    if (isShown(picture) && !isHidden && !holder && !picture.querySelector("title")) found.push(`a picture without words: ${say(picture)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids.filter((one, at) => ids.indexOf(one) !== at))) found.push(`two elements are called ${id}`);
  if (document.querySelectorAll("h1").length !== 1) found.push(`${document.querySelectorAll("h1").length} headings of the first level`);

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const judged = new Set();
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const element = text.parentElement;
    if (!text.data.trim() || judged.has(element) || !isShown(element) || element.closest("[disabled], .visually-hidden, noscript, .skip")) continue;
    if (["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    judged.add(element);
    const style = getComputedStyle(element);
    const colour = parse(element.closest("svg") ? style.fill : style.color);
    if (!colour) continue;
    const behind = ground(element);
    const ratio = contrast(over(colour, behind), behind);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)}: ${say(element)}`);
  }

  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide) {
    const out = [...document.querySelectorAll("main *, header *")].filter((one) => one.getBoundingClientRect().right > wide + 1);
    found.push(`the page is ${document.documentElement.scrollWidth - wide} px too wide: ${out.slice(0, 3).map(say).join("; ")}`);
  }
  return found;
}
