/** A canvas that shows one picture, what lies over it, and can be zoomed and moved. */

import { fit, held, toPicture, toScreen, widthFor, zoomAt } from "./geometry.js";

/** @typedef {import("../types.js").Size} Size */
/** @typedef {import("../types.js").Point} Point */

export class Viewer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{onView?: () => void, decorate?: (context: CanvasRenderingContext2D, viewer: Viewer) => void}} [hooks]
   */
  constructor(canvas, hooks = {}) {
    this.canvas = canvas;
    this.hooks = hooks;
    /** @type {?Size} of the picture in its own pixels */
    this.picture = null;
    this.image = null;
    this.overlay = null;
    this.view = { scale: 1, x: 0, y: 0 };
    this.fitted = true;
    this.waiting = 0;
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  get box() {
    return { width: this.canvas.clientWidth, height: this.canvas.clientHeight };
  }

  /** How wide the picture should be fetched to be sharp on this screen. */
  get wantedWidth() {
    return this.picture ? widthFor(this.picture, this.view, window.devicePixelRatio) : 960;
  }

  /** Another clip or picture: forget what was shown. @param {?Size} picture */
  open(picture) {
    this.picture = picture;
    this.image = this.overlay = null;
    this.fit();
  }

  /** @param {?CanvasImageSource} image @param {?CanvasImageSource} overlay */
  show(image, overlay) {
    this.image = image;
    this.overlay = overlay;
    this.redraw();
  }

  fit() {
    this.fitted = true;
    if (this.picture) this.#move(fit(this.picture, this.box), true);
  }

  /** @param {number} factor @param {Point} [at] screen; the middle where it is left out */
  zoom(factor, at) {
    if (!this.picture) return;
    const { width, height } = this.box;
    this.#move(zoomAt(this.view, factor, at ?? { x: width / 2, y: height / 2 }, this.picture, this.box));
  }

  /** @param {number} dx @param {number} dy in screen pixels */
  pan(dx, dy) {
    if (!this.picture) return;
    const moved = { ...this.view, x: this.view.x + dx, y: this.view.y + dy };
    this.#move(held(moved, this.picture, this.box));
  }

  /** Where a pointer is, on the screen of this canvas. @param {PointerEvent|WheelEvent|MouseEvent} event @returns {Point} */
  screenPoint(event) {
    const bounds = this.canvas.getBoundingClientRect();
    return { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
  }

  /** @param {Point} screen */
  toPicture(screen) {
    return toPicture(this.view, screen);
  }

  /** @param {Point} point */
  toScreen(point) {
    return toScreen(this.view, point);
  }

  redraw() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.#draw(); });
  }

  #move(view, fitted = false) {
    this.view = view;
    this.fitted = fitted;
    this.hooks.onView?.();
    this.redraw();
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    if (event.shiftKey) this.pan(-(event.deltaX || event.deltaY) * lines, 0);
    else this.zoom(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) / 400), this.screenPoint(event));
  }

  #resize() {
    const { width, height } = this.box;
    const ratio = window.devicePixelRatio;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    if (this.fitted) this.fit();
    else if (this.picture) this.#move(held(this.view, this.picture, this.box));
    this.#draw();  // at once: a canvas is empty after its size has changed
  }

  #draw() {
    const context = this.canvas.getContext("2d");
    const ratio = window.devicePixelRatio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.box.width, this.box.height);
    if (!this.picture) return;
    const { scale, x, y } = this.view;
    const [width, height] = [this.picture.width * scale, this.picture.height * scale];
    context.imageSmoothingEnabled = scale < 4;  // from there on pixels are what one wants to see
    if (this.image) context.drawImage(this.image, x, y, width, height);
    if (this.overlay) context.drawImage(this.overlay, x, y, width, height);
    this.hooks.decorate?.(context, this);
  }
}
