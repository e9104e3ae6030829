/** The keys of each page, as tables; `keys.js` acts on them and shows them. */

/** @typedef {import("./keys.js").Key} Key */

/** @type {[string, string][]} */
export const MOUSE = [
  ["Click", "this belongs to the object"], ["Alt or right click", "this does not"], ["Drag", "a box around it"],
  ["Wheel", "zoom"], ["Middle drag", "move the picture"], ["Alt with a brush", "erase instead of paint"],
];

/** Crosses on a canvas: both pages have one. @param {import("./tools.js").Tools} tools @returns {Key[]} */
function crossKeys(tools) {
  const ways = { w: [0, -1], a: [-1, 0], s: [0, 1], d: [1, 0] };
  const group = "Without a mouse";
  return [
    {
      keys: [..."wasd", ..."wasd".split("").map((key) => `Shift+${key}`)], shown: ["W", "A", "S", "D"], group,
      about: "move the cross (with Shift: finely)",
      run: (key) => {
        const [dx, dy] = ways[key.at(-1)], step = key.startsWith("Shift") ? 1 : 12;
        tools.viewer.canvas.focus({ preventScroll: true });
        tools.moveCross(dx * step, dy * step);
      },
    },
    { keys: ["Enter"], about: "the cross is on the object", group, run: () => tools.clickCross(1) },
    { keys: ["Shift+Enter"], about: "the cross is on background", group, run: () => tools.clickCross(0) },
    { keys: ["x"], about: "first, then second corner of a box", group, run: () => tools.cornerCross() },
  ];
}

/** @param {ReturnType<import("./work.js").workPage>} work @returns {Key[]} */
export function workKeys(work) {
  const { store, actions, tools, viewer, tracking } = work;
  const step = (by) => () => work.go(store.get().frame + by);
  const tool = (name) => () => store.set({ tool: name });
  const brush = (factor) => () => store.set({ brush: Math.min(160, Math.max(2, Math.round(store.get().brush * factor))) });
  let shownOpacity = store.get().opacity;

  function toggleMasks() {
    const { opacity } = store.get();
    if (opacity > 0) shownOpacity = opacity;
    store.set({ opacity: opacity > 0 ? 0 : shownOpacity });
  }

  function nth(key) {
    const object = store.get().session?.objects[Number(key) - 1];
    if (object) work.choose(object.id);
  }

  return [
    { keys: ["ArrowLeft"], about: "one frame back", group: "Frames", run: step(-1) },
    { keys: ["ArrowRight"], about: "one frame on", group: "Frames", run: step(1) },
    { keys: ["Shift+ArrowLeft"], about: "ten frames back", group: "Frames", run: step(-10) },
    { keys: ["Shift+ArrowRight"], about: "ten frames on", group: "Frames", run: step(10) },
    { keys: ["Home"], about: "first frame", group: "Frames", run: () => work.go(0) },
    { keys: ["End"], about: "last frame", group: "Frames", run: () => work.go(Infinity) },
    { keys: [" "], about: "play, stop", group: "Frames", run: () => store.set({ playing: !store.get().playing }) },
    { keys: [","], about: "frame worth a look before this one", group: "Frames", run: () => tracking.review(-1) },
    { keys: ["."], about: "next frame worth a look", group: "Frames", run: () => tracking.review(1) },
    { keys: [..."123456789"], shown: ["1", "…", "9"], about: "choose that object", group: "Objects", run: nth },
    { keys: ["n"], about: "new object", group: "Objects", run: () => actions.addObject() },
    { keys: ["v"], about: "masks on, off", group: "Objects", run: toggleMasks },
    { keys: ["Delete", "Backspace"], shown: ["Del"], about: "clear its prompts on this frame", group: "Objects", run: () => actions.clear() },
    ...crossKeys(tools),
    { keys: ["q"], about: "select: clicks and boxes", group: "Tools", run: tool("select") },
    { keys: ["b"], about: "brush", group: "Tools", run: tool("brush") },
    { keys: ["e"], about: "eraser", group: "Tools", run: tool("eraser") },
    { keys: ["h"], about: "hand", group: "Tools", run: tool("hand") },
    { keys: ["["], about: "smaller brush", group: "Tools", run: brush(1 / 1.25) },
    { keys: ["]"], about: "larger brush", group: "Tools", run: brush(1.25) },
    { keys: ["+", "="], shown: ["+"], about: "zoom in", group: "Tools", run: () => viewer.zoom(1.4) },
    { keys: ["-"], about: "zoom out", group: "Tools", run: () => viewer.zoom(1 / 1.4) },
    { keys: ["f"], about: "show all of the picture", group: "Tools", run: () => viewer.fit() },
    { keys: ["Escape"], about: "give up the stroke or box", group: "Tools", run: () => tools.drop() },
    { keys: ["t"], about: "track, pause, go on", group: "Page", run: () => tracking.track() },
    { keys: ["Ctrl+z"], about: "undo", group: "Page", run: () => actions.undo() },
    { keys: ["Ctrl+Shift+z", "Ctrl+y"], about: "redo", group: "Page", run: () => actions.redo() },
    { keys: ["Ctrl+s"], about: "save", group: "Page", run: () => actions.save() },
  ];
}

/** @param {ReturnType<import("./picture.js").picturePage>} picture @returns {Key[]} */
export function pictureKeys(picture) {
  const { tools, viewer } = picture;
  return [
    ...crossKeys(tools),
    { keys: ["+", "="], about: "", group: "", run: () => viewer.zoom(1.4) },
    { keys: ["-"], about: "", group: "", run: () => viewer.zoom(1 / 1.4) },
    { keys: ["f"], about: "", group: "", run: () => viewer.fit() },
    { keys: ["Escape"], about: "", group: "", run: () => tools.drop() },
    { keys: ["Ctrl+z"], about: "", group: "", run: () => picture.undo() },
  ];
}
