// The list: only the rows in view exist, and a row's picture is asked for when it comes into view.
const ROW = 84, SPARE = 6; // pixels of a row as in page.css; rows above and below the view
const box = byId("rows");
const pool = new Map(); // index in `shown` → its row
const space = box.appendChild(make("div", { role: "presentation" }));
let isDue = false;

function chips(place) {
  const film = films[place], verdicts = reviewOf(place).verdicts, found = [];
  for (const [label, verdict] of Object.entries(verdicts)) {
    found.push(make("span", { class: `chip ${WORDS[verdict]}` }, `${SIGNS[verdict]} ${labels[label]}`));
  }
  if (reviewOf(place).comment) found.push(make("span", { class: "chip" }, "comment"));
  if (film.waited) found.push(make("span", { class: "chip" }, "waited longest"));
  if (film.flags.length) found.push(make("span", { class: "chip" }, film.flags.length === 1 ? film.flags[0] : `${film.flags.length} flags`));
  return found;
}

function scoreLine(place) {
  const film = films[place];
  if (data.blind) return film.view || " ";
  const by = byId("sort").value, sorted = by.match(/^(?:high|low)(\d+)$/);
  const label = sorted ? Number(sorted[1]) : film.reason ?? activeOf(place);
  const calibrated = film.calibrated ? film.calibrated[label] : null;
  return `${labels[label]} ${decimals(film.p[label])}` + (calibrated === null ? "" : ` (cal. ${decimals(calibrated)})`);
}

function rowOf(index) {
  const place = shown[index], film = films[place];
  const small = film.fault ? make("span", { class: "small" }, "no picture")
    : make("span", { class: "small" }, make("img", { src: picture(place, "-small"), alt: "", decoding: "async" }));
  const words = make("span", { class: "words" },
    make("span", { class: "score" }, scoreLine(place)),
    make("span", { class: "name" }, make("bdi", {}, nameOf(place))),
    make("span", {}, ...chips(place)));
  const row = make("div", {
    class: "row", role: "option", id: `row-${place}`, "aria-selected": String(place === current),
    "aria-posinset": index + 1, "aria-setsize": shown.length, onclick: () => show(place),
  }, make("span", { class: "place" }, String(place + 1)), small, words);
  row.style.transform = `translateY(${index * ROW}px)`;
  return row;
}

function drawRows(anew = true) {
  const first = Math.max(0, Math.floor(box.scrollTop / ROW) - SPARE);
  const last = Math.min(shown.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + SPARE);
  for (const [index, row] of pool) {
    if (anew || index < first || index >= last) { row.remove(); pool.delete(index); }
  }
  const added = document.createDocumentFragment();
  for (let index = first; index < last; index++) {
    if (!pool.has(index)) { const row = rowOf(index); pool.set(index, row); added.append(row); }
  }
  space.append(added);
}

function redrawList() {
  space.style.height = `${shown.length * ROW}px`;
  byId("nothing").hidden = shown.length > 0;
  drawRows();
}

box.addEventListener("scroll", () => {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; drawRows(false); });
}, { passive: true });
new ResizeObserver(() => drawRows(false)).observe(box);

function bringIntoView(place) {
  const index = shown.indexOf(place), top = index * ROW;
  if (index < 0) return;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW - box.clientHeight;
}
