/** The page of one clip: its parts wired to one store. */

import { createActions } from "./actions.js";
import { api } from "./api.js";
import { paintSize } from "./canvas/brush.js";
import { drawPrompts } from "./canvas/marks.js";
import { toBitmap, toRuns } from "./canvas/runs.js";
import { Viewer } from "./canvas/viewer.js";
import { find, icon, setText } from "./dom.js";
import { listen } from "./events.js";
import { exportDialog } from "./export.js";
import { clock } from "./format.js";
import { attempt, say } from "./messages.js";
import { objectPanel } from "./objects.js";
import { player } from "./player.js";
import { Stage } from "./stage.js";
import { WORK, clampFrame, isBusy, promptOf } from "./state.js";
import { createStore } from "./store.js";
import { TimelineView } from "./timeline.js";
import { toolbar } from "./toolbar.js";
import { Tools } from "./tools.js";
import { trackingPanel } from "./tracking.js";

const FIRST_COLOUR = "#4c9be8";  // of what is painted before the server has given the object its colour
const TIMELINE = 1000;           // ms between looks at the timeline while tracking runs
const PATIENCE = 500;            // ms that a tracked frame waits for its masks before the next is shown
const ADDRESS = 300;             // ms: browsers limit how often an address may change

/** @param {{info: () => any, go: (hash: string) => void}} hooks */
export function workPage(hooks) {
  const store = createStore({ ...WORK });
  const viewer = new Viewer(find("#view"), { decorate, onView: () => onView() });
  const stage = new Stage(store, viewer);
  const actions = createActions(store, stage);
  const tools = new Tools(viewer, {
    tool: () => store.get().tool,
    radius: () => store.get().brush / 2,
    point: actions.point,
    box: actions.box,
    begin: beginPainting,
    paint: (bitmap, size) => {
      const { shown, object } = store.get();
      stage.showPreview({ frame: painting ?? shown, object: object ?? -1, bitmap, size, color: colour() });
    },
    painted: async (bitmap, size) => {
      await actions.mask(painting, store.get().object, size, toRuns(bitmap, size));
      if (stage.preview?.bitmap === bitmap) stage.showPreview(null);  // else the next stroke is under way
    },
    dropped: () => stage.showPreview(null),
  });
  const go = (frame) => store.set({ frame: clampFrame(store.get().session, frame) });
  const choose = (object) => store.set({ object });
  const onView = toolbar(store, viewer);
  objectPanel(store, actions);
  const tracking = trackingPanel(store, actions, { go: leaveTo, choose });
  const exporting = exportDialog(store, hooks.info);
  new TimelineView(find("#timeline"), find("#timeline-about"), store, { go: leaveTo, choose });
  player(store, go);
  transport();

  let painting = null, stop = null, timelineTimer = 0, addressTimer = 0, newest = null, followed = 0;

  /** Take the canvas along with tracking: the newest frame, once the one before was seen with its masks. */
  function follow(now = false) {
    const { ready, frame, follow: wanted, away } = store.get();
    if (newest === null || !wanted || away || (!now && ready !== frame && performance.now() - followed < PATIENCE)) return;
    followed = performance.now();
    go(newest);
    newest = null;
  }

  /** Go somewhere by hand: what plays stops, and the tracking that runs no longer takes the canvas along. */
  function leaveTo(frame) {
    const { task, away } = store.get();
    store.set({ playing: false, away: away || task?.state === "running" });
    go(frame);
  }

  function colour() {
    const { session, object } = store.get();
    return session?.objects.find((one) => one.id === object)?.color ?? FIRST_COLOUR;
  }

  function beginPainting() {
    const { session, shown, object, masks } = store.get();
    if (shown < 0) return null;
    painting = shown;
    const before = stage.preview;  // a stroke that the server has not answered yet is not to be lost
    if (before && before.frame === shown && before.object === (object ?? -1)) return { size: before.size, bitmap: before.bitmap.slice() };
    const known = masks?.objects.find((one) => one.id === object);
    const size = known?.size ?? paintSize(session);
    return { size, bitmap: known ? toBitmap(known.counts, size) : new Uint8Array(size[0] * size[1]) };
  }

  function decorate(context) {
    const { session, shown, object, hidden } = store.get();
    if (!session) return;
    const colours = new Map(session.objects.map((one) => [one.id, one.color]));
    drawPrompts(context, viewer, (session.prompts ?? [])
      .filter((one) => one.frame === shown && !hidden.has(one.object))
      .map((one) => ({ ...one, color: colours.get(one.object) ?? FIRST_COLOUR, faded: one.object !== object })));
    tools.decorate(context, colour());
  }

  function transport() {
    const on = (id, run) => find(id).addEventListener("click", run);
    on("#to-first", () => leaveTo(0));
    on("#to-last", () => leaveTo(Infinity));
    on("#step-back", () => leaveTo(store.get().frame - 1));
    on("#step-forward", () => leaveTo(store.get().frame + 1));
    on("#play", () => store.set({ playing: !store.get().playing }));
    on("#undo", actions.undo);
    on("#redo", actions.redo);
    on("#save", actions.save);
    find("#frame-number").addEventListener("change", (event) => {
      if (event.target.value !== "") leaveTo(Number(event.target.value));
      event.target.value = String(store.get().frame);
    });
  }

  store.on(["playing"], ({ playing }) => {
    find("#play").replaceChildren(icon(playing ? "stop" : "play"));
    find("#play").setAttribute("aria-label", playing ? "Stop" : "Play");
  });
  store.on(["session", "object"], ({ session }) => {
    if (!session) return;
    setText(find("#clip-name"), session.name);
    setText(find("#clip-about"), `${session.width} × ${session.height} · ${session.frames} frames · ${session.model}`);
    find("#undo").disabled = !session.can_undo;
    find("#redo").disabled = !session.can_redo;
    find("#frame-number").max = String(session.frames - 1);
    viewer.redraw();
  });
  store.on(["frame", "session"], ({ session, frame }) => {
    if (!session) return;
    if (document.activeElement !== find("#frame-number")) find("#frame-number").value = String(frame);
    setText(find("#frame-about"), `of ${session.frames - 1} · ${clock(frame, session.fps)}`);
    addressTimer ||= setTimeout(() => {
      addressTimer = 0;
      if (store.get().session) history.replaceState(null, "", address());
    }, ADDRESS);
  });
  store.on(["session", "frame", "object", "tool", "task"], ({ session, frame, object, tool, task }) => {
    const text = { brush: "Paint what belongs to the object.", eraser: "Erase what does not belong to it.", hand: "" }[tool]
      ?? (promptOf(session, frame, object) || session?.known.length || isBusy(task) ? "" : "Click the object. Alt or right click: background. Drag: a box.");
    setText(find("#hint"), text);
  });
  store.on(["ready"], () => follow());
  store.on(["ready", "frame"], ({ ready, frame }) => {
    viewer.canvas.dataset.ready = ready === frame ? "yes" : "no";
  });
  store.on(["connected"], ({ connected }) => { find("#offline").hidden = connected; });

  /** Fetch the timeline soon; while tracking runs not more often than once a second. */
  function renewTimeline() {
    if (timelineTimer) return;
    const pause = store.get().task?.state === "running" ? TIMELINE : 60;
    timelineTimer = setTimeout(() => attempt(async () => {
      timelineTimer = 0;
      const { session } = store.get();
      if (!session) return;
      const timeline = await api.timeline(session.id);
      if (store.get().session?.id === session.id) store.set({ timeline });
    }), pause);
  }

  function taskTold(task) {
    const before = store.get().task;
    store.set({ task });
    if (before?.state === task?.state) return;
    if (task?.state === "running") store.set({ away: false });
    if (!isBusy(task)) follow(true);
    if (task?.state === "failed") say(task.message ?? "It failed.", "error");
    if (task?.kind === "track" && !isBusy(task)) attempt(actions.reload);
  }

  function sessionTold(session) {
    actions.adopt(session, null, true);
    renewTimeline();
  }

  const address = () => {
    const { session, frame } = store.get();
    return session ? `#/clip/${encodeURIComponent(session.id)}/${frame}` : "#/";
  };

  function close() {
    stop?.();
    stop = null;
    clearTimeout(timelineTimer);
    timelineTimer = 0;
    newest = null;
    stage.close();
    store.set({ ...WORK, follow: store.get().follow });
  }

  /** @param {string} id @param {?number} frame null: the first with prompts */
  async function show(id, frame) {
    if (store.get().session?.id === id) {
      if (frame !== null) go(frame);
      return;
    }
    close();
    const session = await api.session(id);
    const first = Math.min(...(session.prompts ?? []).map((one) => one.frame));
    store.set({ ...WORK, frame: clampFrame(session, frame ?? (Number.isFinite(first) ? first : 0)) });
    store.set(withOpened(session));
    stage.open(session);
    renewTimeline();
    if (!document.activeElement?.checkVisibility() || document.activeElement === document.body) viewer.canvas.focus({ preventScroll: true });
    stop = listen(api.eventsUrl(id), {
      session: sessionTold,
      task: (data) => { taskTold(data); renewTimeline(); },
      frame: ({ frame: one }) => {
        stage.stale(one);
        if (store.get().task?.state === "running") newest = one;
        follow();
      },
      connected: (connected, again) => {
        store.set({ connected });
        if (again) attempt(async () => { await actions.reload(); stage.renew(); renewTimeline(); });
      },
    });
  }

  const withOpened = (session) => ({ session, task: session.task, object: session.objects[0]?.id ?? null });

  return { store, viewer, stage, actions, tools, tracking, exporting, show, close, address, go: leaveTo, choose };
}
