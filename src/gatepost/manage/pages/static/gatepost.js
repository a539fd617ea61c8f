/* What pages do beyond links and forms.
   Every page works without it. No library, no eval, nothing inline. What people read is in the page
   (`ui.script_texts`), in its language. */
"use strict";

(() => {
  const root = document.documentElement;
  const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const keep = (name, value) => { try { value ? localStorage.setItem(name, value) : localStorage.removeItem(name); } catch {} };

  /* -------------------------------------------------------------- texts: those of the page, for the other scripts too */

  let texts;
  function text(name, values = {}) {
    texts ??= JSON.parse(document.getElementById("texts").textContent);
    const found = texts[name];
    return Array.isArray(found) ? found : found.replace(/%\((\w+)\)s/g, (_, key) => values[key]);
  }
  window.gatepost = { text };

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
      button.title = text(NAMES[chosen]);
      button.setAttribute("aria-label", button.title);
      button.hidden = false;
    }
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
    const code = button.parentElement.querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(code);
    } catch {
      const area = document.createElement("textarea");
      area.value = code;
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
    button.setAttribute("aria-label", text("copied"));
    say(text("copied"));
    setTimeout(() => {
      use.setAttribute("href", icon);
      button.classList.remove("done");
      button.setAttribute("aria-label", label);
    }, 1500);
  }

  function say(what) {
    let region = document.getElementById("spoken");
    if (!region) {
      region = document.createElement("div");
      region.id = "spoken";
      region.className = "visually-hidden";
      region.setAttribute("aria-live", "polite");
      document.body.append(region);
    }
    region.textContent = "";
    setTimeout(() => { region.textContent = what; }, 50);
  }

  /* A form's button with data-confirm asks first; the answer submits the form by that very button. */
  function ask(event, button) {
    const dialog = document.getElementById("confirm");
    if (!dialog || button.dataset.confirmed) { delete button.dataset.confirmed; return; }
    event.preventDefault();
    event.stopImmediatePropagation();
    dialog.querySelector("[data-confirm-text]").textContent = button.dataset.confirm;
    dialog.querySelector("[data-confirm-yes]").textContent = button.dataset.yes;
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "yes") {
        button.dataset.confirmed = "yes";
        button.click();
      }
    }, { once: true });
    dialog.showModal();
  }

  /* After a log-out somebody else may sit here: nothing of a form is left (unsent.js). */
  document.addEventListener("submit", (event) => {
    if (event.target.getAttribute("action") === "/logout") sessionStorage.removeItem("unsent");
  });

  /* A double click sends a form once: the second answer would say that what the first made is there already. */
  let sent = new WeakMap();
  document.addEventListener("submit", (event) => {
    const form = event.target, now = performance.now();
    if (event.defaultPrevented || form.getAttribute("method") !== "post" || form.matches("[hx-post]")) return;
    if (now - (sent.get(form) ?? -Infinity) < 3000) event.preventDefault();
    else sent.set(form, now);
  });
  addEventListener("pageshow", () => { sent = new WeakMap(); });  // back from the answer

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
      say(text(NAMES[theme()]));
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
    bar.querySelector("[data-picked]").textContent = on ? text("selected", { num: on }) : "";
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

  const opened = new Set();  // which menus were open: a list that arrives again later brings its own, as it was
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
      const icon = document.querySelector("[data-theme-switch] svg").cloneNode(true), use = icon.querySelector("use");
      use.setAttribute("href", use.getAttribute("href").replace(/#.*/, "#chevron"));
      summary.append(icon, text("columns"));
      menu.append(summary);
      menu.addEventListener("toggle", () => heads.forEach((head) => {
        const column = head.textContent.trim();
        if (table.tBodies[0].rows[0]?.cells[head.cellIndex]?.tagName === "TH") return;  // what names the row stays
        const label = document.createElement("label"), box = document.createElement("input");
        label.className = "pick";
        box.type = "checkbox";
        box.checked = !hidden.has(column);
        box.addEventListener("change", () => {
          if (box.checked) hidden.delete(column); else hidden.add(column);
          keep(name, [...hidden].join("|"));
          show();
        });
        label.append(box, column);
        menu.append(label);
      }), { once: true });
      menu.addEventListener("toggle", () => opened[menu.open ? "add" : "delete"](name));
      menu.open = opened.has(name);
      wrap.before(menu);
    }
  }

  /* -------------------------------------------------------------- charts: their table has the numbers and the links */

  function columnAt(event) {
    const picture = event.target instanceof Element && event.target.closest("[data-chart] svg.picture");
    if (!picture) return null;
    const table = picture.closest("[data-chart]").querySelector("[data-chart-table] table"), rows = table.tBodies[0].rows;
    const { x } = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    const left = Number(picture.dataset.left);
    const row = rows[Math.floor(((x - left) / (picture.viewBox.baseVal.width - left)) * rows.length)];
    return row && { picture, row, heads: [...table.tHead.rows[0].cells], series: Number(event.target.dataset.series ?? 0) };
  }
  document.addEventListener("click", (event) => {
    const at = columnAt(event);
    const link = at && (at.row.cells[at.series].querySelector("a") ?? at.row.cells[0].querySelector("a"));
    if (link) location.href = link.href;
  });
  document.addEventListener("pointermove", (event) => {
    const at = columnAt(event);
    if (!at) return;
    const cells = [...at.row.cells].map((cell, place) => (place ? `${at.heads[place].textContent.trim()} ` : "") + cell.textContent.trim());
    at.picture.parentElement.title = `${cells[0]}: ${cells.slice(1).join(", ")}`;
  });
  function foldTables(within) {
    for (const table of within.querySelectorAll("[data-chart] > [data-chart-table]:not([data-folded])")) {
      table.open = false;
      table.dataset.folded = "";
    }
  }

  /* -------------------------------------------------------------- when the page, or a part of it, is there */

  function arrive(within) {
    within.querySelector("[data-focus]")?.focus();
    foldTables(within);
    offerTicks(within);
    offerColumns(within);
    for (const menu of within.querySelectorAll("[data-nav]")) menu.open = innerWidth > 1100;
  }
  document.addEventListener("DOMContentLoaded", () => { applyTheme(); arrive(document); });
  document.addEventListener("htmx:after:swap", () => arrive(document));
})();
