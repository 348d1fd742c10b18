// What a reader would see of the page as it is shown now: faint texts, overflow, what is not reached, what is cut.
(() => {
  const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const parse = text => (text.match(/[\d.]+/g) || []).map(Number);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const seen = node => node.getClientRects().length > 0;
  document.querySelectorAll("details").forEach(node => { node.open = true; });
  // Words of marks are shown with the focus; their colours hold all the same.
  document.querySelectorAll(".tip").forEach(node => { node.style.display = "block"; });
  const texts = [...document.querySelectorAll("body *")].filter(node => seen(node) && !node.closest("svg")
    && [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
  const found = texts.map(node => [contrast(parse(getComputedStyle(node).color), ground(node)), node.textContent.slice(0, 40)]);
  document.querySelectorAll("select").forEach(node =>
    found.push([contrast(parse(getComputedStyle(node).color), ground(node)), "select"]));
  // The shape that is painted last before a text covers what the text stands on.
  document.querySelectorAll("svg").forEach(svg => {
    if (!seen(svg)) return;
    const under = [];
    for (const node of svg.querySelectorAll("rect,text")) {
      if (node.tagName === "rect") { under.push(node); continue; }
      const box = node.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
      const holds = rect => { const r = rect.getBoundingClientRect(); return r.x <= x && x <= r.right && r.y <= y && y <= r.bottom; };
      const paper = under.findLast(holds);
      found.push([contrast(parse(getComputedStyle(node).fill), parse(getComputedStyle(paper).fill)), node.textContent.trim()]);
    }
  });
  document.querySelectorAll(".tip").forEach(node => { node.style.display = ""; });
  found.sort((a, b) => a[0] - b[0]);
  const levels = [...document.querySelectorAll("h1,h2,h3,h4")].map(node => Number(node.tagName[1]));
  return {
    width: document.documentElement.clientWidth, scroll: document.documentElement.scrollWidth,
    charts: [...document.querySelectorAll("figure svg")].filter(seen).length,
    withoutTable: [...document.querySelectorAll("figure")].filter(figure => !figure.querySelector("table")).length,
    font: document.fonts.check("600 16px Inter"), dark: matchMedia("(prefers-color-scheme:dark)").matches,
    texts: found.length, least: found[0],
    levels: levels.every((level, nth) => level <= (levels[nth - 1] ?? 0) + 1) && levels.filter(level => level === 1).length === 1,
    names: [...document.querySelectorAll(".scroll,a,select,input")].filter(node => seen(node)
      && !(node.ariaLabel || node.textContent.trim() || node.closest("label"))).map(node => node.outerHTML.slice(0, 90)),
    lost: [...document.querySelectorAll("a[href^='#']")]
      .filter(node => !document.getElementById(node.getAttribute("href").slice(1))).length,
  };
})()
