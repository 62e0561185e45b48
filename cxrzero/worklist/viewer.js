// The film: zoom, brightness and contrast by dragging, inversion, overlay; and what is known and said of it.
let current = null, isOverlay = false;
const view = { zoom: 1, x: 0, y: 0, width: 255, centre: 127.5, isInverted: false };
const stage = byId("stage"), image = byId("film"), overlay = byId("overlay");

const overlayOf = (place) => (place === null || data.blind ? null : films[place].overlays[activeOf(place)] ?? null);

// Window and level as linear functions of the grey value, which an SVG filter computes; inversion turns them round.
function drawPicture() {
  const slope = (255 / view.width) * (view.isInverted ? -1 : 1);
  const offset = 0.5 - (slope * view.centre) / 255;
  for (const channel of document.querySelectorAll("#window [type=linear]")) {
    channel.setAttribute("slope", slope); channel.setAttribute("intercept", offset);
  }
  image.classList.toggle("windowed", slope !== 1);
  for (const each of [image, overlay]) each.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  image.hidden = current === null || films[current].fault !== "" || isOverlay;
  overlay.hidden = !isOverlay;
  byId("invert").setAttribute("aria-pressed", view.isInverted);
  byId("see").setAttribute("aria-pressed", isOverlay);
  byId("see").disabled = overlayOf(current) === null;
  byId("window-text").textContent = `window ${Math.round(view.width)}, level ${Math.round(view.centre)}, ${view.zoom.toFixed(1)}×`;
}

function resetView() {
  Object.assign(view, { zoom: 1, x: 0, y: 0, width: 255, centre: 127.5, isInverted: false });
  drawPicture();
}

function zoomAt(x, y, factor) {
  const zoom = Math.min(16, Math.max(1, view.zoom * factor)), change = zoom / view.zoom;
  view.x = zoom === 1 ? 0 : x - (x - view.x) * change;
  view.y = zoom === 1 ? 0 : y - (y - view.y) * change;
  view.zoom = zoom;
  drawPicture();
}

function toggleOverlay() {
  const file = overlayOf(current);
  if (file === null) { tell(data.blind || current === null ? "" : `No overlay was drawn for ${labels[activeOf(current)]} on this film.`); return; }
  isOverlay = !isOverlay;
  if (isOverlay) { overlay.src = `overlays/${file}`; overlay.alt = `Where the model sees ${labels[activeOf(current)]}: ${nameOf(current)}`; }
  drawPicture();
}

// One pointer drags brightness and contrast (with Shift, or another button, the film); two pinch.
const pointers = new Map();
stage.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, event);
  stage.setPointerCapture(event.pointerId);
  event.preventDefault();
  stage.focus({ preventScroll: true });
});
stage.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
  if (pointers.size === 2) {
    const other = [...pointers.values()].find((each) => each.pointerId !== event.pointerId), area = stage.getBoundingClientRect();
    const span = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    view.x += dx / 2; view.y += dy / 2;
    zoomAt((event.clientX + other.clientX) / 2 - area.left, (event.clientY + other.clientY) / 2 - area.top, span(event) / Math.max(1, span(before)));
  } else if (event.shiftKey || event.buttons > 1) {
    view.x += dx; view.y += dy;
  } else {
    view.width = Math.min(1024, Math.max(4, view.width + dx));
    view.centre = Math.min(255, Math.max(0, view.centre + dy / 2));
  }
  pointers.set(event.pointerId, event);
  drawPicture();
});
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
stage.addEventListener("contextmenu", (event) => event.preventDefault());
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const area = stage.getBoundingClientRect();
  zoomAt(event.clientX - area.left, event.clientY - area.top, event.deltaY < 0 ? 1.25 : 0.8);
}, { passive: false });

function show(place) {
  const before = current;
  current = place;
  isOverlay = false;
  Object.assign(view, { zoom: 1, x: 0, y: 0 });
  image.removeAttribute("src");
  overlay.removeAttribute("src");
  byId("fault").textContent = place === null ? "" : films[place].fault;
  if (place !== null && !films[place].fault) { image.src = picture(place); image.alt = nameOf(place); }
  drawPicture();
  drawFacts();
  if (place === null) box.removeAttribute("aria-activedescendant");
  else { bringIntoView(place); drawRows(false); box.setAttribute("aria-activedescendant", `row-${place}`); }
  for (const [index, row] of pool) row.setAttribute("aria-selected", String(shown[index] === place));
  if (before !== place) byId("message").textContent = "";
}

function step(by) {
  const index = shown.indexOf(current) + by;
  if (index >= 0 && index < shown.length) show(shown[index]);
}

function verdictButtons(place, label) {
  const said = reviewOf(place).verdicts[label];
  return make("td", { class: "verdicts" }, ...[1, 0, -1].map((verdict) => make("button", {
    type: "button", "aria-pressed": String(said === verdict),
    "aria-label": `${labels[label]}: ${{ 1: "positive", 0: "negative", "-1": "unsure" }[verdict]}`,
    onclick: () => { judge(place, label, verdict); drawFacts(); },
  }, SIGNS[verdict])));
}

function scoreTable(place) {
  const film = films[place], kinds = data.blind ? [] : ["calibrated", "decision", "sd"].filter((kind) => film[kind]);
  const heads = { calibrated: "calibrated", decision: "decision", sd: "± models" };
  const decision = (label) => {
    const said = film.decision[label], threshold = data.thresholds[label];
    return said === null ? "–" : (said ? "yes" : "no") + (threshold === null ? "" : ` ${said ? "≥" : "<"} ${decimals(threshold)}`);
  };
  const cell = (kind, label) => (kind === "decision" ? decision(label) : decimals(film[kind][label]));
  return make("div", { class: "scroll" }, make("table", {},
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Label"), make("th", { scope: "col" }, "You say"),
      data.blind ? null : make("th", { scope: "col" }, "score"), ...kinds.map((kind) => make("th", { scope: "col" }, heads[kind])))),
    make("tbody", {}, ...labels.map((label, number) => make("tr", { class: number === activeOf(place) ? "active" : null },
      make("th", { scope: "row" }, label), verdictButtons(place, number),
      data.blind ? null : make("td", { class: "number" }, decimals(film.p[number])),
      ...kinds.map((kind) => make("td", { class: "number" }, cell(kind, number))))))));
}

function studyPart(place) {
  const film = films[place];
  if (film.study === null) return [];
  const here = films.map((_, other) => other).filter((other) => other !== place && films[other].study === film.study);
  const beside = data.beside[film.study] ?? { count: 0, films: [] };
  const missing = beside.count - beside.films.length;
  return [make("h3", {}, "Other views of the study"),
    here.length + beside.count === 0 ? make("p", { class: "soft" }, "None in the table.") : make("ul", {},
      ...here.slice(0, 20).map((other) => make("li", {}, make("button", { type: "button", class: "plain", onclick: () => show(other) }, `${other + 1}: ${films[other].view || nameOf(other)}`))),
      ...beside.films.map((each) => make("li", {}, `not in this list: ${each.view} `, each.link ? make("a", { href: each.link }, each.shown) : each.shown)),
      missing > 0 ? make("li", {}, `${missing} more in the table, not in this list`) : null),
    here.length ? make("button", { type: "button", class: "button", onclick: () => { onlyStudy = film.study; arrange(); } }, "Show this study only") : null];
}

function drawFacts() {
  const facts = byId("facts");
  if (current === null) { facts.replaceChildren(make("h2", {}, "No film is shown")); return; }
  const place = current, film = films[place];
  const comment = make("textarea", { id: "comment", oninput: (event) => review(place, { comment: event.target.value }) });
  comment.value = reviewOf(place).comment;
  const link = !data.blind && film.link ? [make("p", {}, make("a", { href: film.link }, "Open the file"))] : [];
  facts.replaceChildren(
    make("h2", {}, `${place + 1}. ${nameOf(place).split(/[\\/]/).at(-1)}`),
    make("p", { class: "soft" }, [data.blind ? "" : film.shown, film.view, film.waited ? "has its place because it waited longest" : ""].filter(Boolean).join(" · ") || " "),
    ...link, scoreTable(place),
    make("label", { for: "comment" }, "Comment"), comment,
    ...(film.flags.length ? [make("h3", {}, "Flags"), make("ul", {}, ...film.flags.map((flag) => make("li", {}, make("b", {}, flag), `: ${data.flags[flag]}`)))] : []),
    ...studyPart(place).filter((each) => each !== null));
}
