/** A group of radio buttons made of buttons: arrows move, one stop for the Tab key. */

/**
 * @param {HTMLElement} group its buttons carry `data-KEY` @param {string} key @param {(value: string) => void} chosen
 * @returns {(value: string) => void} show another choice
 */
export function choice(group, key, chosen) {
  const buttons = () => /** @type {HTMLElement[]} */ (Array.from(group.querySelectorAll("[role=radio]")));

  function show(value) {
    const all = buttons();
    const any = all.some((one) => one.dataset[key] === value);
    all.forEach((one, k) => {
      const yes = one.dataset[key] === value;
      one.setAttribute("aria-checked", String(yes));
      one.tabIndex = yes || (!any && k === 0) ? 0 : -1;
    });
  }

  group.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement} */ (event.target).closest("[role=radio]");
    if (button) chosen(button.dataset[key]);
  });
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();  // here arrows do not step frames
    const all = buttons();
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next.focus();
    chosen(next.dataset[key]);
  });
  return show;
}
