// Click a column head to sort its table: by data-sort where a cell has it, else by its text; again for the other way.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const compare = (a, b) => {
      const one = value(a), other = value(b), gap = Number(one) - Number(other);
      return Number.isNaN(gap) ? one.localeCompare(other) : gap;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((a, b) => (down ? compare(b, a) : compare(a, b))));
  }));
}
// What is wider than its box can be reached and scrolled by the keyboard.
const reach = new ResizeObserver((boxes) => boxes.forEach(({ target }) => {
  if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
  else target.removeAttribute("tabindex");
}));
for (const box of document.querySelectorAll(".scroll")) reach.observe(box);
// A picture in a button is shown as large as the window; a click or Escape brings the page back.
const large = document.createElement("dialog");
large.addEventListener("click", () => large.close());
for (const button of document.querySelectorAll("button.enlarge")) {
  button.addEventListener("click", () => {
    const picture = button.querySelector("img").cloneNode();
    large.setAttribute("aria-label", picture.alt);
    large.replaceChildren(picture);
    document.body.append(large);
    large.showModal();
  });
}
