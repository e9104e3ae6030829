/** The list of objects: choose, name, hide, remove; and the prompts of the chosen one on this frame. */

import { el, find, icon, iconButton, renew, setText } from "./dom.js";
import { askFor } from "./dialogs.js";
import { score, several } from "./format.js";
import { nameOf, promptOf, toggled } from "./state.js";
import { probability } from "./timeline_math.js";

/** What is known of an object on the frame shown. @param {?import("./types.js").ObjectMask} mask */
export function seen(mask) {
  if (!mask) return "no mask here";
  if (mask.presence !== null && mask.presence <= 0) return `not seen (${score(probability(mask.presence))})`;
  return mask.iou === null ? "mask" : `IoU ${score(mask.iou)}`;
}

/** Prompts in words. @param {?import("./types.js").Prompt} prompt */
export function inWords(prompt) {
  if (!prompt) return "No prompts of the chosen object.";
  const points = prompt.points?.length ?? 0;
  const off = (prompt.labels ?? []).filter((label) => label === 0).length;
  const parts = [
    points - off ? several(points - off, "click") : null,
    off ? `${several(off, "click")} on background` : null,
    prompt.box ? "a box" : null,
    prompt.mask ? "a painted mask" : null,
  ].filter(Boolean);
  return `${parts.join(", ")}.`;
}

/** @param {any} store @param {ReturnType<import("./actions.js").createActions>} actions */
export function objectPanel(store, actions) {
  const list = find("#objects");

  const name = async (id) => {
    const object = store.get().session.objects.find((one) => one.id === id);
    const answer = await askFor({
      title: `Name of object ${id}`, yes: "Rename",
      fields: [{ name: "name", label: "Name", value: object.name ?? "" }, { name: "category", label: "Class (for exports)", value: object.category ?? "" }],
    });
    if (answer) actions.changeObject(id, answer);
  };

  const remove = async (id) => {
    const object = store.get().session.objects.find((one) => one.id === id);
    const answer = await askFor({
      title: `Remove ${nameOf(object)}?`, about: "Its prompts and masks go with it. Undo brings them back.", yes: "Remove",
    });
    if (answer) actions.removeObject(id);
  };

  function make({ id }) {
    return el("li", {},
      el("button", { type: "button", class: "choose", on: { click: () => store.set({ object: id }) } },
        el("span", { class: "swatch" }), el("span", { class: "words" }, el("span", { class: "name" }), el("span", { class: "more" }))),
      iconButton("eye", "Hide", () => store.set({ hidden: toggled(store.get().hidden, id) }), { class: "quiet hide" }),
      iconButton("pen", "Rename", () => name(id), { class: "quiet rename" }),
      iconButton("bin", "Remove", () => remove(id), { class: "quiet remove" }));
  }

  function update(node, object) {
    const { object: chosen, hidden, masks } = store.get();
    const away = hidden.has(object.id);
    const mask = masks?.objects.find((one) => one.id === object.id);
    node.classList.toggle("chosen", object.id === chosen);
    node.classList.toggle("unshown", away);
    find(".choose", node).setAttribute("aria-pressed", String(object.id === chosen));
    find(".swatch", node).style.backgroundColor = object.color;
    setText(find(".name", node), nameOf(object));
    setText(find(".more", node), [object.name && object.category, seen(mask)].filter(Boolean).join(" · "));
    const hide = find(".hide", node);
    hide.setAttribute("aria-label", `${away ? "Show" : "Hide"} ${nameOf(object)}`);
    hide.title = away ? "Show" : "Hide";
    if (hide.dataset.away !== String(away)) hide.replaceChildren(icon(away ? "eye-off" : "eye"));
    hide.dataset.away = String(away);
    find(".rename", node).setAttribute("aria-label", `Rename ${nameOf(object)}`);
    find(".remove", node).setAttribute("aria-label", `Remove ${nameOf(object)}`);
  }

  function show() {
    const { session, frame, object } = store.get();
    if (!session) return;
    renew(list, session.objects, (one) => String(one.id), make, update);
    find("#objects-none").hidden = session.objects.length > 0;
    const prompt = promptOf(session, frame, object);
    setText(find("#here-about"), inWords(prompt));
    find("#clear-prompts").disabled = !prompt;
  }

  find("#add-object").addEventListener("click", () => actions.addObject());
  find("#clear-prompts").addEventListener("click", () => actions.clear());
  store.on(["session", "object", "hidden", "masks", "frame"], show);
}
