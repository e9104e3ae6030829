/** Beginning: which page is shown, and the keys that work on it. The address says where one is: #/, #/clip/ID/FRAME, #/picture/PATH. */

import { find } from "./dom.js";
import { helpDialog, bindKeys } from "./keys.js";
import { attempt, complain } from "./messages.js";
import { modelDialog } from "./models.js";
import { picturePage } from "./picture.js";
import { parseHash } from "./router.js";
import { MOUSE, pictureKeys, workKeys } from "./shortcuts.js";
import { startPage } from "./start.js";
import { dialog } from "./dialogs.js";
import { workPage } from "./work.js";

// The token came with the address once; the cookie carries it from now on, and nobody copies it by accident.
if (location.search) history.replaceState(null, "", location.pathname + location.hash);

const go = (hash) => { location.hash = hash; };
dialog("#ask");
const top = () => models.info()?.folder ?? "";
const start = startPage({ go, top });
const models = modelDialog((info) => start.tell(info));
const work = workPage({ info: models.info, go });
const picture = picturePage({ go, top });
let page = "start";

function reveal() {
  find("#start").hidden = page !== "start";
  find("#work").hidden = page !== "clip";
  find("#picture").hidden = page !== "picture";
}

async function route() {
  const wanted = parseHash(location.hash);
  page = wanted.page;
  reveal();  // first: a canvas that is not shown has no size
  try {
    if (page === "clip") await work.show(wanted.id, wanted.frame);
    else if (page === "picture") await picture.show(wanted.path);
  } catch (error) {
    complain(error);
    page = "start";
    history.replaceState(null, "", "#/");
    reveal();
  }
  if (page === "start") {
    work.close();
    start.show();
  }
  const video = find("#tab-video"), pictures = find("#tab-picture");
  video.setAttribute("aria-current", page === "picture" ? "false" : "page");
  pictures.setAttribute("aria-current", page === "picture" ? "page" : "false");
  video.href = page === "picture" ? work.address() : "#/";
  pictures.href = picture.address();
  const { session } = work.store.get();
  document.title = page === "clip" && session ? `${session.name} – sam2_video` : "sam2_video";
}

const keys = workKeys(work);
const help = helpDialog([...keys, { keys: ["?"], about: "this list", group: "Page", run: () => {} }], MOUSE);
bindKeys(keys, () => page === "clip");
bindKeys(pictureKeys(picture), () => page === "picture");
bindKeys([{ keys: ["?", "Shift+?"], about: "", group: "", run: () => help.open() }], () => true);
find("#skip").addEventListener("click", (event) => {
  event.preventDefault();  // the address says where one is; a skip link must not change it
  find("#content").focus();
});
addEventListener("hashchange", route);
addEventListener("unhandledrejection", (event) => { event.preventDefault(); complain(event.reason); });
attempt(async () => {
  await models.refresh();
  await route();
});
