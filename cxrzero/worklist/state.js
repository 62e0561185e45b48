// What the page knows: the films as they were written into it, what the reader says of them, and which are shown in which order.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const films = data.films, labels = data.labels;
const byId = (id) => document.getElementById(id);

// An element with attributes and children; texts are texts, never markup.
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const decimals = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
const nameOf = (place) => (data.blind ? `Film ${place + 1}` : films[place].shown) + (films[place].frame > 1 ? `, frame ${films[place].frame}` : "");
const picture = (place, small = "") => `films/${String(place + 1).padStart(6, "0")}${small}.jpg`;

// Verdicts: place of a film → { verdicts: { label's number: 1, 0 or -1 }, comment, reviewer }.
const WORDS = { 1: "yes", 0: "no", "-1": "unsure" }, SIGNS = { 1: "+", 0: "−", "-1": "?" };
const reviews = new Map();
// The label that the keys p, n and u judge: one for all films, or (null) of each film the one that gives it its place.
let judged = data.chosen;
const activeOf = (place) => judged ?? films[place].reason ?? 0;

const reviewOf = (place) => reviews.get(place) ?? { verdicts: {}, comment: "", reviewer: "" };
const isReviewed = (place) => reviews.has(place);

function review(place, change) {
  const changed = { ...reviewOf(place), ...change };
  if (byId("reviewer").value.trim()) changed.reviewer = byId("reviewer").value.trim();
  const says = Object.keys(changed.verdicts).length > 0 || changed.comment.trim() !== "";
  if (says) reviews.set(place, changed); else reviews.delete(place);
  keepDraft();
  drawRows();
  drawCounts();
}

function judge(place, label, verdict) {
  const verdicts = { ...reviewOf(place).verdicts };
  if (verdicts[label] === verdict) delete verdicts[label]; else verdicts[label] = verdict;
  review(place, { verdicts });
}

// Which films are shown: places in their order.
let shown = films.map((_, place) => place);
let onlyStudy = null;

function matches(place) {
  const film = films[place], flag = byId("flag").value, state = byId("state").value;
  if (onlyStudy !== null && film.study !== onlyStudy) return false;
  if (flag === "none" ? film.flags.length > 0 : flag !== "" && !film.flags.includes(flag.slice(1))) return false;
  if (state === "open" && isReviewed(place)) return false;
  if (state === "done" && !isReviewed(place)) return false;
  if (state in { 1: 0, "-1": 0, 0: 0 } && state !== "" && !Object.values(reviewOf(place).verdicts).includes(Number(state))) return false;
  if (data.blind || byId("least").value === "") return true;
  const value = film.p[Number(byId("of").value)];
  return value !== null && value >= Number(byId("least").value);
}

function arrange() {
  const by = byId("sort").value, number = (place, label) => films[place].p[label] ?? -1;
  shown = films.map((_, place) => place).filter(matches);
  if (by === "study") shown.sort((a, b) => (films[a].study ?? Infinity) - (films[b].study ?? Infinity) || a - b);
  else if (by === "name") shown.sort((a, b) => films[a].path.localeCompare(films[b].path) || a - b);
  else if (by.startsWith("high")) shown.sort((a, b) => number(b, by.slice(4)) - number(a, by.slice(4)) || a - b);
  else if (by.startsWith("low")) shown.sort((a, b) => number(a, by.slice(3)) - number(b, by.slice(3)) || a - b);
  const place = shown.includes(current) ? current : shown[0];
  redrawList();
  show(place ?? null);
  drawCounts();
}

function drawCounts() {
  const study = onlyStudy === null ? "" : ", of one study";
  byId("count").textContent = `${shown.length.toLocaleString("en")} of ${films.length.toLocaleString("en")} films${study}, ${reviews.size.toLocaleString("en")} reviewed`;
  byId("all-studies").hidden = onlyStudy === null;
}

const tell = (text) => { byId("message").textContent = text; };
