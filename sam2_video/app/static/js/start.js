/** The start page: files of the folder, an upload, work that is kept. */

import { api, upload } from "./api.js";
import { askFor } from "./dialogs.js";
import { el, find, icon, iconButton } from "./dom.js";
import { fileList } from "./files.js";
import { ago, bytes, several } from "./format.js";
import { attempt, say } from "./messages.js";

/** @param {{go: (hash: string) => void, top: () => string}} hooks  `top`: what the folder is called */
export function startPage(hooks) {
  const openClip = (path) => attempt(async () => {
    const done = say("Opening the clip…");
    try {
      hooks.go(`#/clip/${encodeURIComponent((await api.open(path)).id)}/0`);
    } finally {
      done();
    }
  });
  const openPicture = (path) => hooks.go(`#/picture/${encodeURIComponent(path)}`);
  const open = (entry) => (entry.kind === "picture" ? openPicture(entry.path) : openClip(entry.path));
  const files = fileList({ list: "#entries", none: "#entries-none", up: "#folder-up", path: "#folder-path" },
    { wanted: () => true, open, top: hooks.top, asClip: (entry) => openClip(entry.path) });

  const forget = async (one) => {
    const answer = await askFor({
      title: `Forget the work on ${one.name}?`, about: "Its prompts, masks and written files are deleted. The clip itself stays.", yes: "Forget",
    });
    if (answer) await attempt(async () => { await api.forget(one.id); await showSessions(); });
  };

  function sessionRow(one) {
    const about = [several(one.frames, "frame"), several(one.objects, "object"), ago(one.updated)].filter(Boolean).join(" · ");
    return el("li", {},
      el("button", { type: "button", class: "open", on: { click: () => hooks.go(`#/clip/${encodeURIComponent(one.id)}`) } }, icon("video"),
        el("span", { class: "two" }, el("span", { class: "name", text: one.name }), el("span", { class: "more", text: about }))),
      iconButton("bin", `Forget ${one.name}`, () => forget(one)));
  }

  const showSessions = () => attempt(async () => {
    const { sessions } = await api.sessions();
    find("#sessions").replaceChildren(...sessions.map(sessionRow));
    find("#sessions-none").hidden = sessions.length > 0;
  });

  let stop = null;
  const send = (file) => attempt(async () => {
    if (stop) return say("One upload at a time, please.");
    stop = new AbortController();
    const bar = find("#upload-share");
    find("#upload-name").textContent = file.name;
    find("#uploading").hidden = false;
    bar.value = 0;
    try {
      const { path } = await upload(file, (share) => { bar.value = share; }, stop.signal);
      await files.show();
      await open({ path, kind: /^image\//.test(file.type) ? "picture" : "video" });
    } finally {
      stop = null;
      find("#uploading").hidden = true;
    }
    return undefined;
  });

  const input = find("#upload");
  input.addEventListener("change", () => { if (input.files[0]) send(input.files[0]); input.value = ""; });
  find("#upload-stop").addEventListener("click", () => stop?.abort());
  const start = find("#start"), drop = find("#drop");
  for (const kind of ["dragenter", "dragover"]) {
    start.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  start.addEventListener("dragleave", (event) => { if (!start.contains(event.relatedTarget)) drop.classList.remove("over"); });
  start.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const { files: dropped } = event.dataTransfer;
    if (dropped.length > 1) say("One file at a time: the first is taken.");
    if (dropped[0]) send(dropped[0]);
  });

  return {
    show() {
      files.show();
      showSessions();
    },
    /** @param {any} info */
    tell(info) {
      find("#upload-limit").textContent = `Files up to ${bytes(info.upload_limit)}; they stay on this computer.`;
    },
  };
}
