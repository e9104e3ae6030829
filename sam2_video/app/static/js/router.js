/** Where one is, from the address. Pure. */

/** What an address means. @param {string} hash */
export function parseHash(hash) {
  const [page, ...rest] = hash.replace(/^#\/?/, "").split("/");
  const text = (part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  };
  if (page === "clip" && rest[0]) {
    return { page, id: text(rest[0]), frame: /^\d+$/.test(rest[1] ?? "") ? Number(rest[1]) : null };
  }
  if (page === "picture") return { page, path: rest.length ? text(rest.join("/")) : null };
  return { page: "start" };
}
