/** Masks of one frame as one transparent picture. */

import { toBitmap } from "./runs.js";

/** "#rrggbb" -> [r, g, b]; grey where it is anything else. @param {string} color */
export function rgb(color) {
  const found = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(color);
  return found ? found.slice(1).map((part) => parseInt(part, 16)) : [128, 128, 128];
}

/**
 * Paint a bitmap into RGBA pixels: filled with `opacity`, its outline nearly solid.
 * @param {Uint8ClampedArray} pixels @param {Uint8Array} bitmap @param {number[]} size @param {number[]} colour
 */
export function tint(pixels, bitmap, [height, width], [r, g, b], opacity) {
  const inner = Math.round(opacity * 255), edge = opacity > 0 ? 240 : 0;
  for (let y = 0, k = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, k += 1) {
      if (!bitmap[k]) continue;
      const inside = x > 0 && x < width - 1 && y > 0 && y < height - 1
        && bitmap[k - 1] && bitmap[k + 1] && bitmap[k - width] && bitmap[k + width];
      pixels[4 * k] = r;
      pixels[4 * k + 1] = g;
      pixels[4 * k + 2] = b;
      pixels[4 * k + 3] = inside ? inner : edge;
    }
  }
}

/**
 * @param {{bitmap?: Uint8Array, counts?: number[], size: number[], color: string}[]} layers from below to above, one size
 * @param {number} opacity of the filling, 0 to 1
 * @returns {?HTMLCanvasElement} null where there is nothing to be seen
 */
export function paint(layers, opacity) {
  if (!layers.length) return null;
  const [height, width] = layers[0].size;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (const layer of layers) {
    if (layer.size[0] !== height || layer.size[1] !== width) continue;
    tint(image.data, layer.bitmap ?? toBitmap(layer.counts, layer.size), layer.size, rgb(layer.color), opacity);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
