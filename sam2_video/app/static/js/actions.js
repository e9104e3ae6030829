/** What a person does to a session. Changes are sent one after another, each with the revision it was made for. */

import { ApiError, api } from "./api.js";
import { complain, say } from "./messages.js";
import { isBusy, promptOf, withSession } from "./state.js";

/** @param {any} store @param {import("./stage.js").Stage} stage */
export function createActions(store, stage) {
  let queue = Promise.resolve();
  const id = () => store.get().session.id;

  /** Take over what the server answered; masks are only fetched anew where something changed. */
  function adopt(session, masks = null, news = false) {
    const before = store.get().session;
    if (!before || session.id !== before.id) return;
    store.set(withSession(store.get(), session, news));
    if (session.revision !== before.revision) stage.renew(masks);
    else if (masks) stage.setMasks(masks.frame, masks);
  }

  async function reload() {
    adopt(await api.session(id()), null, true);
  }

  /** Run changes in order. Another tab that was faster is told of, and its state taken over. */
  function change(work) {
    const result = queue.then(async () => {
      try {
        return await work();
      } catch (error) {
        if (error instanceof ApiError && error.status === 409) await reload().catch(() => {});
        return complain(error);
      }
    });
    queue = result.catch(() => {});
    return result;
  }

  /** The object that was made just now; another tab may have made some that were not known here. */
  const newest = (session, known) => Math.max(...session.objects.map((one) => one.id).filter((one) => !known.has(one)));

  async function ensureObject() {
    const { session, object } = store.get();
    if (object !== null) return object;
    const known = new Set(session.objects.map((one) => one.id));
    const next = await api.addObject(session.id);
    adopt(next);
    const made = newest(next, known);
    store.set({ object: made });
    return made;
  }

  function prompt(frame, wanted, what) {
    return change(async () => {
      const object = wanted ?? await ensureObject();
      const { session } = store.get();
      const { session: next, masks } = await api.prompt(session.id, { frame, object, ...what, revision: session.revision });
      adopt(next, masks);
    });
  }

  return {
    adopt, reload,
    point: ({ x, y }, label) => {
      const { shown, object } = store.get();
      return prompt(shown, object, { points: [[x, y]], labels: [label] });
    },
    box: (box) => {
      const { shown, object } = store.get();
      return prompt(shown, object, { box });
    },
    mask: (frame, object, size, counts) => prompt(frame, object, { mask: { size, counts }, replace: true }),
    clear: () => change(async () => {
      const { session, frame, object } = store.get();
      if (!promptOf(session, frame, object)) return say("The chosen object has no prompts on this frame.");
      return adopt((await api.clear(id(), frame, object)).session);
    }),
    undo: () => change(async () => store.get().session.can_undo && adopt((await api.undo(id())).session)),
    redo: () => change(async () => store.get().session.can_redo && adopt((await api.redo(id())).session)),
    addObject: (what = {}) => change(async () => {
      const known = new Set(store.get().session.objects.map((one) => one.id));
      const next = await api.addObject(id(), what);
      adopt(next);
      store.set({ object: newest(next, known) });
    }),
    changeObject: (object, what) => change(async () => adopt(await api.changeObject(id(), object, what))),
    removeObject: (object) => change(async () => adopt(await api.removeObject(id(), object))),
    save: () => change(async () => {
      await api.save(id());
      say("Saved.");
    }),
    /** Track, or pause what runs, or go on with what is paused. */
    track: (wanted) => change(async () => {
      const { task } = store.get();
      if (task?.kind === "export" && isBusy(task)) return say("Files are being written; track when that is done.");
      if (task?.state === "running") return api.pause(id());
      if (task?.state === "paused") return api.resume(id());
      if (!store.get().session.prompts.length) return say("Click an object first: tracking starts from prompts.");
      return api.track(id(), wanted);
    }),
    cancel: () => change(() => api.cancel(id())),
  };
}
