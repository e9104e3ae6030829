/** What the server tells while a clip is open. The browser reconnects by itself; where it gave up, we do. */

const AGAIN = 2000;  // ms before another try once the browser has given up

/**
 * @param {string} url
 * @param {{session: (data: any) => void, task: (data: any) => void, frame: (data: any) => void,
 *          connected: (yes: boolean, again: boolean) => void}} hooks  `again`: it was lost before, so something may have been missed
 * @returns {() => void} stop listening
 */
export function listen(url, hooks) {
  let source = null, timer = 0, lost = false;

  function connect() {
    source = new EventSource(url);
    source.onopen = () => {
      hooks.connected(true, lost);
      lost = false;
    };
    source.onerror = () => {
      if (!lost) hooks.connected(false, false);
      lost = true;
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(connect, AGAIN);
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
