/** The timeline: what is known, prompts, frames worth a look, presence and IoU of each object, the frame shown. */

import { score } from "./format.js";
import { setText } from "./dom.js";
import { nameOf } from "./state.js";
import { PAD, ROW, RULER, axis, frameAt, gutter, probability, rowAt, snapped, ticks, valuesAt, xOf } from "./timeline_math.js";

export class TimelineView {
  /**
   * @param {HTMLCanvasElement} canvas @param {HTMLElement} about @param {any} store
   * @param {{go: (frame: number) => void, choose: (object: number) => void}} hooks
   */
  constructor(canvas, about, store, hooks) {
    this.canvas = canvas;
    this.about = about;
    this.store = store;
    this.hooks = hooks;
    this.hover = null;
    this.dragging = false;
    this.waiting = 0;
    store.on(["session", "timeline", "frame", "object", "hidden", "masks"], () => this.redraw());
    new ResizeObserver(() => this.redraw()).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#moved(event));
    canvas.addEventListener("pointerup", () => { this.dragging = false; });
    canvas.addEventListener("pointercancel", () => { this.dragging = false; });
    canvas.addEventListener("pointerleave", () => { this.hover = null; this.redraw(); });
  }

  redraw() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.#draw(); });
  }

  get axis() {
    const { session } = this.store.get();
    return axis(this.canvas.clientWidth, session.frames, session.objects.length);
  }

  #at(event) {
    const bounds = this.canvas.getBoundingClientRect();
    return { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
  }

  #marks() {
    const { session, timeline } = this.store.get();
    return [...(session.prompts ?? []).map((one) => one.frame), ...(timeline?.review ?? []).map((one) => one.frame)];
  }

  #down(event) {
    const { session } = this.store.get();
    if (!session || event.button !== 0) return;
    const { x, y } = this.#at(event);
    const row = rowAt(y, session.objects.length);
    if (row !== null) this.hooks.choose(session.objects[row].id);
    if (x < this.axis.left - 2 && row !== null) return;  // on the name
    this.canvas.setPointerCapture(event.pointerId);
    this.dragging = true;
    this.hooks.go(snapped(this.axis, x, this.#marks()));
  }

  #moved(event) {
    if (!this.store.get().session) return;
    this.hover = this.#at(event);
    if (this.dragging) this.hooks.go(frameAt(this.axis, this.hover.x));
    this.redraw();
  }

  /** Say in words what is under the pointer, or on the frame shown. */
  #tell() {
    const { session, timeline, frame, object, masks } = this.store.get();
    const at = this.hover ? frameAt(this.axis, this.hover.x) : frame;
    const row = this.hover ? rowAt(this.hover.y, session.objects.length) : null;
    const one = row === null ? session.objects.find((known) => known.id === object) : session.objects[row];
    const words = [`Frame ${at}`];
    const track = timeline?.objects.find((known) => known.id === one?.id);
    if (track) {
      const exact = masks?.frame === at ? masks.objects.find((known) => known.id === one.id) : null;
      const { presence, iou } = exact ?? valuesAt(track, at, timeline.stride);
      if (presence === null && iou === null) words.push(`${nameOf(one)}: not tracked yet`);
      else words.push(`${nameOf(one)}: ${presence > 0 ? "present" : "not seen"} (${score(probability(presence))}), predicted IoU ${score(iou)}`);
    }
    const reasons = (timeline?.review ?? []).filter((known) => known.frame === at).map((known) => known.reason);
    if (reasons.length) words.push(`worth a look: ${[...new Set(reasons)].join(", ")}`);
    setText(this.about, words.join(" · "));
    this.canvas.setAttribute("aria-valuemax", String(session.frames - 1));
    this.canvas.setAttribute("aria-valuenow", String(frame));
    this.canvas.setAttribute("aria-valuetext", `frame ${frame} of ${session.frames}`);
  }

  #draw() {
    const { session } = this.store.get();
    if (!session || !this.canvas.clientWidth) return;
    const rows = session.objects.length;
    const [width, height, ratio] = [this.canvas.clientWidth, RULER + Math.max(rows, 3) * ROW + 4, window.devicePixelRatio];
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    this.#ruler(context, colour, width);
    session.objects.forEach((one, row) => this.#row(context, colour, one, row, width));
    this.#head(context, colour, height);
    this.#tell();
  }

  #ruler(context, colour, width) {
    const { session, timeline } = this.store.get();
    const a = this.axis;
    context.fillStyle = colour("--muted");
    context.textAlign = "center";
    for (const frame of ticks(a)) {
      const x = xOf(a, frame);
      context.fillRect(x - 0.5, 12, 1, 4);
      if (x > a.left + 4 || frame === 0) context.fillText(String(frame), Math.min(x, width - PAD - 8), 10);
    }
    context.fillStyle = colour("--raised");
    context.fillRect(a.left, 19, a.width, 6);
    context.fillStyle = colour("--accent");
    const half = a.width / a.frames / 2;
    for (const [first, last] of session.known ?? []) {
      context.fillRect(xOf(a, first) - half, 19, xOf(a, last) - xOf(a, first) + 2 * half, 6);
    }
    for (const one of timeline?.review ?? []) this.#flag(context, xOf(a, one.frame), colour("--warn"), colour("--surface"));
  }

  #flag(context, x, fill, ring) {
    context.beginPath();
    context.moveTo(x - 5, 14);
    context.lineTo(x + 5, 14);
    context.lineTo(x, 22);
    context.closePath();
    context.fillStyle = fill;
    context.strokeStyle = ring;
    context.lineWidth = 1;
    context.fill();
    context.stroke();
  }

  #row(context, colour, one, row, width) {
    const { session, timeline, object, hidden } = this.store.get();
    const a = this.axis;
    const top = RULER + row * ROW, floor = top + ROW - 5;
    if (one.id === object) {
      context.fillStyle = colour("--accent-soft");
      context.fillRect(0, top, width, ROW);
    }
    context.globalAlpha = hidden.has(one.id) ? 0.4 : 1;
    context.fillStyle = one.color;
    context.fillRect(PAD, top + 7, 9, 9);
    context.fillStyle = colour("--text");
    context.textAlign = "left";
    this.#clipped(context, nameOf(one), PAD + 14, top + 16, gutter(width, 1) - 16);
    const track = timeline?.objects.find((known) => known.id === one.id);
    if (track) this.#curves(context, colour, track, one.color, floor);
    for (const prompt of (session.prompts ?? []).filter((known) => known.object === one.id)) {
      const x = xOf(a, prompt.frame), y = top + ROW / 2;
      context.beginPath();
      for (const [dx, dy] of [[0, -6], [5, 0], [0, 6], [-5, 0]]) context.lineTo(x + dx, y + dy);
      context.closePath();
      context.fillStyle = colour("--text");
      context.strokeStyle = colour("--surface");
      context.lineWidth = 1.5;
      context.fill();
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  /** The predicted IoU as an area, presence as a band below it: solid where the object is there. */
  #curves(context, colour, track, color, floor) {
    const { session, timeline } = this.store.get();
    const a = this.axis, stride = Math.max(1, timeline.stride), alpha = context.globalAlpha;
    const left = (k) => xOf(a, k * stride) - a.width / a.frames / 2;
    const end = (k) => xOf(a, Math.min((k + 1) * stride, session.frames) - 1) + a.width / a.frames / 2;
    track.presence.forEach((presence, k) => {
      const iou = track.iou[k] ?? 0;
      if (presence === null) return;
      const [x, wide] = [left(k), Math.max(end(k) - left(k), 0.6)];
      context.fillStyle = presence > 0 ? color : colour("--control-line");
      context.globalAlpha = alpha * 0.45;
      context.fillRect(x, floor - iou * 15, wide, iou * 15);
      context.globalAlpha = alpha * Math.max(0.25, probability(presence));
      context.fillRect(x, floor + 1, wide, presence > 0 ? 3 : 1);
    });
    context.globalAlpha = alpha;
  }

  #clipped(context, text, x, y, room) {
    let shown = text;
    while (shown.length > 1 && context.measureText(shown).width > room) shown = `${shown.slice(0, -2)}…`;
    context.fillText(shown, x, y);
  }

  #head(context, colour, height) {
    const { frame } = this.store.get();
    const x = xOf(this.axis, frame);
    context.fillStyle = colour("--text");
    context.fillRect(x - 1, 12, 2, height - 12);
    context.beginPath();
    context.moveTo(x - 5, 12);
    context.lineTo(x + 5, 12);
    context.lineTo(x, 19);
    context.fill();
    if (this.hover) {
      context.globalAlpha = 0.4;
      context.fillRect(xOf(this.axis, frameAt(this.axis, this.hover.x)) - 0.5, 12, 1, height - 12);
      context.globalAlpha = 1;
    }
  }
}
