/** Numbers as people read them. */

/** @param {?number} bytes */
export function bytes(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes, unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** @param {?number} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${rest} s` : `${rest} s`;
}

/** Where a frame lies in its clip: minutes, seconds and hundredths. @param {number} frame @param {number} fps */
export function clock(frame, fps) {
  if (!(fps > 0)) return "";
  const hundredths = Math.floor((frame / fps) * 100 + 1e-6);
  const two = (value) => String(value).padStart(2, "0");
  return `${Math.floor(hundredths / 6000)}:${two(Math.floor(hundredths / 100) % 60)}.${two(hundredths % 100)}`;
}

/** @param {?number} count @param {string} one @param {string} [many] */
export function several(count, one, many = `${one}s`) {
  return `${(count ?? 0).toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** A share or a score with two digits. @param {?number} value */
export function score(value) {
  return value === null || value === undefined ? "–" : value.toFixed(2);
}

/** "3 min ago". @param {number|string} when seconds since 1970, or an ISO date */
export function ago(when, now = Date.now()) {
  const then = typeof when === "number" ? when * 1000 : Date.parse(when);
  if (!Number.isFinite(then)) return "";
  const minutes = Math.floor((now - then) / 60000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 60 * 24) return `${Math.floor(minutes / 60)} h ago`;
  return new Date(then).toISOString().slice(0, 10);
}
