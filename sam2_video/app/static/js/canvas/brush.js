/** Painting on bitmaps. Pure. */

/**
 * Set the pixels within `radius` of the line from `a` to `b`.
 * @param {Uint8Array} bitmap rows first @param {number[]} size (h, w)
 * @param {{x: number, y: number}} a @param {{x: number, y: number}} b in pixels of the bitmap
 */
export function stroke(bitmap, [height, width], a, b, radius, value) {
  const reach = Math.max(radius, 0.5);
  const [x0, x1] = [Math.max(0, Math.floor(Math.min(a.x, b.x) - reach)), Math.min(width - 1, Math.ceil(Math.max(a.x, b.x) + reach))];
  const [y0, y1] = [Math.max(0, Math.floor(Math.min(a.y, b.y) - reach)), Math.min(height - 1, Math.ceil(Math.max(a.y, b.y) + reach))];
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const long = dx * dx + dy * dy;
  for (let y = y0; y <= y1; y += 1) {
    for (let x = x0; x <= x1; x += 1) {
      const [px, py] = [x + 0.5 - a.x, y + 0.5 - a.y];
      const t = long ? Math.min(1, Math.max(0, (px * dx + py * dy) / long)) : 0;
      if ((px - t * dx) ** 2 + (py - t * dy) ** 2 <= reach * reach) bitmap[y * width + x] = value;
    }
  }
}

/** Size (h, w) of a mask that is painted from nothing: the picture's, at most `widest` wide. */
export function paintSize(picture, widest = 1280) {
  const share = Math.min(1, widest / picture.width);
  return [Math.max(1, Math.round(picture.height * share)), Math.max(1, Math.round(picture.width * share))];
}
