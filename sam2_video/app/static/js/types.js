/**
 * Shapes of what the server answers; only read by editors and people.
 *
 * @typedef {{id: number, name: string, category: string, color: string}} TrackedObject
 * @typedef {{frame: number, object: number, points: number[][], labels: number[], box: ?number[], mask: boolean}} Prompt
 * @typedef {{kind: string, state: string, done: number, total: number, fps: ?number, seconds_left: ?number,
 *            frame: ?number, message: ?string}} Task
 * @typedef {{id: string, revision: number, name: string, path: string, frames: number, height: number, width: number,
 *            fps: number, model: string, objects: TrackedObject[], prompts: Prompt[], known: number[][], task: ?Task,
 *            can_undo: boolean, can_redo: boolean}} Session
 * @typedef {{id: number, iou: ?number, presence: ?number, prompted: boolean, box: ?number[], size: number[],
 *            counts: number[]}} ObjectMask  column-major run lengths that begin with background, as in COCO
 * @typedef {{frame: number, objects: ObjectMask[]}} FrameMasks
 * @typedef {{id: number, presence: (?number)[], iou: (?number)[], prompted: number[]}} Track
 * @typedef {{frame: number, object: ?number, reason: string}} Review
 * @typedef {{objects: Track[], review: Review[], stride: number}} Timeline
 * @typedef {{x: number, y: number}} Point
 * @typedef {{width: number, height: number}} Size
 * @typedef {{scale: number, x: number, y: number}} View  screen = picture * scale + (x, y)
 */
export {};
