/** Frames and masks from the server: few requests at a time, the newest wish first, what nobody waits for is stopped. */

import { ApiError } from "./api.js";

/** What was used last is kept, the rest is closed. @template T */
export class Cache {
  /** @param {number} limit entries @param {(value: T) => void} [close] */
  constructor(limit, close = () => {}) {
    this.limit = limit;
    this.close = close;
    /** @type {Map<any, T>} */
    this.entries = new Map();
  }

  get(key) {
    const value = this.entries.get(key);
    if (value !== undefined) {
      this.entries.delete(key);
      this.entries.set(key, value);
    }
    return value;
  }

  has(key) {
    return this.entries.has(key);
  }

  set(key, value) {
    this.drop(key);
    this.entries.set(key, value);
    for (const [oldest] of this.entries) {
      if (this.entries.size <= this.limit) break;
      this.drop(oldest);
    }
  }

  drop(key) {
    const value = this.entries.get(key);
    if (this.entries.delete(key)) this.close(value);
  }

  clear() {
    for (const key of [...this.entries.keys()]) this.drop(key);
  }
}

const PATIENCE = 250;  // ms: a request that takes longer is stopped once another frame is wanted

/**
 * Fetches what is wanted now, then what will probably be wanted next. One request runs for the wish; while it runs only the
 * latest wish waits, so that a timeline that is dragged shows frames on its way and never queues them.
 * @template T
 */
export class Fetcher {
  /**
   * @param {(key: any, signal: AbortSignal) => Promise<T>} fetchOne
   * @param {Cache<T>} cache
   * @param {{arrived: (key: any, value: T) => void, failed: (error: any) => void}} hooks
   */
  constructor(fetchOne, cache, hooks) {
    this.fetchOne = fetchOne;
    this.cache = cache;
    this.hooks = hooks;
    this.wanted = null;
    this.ahead = [];
    /** @type {?{key: any, since: number, stop: AbortController, idle: boolean}} */
    this.running = null;
  }

  /** @param {any} key @param {any[]} [ahead] keys to fetch when there is time */
  want(key, ahead = []) {
    this.wanted = key;
    this.ahead = ahead;
    if (this.cache.has(key)) {
      this.hooks.arrived(key, this.cache.get(key));
      this.wanted = null;
    }
    const running = this.running;
    if (running && this.wanted !== null && running.key !== key && (running.idle || performance.now() - running.since > PATIENCE)) {
      running.stop.abort();
      this.running = null;
    }
    this.#next();
  }

  /** Stop everything and forget the wish. */
  stop() {
    this.wanted = null;
    this.ahead = [];
    this.running?.stop.abort();
    this.running = null;
  }

  #next() {
    if (this.running) return;
    const idle = this.wanted === null;
    const key = idle ? this.ahead.find((one) => !this.cache.has(one)) : this.wanted;
    if (key === undefined || key === null) return;
    if (idle) this.ahead = this.ahead.filter((one) => one !== key);
    const run = { key, since: performance.now(), stop: new AbortController(), idle };
    this.running = run;
    this.fetchOne(key, run.stop.signal).then((value) => {
      if (this.running !== run) return this.cache.close(value);
      this.running = null;
      this.cache.set(key, value);
      const shown = !idle || this.wanted === key;  // a frame fetched ahead may have become the wish meanwhile
      if (this.wanted === key) this.wanted = null;
      if (shown) this.hooks.arrived(key, value);
      return this.#next();
    }, (error) => {
      if (this.running !== run) return;
      this.running = null;
      const missed = !idle || this.wanted === key;
      if (this.wanted === key) this.wanted = null;
      if (missed && error.name !== "AbortError") this.hooks.failed(error);
      this.#next();
    });
  }
}

/** Fetch and decode a picture. @param {string} url @param {AbortSignal} [signal] @returns {Promise<ImageBitmap>} */
export async function fetchImage(url, signal) {
  let answer;
  try {
    answer = await fetch(url, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. Is sam2-video app still running?");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new ApiError(said.error ?? `The server answered ${answer.status}.`, answer.status);
  }
  return createImageBitmap(await answer.blob());
}
