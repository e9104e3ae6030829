/** The server's answers. Every failure is an ApiError whose message can be shown. */

export class ApiError extends Error {
  /** @param {string} message @param {number} status 0 where no answer came */
  constructor(message, status = 0) {
    super(message);
    this.name = "ApiError";
    this.status = status;
  }
}

const SILENT = "The server does not answer. Is sam2-video app still running?";

/** What a failed answer says. @param {number} status @param {string} text */
export function failure(status, text) {
  try {
    const { error } = JSON.parse(text);
    if (error) return new ApiError(String(error), status);
  } catch { /* not JSON: say the number */ }
  if (status === 401 || status === 403) {
    return new ApiError("The server does not know this page. Open the address that sam2-video app printed.", status);
  }
  return new ApiError(`The server answered ${status}.`, status);
}

/** @param {string} method @param {string} path @param {{body?: any, signal?: AbortSignal}} [options] */
export async function ask(method, path, { body, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method, signal,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(SILENT);
  }
  const text = await answer.text();
  if (!answer.ok) throw failure(answer.status, text);
  return text ? JSON.parse(text) : null;
}

const name = encodeURIComponent;
const session = (id, rest = "") => `/api/sessions/${name(id)}${rest}`;
const picture = (id, rest = "") => `/api/pictures/${name(id)}${rest}`;

export const api = {
  info: () => ask("GET", "/api/info"),
  useModel: (model) => ask("POST", "/api/model", { body: { name: model } }),
  download: (model) => ask("POST", `/api/models/${name(model)}/download`),
  files: (path) => ask("GET", `/api/files?path=${name(path)}`),

  sessions: () => ask("GET", "/api/sessions"),
  open: (path) => ask("POST", "/api/sessions", { body: { path } }),
  session: (id) => ask("GET", session(id)),
  forget: (id) => ask("DELETE", session(id)),
  frameUrl: (id, frame, width) => session(id, `/frames/${frame}.jpg?width=${width}`),
  masks: (id, frame, signal) => ask("GET", session(id, `/masks/${frame}`), { signal }),
  timeline: (id) => ask("GET", session(id, "/timeline")),
  eventsUrl: (id) => session(id, "/events"),

  addObject: (id, object = {}) => ask("POST", session(id, "/objects"), { body: object }),
  changeObject: (id, object, change) => ask("PATCH", session(id, `/objects/${object}`), { body: change }),
  removeObject: (id, object) => ask("DELETE", session(id, `/objects/${object}`)),
  prompt: (id, prompt) => ask("POST", session(id, "/prompts"), { body: prompt }),
  clear: (id, frame, object) => ask("DELETE", session(id, `/prompts?frame=${frame}&object=${object}`)),
  undo: (id) => ask("POST", session(id, "/undo")),
  redo: (id) => ask("POST", session(id, "/redo")),

  track: (id, wanted) => ask("POST", session(id, "/track"), { body: wanted }),
  pause: (id) => ask("POST", session(id, "/pause")),
  resume: (id) => ask("POST", session(id, "/resume")),
  cancel: (id) => ask("POST", session(id, "/cancel")),

  save: (id) => ask("POST", session(id, "/save")),
  fileUrl: (id) => session(id, "/file"),
  export: (id, formats) => ask("POST", session(id, "/export"), { body: { formats } }),
  exports: (id) => ask("GET", session(id, "/exports")),
  exportUrl: (id, file) => session(id, `/exports/${name(file)}`),

  openPicture: (path) => ask("POST", "/api/pictures", { body: { path } }),
  pictureUrl: (id, width) => `/api/pictures/${name(id)}.jpg?width=${width}`,
  predict: (id, prompts) => ask("POST", picture(id, "/predict"), { body: prompts }),
  startEverything: (id, options) => ask("POST", picture(id, "/everything"), { body: options }),
  everything: (id) => ask("GET", picture(id, "/everything")),
  maskUrl: (id, candidate) => picture(id, `/mask.png?candidate=${candidate}`),
  everythingUrl: (id) => picture(id, "/everything.zip"),
};

/**
 * Send a file to the server's folder.
 * @param {File} file @param {(share: number) => void} onProgress 0 to 1 @param {AbortSignal} [signal]
 * @returns {Promise<{path: string}>}
 */
export function upload(file, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();  // fetch does not tell how much was sent
    request.open("PUT", `/api/uploads/${name(file.name)}`);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => (request.status < 300 ? resolve(JSON.parse(request.responseText)) : reject(failure(request.status, request.responseText)));
    request.onerror = () => reject(new ApiError(`${file.name} could not be sent: the connection was closed.`));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}
