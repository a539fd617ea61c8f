/* The keyboard, and pages that renew themselves: Ctrl-K goes to any page, ? lists the keys, j and k move in lists.
   Every page works without it. Nothing is evaluated, nothing inline. */
"use strict";

(() => {
  const { text } = window.gatepost;
  const KEYS = ["Ctrl K", "/", "j, k", "Enter", "Esc", "?"];
  const SEARCHES = ["/trace", "/queue", "/connectors", "/domains", "/mailboxes"];

  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function opened(id, ...children) {
    document.getElementById(id)?.remove();
    const dialog = make("dialog", { id, class: "dialog", "aria-labelledby": `${id}-title` }, ...children);
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    return dialog;
  }

  function help() {
    const [title, ...meanings] = text("keys");
    const rows = KEYS.map((keys, at) => make("div", {}, make("dt", {}, make("kbd", {}, keys)), make("dd", {}, meanings[at])));
    const close = make("button", { value: "close", class: "secondary", autofocus: "" }, text("close"));
    opened("keys", make("form", { method: "dialog" }, make("h2", { id: "keys-title" }, title), make("dl", { class: "keys" }, ...rows), make("div", { class: "buttons" }, close)));
  }

  /* ------------------------------------------------------------------ the palette */

  const pages = () => [...document.querySelectorAll("nav.side a, details[data-menu] a[href]")].map((link) => [link.textContent.trim().replaceAll("\u00ad", ""), link.getAttribute("href")]);

  function choices(typed, hits) {
    const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = pages().filter(([name]) => words.every((word) => name.toLowerCase().includes(word)));
    const there = new Map(pages().map(([name, path]) => [path.split("?")[0], name]));
    const searches = SEARCHES.filter((path) => typed && there.has(path)).map((path) => [text("search", { page: there.get(path), text: typed }), `${path}?q=${encodeURIComponent(typed)}`]);
    return [...matching.slice(0, hits.length ? 4 : 12), ...hits, ...searches].slice(0, 18);
  }

  function palette() {
    const input = make("input", { type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list", "aria-labelledby": "palette-title", autocomplete: "off", autofocus: "" });
    const list = make("ul", { id: "palette-list", role: "listbox", "aria-labelledby": "palette-title", class: "palette" });
    const dialog = opened("palette", make("h2", { id: "palette-title" }, text("go-to")), input, list);
    let at = 0, hits = [], wait = 0;
    const show = () => {
      list.replaceChildren(...choices(input.value.trim(), hits).map(([name, path, kind], place) => make("li", { id: `palette-${place}`, role: "option", "aria-selected": String(place === at), "data-path": path }, name, ...(kind ? [" ", make("small", { class: "soft" }, kind)] : []))));
      if (list.children.length) input.setAttribute("aria-activedescendant", `palette-${at}`); else input.removeAttribute("aria-activedescendant");
      list.children[at]?.scrollIntoView({ block: "nearest" });
    };
    const go = (option) => { if (option) { dialog.close(); location.href = option.dataset.path; } };
    const find = async () => {
      const typed = input.value.trim();
      const answer = typed ? await fetch(`/find?q=${encodeURIComponent(typed)}`).then((response) => response.json()).catch(() => []) : [];
      if (typed !== input.value.trim()) return; // somebody types on
      const chosen = at && list.children[at]?.dataset.path;
      hits = answer;
      at = Math.max(0, choices(typed, hits).findIndex(([, path]) => path === chosen));
      show();
    };
    input.addEventListener("input", () => { at = 0; hits = []; show(); clearTimeout(wait); wait = setTimeout(find, 150); });
    input.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) { event.preventDefault(); at = Math.max(0, Math.min(list.children.length - 1, at + step)); show(); }
      if (event.key === "Enter") { event.preventDefault(); go(list.children[at]); }
    });
    list.addEventListener("click", (event) => go(event.target.closest("[role=option]")));
    show();
  }

  /* ------------------------------------------------------------------ lists */

  function step(by) {
    const rows = [...document.querySelectorAll("main table tbody tr")].map((row) => row.querySelector("th a[href], td a[href]")).filter((link) => link && link.offsetParent);
    if (!rows.length) return;
    const here = document.activeElement?.closest("tr");
    const at = rows.findIndex((link) => link.closest("tr") === here);
    rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.max(0, Math.min(rows.length - 1, at + by))].focus();
  }

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (!document.querySelector("dialog[open]")) palette();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target instanceof Element && event.target.closest("input, select, textarea, [contenteditable]")) return;
    if (event.key === "?") { event.preventDefault(); help(); }
    if (event.key === "j") step(1);
    if (event.key === "k") step(-1);
  });

  /* ------------------------------------------------------------------ parts that renew themselves

     While somebody is there: a page that nobody looks at, or has not touched for ten minutes, asks no more, so that a
     session which is left alone ends. What somebody is choosing in stays as it is. */

  const PRESENT = 600000;
  const begun = Date.now();
  let touched = begun;
  for (const kind of ["pointermove", "keydown", "scroll"]) document.addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
  setInterval(() => {
    if (document.hidden || Date.now() - touched > PRESENT || document.querySelector("dialog[open]")) return;
    for (const part of document.querySelectorAll("[data-renew]")) {
      if (Date.now() - (part.renewed ?? begun) < 1000 * Number(part.dataset.renew)) continue;
      if (part.querySelector(".tick :checked, details.columns[open], select:focus")) continue;
      part.renewed = Date.now();
      part.dispatchEvent(new CustomEvent("renew"));
    }
  }, 1000);
})();
