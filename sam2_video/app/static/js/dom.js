/** Small helpers for elements. Foreign strings only ever become text nodes or attribute values. */

/**
 * Make an element. `props`: `class`, `text`, `on` (listeners), `data`, properties by their name, and attributes
 * (names with a dash, `role`, `for`, `list`); null and undefined are left out.
 * @param {string} tag
 * @param {Object<string, any>} [props]
 * @param {...(Node|string|null|undefined)} children
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, String(value));
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Find an element that must be there. @param {string} selector @param {ParentNode} [root] @returns {any} */
export function find(selector, root = document) {
  const node = root.querySelector(selector);
  if (!node) throw new Error(`no element ${selector} on the page`);
  return node;
}

/** An icon of the sprite in index.html. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon and a name for those who do not see it. */
export function iconButton(name, label, onClick, props = {}) {
  return el("button", { type: "button", class: "quiet", title: label, "aria-label": label, on: { click: onClick }, ...props },
    icon(name));
}

/** Set text only where it differs, so that live regions and selections are left alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Renew children by key and keep what stays, so that focus survives.
 * @param {HTMLElement} parent @param {any[]} items @param {(item: any) => string} keyOf
 * @param {(item: any) => HTMLElement} make @param {(node: any, item: any) => void} update
 */
export function renew(parent, items, keyOf, make, update) {
  const old = new Map(Array.from(parent.children, (node) => [node.dataset.key, node]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = old.get(key);
    if (node) old.delete(key);
    else {
      node = make(item);
      node.dataset.key = key;
    }
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of old.values()) node.remove();
}
