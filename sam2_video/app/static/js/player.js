/** Playing a clip at its own speed: frames that do not come in time are left out. */

const PATIENCE = 300;  // ms that a frame waits for its masks

/** @param {any} store @param {(frame: number) => void} go */
export function player(store, go) {
  let timer = 0, began = 0, from = 0, asked = 0;

  function tick() {
    const { session, playing, shown, ready, frame } = store.get();
    if (!session || !playing) return;
    const seen = ready === frame || (shown === frame && performance.now() - asked > PATIENCE);
    const target = Math.min(session.frames - 1, from + Math.floor(((performance.now() - began) / 1000) * (session.fps || 25)));
    // The next frame is asked for when the last one is seen: a slow server makes a slower film, not a frozen one.
    if (seen && target > frame) {
      asked = performance.now();
      go(target);
    }
    if (frame >= session.frames - 1) store.set({ playing: false });
    else timer = requestAnimationFrame(tick);
  }

  store.on(["playing"], ({ playing }) => {
    cancelAnimationFrame(timer);
    if (playing) {
      const { session, frame } = store.get();
      if (frame >= session.frames - 1) go(0);
      from = store.get().frame;
      began = performance.now();
      timer = requestAnimationFrame(tick);
    }
  });
}
