/** Track, pause, go on, stop; how far it is; and the frames worth a look. */

import { choice } from "./choice.js";
import { el, find, renew, setText } from "./dom.js";
import { duration, several } from "./format.js";
import { isBusy, nextOf } from "./state.js";

/** How far a task is, in words. @param {import("./types.js").Task} task */
export function progressText(task) {
  const parts = [`${task.done} of ${several(task.total, "frame")}`];
  if (task.state === "running") {  // a rate of one or two frames says nothing yet
    if (task.fps && task.done > 2) parts.push(`${task.fps.toFixed(1)} frames/s`);
    if (task.seconds_left !== null && task.seconds_left !== undefined && task.done > 2) parts.push(`${duration(task.seconds_left)} left`);
  } else parts.push({ paused: "paused", done: "done", cancelled: "stopped; what was done is kept", failed: "failed" }[task.state] ?? task.state);
  if (task.message) parts.push(task.message);
  return parts.join(" · ");
}

/**
 * @param {any} store @param {ReturnType<import("./actions.js").createActions>} actions
 * @param {{go: (frame: number) => void, choose: (object: number) => void}} hooks
 */
export function trackingPanel(store, actions, hooks) {
  let direction = "forward";
  const showDirection = choice(find("#direction"), "direction", (value) => { direction = value; showDirection(value); });
  const [button, cancel, follow, fromHere] = ["#track", "#cancel", "#follow", "#from-here"].map((one) => find(one));
  showDirection(direction);

  function wanted() {
    const { frame } = store.get();
    return fromHere.checked ? { direction, start: frame } : { direction };
  }

  const track = () => actions.track(wanted());
  button.addEventListener("click", track);
  cancel.addEventListener("click", () => actions.cancel());
  follow.addEventListener("change", () => store.set({ follow: follow.checked }));

  function showTask() {
    const { task, session, follow: follows } = store.get();
    if (!session) return;
    const mine = task?.kind === "track" ? task : null;
    const busy = isBusy(mine);
    setText(button, !busy ? "Track" : mine.state === "paused" ? "Go on" : "Pause");
    cancel.hidden = !busy;
    follow.checked = follows;
    for (const one of find("#direction").children) one.disabled = busy;
    fromHere.disabled = busy;
    find("#progress").hidden = !mine;
    if (!mine) return;
    const bar = find("#progress-bar");
    bar.max = Math.max(1, mine.total);
    bar.value = mine.done;
    setText(find("#progress-about"), progressText(mine));
  }

  function showReview() {
    const { session, timeline, frame } = store.get();
    const colours = new Map((session?.objects ?? []).map((one) => [one.id, one.color]));
    const items = (timeline?.review ?? []).slice(0, 300);
    renew(find("#review"), items, (one) => `${one.frame}/${one.object}/${one.reason}`, (one) => el("li", {},
      el("button", {
        type: "button",
        on: { click: () => { hooks.go(one.frame); if (one.object !== null) hooks.choose(one.object); } },
      }, el("span", { class: "swatch" }), el("span", { class: "number" }), el("span", { class: "why" }))), (node, one) => {
      find(".swatch", node).style.backgroundColor = colours.get(one.object) ?? "transparent";
      setText(find(".number", node), String(one.frame));
      setText(find(".why", node), one.reason);
      node.firstElementChild.setAttribute("aria-current", String(one.frame === frame));
    });
    find("#review-none").hidden = items.length > 0;
    const frames = reviewFrames();
    find("#review-back").disabled = nextOf(frames, frame, -1) === null;
    find("#review-forward").disabled = nextOf(frames, frame, 1) === null;
  }

  const reviewFrames = () => [...new Set((store.get().timeline?.review ?? []).map((one) => one.frame))].sort((a, b) => a - b);
  const review = (step) => {
    const frame = nextOf(reviewFrames(), store.get().frame, step);
    if (frame !== null) hooks.go(frame);
  };
  find("#review-back").addEventListener("click", () => review(-1));
  find("#review-forward").addEventListener("click", () => review(1));
  store.on(["task", "session", "follow"], showTask);
  store.on(["timeline", "session", "frame"], showReview);
  return { track, review };
}
