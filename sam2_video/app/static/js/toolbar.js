/** The bar over the canvas: tool, size of the brush, how strong masks are, zoom. */

import { choice } from "./choice.js";
import { find, setText } from "./dom.js";
import { TOOLS } from "./state.js";

/** @param {any} store @param {import("./canvas/viewer.js").Viewer} viewer @returns {() => void} to call when the view has changed */
export function toolbar(store, viewer) {
  const showTool = choice(find("#tool-choice"), "tool", (tool) => TOOLS.includes(tool) && store.set({ tool }));
  const [size, opacity] = [find("#brush-size"), find("#opacity")];
  let rested = 0;

  size.addEventListener("input", () => store.set({ brush: Number(size.value) }));
  opacity.addEventListener("input", () => store.set({ opacity: Number(opacity.value) / 100 }));
  find("#zoom-in").addEventListener("click", () => viewer.zoom(1.4));
  find("#zoom-out").addEventListener("click", () => viewer.zoom(1 / 1.4));
  find("#zoom-fit").addEventListener("click", () => viewer.fit());

  function show({ tool, brush, opacity: share }) {
    showTool(tool);
    viewer.canvas.dataset.tool = tool;
    size.value = String(brush);
    opacity.value = String(Math.round(share * 100));
    find("#brush-size-label").hidden = tool !== "brush" && tool !== "eraser";
    viewer.redraw();
  }
  store.on(["tool", "brush", "opacity"], show);
  show(store.get());

  return () => {
    setText(find("#zoom-fit"), `${Math.round(viewer.view.scale * 100)} %`);
    clearTimeout(rested);
    rested = setTimeout(() => store.set({ sharpness: viewer.wantedWidth }), 200);  // a closer look wants more pixels
  };
}
