/* Passkeys: asks the browser to make one, or to sign with one. What must be right is checked by the gateway. Where the
   browser has no passkeys, nothing of it is shown. Nothing is evaluated, nothing inline. */
"use strict";

(() => {
  if (!window.PublicKeyCredential || !PublicKeyCredential.parseCreationOptionsFromJSON) return;

  const post = async (url, csrf, fields = {}) => {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "X-CSRF-Token": csrf },
      body: new URLSearchParams(fields),
      redirect: "follow",
    });
    if (answer.redirected) { location.assign(answer.url); return new Promise(() => {}); }
    return answer;
  };

  function say(part, what) {
    const place = part.querySelector("[data-passkey-said]");
    place.textContent = what;
    place.hidden = !what;
  }

  async function make(form) {
    const csrf = form.elements.csrf.value;
    const options = PublicKeyCredential.parseCreationOptionsFromJSON(await (await post(form.dataset.options, csrf)).json());
    const made = await navigator.credentials.create({ publicKey: options });
    form.elements.credential.value = JSON.stringify(made.toJSON());
    form.submit();
  }

  async function logIn(part) {
    const options = PublicKeyCredential.parseRequestOptionsFromJSON(await (await post(part.dataset.options, "")).json());
    const signed = await navigator.credentials.get({ publicKey: options });
    const answer = await post(part.dataset.passkeyLogIn, "", { credential: JSON.stringify(signed.toJSON()) });
    const told = await answer.json();
    if (answer.ok) location.assign(told.target); else say(part, told.error);
  }

  function ready() {
    for (const form of document.querySelectorAll("form[data-passkey-make]")) {
      form.hidden = false;
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        say(form, "");
        make(form).catch((why) => say(form, why.name === "InvalidStateError" ? form.dataset.known : form.dataset.failed));
      });
    }
    for (const part of document.querySelectorAll("[data-passkey-log-in]")) {
      part.hidden = false;
      part.querySelector("button").addEventListener("click", () => {
        say(part, "");
        logIn(part).catch(() => say(part, part.dataset.failed));
      });
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", ready); else ready();
})();
