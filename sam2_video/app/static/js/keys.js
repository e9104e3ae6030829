/** Keys of the page: one table that both acts and is shown as help. */

import { dialog, dialogIsOpen } from "./dialogs.js";
import { el, find } from "./dom.js";

/** What is shown of a key. */
const SHOWN = {
  ArrowLeft: "←", ArrowRight: "→", " ": "Space", Escape: "Esc", Delete: "Del",
};

/**
 * @typedef {{keys: string[], about: string, group: string, run: (key: string) => void, shown?: string[]}} Key
 * A key is "Ctrl+z", "Shift+ArrowLeft", "a". Letters are given small; Shift is told apart for them, too.
 */

/** The name of what was pressed. @param {KeyboardEvent} event */
export function pressed(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const letter = /^[a-z]$/.test(key);
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.shiftKey && (letter || key.length > 1) ? "Shift+" : ""}${key}`;
}

/** Whether an element needs the key for itself. @param {Element} target @param {string} key */
export function ownsKey(target, key) {
  if (target.closest("input[type=text], textarea, [contenteditable]")) return true;
  if (target.closest("input[type=number]")) return !/^Ctrl\+[sz]$|^Escape$/.test(key);
  if (target.closest("input[type=range]")) return /^(Arrow|Home|End|Page)/.test(key);
  if (key === " " || key === "Enter") return target.closest("button, a, input, summary, label") !== null;
  return false;
}

/**
 * Listen for keys while `active()`.
 * @param {Key[]} table @param {() => boolean} active
 */
export function bindKeys(table, active) {
  const actions = new Map(table.flatMap((one) => one.keys.map((key) => [key, one])));
  document.addEventListener("keydown", (event) => {
    if (!active() || dialogIsOpen() || event.defaultPrevented || event.altKey || event.isComposing) return;
    const key = pressed(event);
    const action = actions.get(key);
    if (!action || ownsKey(/** @type {Element} */ (event.target), key)) return;
    event.preventDefault();
    action.run(key);
  });
}

const written = (key) => key.split("+").map((part) => SHOWN[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join("+");

/** The help dialog. @param {Key[]} table @param {[string, string][]} mouse */
export function helpDialog(table, mouse) {
  const node = dialog("#help");
  const groups = new Map([["Mouse", mouse.map(([what, about]) => ({ shown: [what], about }))]]);
  for (const one of table) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
  find("#help-list").replaceChildren(...[...groups].map(([title, entries]) => el("section", {}, el("h3", { text: title }),
    el("dl", {}, ...entries.flatMap((one) => [
      el("dt", {}, ...(one.shown ?? one.keys.map(written)).flatMap((key, k) => (k ? [" ", el("kbd", { text: key })] : [el("kbd", { text: key })]))),
      el("dd", { text: one.about }),
    ])))));
  const open = () => node.open || node.showModal();
  find("#help-button").addEventListener("click", open);
  return { open };
}
