/** Prompts and the keyboard's cross, drawn over a picture in screen pixels. */

const ON = "#1a7f37", OFF = "#cf222e", RING = "#ffffff";

/**
 * A click: green with a plus on the object, red with a minus off it.
 * @param {CanvasRenderingContext2D} context @param {{x: number, y: number}} at @param {number} label
 */
export function drawPoint(context, at, label) {
  context.save();
  context.beginPath();
  context.arc(at.x, at.y, 7, 0, 2 * Math.PI);
  context.fillStyle = label ? ON : OFF;
  context.strokeStyle = RING;
  context.lineWidth = 2;
  context.fill();
  context.stroke();
  context.beginPath();
  context.moveTo(at.x - 3.5, at.y);
  context.lineTo(at.x + 3.5, at.y);
  if (label) {
    context.moveTo(at.x, at.y - 3.5);
    context.lineTo(at.x, at.y + 3.5);
  }
  context.stroke();
  context.restore();
}

/** @param {CanvasRenderingContext2D} context @param {{x: number, y: number}} a @param {{x: number, y: number}} b */
export function drawBox(context, a, b, color, dashed = false) {
  context.save();
  for (const [style, width] of [["rgba(0, 0, 0, 0.7)", 4], [color, 2]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.setLineDash(dashed ? [6, 4] : []);
    context.strokeRect(Math.min(a.x, b.x), Math.min(a.y, b.y), Math.abs(a.x - b.x), Math.abs(a.y - b.y));
  }
  context.restore();
}

/** The cross that WASD move. */
export function drawCross(context, at) {
  context.save();
  for (const [style, width] of [["#000000", 4], [RING, 2]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(at.x + 4 * dx, at.y + 4 * dy);
      context.lineTo(at.x + 14 * dx, at.y + 14 * dy);
    }
    context.stroke();
  }
  context.restore();
}

/** How large the brush is. */
export function drawRing(context, at, radius) {
  context.save();
  for (const [style, width] of [["#000000", 3], [RING, 1.5]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    context.arc(at.x, at.y, Math.max(radius, 1), 0, 2 * Math.PI);
    context.stroke();
  }
  context.restore();
}

/**
 * All prompts of a frame.
 * @param {CanvasRenderingContext2D} context @param {import("./viewer.js").Viewer} viewer
 * @param {{points: number[][], labels: number[], box: ?number[], color: string, faded?: boolean}[]} prompts
 */
export function drawPrompts(context, viewer, prompts) {
  for (const prompt of prompts) {
    context.globalAlpha = prompt.faded ? 0.45 : 1;
    if (prompt.box) {
      const [x0, y0, x1, y1] = prompt.box;
      drawBox(context, viewer.toScreen({ x: x0, y: y0 }), viewer.toScreen({ x: x1, y: y1 }), prompt.color);
    }
    (prompt.points ?? []).forEach(([x, y], k) => {
      drawPoint(context, viewer.toScreen({ x: x + 0.5, y: y + 0.5 }), prompt.labels[k]);
    });
    context.globalAlpha = 1;
  }
}
