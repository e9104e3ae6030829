/** What the server tells while a clip is open. The browser reconnects by itself; where it gave up, we do. */

const AGAIN = 1000, LATEST = 30000;  // ms before another try once the browser has given up; longer each time

/**
 * @param {string} url
 * @param {{session: (data: any) => void, task: (data: any) => void, frame: (data: any) => void,
 *          connected: (yes: boolean, again: boolean) => void}} hooks  `again`: it was lost before, so something may have been missed
 * @returns {() => void} stop listening
 */
export function listen(url, hooks) {
  let source = null, timer = 0, lost = false, pause = AGAIN;

  function connect() {
    source = new EventSource(url);
    source.onopen = () => {
      hooks.connected(true, lost);
      lost = false;
      pause = AGAIN;
    };
    source.onerror = () => {
      if (!lost) hooks.connected(false, false);
      lost = true;
      if (source.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(connect, pause);
      pause = Math.min(2 * pause, LATEST);
    };
    for (const kind of ["session", "task", "frame"]) {
      source.addEventListener(kind, (event) => hooks[kind](JSON.parse(event.data)));
    }
  }

  connect();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
