/** The picture page: prompts, three candidates with scores, all masks of a picture, downloads. */

import { ApiError, api } from "./api.js";
import { choice } from "./choice.js";
import { drawPrompts } from "./canvas/marks.js";
import { paint } from "./canvas/overlay.js";
import { Viewer } from "./canvas/viewer.js";
import { el, find, setText } from "./dom.js";
import { fileList } from "./files.js";
import { score, several } from "./format.js";
import { fetchImage } from "./frames.js";
import { attempt, complain } from "./messages.js";
import { Tools } from "./tools.js";

const COLOUR = "#4c9be8";
const LARGEST = 2048;  // pixels of width that are fetched
const WATCH = 500;     // ms between looks at a search that runs

/** Colours that are far apart, for any number of masks. @param {number} k */
export function colourOf(k) {
  const hue = (k * 137.508) % 360, light = 0.5 + 0.12 * (k % 3 - 1);
  const channel = (offset) => {
    const at = (offset + hue / 30) % 12;
    return Math.round(255 * (light - 0.75 * Math.min(light, 1 - light) * Math.max(-1, Math.min(at - 3, 9 - at, 1))));
  };
  return `#${[0, 8, 4].map((offset) => channel(offset).toString(16).padStart(2, "0")).join("")}`;
}

/** Take the last prompt back: the last click, or the box once no click is left. Pure. */
export function withoutLast({ points, labels, box }) {
  return points.length ? { points: points.slice(0, -1), labels: labels.slice(0, -1), box } : { points, labels, box: null };
}

const NOTHING = Object.freeze({ points: [], labels: [], box: null });

/** @param {{go: (hash: string) => void, top: () => string}} hooks  `top`: what the folder is called */
export function picturePage(hooks) {
  let open = null, image = null, prompts = NOTHING, candidates = [], chosen = 0, found = null, asked = 0, timer = 0;
  const viewer = new Viewer(find("#picture-view"), { decorate });
  const tools = new Tools(viewer, {
    tool: () => "select",
    point: ({ x, y }, label) => predict({ ...prompts, points: [...prompts.points, [x, y]], labels: [...prompts.labels, label] }),
    box: (box) => predict({ ...prompts, box }),
  });
  const files = fileList({ list: "#picture-entries", none: "#picture-entries-none", up: "#pictures-up", path: "#pictures-path" },
    { wanted: (entry) => entry.kind === "picture" || entry.kind === "folder", top: hooks.top, open: (entry) => hooks.go(`#/picture/${encodeURIComponent(entry.path)}`) });
  const showChoice = choice(find("#candidates"), "index", (value) => { chosen = Number(value); show(); });

  function decorate(context) {
    drawPrompts(context, viewer, [{ ...prompts, color: COLOUR }]);
    tools.decorate(context, COLOUR);
  }

  function overlay() {
    if (candidates.length) return paint([{ ...candidates[chosen], color: COLOUR }], 0.5);
    return found ? paint(found.map((one, k) => ({ ...one, color: colourOf(k) })), 0.5) : null;
  }

  function show() {
    viewer.show(image, overlay());
    showChoice(String(chosen));
    const some = prompts.points.length > 0 || prompts.box !== null;
    find("#picture-undo").disabled = !some;
    find("#picture-clear").disabled = !some && !found;
    find("#everything").disabled = !open;
    setText(find("#picture-hint"), !open ? "Choose a picture on the left." : some || found ? "" : "Click the object. Alt or right click: background. Drag: a box.");
    const download = find("#mask-download");
    download.hidden = !candidates.length;
    if (open && candidates.length) download.href = api.maskUrl(open.id, chosen);
    find("#everything-download").hidden = !found;
    if (open && found) find("#everything-download").href = api.everythingUrl(open.id);
  }

  function showCandidates() {
    const best = candidates.reduce((top, one, k) => (one.iou > candidates[top].iou ? k : top), 0);
    chosen = best;
    find("#candidates").replaceChildren(...candidates.map((one, k) => el("button", { type: "button", role: "radio", data: { index: String(k) } },
      el("span", {}, `Mask ${k + 1}`, k === best ? el("span", { class: "best", text: "  best" }) : null), el("span", { text: score(one.iou) }))));
    find("#candidates-none").hidden = candidates.length > 0;
    show();
  }

  /** Ask for candidates; of several questions on their way only the last one's answer counts. */
  function predict(next) {
    prompts = next;
    found = null;
    setText(find("#everything-about"), "");
    asked += 1;
    const mine = asked;
    show();
    if (!next.points.length && !next.box) {
      candidates = [];
      return showCandidates();
    }
    return attempt(async () => {
      const said = { points: next.points, labels: next.labels, ...(next.box ? { box: next.box } : {}) };
      const answer = await api.predict(open.id, said).catch(async (error) => {
        if (error.status !== 404) throw error;
        open = { ...open, id: (await api.openPicture(open.path)).id };  // the server keeps few pictures open, and none when it ends
        return api.predict(open.id, said);
      });
      if (mine !== asked) return;
      candidates = answer.candidates;
      showCandidates();
    });
  }

  const undo = () => predict(withoutLast(prompts));

  async function watch(id) {
    clearTimeout(timer);
    const answer = await api.everything(id);
    if (open?.id !== id) return;
    const about = find("#everything-about");
    const task = answer.task ?? {};
    if (task.state === "done") {
      candidates = [];
      prompts = NOTHING;
      found = answer.masks;
      setText(about, `${several(found.length, "mask")}.`);
      showCandidates();
    } else if (task.state === "failed") {
      setText(about, "");
      throw new ApiError(task.message || "the search failed");
    } else {
      setText(about, task.total ? `Looking: ${task.done} of ${task.total}` : "Looking…");
      timer = setTimeout(() => watch(id).catch(complain), WATCH);
    }
  }

  find("#everything").addEventListener("click", () => attempt(async () => {
    setText(find("#everything-about"), "Looking…");
    try {
      await api.startEverything(open.id, { points_per_side: Number(find("#points-per-side").value) });
      await watch(open.id);
    } catch (error) {
      setText(find("#everything-about"), "");
      throw error;
    }
  }));
  find("#picture-undo").addEventListener("click", undo);
  find("#picture-clear").addEventListener("click", () => predict(NOTHING));
  find("#picture-fit").addEventListener("click", () => viewer.fit());

  async function load(path) {
    clearTimeout(timer);
    const next = await api.openPicture(path);
    const { width, height } = next;
    image = await fetchImage(api.pictureUrl(next.id, Math.min(width, LARGEST)));
    open = { id: next.id, path, width, height };
    asked += 1;  // answers for the picture before are not for this one
    candidates = [];
    prompts = NOTHING;
    found = null;
    viewer.open({ width, height });
    find("#picture-name").textContent = `${path} · ${width} × ${height}`;
    setText(find("#everything-about"), "");
    files.mark(path);
    showCandidates();
  }

  return {
    tools, viewer, undo,
    /** @param {?string} path */
    async show(path) {
      await files.show();
      if (path && path !== open?.path) await attempt(() => load(path));
      files.mark(open?.path ?? null);
      show();
    },
    address: () => (open ? `#/picture/${encodeURIComponent(open.path)}` : "#/picture"),
  };
}
