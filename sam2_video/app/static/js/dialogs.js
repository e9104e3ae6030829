/** Dialogs: opened, closed by their cross, by Escape and by a click beside them; and a small one that asks. */

import { el, find } from "./dom.js";

/** @param {string} selector @returns {HTMLDialogElement} */
export function dialog(selector) {
  const node = find(selector);
  node.addEventListener("click", (event) => {
    if (event.target === node || event.target.closest("[data-close]")) node.close();
  });
  return node;
}

/** Whether a dialog is open, so that keys are its own. */
export const dialogIsOpen = () => document.querySelector("dialog[open]") !== null;

/**
 * Ask something. @param {{title: string, about?: string, yes: string, fields?: {name: string, label: string, value: string}[]}} question
 * @returns {Promise<?Object<string, string>>} null where it was given up
 */
export function askFor({ title, about = "", yes, fields = [] }) {
  const node = /** @type {HTMLDialogElement} */ (find("#ask"));
  find("#ask-title").textContent = title;
  find("#ask-about").textContent = about;
  find("#ask-about").hidden = !about;
  find("#ask-yes").textContent = yes;
  const inputs = fields.map((field) => el("input", { type: "text", name: field.name, value: field.value, maxLength: 200 }));
  find("#ask-fields").replaceChildren(...fields.map((field, k) => el("label", {}, field.label, inputs[k])));
  node.returnValue = "";
  node.showModal();
  (inputs[0] ?? find("#ask-yes")).focus();
  inputs[0]?.select();
  return new Promise((resolve) => {
    node.addEventListener("close", () => {
      resolve(node.returnValue === "yes" ? Object.fromEntries(inputs.map((one) => [one.name, one.value.trim()])) : null);
    }, { once: true });
  });
}
