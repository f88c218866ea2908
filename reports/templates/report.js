"use strict";
(() => {
  const { report, drawn, drawShown, show } = figures;

  // The state of the page lives in the hash, so that a link keeps it.
  const at = (id) => document.getElementById(id);
  const view = at("pick-view");
  const cohorts = [...document.querySelectorAll(".pick-cohort")];
  const home = cohorts.length ? cohorts[0].value : "";
  const { at: thresholds, own, z, rows: within } = report.thresholds;
  const slider = at("threshold");
  const level = at("threshold-level");
  const table = at("example-table");
  const heads = table ? [...table.tHead.rows[0].cells] : [];
  const rows = table ? [...table.tBodies[0].rows] : [];
  const leaks = [...document.querySelectorAll("details.leak")];
  const order = at("leak-sort");
  // Read when they are first asked for: there may be thousands.
  let words = null;
  const worded = () => rows.map((row) => (row.textContent + " " + row.lastElementChild.title).toLowerCase());
  const fields = ["text", "cohort", "out", "level", "within", "secret", "only"];
  const filters = Object.fromEntries(fields.map((key) => [key, at("filter-" + key)]));
  let sorted = "";

  // Wilson's interval of a rate, and Newcombe's of a paired difference (1998, method 10), as the findings have them.
  const wilson = (count, total) => {
    if (!total) return [0, 0, 1];
    const rate = count / total;
    const z2 = z * z;
    const centre = (rate + z2 / (2 * total)) / (1 + z2 / total);
    const half = (z * Math.sqrt((rate * (1 - rate)) / total + z2 / (4 * total * total))) / (1 + z2 / total);
    return [rate, count ? Math.max(0, centre - half) : 0, count === total ? 1 : Math.min(1, centre + half)];
  };
  const paired = (both, first, second, total) => {
    if (!total) return [0, -1, 1];
    const [one, oneLow, oneHigh] = wilson(first, total);
    const [other, otherLow, otherHigh] = wilson(second, total);
    const margins = first * (total - first) * second * (total - second);
    let cross = both * (total - first - second + both) - (first - both) * (second - both);
    if (cross > 0) cross = Math.max(cross - total / 2, 0);
    const phi = margins ? cross / Math.sqrt(margins) : 0;
    const reach = (a, b) => Math.sqrt(Math.max(a * a - 2 * phi * a * b + b * b, 0));
    const value = (first - second) / total;
    return [
      value,
      Math.max(value - reach(one - oneLow, otherHigh - other), -1),
      Math.min(value + reach(oneHigh - one, other - otherLow), 1),
    ];
  };
  // As `reports.phrases.percent` writes them.
  const percent = (rate) => {
    const value = 100 * rate;
    if (value === 0) return "0";
    if (Math.abs(value) < 0.05) return value > 0 ? "<0.1" : ">\u22120.1";
    if (value >= 99.5 && value < 100) return value < 99.95 ? value.toFixed(1) : ">99.9";
    return value.toFixed(Math.abs(value) >= 9.95 ? 0 : 1).replace("-", "\u2212");
  };
  const signed = (rate) => (rate > 0 && !percent(rate).startsWith("<") ? "+" : "") + percent(rate);

  const chosenCohort = () => (cohorts.length ? cohorts[0].selectedOptions[0].dataset.name : "");
  const measure = () => {
    if (!slider) return;
    const place = slider.valueAsNumber;
    const shown = String(thresholds[place]);
    at("threshold-value").textContent = shown;
    slider.setAttribute("aria-valuetext", shown);
    at("threshold-reset").disabled = thresholds[place] === own;
    const body = at("threshold-rates");
    body.replaceChildren();
    for (const row of within) {
      if (row.level !== report.examples.levelNames[level.selectedIndex] || row.cohort !== report.cohorts[cohorts[0].value]) continue;
      const counts = [row.exposed[place], row.control[place]];
      const line = body.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = report.examples.stages[report.examples.stageNames.indexOf(row.stage)];
      line.append(head);
      const gap = paired(row.both[place], ...counts, row.total);
      const texts = counts.flatMap((count) => {
        const [, low, high] = wilson(count, row.total);
        return [`${count} of ${row.total}`, `${percent(low)} to ${percent(high)}`];
      });
      for (const text of [...texts, signed(gap[0]), `${percent(gap[1])} to ${percent(gap[2])}`]) {
        const cell = line.insertCell();
        cell.className = "number";
        cell.textContent = text;
      }
    }
    for (const plot of document.querySelectorAll("#distance .plot")) {
      const mark = { "shapes[0].x0": thresholds[place], "shapes[0].x1": thresholds[place] };
      Object.assign(mark, { "annotations[0].x": thresholds[place], "annotations[0].text": `threshold ${shown}` });
      for (const item of report.figures[plot.id].layout.shapes) item.x0 = item.x1 = thresholds[place];
      const note = report.figures[plot.id].layout.annotations[0];
      note.x = thresholds[place];
      note.text = mark["annotations[0].text"];
      if (drawn.has(plot)) Plotly.relayout(plot, mark);
    }
  };

  const save = () => {
    const state = new URLSearchParams();
    const chosen = cohorts.length && cohorts[0].value !== home ? chosenCohort() : "";
    const picked = view && view.selectedIndex > 0 ? view.selectedOptions[0].dataset.name : "";
    const entries = { view: picked, show: chosen };
    if (slider && thresholds[slider.valueAsNumber] !== own) entries.at = thresholds[slider.valueAsNumber];
    if (table) {
      const { text, cohort, out, level: rung, within: far, secret, only } = filters;
      Object.assign(entries, { q: text.value, cohort: cohort.value, out: out.value, level: rung.value });
      Object.assign(entries, { within: far.value, secret: secret.value, only: only.checked ? "1" : "", sort: sorted });
      if (order) entries.by = order.value;
    }
    for (const [key, value] of Object.entries(entries)) if (value) state.set(key, value);
    history.replaceState(null, "", "#" + state.toString());
  };

  const filter = () => {
    const wanted = filters.text.value.trim().toLowerCase();
    const { cohort, out, level: rung, secret, only } = filters;
    if (wanted) words ??= worded();
    const stage = out.selectedIndex - 1;
    const bit = rung.selectedIndex - 1;
    const far = filters.within.value === "" ? Infinity : filters.within.valueAsNumber;
    const asks = stage >= 0 || bit >= 0 || far < Infinity || secret.value || only.checked;
    const holds = ([name, exposed, control, distance, whole, levels]) =>
      (stage < 0 || name === stage) &&
      (bit >= 0 ? (levels >> bit) & 1 : stage < 0 || far < Infinity || secret.value || exposed) &&
      distance <= far &&
      (secret.value === "" || whole === (secret.value === "whole" ? 1 : 0)) &&
      (!only.checked || ((exposed || whole) && !control));
    const fits = report.examples.rows.map(
      ([name, life], place) =>
        (!wanted || words[place].includes(wanted)) && (!cohort.value || name === cohort.value) && (!asks || life.some(holds)),
    );
    rows.forEach((row) => { row.hidden = !fits[row.dataset.at]; });
    const every = wanted || cohort.value || asks;
    let shown = 0;
    for (const leak of leaks) {
      leak.hidden = every && !fits[leak.dataset.at];
      if (!leak.hidden) shown += 1;
    }
    at("filter-count").textContent = `Showing ${fits.filter(Boolean).length} of ${table.dataset.total} examples.`;
    const told = at("leak-count");
    if (told) told.textContent = `Showing ${shown} of ${told.dataset.total} leaks, worst first.`;
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

  const arrange = () => {
    const key = order.value;
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    const of = (leak) => report.leaks[leak.rank][key];
    const ranked = leaks.map((leak, rank) => Object.assign(leak, { rank }));
    const placed = key
      ? [...ranked].sort((a, b) => (typeof of(a) === "number" ? of(a) - of(b) : compare(of(a), of(b))) || a.rank - b.rank)
      : ranked;
    at("leaks").append(...placed);
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
    measure();
    drawShown();
  };

  // An example stands among the leaks, or else in the table.
  const point = (id) => {
    const leak = leaks.find((item) => item.dataset.id === id);
    const row = rows.find((item) => item.lastElementChild.title === id);
    const target = leak ?? row;
    for (const item of document.querySelectorAll(".pointed")) item.classList.remove("pointed");
    if (!target) return;
    if (leak) leak.open = true;
    target.hidden = false;
    target.classList.add("pointed");
    target.scrollIntoView({ block: leak ? "start" : "center" });
  };

  const restore = () => {
    const hash = location.hash.slice(1);
    const state = new URLSearchParams(hash.includes("=") ? hash : "");
    if (!hash.includes("=")) {
      const target = hash && at(hash);
      if (target instanceof HTMLDetailsElement) target.open = true;
      return;
    }
    // A link from within the page keeps what is chosen.
    if (state.has("example")) {
      point(state.get("example"));
      return;
    }
    if (view) {
      choose(view, (option) => option.dataset.name === (state.get("view") ?? view.options[0].dataset.name));
      pickView();
    }
    if (slider) {
      const place = thresholds.indexOf(state.has("at") ? Number(state.get("at")) : own);
      if (place >= 0) slider.value = place;
      measure();
    }
    if (state.has("show") && cohorts.length) {
      choose(cohorts[0], (option) => option.dataset.name === state.get("show"));
      pickCohort(cohorts[0].value);
    }
    if (!table) return;
    filters.text.value = state.get("q") ?? "";
    filters.within.value = state.get("within") ?? "";
    filters.only.checked = state.has("only");
    for (const key of ["cohort", "out", "level", "secret"]) {
      filters[key].selectedIndex = 0;
      choose(filters[key], (option) => option.value === (state.get(key) ?? ""));
    }
    if (order) {
      order.selectedIndex = 0;
      choose(order, (option) => option.value === (state.get("by") ?? ""));
      arrange();
    }
    sort(state.get("sort") ?? "");
    filter();
    const asked = ["q", "cohort", "out", "level", "within", "secret", "only"].some((key) => state.has(key));
    if (asked) at("evidence").scrollIntoView();
  };

  if (view) view.addEventListener("change", () => { pickView(); save(); });
  for (const select of cohorts) select.addEventListener("change", () => { pickCohort(select.value); save(); });
  if (slider) {
    at("slider").hidden = false;
    const moved = () => { measure(); save(); };
    slider.addEventListener("input", moved);
    level.addEventListener("change", measure);
    at("threshold-reset").addEventListener("click", () => { slider.value = thresholds.indexOf(own); moved(); });
  }
  if (table) {
    rows.forEach((row, place) => { row.dataset.at = place; });
    const changed = () => { filter(); save(); };
    for (const control of Object.values(filters)) {
      control.addEventListener(control.type === "search" || control.type === "number" ? "input" : "change", changed);
    }
    if (order) order.addEventListener("change", () => { arrange(); save(); });
    at("filter").addEventListener("submit", (event) => event.preventDefault());
    at("filter").addEventListener("reset", () => setTimeout(changed));
    heads.forEach((head, place) => {
      head.querySelector("button").addEventListener("click", () => {
        sort(sorted === String(place + 1) ? String(-place - 1) : String(place + 1));
        save();
      });
    });
  }
  addEventListener("hashchange", restore);

  measure();
  restore();
})();
