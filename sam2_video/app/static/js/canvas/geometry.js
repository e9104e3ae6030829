/** Coordinates: picture <-> screen, zoom, boxes. Pure. A pixel of the picture covers [x, x + 1). */

/** @typedef {import("../types.js").Point} Point */
/** @typedef {import("../types.js").Size} Size */
/** @typedef {import("../types.js").View} View */

export const LARGEST_SCALE = 32;
/** Screen pixels that a pointer must travel before a click becomes a box. */
export const DRAG = 5;

/** The view in which the whole picture is seen, centred. @param {Size} picture @param {Size} box @returns {View} */
export function fit(picture, box, margin = 8) {
  const scale = Math.max(1e-3, Math.min((box.width - 2 * margin) / picture.width, (box.height - 2 * margin) / picture.height));
  return { scale, x: (box.width - picture.width * scale) / 2, y: (box.height - picture.height * scale) / 2 };
}

/** @param {View} view @param {Point} point @returns {Point} */
export const toPicture = (view, point) => ({ x: (point.x - view.x) / view.scale, y: (point.y - view.y) / view.scale });

/** @param {View} view @param {Point} point @returns {Point} */
export const toScreen = (view, point) => ({ x: point.x * view.scale + view.x, y: point.y * view.scale + view.y });

/**
 * Zoom by `factor` so that what is under `at` (screen) stays there; not smaller than a quarter of the fit.
 * @param {View} view @param {number} factor @param {Point} at @param {Size} picture @param {Size} box @returns {View}
 */
export function zoomAt(view, factor, at, picture, box) {
  const smallest = fit(picture, box).scale / 4;
  const scale = Math.min(Math.max(view.scale * factor, smallest), LARGEST_SCALE);
  const share = scale / view.scale;
  return held({ scale, x: at.x - (at.x - view.x) * share, y: at.y - (at.y - view.y) * share }, picture, box);
}

/** Keep some of the picture inside the box. @param {View} view @param {Size} picture @param {Size} box @returns {View} */
export function held(view, picture, box) {
  const keep = 40;
  const within = (offset, length, room) => Math.min(Math.max(offset, keep - length), room - keep);
  return {
    scale: view.scale,
    x: within(view.x, picture.width * view.scale, box.width),
    y: within(view.y, picture.height * view.scale, box.height),
  };
}

/** The pixel under a point of the picture; null outside. @param {Point} point @param {Size} picture @returns {?Point} */
export function pixelAt(point, picture) {
  const [x, y] = [Math.floor(point.x), Math.floor(point.y)];
  return x >= 0 && y >= 0 && x < picture.width && y < picture.height ? { x, y } : null;
}

/** [x0, y0, x1, y1] between two corners, inside the picture; null where nothing is left. */
export function boxBetween(a, b, picture) {
  const clip = (value, limit) => Math.min(Math.max(Math.round(value), 0), limit);
  const box = [
    clip(Math.min(a.x, b.x), picture.width), clip(Math.min(a.y, b.y), picture.height),
    clip(Math.max(a.x, b.x), picture.width), clip(Math.max(a.y, b.y), picture.height),
  ];
  return box[2] > box[0] && box[3] > box[1] ? box : null;
}

/** @param {Point} a @param {Point} b */
export const isDrag = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) >= DRAG;

/** How wide a frame must be fetched to be sharp: one of a few widths, so that caches help. */
export function widthFor(picture, view, ratio) {
  const wanted = picture.width * view.scale * ratio;
  return [480, 960, 1440, 1920, 2880].find((width) => width >= wanted * 0.9 && width < picture.width) ?? picture.width;
}
