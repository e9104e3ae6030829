/** Masks as run lengths and as bitmaps. Runs go down the columns and begin with background, as in COCO. Pure. */

/** The (h, w) bitmap, rows first. @param {number[]} counts @param {number[]} size @returns {Uint8Array} */
export function toBitmap(counts, [height, width]) {
  const bitmap = new Uint8Array(height * width);
  let at = 0, value = 0;
  for (const count of counts) {
    if (value) {
      const end = Math.min(at + count, bitmap.length);
      let x = Math.floor(at / height), y = at % height;
      for (let k = at; k < end; k += 1) {
        bitmap[y * width + x] = 1;
        y += 1;
        if (y === height) { y = 0; x += 1; }
      }
    }
    at += count;
    value = 1 - value;
  }
  if (at !== bitmap.length) throw new RangeError(`the runs cover ${at} pixels, the mask has ${bitmap.length}`);
  return bitmap;
}

/** @param {Uint8Array} bitmap @param {number[]} size @returns {number[]} */
export function toRuns(bitmap, [height, width]) {
  const counts = [];
  let value = 0, run = 0;
  for (let x = 0; x < width; x += 1) {
    for (let k = x; k < bitmap.length; k += width) {
      const here = bitmap[k] ? 1 : 0;
      if (here !== value) { counts.push(run); run = 0; value = here; }
      run += 1;
    }
  }
  counts.push(run);
  return counts;
}

/** How many pixels are set. @param {number[]} counts */
export const areaOf = (counts) => counts.reduce((sum, count, k) => (k % 2 ? sum + count : sum), 0);

/** Whether pixel (x, y) of the mask is set; no bitmap is made. */
export function covers(counts, [height, width], x, y) {
  if (x < 0 || y < 0 || x >= width || y >= height) return false;
  const wanted = x * height + y;
  let end = 0;
  for (let k = 0; k < counts.length; k += 1) {
    end += counts[k];
    if (wanted < end) return k % 2 === 1;
  }
  return false;
}
