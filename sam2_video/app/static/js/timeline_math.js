/** Where things lie on the timeline. Pure; x and y in CSS pixels. */

export const RULER = 30, ROW = 24, PAD = 10;
const NEAR = 6;  // pixels within which a click takes a mark instead of the frame beneath it

/** Space for names at the left. @param {number} width */
export const gutter = (width, rows) => (rows ? Math.min(110, Math.round(width * 0.14)) : 0);

/** @typedef {{left: number, width: number, frames: number}} Axis */

/** @returns {Axis} */
export function axis(width, frames, rows) {
  const left = PAD + gutter(width, rows);
  return { left, width: Math.max(1, width - left - PAD), frames: Math.max(1, frames) };
}

/** The middle of a frame. @param {Axis} a @param {number} frame */
export const xOf = (a, frame) => a.left + ((frame + 0.5) / a.frames) * a.width;

/** @param {Axis} a @param {number} x */
export const frameAt = (a, x) => Math.min(a.frames - 1, Math.max(0, Math.floor(((x - a.left) / a.width) * a.frames)));

/** Index of the row under y; null on the ruler and below. */
export function rowAt(y, rows) {
  const row = Math.floor((y - RULER) / ROW);
  return row >= 0 && row < rows ? row : null;
}

/** The frame of the nearest mark close to x, else the frame under x. @param {Axis} a @param {number[]} marks */
export function snapped(a, x, marks) {
  let best = null, distance = NEAR;
  for (const frame of marks) {
    const away = Math.abs(xOf(a, frame) - x);
    if (away < distance) { best = frame; distance = away; }
  }
  return best ?? frameAt(a, x);
}

/** Round numbers of frames, about `gap` pixels apart. @param {Axis} a @returns {number[]} */
export function ticks(a, gap = 90) {
  const wanted = Math.max(1, (a.frames * gap) / a.width);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = Math.max(1, [1, 2, 5, 10].map((k) => k * power).find((one) => one >= wanted));
  return Array.from({ length: Math.floor((a.frames - 1) / step) + 1 }, (_, k) => k * step);
}

/** How likely an object is there. @param {number} logit */
export const probability = (logit) => 1 / (1 + Math.exp(-logit));

/** Values of one object at a frame. @param {import("./types.js").Track} track @param {number} stride */
export function valuesAt(track, frame, stride) {
  const k = Math.floor(frame / Math.max(1, stride));
  return { presence: track.presence[k] ?? null, iou: track.iou[k] ?? null };
}
