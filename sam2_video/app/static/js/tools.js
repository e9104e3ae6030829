/** What a pointer and the keyboard's cross do on a canvas: clicks, boxes, strokes, moving the picture. */

import { stroke } from "./canvas/brush.js";
import { boxBetween, isDrag, pixelAt } from "./canvas/geometry.js";
import { drawBox, drawCross, drawRing } from "./canvas/marks.js";

/**
 * @typedef {{
 *   tool: () => string, radius?: () => number,
 *   point: (pixel: {x: number, y: number}, label: number) => void, box: (box: number[]) => void,
 *   begin?: () => ?{bitmap: Uint8Array, size: number[]}, paint?: (bitmap: Uint8Array, size: number[]) => void,
 *   painted?: (bitmap: Uint8Array, size: number[]) => void, dropped?: () => void,
 * }} Hooks
 */

export class Tools {
  /** @param {import("./canvas/viewer.js").Viewer} viewer @param {Hooks} hooks */
  constructor(viewer, hooks) {
    this.viewer = viewer;
    this.hooks = hooks;
    /** @type {any} what the pointer is in the middle of */
    this.gesture = null;
    this.hover = null;
    /** @type {?{x: number, y: number}} in the picture */
    this.cross = null;
    this.corner = null;
    const canvas = viewer.canvas;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#moved(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", () => this.drop());
    canvas.addEventListener("pointerleave", () => { this.hover = null; viewer.redraw(); });
    canvas.addEventListener("blur", () => { this.cross = this.corner = null; viewer.redraw(); });
  }

  /** Give up what is begun. @returns {boolean} whether there was anything */
  drop() {
    const had = this.gesture !== null || this.corner !== null;
    if (this.gesture?.kind === "stroke") this.hooks.dropped?.();
    this.gesture = this.corner = null;
    this.viewer.canvas.classList.remove("moving");
    this.viewer.redraw();
    return had;
  }

  /** Move the cross; it begins in the middle of what is seen. @param {number} dx @param {number} dy in screen pixels */
  moveCross(dx, dy) {
    const { picture, view, box } = this.viewer;
    if (!picture) return;
    const from = this.cross ?? this.viewer.toPicture({ x: box.width / 2, y: box.height / 2 });
    this.cross = {
      x: Math.min(Math.max(from.x + dx / view.scale, 0.5), picture.width - 0.5),
      y: Math.min(Math.max(from.y + dy / view.scale, 0.5), picture.height - 0.5),
    };
    this.viewer.redraw();
  }

  /** @param {number} label */
  clickCross(label) {
    if (!this.cross) return this.moveCross(0, 0);
    return this.hooks.point(pixelAt(this.cross, this.viewer.picture), label);
  }

  /** The first call sets a corner of a box, the second its other corner. */
  cornerCross() {
    if (!this.cross) return this.moveCross(0, 0);
    if (!this.corner) this.corner = this.cross;
    else {
      const box = boxBetween(this.corner, this.cross, this.viewer.picture);
      this.corner = null;
      if (box) this.hooks.box(box);
    }
    return this.viewer.redraw();
  }

  /** What is drawn over the picture. @param {CanvasRenderingContext2D} context */
  decorate(context, color) {
    const { viewer, gesture } = this;
    if (gesture?.kind === "select" && isDrag(gesture.from, gesture.to)) drawBox(context, gesture.from, gesture.to, color, true);
    if (this.cross) {
      if (this.corner) drawBox(context, viewer.toScreen(this.corner), viewer.toScreen(this.cross), color, true);
      drawCross(context, viewer.toScreen(this.cross));
    }
    if (this.hover && this.#paints() && gesture?.kind !== "pan") drawRing(context, this.hover, this.hooks.radius() * viewer.view.scale);
  }

  #paints() {
    return ["brush", "eraser"].includes(this.hooks.tool());
  }

  #down(event) {
    const { viewer } = this;
    if (!viewer.picture || this.gesture) return;
    const at = viewer.screenPoint(event);
    viewer.canvas.setPointerCapture(event.pointerId);
    viewer.canvas.focus({ preventScroll: true });
    this.cross = this.corner = null;
    const background = event.button === 2 || event.altKey;
    if (event.button === 1 || (this.hooks.tool() === "hand" && event.button === 0)) {
      event.preventDefault();
      this.gesture = { kind: "pan", to: at };
      viewer.canvas.classList.add("moving");
    } else if (this.#paints() && event.button === 0) this.#beginStroke(at, event.altKey);
    else this.gesture = { kind: "select", from: at, to: at, background };
  }

  #beginStroke(at, other) {
    const base = this.hooks.begin();
    if (!base) return;
    const erase = (this.hooks.tool() === "eraser") !== other;
    this.gesture = { kind: "stroke", ...base, to: at, value: erase ? 0 : 1 };
    this.#strokeTo(at);
  }

  #strokeTo(at) {
    const { viewer, gesture } = this;
    const share = gesture.size[1] / viewer.picture.width;
    const scaled = (point) => {
      const { x, y } = viewer.toPicture(point);
      return { x: x * share, y: y * (gesture.size[0] / viewer.picture.height) };
    };
    stroke(gesture.bitmap, gesture.size, scaled(gesture.to), scaled(at), this.hooks.radius() * share, gesture.value);
    gesture.to = at;
    this.hooks.paint(gesture.bitmap, gesture.size);
  }

  #moved(event) {
    const { viewer, gesture } = this;
    const at = viewer.screenPoint(event);
    this.hover = at;
    if (gesture?.kind === "pan") {
      viewer.pan(at.x - gesture.to.x, at.y - gesture.to.y);
      gesture.to = at;
    } else if (gesture?.kind === "stroke") this.#strokeTo(at);
    else if (gesture) gesture.to = at;
    viewer.redraw();
  }

  #up(event) {
    const { viewer, gesture } = this;
    if (!gesture) return;
    this.gesture = null;
    viewer.canvas.classList.remove("moving");
    const at = viewer.screenPoint(event);
    if (gesture.kind === "stroke") this.hooks.painted(gesture.bitmap, gesture.size);
    else if (gesture.kind === "select") {
      if (isDrag(gesture.from, at) && !gesture.background) {
        const box = boxBetween(viewer.toPicture(gesture.from), viewer.toPicture(at), viewer.picture);
        if (box) this.hooks.box(box);
      } else {
        const pixel = pixelAt(viewer.toPicture(gesture.from), viewer.picture);
        if (pixel) this.hooks.point(pixel, gesture.background ? 0 : 1);
      }
    }
    viewer.redraw();
  }
}
