"use strict";
// Draws the figures of a page, each when it is first shown.
const figures = (() => {
  const report = JSON.parse(document.getElementById("report-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();
  let printing = false;

  // Figures are stored in light colours; on a dark page each is replaced by its partner.
  const themed = (value) => {
    if (typeof value === "string") return Object.hasOwn(report.palette, value) ? report.palette[value] : value;
    if (Array.isArray(value)) return value.map(themed);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item)]));
  };

  const draw = (plot) => {
    const night = dark.matches && !printing;
    const stored = report.figures[plot.id];
    const figure = night ? themed(stored) : structuredClone(stored);
    figure.layout.hoverlabel = { ...figure.layout.hoverlabel, bgcolor: night ? "#2a2d31" : "#ffffff" };
    drawn.add(plot);
    return Plotly.react(plot, figure.data, figure.layout, { displayModeBar: false, responsive: true, typesetMath: false });
  };

  // A hidden plot has no width, so it is drawn when it is first shown. One at a time, so that the page can be read
  // while they are drawn.
  const drawShown = async () => {
    for (const plot of document.querySelectorAll(".plot")) {
      if (plot.closest("[hidden], details:not([open])") || drawn.has(plot)) continue;
      draw(plot);
      await new Promise((done) => setTimeout(done));
    }
  };
  const redraw = () => drawn.forEach(draw);

  const show = (selector, key, value) => {
    for (const group of document.querySelectorAll(selector)) group.hidden = group.dataset[key] !== value;
  };

  for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", drawShown);
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    printing = true;
    for (const leak of document.querySelectorAll("details:not(.curves)")) leak.open = true;
    redraw();
  });
  addEventListener("afterprint", () => { printing = false; redraw(); });
  drawShown();
  return { report, drawn, drawShown, show };
})();
