/** What the page knows, in one place; listeners hear of changes once per turn. */

/**
 * @template {Object} S
 * @param {S} initial
 */
export function createStore(initial) {
  let state = initial;
  let changed = new Set();
  /** @type {{keys: string[], listener: (state: S) => void}[]} */
  const listeners = [];

  function tell() {
    const keys = changed;
    changed = new Set();
    for (const one of [...listeners]) if (one.keys.some((key) => keys.has(key))) one.listener(state);
  }

  return {
    /** @returns {S} */
    get: () => state,
    /** Merge `patch`; listeners of keys whose value differs are called soon. @param {Partial<S>} patch */
    set(patch) {
      const differing = Object.keys(patch).filter((key) => patch[key] !== state[key]);
      if (!differing.length) return;
      state = { ...state, ...patch };
      if (!changed.size) queueMicrotask(tell);
      differing.forEach((key) => changed.add(key));
    },
    /** Call `listener` after any of `keys` has changed. @param {string[]} keys @param {(state: S) => void} listener */
    on(keys, listener) {
      const entry = { keys, listener };
      listeners.push(entry);
      return () => listeners.splice(listeners.indexOf(entry), 1);
    },
  };
}
