/* A form that was not acted upon, such as after the end of its session: what was typed is there again when its author
   comes back to its page. Pages with forms in which somebody types for long have it (`ui.keeps_forms`).
   Kept by this tab alone, until its author logs out (gatepost.js), without passwords and keys: their text areas have
   autocomplete="off". The log-in, the question for the password and pages of refusals say the sentence (data-unsent). */
"use strict";

(() => {
  const here = location.href.replace(/#.*/, "");
  const author = document.querySelector("details.menu.end .menu-text")?.lastChild.textContent;
  const keep = (form) => { try { form ? sessionStorage.setItem("unsent", JSON.stringify(form)) : sessionStorage.removeItem("unsent"); } catch {} };
  const isTyped = (field) => field.name && field.matches("input:not([type=hidden], [type=password], [type=file]), select, textarea");
  const isSecret = (field) => field.name === "csrf" || field.matches("[type=password], [type=file], textarea[autocomplete=off]") || /PRIVATE KEY/.test(field.value);

  document.addEventListener("submit", (event) => {
    const form = event.target, fields = [...form.elements];
    if (form.getAttribute("method") !== "post" || !author || form.matches("[hx-post], [data-unsent] *")) return;
    const secret = new Set(fields.filter(isSecret).map((field) => field.name));
    const values = [...new FormData(form)].filter(([name]) => !secret.has(name));
    keep(fields.some(isTyped) ? { author, page: here, action: form.getAttribute("action"), label: form.ariaLabel, values } : null);
  });

  function fill(form, values) {
    const left = Map.groupBy(values, ([name]) => name);
    for (const field of form.elements) {
      if (!field.matches("input, select, textarea") || field.name === "csrf") continue;
      const typed = left.get(field.name) ?? [], before = [field.checked, field.value].join();
      if (field.type === "checkbox" || field.type === "radio") field.checked = typed.some(([, value]) => value === field.value);
      else if (typed.length) field.value = typed.shift()[1];
      const fold = field.closest("details");
      if (fold && before !== [field.checked, field.value].join()) fold.open = true;
    }
  }

  const kept = () => { try { return JSON.parse(sessionStorage.getItem("unsent")); } catch { return null; } };
  const lost = kept(), refusal = document.querySelector("[data-unsent]");
  if (!lost) return;
  if (author && lost.author !== author) return keep(null);
  if (refusal) {
    for (const field of document.querySelectorAll("[name=unsent]")) field.remove();  // of browsers without scripts
    if (document.referrer === lost.page) keep({ ...lost, said: refusal.dataset.unsent });
    return;
  }
  if (!author || (lost.said && lost.page !== here)) return;
  keep(null);
  const form = lost.said && [...document.forms].find((one) => one.getAttribute("action") === lost.action && one.ariaLabel === lost.label);
  if (!form) return;
  fill(form, lost.values);
  const note = document.createElement("div");
  note.classList.add("notice", "warn");
  note.textContent = lost.said;
  const dialog = form.closest("dialog");
  if (dialog) {
    form.querySelector("h2").after(note);
    dialog.showModal();
  } else document.getElementById("said").replaceChildren(note);
})();
