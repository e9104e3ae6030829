/** The state of the work view, and pure steps from one state to the next. */

/** @typedef {import("./types.js").Session} Session */

export const TOOLS = ["select", "brush", "eraser", "hand"];

export const WORK = Object.freeze({
  /** @type {?Session} */ session: null,
  /** @type {?import("./types.js").Task} */ task: null,
  /** @type {?import("./types.js").Timeline} */ timeline: null,
  frame: 0,
  /** the frame that is on the canvas; differs from `frame` while that is fetched */ shown: -1,
  /** @type {?import("./types.js").FrameMasks} */ masks: null,
  /** @type {?number} */ object: null,
  tool: "select",
  brush: 24,
  opacity: 0.5,
  /** @type {ReadonlySet<number>} objects that are not drawn */ hidden: new Set(),
  playing: false,
  /** the frame that is on the canvas with its masks */ ready: -1,
  /** how wide frames are fetched */ sharpness: 0,
  /** whether tracking takes the canvas along, */ follow: true,
  /** but for a person who went elsewhere meanwhile */ away: false,
  connected: true,
});

/** What an object is called. @param {import("./types.js").TrackedObject} object */
export const nameOf = (object) => object.name || `${object.category || "object"} ${object.id}`;

/** The nearest frame of the clip. @param {?Session} session @param {number} frame */
export function clampFrame(session, frame) {
  return session ? Math.min(Math.max(0, Math.round(frame)), session.frames - 1) : 0;
}

/**
 * Take over a session as the server has it. An older revision changes nothing; an object that is gone is no longer chosen.
 * `news`: whether it comes in the order of the server's news; another answer may be late with what it says of the task.
 * @param {typeof WORK} state @param {Session} session
 */
export function withSession(state, session, news = true) {
  const before = state.session;
  if (before && before.id === session.id && session.revision < before.revision) return {};
  const ids = session.objects.map((one) => one.id);
  const kept = [...state.hidden].filter((id) => ids.includes(id));
  return {
    session,
    task: news ? session.task : state.task,
    object: state.object !== null && ids.includes(state.object) ? state.object : ids[0] ?? null,
    hidden: kept.length === state.hidden.size ? state.hidden : new Set(kept),
    frame: clampFrame(session, state.frame),
  };
}

/** Hide or show one object. @param {ReadonlySet<number>} hidden @param {number} id */
export function toggled(hidden, id) {
  const next = new Set(hidden);
  if (!next.delete(id)) next.add(id);
  return next;
}

/** @param {?Session} session @param {number} frame @param {?number} object */
export function promptOf(session, frame, object) {
  return session?.prompts?.find((one) => one.frame === frame && one.object === object) ?? null;
}

/** Frames with prompts of any object, in order. @param {?Session} session @returns {number[]} */
export function promptedFrames(session) {
  return [...new Set((session?.prompts ?? []).map((one) => one.frame))].sort((a, b) => a - b);
}

/** @param {?import("./types.js").Task} task */
export function isBusy(task) {
  return task !== null && task !== undefined && (task.state === "running" || task.state === "paused");
}

/** The first of `frames` (in order) after `frame`, or before it; null where there is none. */
export function nextOf(frames, frame, step) {
  return (step > 0 ? frames.find((one) => one > frame) : frames.findLast((one) => one < frame)) ?? null;
}
