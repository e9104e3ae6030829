/** The frame and its masks on the canvas: both fetched side by side, never a mask over another frame's picture. */

import { api } from "./api.js";
import { paint } from "./canvas/overlay.js";
import { Cache, Fetcher, fetchImage } from "./frames.js";
import { complain } from "./messages.js";

const ROOM = 200e6;  // bytes of decoded frames that are kept
const COARSE = 960;  // pixels of width while frames change: the server answers these from previews
const REST = 250;    // ms until a frame that stays is fetched as sharp as it can be seen
const AHEAD = 6;     // frames fetched before they are wanted, the way that was last gone

/** How many frames of this size are kept. */
export const kept = (width, height) => Math.min(120, Math.max(12, Math.floor(ROOM / (4 * width * height))));

/** Frames that will probably be wanted after `frame`. @param {number} way -1 or 1 @param {number} count of the clip */
export function framesAhead(frame, way, count, playing) {
  const steps = playing ? Array.from({ length: AHEAD + 2 }, (_, k) => (k + 1) * way)
    : [way, 2 * way, -way, 3 * way, 4 * way];
  return steps.map((step) => frame + step).filter((one) => one >= 0 && one < count);
}

export class Stage {
  /** @param {any} store @param {import("./canvas/viewer.js").Viewer} viewer */
  constructor(store, viewer) {
    this.store = store;
    this.viewer = viewer;
    this.id = null;
    this.way = 1;
    this.last = 0;
    this.resting = 0;
    this.image = null;
    this.preview = null;
    this.painted = { key: null, overlay: null };
    const hooks = (arrived) => ({ arrived, failed: complain });
    this.images = new Fetcher((key, signal) => this.#fetchImage(key, signal), new Cache(40, (image) => image.close?.()),
      hooks((key, image) => this.#imageArrived(key, image)));
    this.masks = new Fetcher((frame, signal) => api.masks(this.id, frame, signal), new Cache(64),
      hooks((frame, masks) => this.setMasks(frame, masks)));
    store.on(["frame", "playing", "sharpness"], () => this.wish());
    store.on(["opacity", "hidden", "session"], () => this.#show());
  }

  /** Another clip. @param {import("./types.js").Session} session */
  open(session) {
    this.close();
    this.id = session.id;
    this.images.cache.limit = kept(Math.min(session.width, COARSE), Math.round(session.height * Math.min(1, COARSE / session.width)));
    this.viewer.open({ width: session.width, height: session.height });
    this.wish();
  }

  close() {
    clearTimeout(this.resting);
    this.images.stop();
    this.masks.stop();
    this.image = this.preview = null;
    this.viewer.open(null);
    this.images.cache.clear();
    this.masks.cache.clear();
    this.painted = { key: null, overlay: null };
    this.store.set({ shown: -1, ready: -1, masks: null });
    this.id = null;
  }

  /** Ask for the frame that the store names. */
  wish() {
    const { session, frame, playing } = this.store.get();
    if (!session || session.id !== this.id) return;
    if (frame !== this.last) this.way = Math.sign(frame - this.last);
    this.last = frame;
    const width = Math.min(this.viewer.wantedWidth, COARSE);
    const ahead = framesAhead(frame, this.way, session.frames, playing).map((one) => `${one}@${width}`);
    this.images.want(`${frame}@${width}`, ahead);
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.#sharpen(), REST);
    this.masks.want(frame, playing ? framesAhead(frame, 1, session.frames, true) : []);
  }

  /** The masks of a frame have changed on the server. @param {number} frame */
  stale(frame) {
    this.masks.cache.drop(frame);
    const { frame: wanted, shown } = this.store.get();
    if (frame === wanted || frame === shown) this.masks.want(frame);
  }

  /** All masks may have changed; those of one frame may have come along. @param {?import("./types.js").FrameMasks} masks */
  renew(masks = null) {
    this.masks.stop();  // an answer that is on its way is from before the change
    this.masks.cache.clear();
    if (masks) this.setMasks(masks.frame, masks);
    if (masks?.frame !== this.store.get().frame) this.masks.want(this.store.get().frame);
  }

  /** @param {number} frame @param {import("./types.js").FrameMasks} masks */
  setMasks(frame, masks) {
    this.masks.cache.set(frame, masks);
    if (frame === this.store.get().shown) this.#show();
  }

  /** Show an object as it is being painted; null ends it. @param {?{frame: number, object: number, bitmap: Uint8Array, size: number[], color: string}} preview */
  showPreview(preview) {
    this.preview = preview;
    this.painted.key = null;
    this.#show();
  }

  #sharpen() {
    const { session, frame, shown, playing } = this.store.get();
    const width = this.viewer.wantedWidth;
    if (session && session.id === this.id && shown === frame && !playing && width > COARSE) this.images.want(`${frame}@${width}`);
  }

  #fetchImage(key, signal) {
    const [frame, width] = key.split("@");
    return fetchImage(api.frameUrl(this.id, frame, width), signal);
  }

  #imageArrived(key, image) {
    this.image = image;
    this.store.set({ shown: Number(key.split("@")[0]) });
    this.#show();
  }

  #show() {
    if (!this.image) return;
    const { shown, masks: before } = this.store.get();
    // Masks that were just declared stale stay until their successors come: nothing flickers.
    const masks = this.masks.cache.get(shown) ?? (before?.frame === shown ? before : null);
    this.store.set({ masks, ready: masks ? shown : -1 });
    this.viewer.show(this.image, this.#overlay(masks));
  }

  #overlay(masks) {
    const { session, hidden, opacity, shown } = this.store.get();
    const preview = this.preview?.frame === shown ? this.preview : null;
    const colours = new Map((session?.objects ?? []).map((one) => [one.id, one.color]));
    const key = [masks, hidden, opacity, [...colours].join(), preview];
    if (this.painted.key && key.every((part, k) => part === this.painted.key[k])) return this.painted.overlay;
    const layers = (masks?.objects ?? [])
      .filter((one) => !hidden.has(one.id) && colours.has(one.id) && one.id !== preview?.object)
      .map((one) => ({ counts: one.counts, size: one.size, color: colours.get(one.id) }));
    if (preview) layers.push(preview);
    const strength = preview ? Math.max(opacity, 0.35) : opacity;  // what is painted must be seen
    this.painted = { key, overlay: paint(layers, strength) };
    return this.painted.overlay;
  }
}
