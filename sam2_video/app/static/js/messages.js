/** The message area: said aloud by screen readers, in nobody's way, gone on its own unless it is an error. */

import { el, find, icon } from "./dom.js";

const STAYS = 6000;  // ms that a notice is shown

/**
 * @param {string} text @param {"notice"|"error"} [kind]
 * @param {{label: string, run: () => void}} [action]
 */
export function say(text, kind = "notice", action) {
  const area = find("#messages");
  for (const old of area.children) if (old.dataset.text === text) old.remove();  // the same again: once is enough
  const node = el("div", { class: `message ${kind}`, data: { text } }, el("p", { text }));
  if (action) {
    node.append(el("button", { type: "button", text: action.label, on: { click: () => { node.remove(); action.run(); } } }));
  }
  node.append(el("button", {
    type: "button", class: "quiet", "aria-label": "Close this message", on: { click: () => node.remove() },
  }, icon("close")));
  area.append(node);
  while (area.children.length > 4) area.firstElementChild.remove();
  if (kind !== "error") setTimeout(() => node.remove(), STAYS);
  return () => node.remove();
}

/** Show what went wrong; what was only given up says nothing. @param {any} error */
export function complain(error) {
  if (error?.name === "AbortError") return;
  if (error?.name !== "ApiError") console.error(error);
  say(error?.message || String(error), "error");
}

/** Run something for a listener; its failure is shown. @param {() => (Promise<any>|void)} work */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    complain(error);
    return undefined;
  }
}
