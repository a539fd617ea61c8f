/* What pages do beyond links and forms: the theme, copy buttons, questions before a form, `/`, menus, charts.
   Every page works without it. No library but uPlot, where a page has charts; nothing is evaluated, nothing inline. */
"use strict";

(() => {
  const root = document.documentElement;
  const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const keep = (name, value) => { try { value ? localStorage.setItem(name, value) : localStorage.removeItem(name); } catch { /* private mode */ } };

  /* -------------------------------------------------------------- theme: as the system, light, dark */

  const THEMES = ["", "light", "dark"];
  const NAMES = { "": "system", light: "light", dark: "dark" };
  const ICONS = { "": "theme", light: "sun", dark: "moon" };
  const theme = () => (THEMES.includes(kept("theme")) ? kept("theme") : "");

  function applyTheme() {
    const chosen = theme();
    if (chosen) root.dataset.theme = chosen; else delete root.dataset.theme;
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      const use = button.querySelector("use");
      use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${ICONS[chosen]}`));
      button.setAttribute("aria-label", `Theme: ${NAMES[chosen]}`);
      button.title = `Theme: ${NAMES[chosen]}`;
      button.hidden = false;
    }
    document.dispatchEvent(new Event("gatepost:theme"));
  }
  applyTheme();

  /* -------------------------------------------------------------- the browser's time zone, in which pages write times */

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const zoneCookie = `gatepost_zone=${zone}`;
  if (/^[A-Za-z0-9_+/-]+$/.test(zone ?? "") && !document.cookie.split("; ").includes(zoneCookie)) {
    document.cookie = `${zoneCookie}; path=/; max-age=31536000; samesite=strict${location.protocol === "https:" ? "; secure" : ""}`;
  }

  /* -------------------------------------------------------------- clicks */

  async function copy(button) {
    const text = button.parentElement.querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const label = button.getAttribute("aria-label");
    const use = button.querySelector("use");
    const icon = use.getAttribute("href");
    if (button.classList.contains("done")) return;
    use.setAttribute("href", icon.replace(/#.*/, "#check"));
    button.classList.add("done");
    button.setAttribute("aria-label", "Copied");
    say("Copied");
    setTimeout(() => {
      use.setAttribute("href", icon);
      button.classList.remove("done");
      button.setAttribute("aria-label", label);
    }, 1500);
  }

  function say(text) {
    let region = document.getElementById("spoken");
    if (!region) {
      region = document.createElement("div");
      region.id = "spoken";
      region.className = "visually-hidden";
      region.setAttribute("aria-live", "polite");
      document.body.append(region);
    }
    region.textContent = "";
    setTimeout(() => { region.textContent = text; }, 50);
  }

  /* A form's button with data-confirm asks first; the answer submits the form by that very button. */
  function ask(event, button) {
    const dialog = document.getElementById("confirm");
    if (!dialog || button.dataset.confirmed) { delete button.dataset.confirmed; return; }
    event.preventDefault();
    event.stopImmediatePropagation();
    dialog.querySelector("[data-confirm-text]").textContent = button.dataset.confirm;
    dialog.querySelector("[data-confirm-yes]").textContent = button.dataset.yes || "Continue";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "yes") {
        button.dataset.confirmed = "yes";
        button.click();
      }
    }, { once: true });
    dialog.showModal();
  }

  /* Browsers without invoker commands (command, commandfor). */
  function command(button) {
    if ("commandForElement" in HTMLButtonElement.prototype) return;
    const dialog = document.getElementById(button.getAttribute("commandfor"));
    if (!dialog) return;
    if (button.getAttribute("command") === "show-modal") dialog.showModal(); else dialog.close();
  }

  document.addEventListener("click", (event) => {
    const target = event.target;
    if (!(target instanceof Element)) return;
    for (const menu of document.querySelectorAll("details[data-menu][open]")) if (!menu.contains(target)) menu.open = false;
    const button = target.closest("button");
    if (!button) return;
    if (button.dataset.confirm) ask(event, button);
    else if (button.hasAttribute("data-copy")) copy(button);
    else if (button.hasAttribute("commandfor")) command(button);
    else if (button.hasAttribute("data-theme-switch")) {
      keep("theme", THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
      applyTheme();
      say(`Theme: ${NAMES[theme()]}`);
    }
  }, true);

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      for (const menu of document.querySelectorAll("details[data-menu][open]")) {
        menu.open = false;
        menu.querySelector("summary").focus();
      }
      return;
    }
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target instanceof Element && event.target.closest("input, select, textarea, [contenteditable]")) return;
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  });

  /* -------------------------------------------------------------- rows that are ticked, for one action on all of them */

  const ticks = (form) => [...form.querySelectorAll('.tick input[type="checkbox"]')];
  function countTicks(form) {
    const all = ticks(form), on = all.filter((one) => one.checked).length;
    const bar = form.querySelector("[data-bulk]"), every = bar.querySelector("[data-pick-all] input");
    every.checked = on > 0 && on === all.length;
    every.indeterminate = on > 0 && on < all.length;
    bar.querySelector("[data-picked]").textContent = on ? `${on} selected.` : "";
    bar.classList.toggle("picking", on > 0);
  }
  function offerTicks(within) {
    for (const bar of within.querySelectorAll("[data-bulk]")) {
      bar.querySelector("[data-pick-all]").hidden = false;
      countTicks(bar.closest("form"));
    }
  }
  document.addEventListener("change", (event) => {
    const form = event.target instanceof Element && event.target.closest("form:has([data-bulk])");
    if (!form) return;
    if (event.target.closest("[data-pick-all]")) for (const one of ticks(form)) one.checked = event.target.checked;
    countTicks(form);
  });

  /* -------------------------------------------------------------- columns: which ones a list shows, kept by this browser */

  function offerColumns(within) {
    for (const table of within.querySelectorAll(".table-wrap.stacked > table[data-columns]")) {
      const heads = [...table.tHead.rows[0].cells];
      const name = `columns ${location.pathname} ${table.caption.textContent}`;
      const hidden = new Set((kept(name) ?? "").split("|").filter(Boolean));
      const show = () => {
        for (const row of table.rows) [...row.cells].forEach((cell, at) => { cell.hidden = hidden.has(heads[at]?.textContent.trim()); });
      };
      show();
      const wrap = table.parentElement;
      if (wrap.previousElementSibling?.classList.contains("columns")) continue;
      const menu = document.createElement("details");
      menu.className = "fold columns";
      const summary = document.createElement("summary");
      summary.textContent = "Columns";
      menu.append(summary);
      menu.addEventListener("toggle", () => heads.forEach((head) => {
        const text = head.textContent.trim();
        if (table.tBodies[0].rows[0]?.cells[head.cellIndex]?.tagName === "TH") return;  // what names the row stays
        const label = document.createElement("label"), box = document.createElement("input");
        label.className = "pick";
        box.type = "checkbox";
        box.checked = !hidden.has(text);
        box.addEventListener("change", () => {
          if (box.checked) hidden.delete(text); else hidden.add(text);
          keep(name, [...hidden].join("|"));
          show();
        });
        label.append(box, text);
        menu.append(label);
      }), { once: true });
      wrap.before(menu);
    }
  }

  /* -------------------------------------------------------------- charts, of the table in the same figure */

  function numbers(figure) {
    const table = figure.querySelector("[data-chart-table]");
    const rows = [...table.querySelectorAll("tbody tr")].map((row) => [...row.cells]);
    const labels = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
    const stamp = (cell) => { const time = cell.querySelector("time"); return time ? Date.parse(time.getAttribute("datetime")) / 1000 : NaN; };
    const value = (cell) => { const given = cell.dataset.value ?? cell.textContent.replace(/[,\s]/g, ""); return given === "" || isNaN(given) ? null : Number(given); };
    const timed = rows.length > 0 && !isNaN(stamp(rows[0][0]));
    const sorted = timed ? rows.toSorted((a, b) => stamp(a[0]) - stamp(b[0])) : rows;
    return {
      timed,
      names: sorted.map((cells) => cells[0].textContent.trim()),
      labels: labels.slice(1),
      x: sorted.map((cells, at) => (timed ? stamp(cells[0]) : at)),
      series: labels.slice(1).map((_, at) => sorted.map((cells) => value(cells[at + 1]))),
      links: sorted.map((cells) => cells.map((cell) => cell.querySelector("a")?.href)),
    };
  }

  const colour = (tone) => getComputedStyle(root).getPropertyValue(`--${tone}`) && resolved(`var(--${tone})`);
  function resolved(value) {
    const probe = document.createElement("span");
    probe.hidden = true;
    probe.style.color = value;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }
  const faded = (rgb, share) => rgb.replace(/^rgb\(([^)]*)\)$/, (_, parts) => `rgba(${parts}, ${share})`);

  /* A name that fits into so many pixels. */
  function short(name, width) {
    const letters = Math.max(3, Math.floor(width / 8));
    return name.length > letters ? `${name.slice(0, letters - 1)}…` : name;
  }

  /* Days as "26 Nov", hours as "14:00", UTC. */
  function moments(_, at, __, ___, step) {
    const written = step >= 86400 ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" };
    const format = new Intl.DateTimeFormat("en-GB", { ...written, timeZone: "UTC" });
    return at.map((one) => format.format(new Date(one * 1000)));
  }

  /* Steps of an axis that counts: no half message. */
  const WHOLE = Array.from({ length: 36 }, (_, at) => [1, 2, 5][at % 3] * 10 ** Math.floor(at / 3));

  function options(figure, data, width) {
    const stacked = figure.dataset.chart === "stack";
    const tones = (figure.dataset.tones || "").split(" ").filter(Boolean);
    const all = ["accent", "pass", "warn", "fail", "unknown", "soft"];
    const text = resolved("var(--soft)");
    const grid = { stroke: resolved("var(--line)"), width: 1 };
    const bars = figure.dataset.chart === "bars" ? uPlot.paths.bars({ size: [0.7, 64] }) : undefined;
    const unit = figure.dataset.unit ? ` ${figure.dataset.unit}` : "";
    return {
      width,
      height: 240,
      padding: [8, 24, 0, 0],
      cursor: { y: false },
      legend: { show: !figure.hasAttribute("data-legend") },
      scales: { x: { time: data.timed, ...(data.timed ? {} : { range: [-0.5, data.x.length - 0.5] }) }, y: { range: (_, __, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [
        { stroke: text, grid: { show: false }, ticks: grid, ...(data.timed ? { values: moments } : { splits: () => data.x, values: (plot, at) => at.map((one) => short(data.names[one] ?? "", plot.width / data.x.length)) }) },
        { stroke: text, grid, ticks: { show: false }, size: 56, incrs: WHOLE, values: (_, at) => at.map((one) => one.toLocaleString("en")) },
      ],
      series: [
        { value: data.timed ? (_, at) => (at == null ? "–" : new Date(at * 1000).toISOString().replace("T", " ").slice(0, 16) + "Z") : (_, at) => data.names[at] ?? "–", label: data.timed ? "Time" : "" },
        ...data.labels.map((label, at) => {
          const tone = colour(tones[at] || all[at % all.length]);
          return {
            label,
            // The edge of a part that is 0 would lie on the edge of the part below it, and look like something.
            ...(stacked ? { width: 0 } : { stroke: tone, width: 2 }),
            fill: stacked || bars ? faded(tone, 0.7) : undefined,
            paths: bars,
            points: { show: false },
            value: (_, __, ___, where) => (where == null ? "–" : (data.series[at][where] ?? "–").toLocaleString("en") + unit),
          };
        }),
      ],
      bands: stacked ? data.labels.slice(1).map((_, at) => ({ series: [at + 2, at + 1] })) : undefined,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    };
  }

  function stackedUp(series) {
    const sums = series.length ? series[0].map(() => 0) : [];
    return series.map((values) => values.map((value, at) => (sums[at] += value ?? 0)));
  }

  function draw(figure) {
    const holder = figure.querySelector(".chart-canvas");
    const data = numbers(figure);
    figure.plot?.destroy();
    if (!data.x.length) return;
    holder.hidden = false;
    figure.querySelector(".chart-still")?.setAttribute("hidden", "");
    const shown = figure.dataset.chart === "stack" ? stackedUp(data.series) : data.series;
    figure.plot = new uPlot(options(figure, data, holder.clientWidth), [data.x, ...shown], holder);
    figure.plot.over.addEventListener("click", () => {
      const at = figure.plot.cursor.idx;
      if (at == null) return;
      const height = figure.plot.posToVal(figure.plot.cursor.top, "y");
      const hit = figure.dataset.chart === "stack" ? shown.findIndex((values) => height <= values[at]) : 0;
      const link = data.links[at][hit + 1] ?? data.links[at][0];
      if (link) location.href = link;
      else if (figure.dataset.href) location.href = figure.dataset.href.replace("{x}", encodeURIComponent(data.timed ? new Date(data.x[at] * 1000).toISOString() : data.names[at]));
    });
  }

  const resized = window.ResizeObserver && new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const plot = target.closest("[data-chart]").plot;
      if (plot && target.clientWidth && plot.width !== target.clientWidth) plot.setSize({ width: target.clientWidth, height: plot.height });
    }
  });

  function drawAll(within) {
    if (typeof uPlot === "undefined") return;
    for (const figure of within.querySelectorAll("[data-chart]")) {
      if (!figure.plot) {
        const table = figure.querySelector("[data-chart-table]");
        if (table) table.open = false;
      }
      draw(figure);
      resized?.observe(figure.querySelector(".chart-canvas"));
    }
  }

  /* -------------------------------------------------------------- when the page, or a part of it, is there */

  function arrive(within) {
    within.querySelector("[data-focus]")?.focus();
    drawAll(within);
    offerTicks(within);
    offerColumns(within);
  }
  document.addEventListener("DOMContentLoaded", () => { applyTheme(); arrive(document); });
  document.addEventListener("htmx:after:swap", () => arrive(document));
  document.addEventListener("gatepost:theme", () => drawAll(document));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
})();
