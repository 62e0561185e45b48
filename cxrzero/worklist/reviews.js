// Reviews as a CSV file, out and in; a draft of them in this browser; keys; what is printed.
const FORMULA = /^[=+\-@\t\r]/;
const guarded = (text) => (FORMULA.test(text) ? `'${text}` : text);
const plain = (text) => (text.startsWith("'") && FORMULA.test(text.slice(1)) ? text.slice(1) : text);
const quoted = (text) => (/[",\n\r]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const FIRST = ["path", "frame", "study_instance_uid", "series_instance_uid", "sop_instance_uid"], LAST = ["comment", "reviewer"];

function asCsv() {
  const places = [...reviews.keys()].sort((a, b) => a - b);
  let used = labels.map((_, label) => label).filter((label) => places.some((place) => label in reviewOf(place).verdicts));
  if (!used.length) used = labels.map((_, label) => label);
  const lines = [[...FIRST, ...used.map((label) => guarded(data.columns[label])), ...LAST]];
  for (const place of places) {
    const film = films[place], said = reviewOf(place);
    lines.push([guarded(film.path), film.frame ?? "", ...film.uids.map(guarded), ...used.map((label) => said.verdicts[label] ?? ""),
      guarded(said.comment), guarded(said.reviewer)]);
  }
  return lines.map((cells) => cells.map((cell) => quoted(String(cell))).join(",") + "\n").join("");
}

// RFC 4180, line ends of any system.
function fromCsv(text) {
  const rows = [[]], source = text.replace(/^\ufeff/, "");
  let cell = "", isQuoted = false;
  for (let at = 0; at < source.length; at++) {
    const char = source[at];
    if (isQuoted) {
      if (char !== '"') cell += char;
      else if (source[at + 1] === '"') { cell += '"'; at++; } else isQuoted = false;
    } else if (char === '"' && cell === "") isQuoted = true;
    else if (char === ",") { rows.at(-1).push(cell); cell = ""; }
    else if (char === "\n" || char === "\r") {
      if (char === "\r" && source[at + 1] === "\n") at++;
      rows.at(-1).push(cell); cell = ""; rows.push([]);
    } else cell += char;
  }
  rows.at(-1).push(cell);
  return rows.filter((row) => row.length > 1 || row[0] !== "");
}

function takeIn(text) {
  const [head, ...rows] = fromCsv(text);
  const missing = ["path", ...LAST].filter((name) => !(head ?? []).includes(name));
  if (missing.length) return `This is no table of reviews: it has no column ${missing[0]}.`;
  const at = (name) => head.indexOf(name), key = (path, frame) => `${Number(frame) || 1} ${plain(path)}`;
  const places = new Map(films.map((film, place) => [key(film.path, film.frame), place]));
  const columns = data.columns.map((name) => head.findIndex((cell) => plain(cell) === plain(name)));
  const found = new Map(), verdictOf = { 1: 1, 0: 0, "-1": -1, "1.0": 1, "0.0": 0, "-1.0": -1 };
  for (const [number, row] of rows.entries()) {
    const place = places.get(key(row[at("path")] ?? "", row[at("frame")] ?? ""));
    if (place === undefined) continue;
    const verdicts = {};
    for (const [label, column] of columns.entries()) {
      const cell = (row[column] ?? "").trim();
      if (cell === "") continue;
      if (!(cell in verdictOf)) return `Nothing was taken in: row ${number + 1} says ${cell.slice(0, 40)} of ${labels[label]}, which is none of 1, 0, -1.`;
      verdicts[label] = verdictOf[cell];
    }
    found.set(place, { verdicts, comment: plain(row[at("comment")] ?? ""), reviewer: plain(row[at("reviewer")] ?? "") });
  }
  if (rows.length && !found.size) return `None of these ${rows.length} reviews is of a film in this list: they belong to another table.`;
  for (const [place, said] of found) reviews.set(place, said);
  keepDraft();
  arrange();
  const elsewhere = rows.length - found.size;
  return `${found.size} reviews taken in.` + (elsewhere ? ` ${elsewhere} are of films that are not in this list, and will not be in what you export.` : "");
}

// What was not exported yet survives a closed window: in this browser, under this list's name, and nowhere else.
const DRAFT = `cxrzero worklist ${data.id}`;
let isUnsaved = false;
function keepDraft() {
  isUnsaved = true;
  try { localStorage.setItem(DRAFT, JSON.stringify([...reviews])); } catch (error) { tell(`This browser keeps no draft (${error.name}): export before you close the page.`); }
}
function takeDraft() {
  let draft = null;
  try { draft = localStorage.getItem(DRAFT); } catch (error) { tell(`This browser keeps no draft (${error.name}): export before you close the page.`); }
  for (const [place, said] of Object.entries(data.reviews)) reviews.set(Number(place), said);
  if (draft === null) return;
  reviews.clear();
  for (const [place, said] of JSON.parse(draft)) reviews.set(place, said);
  tell(`${reviews.size} reviews of an earlier sitting are here again. "Forget draft" goes back to what the page came with.`);
}

function exportReviews() {
  const link = make("a", { href: URL.createObjectURL(new Blob([asCsv()], { type: "text/csv" })), download: "reviews.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  isUnsaved = false;
  tell(`${reviews.size} reviews are in reviews.csv.`);
}

// On paper: the films of the list as they are sorted and filtered now, without pictures; of many labels the highest.
const MOST_PRINTED = 500, MOST_COLUMNS = 6, HIGHEST = 3;
const scoreOf = (place, label) => `${labels[label]} ${decimals(films[place].p[label])}`;
function highest(place) {
  const order = labels.map((_, label) => label).filter((label) => label !== films[place].reason);
  order.sort((a, b) => (films[place].p[b] ?? -1) - (films[place].p[a] ?? -1));
  const first = films[place].reason === null ? [] : [films[place].reason];
  return [...first, ...order].slice(0, HIGHEST).map((label) => scoreOf(place, label)).join(", ");
}
window.addEventListener("beforeprint", () => {
  const rows = shown.slice(0, MOST_PRINTED), isMany = labels.length > MOST_COLUMNS;
  const scores = data.blind ? [] : isMany ? ["What gives the place, and the highest"] : labels;
  const said = (place) => Object.entries(reviewOf(place).verdicts).map(([label, verdict]) => `${SIGNS[verdict]} ${labels[label]}`).join(", ");
  const cells = (place) => [nameOf(place), ...(data.blind ? [] : isMany ? [highest(place)] : films[place].p.map(decimals)), said(place), reviewOf(place).comment];
  byId("printed").replaceChildren(make("table", {},
    make("caption", {}, rows.length < shown.length ? `The first ${rows.length} of ${shown.length} films` : `${shown.length} films`),
    make("thead", {}, make("tr", {}, ...["", "Film", ...scores, "You say", "Comment"].map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows.map((place) => make("tr", {}, make("th", { scope: "row" }, String(place + 1)), ...cells(place).map((cell) => make("td", {}, cell)))))));
});
window.addEventListener("beforeunload", (event) => { if (isUnsaved) event.preventDefault(); });

const KEYS = {
  j: () => step(1), k: () => step(-1), h: toggleOverlay, i: () => { view.isInverted = !view.isInverted; drawPicture(); }, 0: resetView,
  "+": () => zoomAt(stage.clientWidth / 2, stage.clientHeight / 2, 1.25), "-": () => zoomAt(stage.clientWidth / 2, stage.clientHeight / 2, 0.8),
  p: () => mark(1), n: () => mark(0), u: () => mark(-1), c: () => byId("comment")?.focus(),
};
function mark(verdict) { if (current !== null) { judge(current, activeOf(current), verdict); drawFacts(); } }
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyped = event.target.matches("textarea, select, input");
  if (event.key === "Escape" && isTyped) { event.target.blur(); box.focus(); return; }
  if (isTyped) return;
  const inList = event.target === box, arrows = { ArrowDown: KEYS.j, ArrowUp: KEYS.k };
  const act = KEYS[event.key] ?? (inList ? arrows[event.key] : undefined);
  if (act) { event.preventDefault(); act(); }
});

for (const id of ["sort", "flag", "state", "of", "least"]) byId(id)?.addEventListener("change", arrange);
byId("active").addEventListener("change", (event) => { judged = event.target.value === "" ? null : Number(event.target.value); isOverlay = false; drawRows(); drawFacts(); drawPicture(); });
byId("all-studies").addEventListener("click", () => { onlyStudy = null; arrange(); });
byId("export").addEventListener("click", exportReviews);
byId("import").addEventListener("change", async (event) => {
  if (event.target.files.length) tell(takeIn(await event.target.files[0].text()));
  event.target.value = "";
});
byId("forget").addEventListener("click", () => {
  reviews.clear(); try { localStorage.removeItem(DRAFT); } catch { /* there is none */ }
  takeDraft(); isUnsaved = false; arrange(); tell("The draft is forgotten.");
});
for (const [id, act] of [["previous", KEYS.k], ["next", KEYS.j], ["invert", KEYS.i], ["see", KEYS.h], ["reset", KEYS[0]], ["in", KEYS["+"]], ["out", KEYS["-"]]]) byId(id).addEventListener("click", act);

byId("active").value = judged ?? "";
if (matchMedia("(max-width: 700px)").matches) byId("tools").open = false; // the films come first on a small screen
takeDraft();
const said = byId("message").textContent;
arrange();
tell(said);
document.documentElement.dataset.ready = "yes";
