"use strict";
(() => {
  const report = JSON.parse(document.getElementById("report-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();
  let printing = false;

  // Figures are stored in light colours; on a dark page each is replaced by its partner.
  const themed = (value) => {
    if (typeof value === "string") return report.palette[value] ?? value;
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
    return Plotly.react(plot, figure.data, figure.layout, { displayModeBar: false, responsive: true });
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

  // The state of the page lives in the hash, so that a link keeps it.
  const view = document.getElementById("pick-view");
  const cohorts = [...document.querySelectorAll(".pick-cohort")];
  const table = document.getElementById("example-table");
  const text = document.getElementById("filter-text");
  const cohort = document.getElementById("filter-cohort");
  const out = document.getElementById("filter-out");
  const count = document.getElementById("filter-count");
  const heads = table ? [...table.tHead.rows[0].cells] : [];
  const rows = table ? [...table.tBodies[0].rows] : [];
  const words = rows.map((row) => (row.textContent + " " + row.lastElementChild.title).toLowerCase());
  const outs = rows.map((row) => JSON.parse(row.dataset.out));
  const home = cohorts.length ? cohorts[0].value : "";
  let sorted = "";

  const save = () => {
    const state = new URLSearchParams();
    const chosen = cohorts.length && cohorts[0].value !== home ? cohorts[0].selectedOptions[0].dataset.name : "";
    const picked = view && view.selectedIndex > 0 ? view.selectedOptions[0].dataset.name : "";
    const entries = { view: picked, show: chosen };
    if (table) Object.assign(entries, { q: text.value, cohort: cohort.value, out: out.value, sort: sorted });
    for (const [key, value] of Object.entries(entries)) if (value) state.set(key, value);
    history.replaceState(null, "", "#" + state.toString());
  };

  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    let shown = 0;
    rows.forEach((row, place) => {
      const fits =
        words[place].includes(wanted) &&
        (!cohort.value || row.dataset.cohort === cohort.value) &&
        (!out.value || outs[place].includes(out.value));
      row.hidden = !fits;
      if (fits) shown += 1;
    });
    count.textContent = `Showing ${shown} of ${table.dataset.total}.`;
  };

  const sort = (order) => {
    const column = Math.abs(Number.parseInt(order, 10)) - 1;
    const head = heads[column];
    const down = order.startsWith("-");
    sorted = head ? order : "";
    for (const cell of heads) cell.removeAttribute("aria-sort");
    if (!head) {
      table.tBodies[0].append(...rows);
      return;
    }
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
    const keyed = rows.map((row, place) => ({ row, key: key(row), place }));
    const numeric = keyed.every((item) => item.key !== "" && !Number.isNaN(Number(item.key)));
    const compare = numeric ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
    keyed.sort((a, b) => (down ? -1 : 1) * compare(a.key, b.key) || a.place - b.place);
    table.tBodies[0].append(...keyed.map((item) => item.row));
  };

  const choose = (select, test) => {
    const place = [...select.options].findIndex(test);
    if (place >= 0) select.selectedIndex = place;
  };

  const pickView = () => {
    if (view) show(".view", "view", view.value);
    drawShown();
  };
  const pickCohort = (value) => {
    for (const select of cohorts) select.value = value;
    if (cohorts.length) show(".panels[data-cohort]", "cohort", value);
    drawShown();
  };

  const restore = () => {
    const hash = location.hash.slice(1);
    const state = new URLSearchParams(hash.includes("=") ? hash : "");
    if (!hash.includes("=")) {
      const target = hash && document.getElementById(hash);
      if (target instanceof HTMLDetailsElement) target.open = true;
      return;
    }
    if (view) {
      choose(view, (option) => option.dataset.name === (state.get("view") ?? view.options[0].dataset.name));
      pickView();
    }
    if (state.has("show") && cohorts.length) {
      choose(cohorts[0], (option) => option.dataset.name === state.get("show"));
      pickCohort(cohorts[0].value);
    }
    if (!table) return;
    text.value = state.get("q") ?? "";
    for (const [select, key] of [[cohort, "cohort"], [out, "out"]]) {
      select.selectedIndex = 0;
      choose(select, (option) => option.value === (state.get(key) ?? ""));
    }
    sort(state.get("sort") ?? "");
    filter();
    if (["q", "cohort", "out"].some((key) => state.has(key))) document.getElementById("examples").scrollIntoView();
  };

  if (view) view.addEventListener("change", () => { pickView(); save(); });
  for (const select of cohorts) select.addEventListener("change", () => { pickCohort(select.value); save(); });
  if (table) {
    const changed = () => { filter(); save(); };
    text.addEventListener("input", changed);
    cohort.addEventListener("change", changed);
    out.addEventListener("change", changed);
    document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
    heads.forEach((head, place) => {
      head.querySelector("button").addEventListener("click", () => {
        sort(sorted === String(place + 1) ? String(-place - 1) : String(place + 1));
        save();
      });
    });
  }
  for (const fold of document.querySelectorAll("details.curves")) fold.addEventListener("toggle", drawShown);
  addEventListener("hashchange", restore);
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    printing = true;
    for (const leak of document.querySelectorAll("details:not(.curves)")) leak.open = true;
    redraw();
  });
  addEventListener("afterprint", () => { printing = false; redraw(); });

  drawShown();
  restore();
})();
