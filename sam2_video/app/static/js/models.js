/** Which model runs on which device, in how much memory; others to use or to download. */

import { api } from "./api.js";
import { dialog } from "./dialogs.js";
import { el, find, renew, setText } from "./dom.js";
import { bytes } from "./format.js";
import { attempt, say } from "./messages.js";

const WATCH = 700;  // ms between looks at a download that runs

/** @param {number} count of parameters */
const millions = (count) => (count ? `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} M parameters` : "");

/** @param {(info: any) => void} told called with what the server says of itself */
export function modelDialog(told) {
  const node = dialog("#models");
  let info = null, timer = 0;

  function take(next) {
    info = next;
    const { process_bytes: used, gpu_bytes: gpu } = info.memory ?? {};
    const chip = `${info.model} · ${info.device} · ${bytes(gpu ?? used)}`;
    setText(find("#model-chip"), chip);
    find("#model-chip").setAttribute("aria-label", `Model and device: ${chip}`);
    if (node.open) show();
    told(info);
    clearTimeout(timer);
    if (info.models.some((one) => one.downloading)) timer = setTimeout(refresh, WATCH);
  }

  const refresh = () => attempt(async () => take(await api.info()));

  const use = (name) => attempt(async () => {
    take(await api.useModel(name));
    say(`${name} is used from now on. Clips that were opened before keep their model; forget the work on one to begin it again with this one.`);
  });

  const download = (name) => attempt(async () => {
    await api.download(name);
    await refresh();
  });

  function show() {
    const { memory } = info;
    const facts = [
      ["Model", info.model], ["Device", `${info.device}, ${info.dtype}`], ["Memory in use", bytes(memory?.process_bytes)],
      ["On the GPU", memory?.gpu_bytes ? bytes(memory.gpu_bytes) : null],
      ["Each object takes", memory?.per_object_bytes ? `about ${bytes(memory.per_object_bytes)}` : null],
      ["Folder", info.folder], ["Version", info.version],
    ].filter(([, value]) => value);
    find("#device").replaceChildren(...facts.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));
    renew(find("#model-list"), info.models, (one) => one.name, (one) => el("li", {},
      el("span", { class: "name", text: one.name }), el("span", { class: "muted" }),
      el("button", { type: "button", class: "act", on: { click: () => act(one.name) } }),
      el("progress", { max: 1, "aria-label": `Download of ${one.name}` }), el("p", { class: "wrong" })), update);
  }

  const act = (name) => (info.models.find((one) => one.name === name).available ? use(name) : download(name));

  function update(item, one) {
    const size = one.bytes && !one.available ? `${bytes(one.bytes)} to download` : one.available ? "ready" : "";
    setText(find(".muted", item), [millions(one.parameters), size, one.licence].filter(Boolean).join(" · "));
    const button = find(".act", item), bar = find("progress", item);
    const used = one.name === info.model;
    setText(button, used ? "In use" : one.downloading ? "Downloading…" : one.available ? "Use" : "Download");
    button.setAttribute("aria-label", `${button.textContent}: ${one.name}`);
    button.disabled = used || Boolean(one.downloading);
    bar.hidden = !one.downloading;
    if (one.downloading?.total) bar.value = one.downloading.done / one.downloading.total;
    else bar.removeAttribute("value");
    find(".wrong", item).hidden = !one.error;
    setText(find(".wrong", item), one.error ?? "");
  }

  find("#model-chip").addEventListener("click", async () => {
    await refresh();
    if (!info || node.open) return;
    show();
    node.showModal();
  });
  return { refresh, info: () => info };
}
