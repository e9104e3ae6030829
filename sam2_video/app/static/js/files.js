/** A list of the server's files to choose from; the start page and the picture page have one each. */

import { api } from "./api.js";
import { el, find, icon } from "./dom.js";
import { bytes, several } from "./format.js";
import { attempt } from "./messages.js";

/** @typedef {{name: string, path: string, kind: string, bytes: ?number, pictures: ?number}} Entry */

/**
 * @param {{list: string, none: string, up: string, path: string}} ids
 * @param {{wanted: (entry: Entry) => boolean, open: (entry: Entry) => void, top: () => string, asClip?: (entry: Entry) => void}} hooks
 */
export function fileList(ids, hooks) {
  let here = "", parent = null;

  /** A folder is entered; one with pictures may also be opened as a clip. @param {Entry} entry */
  function row(entry) {
    const folder = entry.kind === "folder";
    const more = folder ? (entry.pictures ? several(entry.pictures, "picture") : "") : bytes(entry.bytes);
    const open = el("button", {
      type: "button", class: "open", title: entry.name, data: { path: entry.path },
      on: { click: () => (folder ? show(entry.path) : hooks.open(entry)) },
    }, icon(entry.kind), el("span", { class: "name", text: entry.name }), el("span", { class: "more", text: more }));
    const clip = folder && entry.pictures && hooks.asClip
      ? el("button", { type: "button", text: "Open as a clip", "aria-label": `Open ${entry.name} as a clip`, on: { click: () => hooks.asClip(entry) } })
      : null;
    return el("li", {}, open, clip);
  }

  const show = (path = here) => attempt(async () => {
    const answer = await api.files(path);
    here = answer.path ?? path;
    parent = answer.parent;
    const entries = answer.entries.filter(hooks.wanted);
    find(ids.list).replaceChildren(...entries.map(row));
    find(ids.none).hidden = entries.length > 0;
    find(ids.path).textContent = here && here !== "." ? here : hooks.top();
    find(ids.up).hidden = parent === null || parent === undefined;
  });

  find(ids.up).addEventListener("click", () => show(parent));
  return {
    show,
    /** Mark what is open. @param {?string} path */
    mark(path) {
      for (const one of find(ids.list).querySelectorAll(".open")) one.setAttribute("aria-current", String(one.dataset.path === path));
    },
  };
}
