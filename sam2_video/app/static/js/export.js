/** The export dialog: what to write, how far it is, what can be downloaded. */

import { api } from "./api.js";
import { dialog } from "./dialogs.js";
import { el, find, renew, setText } from "./dom.js";
import { bytes } from "./format.js";
import { attempt } from "./messages.js";
import { isBusy } from "./state.js";
import { progressText } from "./tracking.js";

const FIRST = ["masks", "overlay"];  // ticked at the beginning

/** @param {any} store @param {() => any} info what the server told of itself */
export function exportDialog(store, info) {
  const node = dialog("#export-dialog");
  let last = null;

  function open() {
    const { session } = store.get();
    if (!session || node.open) return;
    const formats = info()?.formats ?? [];
    const box = find("#formats");
    if (!box.children.length) {
      box.append(...formats.map((one) => el("label", {},
        el("input", { type: "checkbox", name: "format", value: one.name, checked: FIRST.includes(one.name) }),
        el("span", { class: "name", text: one.name }), el("span", { class: "muted", text: one.about ?? "" }))));
    }
    find("#session-file").href = api.fileUrl(session.id);
    node.showModal();
    list();
    show();
  }

  const list = () => attempt(async () => {
    const { session } = store.get();
    const answer = await api.exports(session.id);
    renew(find("#exports"), answer, (one) => one.name, (one) => el("li", {},
      el("a", { href: api.exportUrl(session.id, one.name), download: one.name, text: one.name }), el("span", { class: "muted" })),
    (item, one) => setText(find("span", item), bytes(one.bytes)));
    find("#exports-none").hidden = answer.length > 0;
  });

  function show() {
    const { task } = store.get();
    const mine = task?.kind === "export" ? task : null;
    const busy = isBusy(mine);
    find("#export-start").disabled = task?.state === "running"; // a pass that waits is in nobody's way
    find("#export-cancel").hidden = !busy;
    const bar = find("#export-bar");
    bar.hidden = !busy;
    bar.max = Math.max(1, mine?.total ?? 1);
    bar.value = mine?.done ?? 0;
    setText(find("#export-about"), mine ? progressText(mine) : task?.state === "running" ? "Tracking is running; files are written when it is done." : "");
    if (last !== mine?.state && mine?.state === "done" && node.open) list();
    last = mine?.state ?? null;
  }

  find("#export").addEventListener("click", open);
  find("#export-cancel").addEventListener("click", () => attempt(() => api.cancel(store.get().session.id)));
  find("#export-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const formats = Array.from(find("#formats").querySelectorAll("input:checked"), (one) => one.value);
    if (!formats.length) return setText(find("#export-about"), "Tick at least one format.");
    return attempt(async () => {
      const task = await api.export(store.get().session.id, formats);
      if (task?.kind) store.set({ task });
    });
  });
  store.on(["task"], show);
  return { open };
}
