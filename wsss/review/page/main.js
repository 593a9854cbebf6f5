// The page: what the mouse and the keyboard mean, and which image is open.

import * as api from "./api.js";
import { find, make, name } from "./dom.js";
import { Queue } from "./queue.js";
import * as raster from "./raster.js";
import { Side } from "./side.js";
import { View } from "./view.js";
import { Work, anythingUnsaved, load } from "./work.js";

const STILL = 5; // screen pixels that a click may move
const NEWS = 5000; // milliseconds between looks at what others did
const HINTS = {
  grow: "Click what belongs to the class; right-click what is background. Drag to move, wheel to zoom.",
  brush: "Paint the class; the right button paints background. [ and ] change the size.",
  eraser: "Paints background. [ and ] change the size.",
  polygon: "Click the corners; Enter, a double click or the first corner closes. Esc takes it back.",
};

const view = new View(find("canvas"));
let about, queue, side, work;
let tool = "grow", chosen = 0, radius = 12, space = false, opening = null, news = 0;
const ahead = new Map(); // id → promise of an image that may be next
const visited = [];
let place = -1; // in `visited`

const setting = (key, value) => {
  try {
    if (value === undefined) return localStorage.getItem(`wsss-review-${key}`);
    localStorage.setItem(`wsss-review-${key}`, value);
  } catch {
    return null; // storage is off
  }
};
// Background, or where there is none what nobody knows.
const nothing = () => (side.has(0) ? 0 : raster.UNSURE);
const who = () => find("who").value.trim();

// --- messages

function toast(text, { bad = false, action = null, press = null, stay = 5000 } = {}) {
  const node = make("div", { class: bad ? "toast bad" : "toast" }, make("span", {}, text));
  if (action) node.append(make("button", { onclick: () => (node.remove(), press()) }, action));
  find("toasts").append(node);
  if (stay) setTimeout(() => node.remove(), stay);
  return node;
}

let latest = {}; // what the server said last of a calibration
let offlineNote = null;
let decided = null; // the note of the last decision
const hooks = {
  changed: (own) => own === work && refresh(),
  failed: (own, error) => toast(error.message, { bad: true }),
  offline: (on) => {
    if (on) offlineNote ??= toast("The server does not answer. Your work is kept here until it does.", { bad: true, stay: 0 });
    else if (offlineNote) offlineNote = offlineNote.remove();
  },
  conflict: (own, found) => {
    const me = found.who && found.who === who() ? "You, in another window," : found.who || "Somebody";
    find("conflict-text").textContent = `${me} changed “${own.id}” since you opened it. It is ${found.state} there.`;
    find("theirs").onclick = () => {
      find("conflict").close();
      ahead.delete(own.id);
      if (own === work) open(own.id, { again: true });
    };
    find("mine").onclick = () => {
      find("conflict").close();
      own.version = found.version;
      own.send();
    };
    if (!find("conflict").open) find("conflict").showModal();
  },
};

// --- opening and deciding

function fetchAhead(id) {
  if (!id) return null;
  if (!ahead.has(id)) {
    const loading = load(id);
    loading.catch(() => ahead.delete(id));
    ahead.set(id, loading);
    if (ahead.size > 6) ahead.delete(ahead.keys().next().value);
  }
  return ahead.get(id);
}

async function open(id, { again = false, back = false } = {}) {
  list(false);
  if (!id || (work?.id === id && !again)) return;
  closeDraft();
  if (work) ahead.delete(work.id);
  opening = id;
  queue.select(id);
  const loading = fetchAhead(id);
  const slow = setTimeout(() => say("Opening…"), 250);
  try {
    const loaded = await loading;
    if (opening !== id) return;
    ahead.delete(id);
    work = new Work(loaded, who, hooks);
    if (!back && visited[place] !== id) {
      visited.splice(place + 1, visited.length, id);
      place = visited.length - 1;
    }
    say("");
    view.show(work.image);
    if (!work.tags.includes(chosen) && chosen !== 0) chosen = work.tags[0] ?? nothing();
    if (chosen === 0 && tool !== "eraser") chosen = work.tags[0] ?? nothing();
    refresh();
    location.replace(`#${encodeURIComponent(id)}`);
    api.prepare(id).catch(() => {});
    const next = queue.after(id);
    if (next) fetchAhead(next).then(() => work?.id === id && api.prepare(next), () => {}).catch(() => {});
  } catch (error) {
    if (opening === id) {
      work = null;
      view.clear();
      find("legend").replaceChildren();
      find("facts").replaceChildren();
      chips();
      say(error.message);
    }
  } finally {
    clearTimeout(slow);
  }
}

// The queue lies over the image where the window has no room beside it.
function list(on) {
  document.body.classList.toggle("listing", on);
  find("list").setAttribute("aria-expanded", String(on));
  if (on && opening) queue.select(opening);
}

function say(text) {
  find("message").textContent = text;
  find("message").hidden = !text;
}

function decide(decision) {
  if (!work || opening !== work.id) return;
  closeDraft();
  const own = work;
  if (decision === "skipped" && own.state === "accepted" && !own.edited) return go(1);
  const next = queue.after(own.id), before = queue.get(own.id);
  const done = own.decide(decision);
  // the list follows at once; the server's answer comes later
  queue.update([{ ...before, state: decision === "open" ? "edited" : decision, changed: false }]);
  progress();
  done.then(
    (row) => {
      queue.update([row]);
      progress();
      if (own === work) refresh();
      said(own, decision);
    },
    (error) => {
      queue.update([before]);
      progress();
      api.item(own.id).then((item) => (queue.update([item]), progress()), () => {});
      if (error instanceof api.Conflict && own === work) return hooks.conflict(own, error.found);
      const text = error instanceof api.Conflict ? `${error.found.who || "Somebody"} changed “${own.id}” before you: it was not ${decision}.` : error.message;
      toast(text, { bad: true, action: "Look", press: () => open(own.id, { again: true }), stay: 20000 });
    },
  );
  if (decision === "open") return;
  if (next) open(next);
  else if (!queue.shown.length) say("Everything here is decided.\nChoose another filter, or stop for today.");
}

function said(own, decision) {
  const word = { accepted: "Accepted", rejected: "Rejected", skipped: "Skipped" }[decision];
  if (!word) return;
  decided?.remove();
  decided = toast(`${word} ${own.id}`, {
    action: "Undo",
    press: () => {
      own.decide("open").then((row) => (queue.update([row]), progress()), (error) => toast(error.message, { bad: true }));
      open(own.id, { again: work?.id === own.id });
    },
  });
}

function go(step) {
  if (step < 0 && place > 0) return open(visited[--place], { back: true });
  if (step > 0 && place < visited.length - 1) return open(visited[++place], { back: true });
  open(queue.after(work?.id ?? opening, step));
}

// --- showing

function refresh() {
  if (!work) return;
  view.marks = work.clicks;
  view.setLabels(work.labels, work.width, work.height);
  side.render(work, chosen);
  find("undo").disabled = !work.actions.length;
  find("redo").disabled = !work.undone.length;
  find("reset").disabled = !work.counting.length;
  chips();
}

function chips() {
  find("title").replaceChildren(...name(work?.id ?? opening ?? ""));
  const state = work?.edited ? "edited" : work?.state;
  const chip = find("chip");
  chip.hidden = !state || state === "new";
  chip.dataset.state = state;
  chip.textContent = work?.edited && work.state === "accepted" ? "changed since it was accepted" : (state ?? "");
}

function progress() {
  const count = (state) => queue.rows.filter((row) => row.state === state).length;
  const all = queue.rows.length, accepted = count("accepted"), rejected = count("rejected");
  const bar = document.querySelector(".progress .bar");
  bar.querySelector(".accepted").style.width = `${(100 * accepted) / all}%`;
  bar.querySelector(".rejected").style.width = `${(100 * rejected) / all}%`;
  bar.setAttribute("aria-valuemax", all);
  bar.setAttribute("aria-valuenow", accepted + rejected);
  offer(accepted);
  find("progress-text").textContent = `${accepted.toLocaleString("en")} of ${all.toLocaleString("en")} accepted`;
}

// The offer to calibrate, and how far it is.
function offer(accepted) {
  const { calibrates_at: at } = about, { calibration = "none", said = "" } = latest;
  find("offer").hidden = at === null || (accepted < at && calibration === "none");
  find("calibrate").hidden = calibration === "running";
  find("calibrate").textContent = calibration === "none" ? "Calibrate" : "Calibrate again";
  find("offer-text").textContent = {
    none: `Your ${accepted} accepted masks can choose walks, thresholds and CRF. All masks that nobody accepted are then made again while you go on. A segmenter that was trained on the former masks has to be trained again.`,
    running: said || "Starting…",
    done: said,
    failed: said || "The calibration failed.",
  }[calibration];
}

async function takeNewMasks(made) {
  ahead.clear();
  queue.replace(await api.queue(), made);
  progress();
  toast("The masks that nobody accepted were made again.");
  if (work && !work.actions.length && !work.deciding && work.state !== "accepted") open(work.id, { again: true });
  else if (work) queue.select(work.id);
}

function choose(label) {
  if (!work || !side.has(label)) return;
  chosen = label;
  if (label === raster.UNSURE && (tool === "grow" || tool === "eraser")) use("brush");
  else if (tool === "eraser" && label !== 0) use("brush");
  side.render(work, chosen);
}

function use(name) {
  if (name !== "polygon") closeDraft();
  tool = name;
  if (tool === "grow" && chosen === raster.UNSURE) chosen = work?.tags[0] ?? nothing();
  for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  const brushes = tool === "brush" || tool === "eraser";
  find("brush-size").hidden = !brushes;
  find("hint").textContent = HINTS[tool];
  resize(0);
  cursor();
  if (work) side.render(work, chosen);
}

function resize(step) {
  radius = Math.min(200, Math.max(1, step ? Math.round(radius * (step > 0 ? 1.25 : 0.8) + step * 0.5) : radius));
  find("radius").value = radius;
  find("radius-text").textContent = `${2 * radius} px`;
  view.radius = tool === "brush" || tool === "eraser" ? radius / (work?.factor ?? 1) : 0;
  view.redraw();
}

function cursor() {
  const moving = space || press?.pans;
  view.canvas.style.cursor = moving ? (press ? "grabbing" : "grab") : tool === "brush" || tool === "eraser" ? "none" : "crosshair";
}

function level(label, steps) {
  if (!work || label <= 0 || label === raster.UNSURE || !work.tags.includes(label)) return;
  work.do({ kind: "level", label, steps });
}

function retag(label, on) {
  if (!work || work.tags.includes(label) === on) return;
  if (on) chosen = label;
  work.do({ kind: "tag", label, on });
  if (!on && chosen === label) choose(work.tags[0] ?? nothing());
}

// --- the mouse

let press = null; // what is held down: { pans, start, at, label, points, labels }

const screen = (event) => ({ x: event.offsetX, y: event.offsetY });
const label = (event) => (tool === "eraser" || event.button === 2 ? nothing() : chosen);

view.canvas.addEventListener("pointerdown", (event) => {
  if (!work || opening !== work.id || press) return;
  event.preventDefault();
  document.activeElement?.blur();
  view.canvas.setPointerCapture(event.pointerId);
  const at = screen(event);
  const paints = (tool === "brush" || tool === "eraser") && !space && event.button !== 1;
  press = { pans: space || event.button === 1, start: at, at, button: event.button, label: label(event) };
  if (paints) {
    Object.assign(press, { points: [view.toImage(at)], labels: work.labels.slice() });
    paint(press.points[0]);
  }
  cursor();
});

view.canvas.addEventListener("pointermove", (event) => {
  const at = screen(event);
  view.pointer = at;
  if (!press) {
    if (view.radius || view.draft.length) view.redraw();
    return;
  }
  if (press.points) {
    for (const one of event.getCoalescedEvents?.() ?? [event]) paint(view.toImage(screen(one)));
  } else if (press.pans || Math.hypot(at.x - press.start.x, at.y - press.start.y) > STILL) {
    if (!press.pans) press.at = press.start;
    press.pans = true;
    view.pan(at.x - press.at.x, at.y - press.at.y);
    press.at = at;
    cursor();
  }
});

view.canvas.addEventListener("pointerup", (event) => {
  const held = press;
  press = null;
  cursor();
  if (!held || !work) return;
  if (held.points) return stroke(held);
  if (held.pans) return;
  const at = view.toImage(screen(event));
  if (tool === "polygon") return corner(at, screen(event), held);
  if (tool === "grow" && view.contains(at)) grow(at, held.label);
});

view.canvas.addEventListener("pointercancel", () => {
  press = null;
  refresh();
});
view.canvas.addEventListener("pointerleave", () => {
  view.pointer = null;
  view.redraw();
});
view.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
view.canvas.addEventListener("dblclick", () => tool === "polygon" && finishPolygon());
view.canvas.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    const turn = event.deltaY || event.deltaX; // some systems turn the wheel sideways with a key
    if (event.altKey || event.shiftKey) return level(chosen, turn < 0 ? 1 : -1);
    view.zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) / 300), screen(event));
  },
  { passive: false },
);

function grow(at, label) {
  if (label === raster.UNSURE) return toast(side.has(0) ? "Choose a class to grow." : "These data have no background: click with a class.");
  work.do({ kind: "click", x: at.x * work.factor, y: at.y * work.factor, label });
}

function paint(to) {
  const from = press.points.at(-1);
  if (press.points.length > 1 && Math.hypot(to.x - from.x, to.y - from.y) < 0.3) return;
  press.points.push(to);
  const box = raster.brush(press.labels, work.width, work.height, from, to, view.radius, press.label);
  view.setLabels(press.labels, work.width, work.height, box);
}

function stroke({ points, label, labels }) {
  const full = points.map(({ x, y }) => [round(x), round(y)]);
  work.labels = labels; // as it will be, until the server says so
  work.do({ kind: "stroke", label, radius, points: full });
}

const round = (value) => Math.round(value * work.factor * 10) / 10;

function corner(at, screenAt, held) {
  const first = view.draft[0] && view.toScreen(view.draft[0]);
  if (view.draft.length > 2 && Math.hypot(first.x - screenAt.x, first.y - screenAt.y) < 10) return finishPolygon();
  view.draft.push(at);
  view.draft.label = held.label;
  view.redraw();
}

function finishPolygon() {
  const points = view.draft.filter((p, i, all) => !i || Math.hypot(p.x - all[i - 1].x, p.y - all[i - 1].y) > 0.5);
  if (points.length > 2) {
    const label = view.draft.label, labels = work.labels.slice();
    raster.polygon(labels, work.width, work.height, points, label);
    work.labels = labels;
    view.draft = [];
    work.do({ kind: "polygon", label, points: points.map(({ x, y }) => [round(x), round(y)]) });
  }
}

function closeDraft() {
  view.draft = [];
  view.redraw();
}

// --- the keyboard

const hide = (on) => {
  view.hidden = on;
  find("hide").setAttribute("aria-pressed", String(on));
  view.redraw();
};
const outline = () => {
  view.outlined = !view.outlined;
  find("outline").setAttribute("aria-pressed", String(view.outlined));
  setting("outlined", view.outlined);
  view.redraw();
};
const opacity = (value) => {
  view.opacity = Math.min(1, Math.max(0, value));
  find("opacity").value = Math.round(view.opacity * 100);
  setting("opacity", view.opacity);
  view.redraw();
};
const dropLast = () => {
  if (view.draft.length) view.draft.pop();
  else work?.undo();
  view.redraw();
};
let held = null; // when H was pressed, and whether the mask was hidden

const KEYS = {
  a: () => decide("accepted"),
  enter: () => (view.draft.length > 2 ? finishPolygon() : decide("accepted")),
  x: () => decide("rejected"),
  s: () => decide("skipped"),
  arrowleft: () => go(-1),
  arrowright: () => go(1),
  z: dropLast,
  backspace: dropLast,
  y: () => work?.redo(),
  r: () => work?.counting.length && work.do({ kind: "reset" }),
  c: () => use("grow"),
  p: () => use("brush"),
  e: () => use("eraser"),
  g: () => use("polygon"),
  b: () => choose(0),
  0: () => choose(0),
  u: () => choose(raster.UNSURE),
  "+": () => level(chosen, 1),
  "=": () => level(chosen, 1),
  "-": () => level(chosen, -1),
  "[": () => resize(-1),
  "]": () => resize(1),
  f: () => view.fit(),
  o: outline,
  ",": () => opacity(view.opacity - 0.1),
  ".": () => opacity(view.opacity + 0.1),
  t: () => find("add").focus(),
  "/": () => (list(true), find("search").focus()),
  delete: () => retag(chosen, false),
  escape: () => (closeDraft(), list(false)),
  "?": () => find("keys").showModal(),
};

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const typing = event.target instanceof HTMLInputElement && event.target.type !== "range";
  if (typing || event.target instanceof HTMLSelectElement) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target.id === "search")) {
      event.target.blur();
      if (event.key === "Enter") open(queue.shown[0]?.id);
    }
    return;
  }
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) work?.redo();
    else dropLast();
    return;
  }
  if (event.altKey) return;
  if (key === " ") {
    event.preventDefault();
    space = true;
    return cursor();
  }
  if (key === "h") {
    if (event.repeat) return;
    held = { since: performance.now(), hidden: view.hidden };
    return hide(!view.hidden);
  }
  const act = /^[1-9]$/.test(key) ? () => work?.tags[key - 1] && choose(work.tags[key - 1]) : KEYS[key];
  if (!act || (event.repeat && ["a", "enter", "x", "s", "r"].includes(key))) return;
  event.preventDefault();
  act();
});

addEventListener("keyup", (event) => {
  if (event.key === " ") {
    space = false;
    cursor();
  }
  if (event.key.toLowerCase() === "h" && held) {
    if (performance.now() - held.since > 300) hide(held.hidden);
    held = null;
  }
});

addEventListener("beforeunload", (event) => {
  if (anythingUnsaved()) event.preventDefault();
});

// --- buttons and settings

function bind() {
  const press = (id, act) => find(id).addEventListener("click", (event) => (event.currentTarget.blur(), act()));
  press("accept", () => decide("accepted"));
  press("reject", () => decide("rejected"));
  press("skip", () => decide("skipped"));
  press("previous", () => go(-1));
  press("next", () => go(1));
  press("undo", dropLast);
  press("redo", KEYS.y);
  press("reset", KEYS.r);
  press("fit", () => view.fit());
  press("hide", () => hide(!view.hidden));
  press("outline", outline);
  press("help", KEYS["?"]);
  press("list", () => list(!document.body.classList.contains("listing")));
  press("calibrate", async () => {
    try {
      latest = { ...latest, ...(await api.calibrate()) };
      progress();
    } catch (error) {
      toast(error.message, { bad: true });
    }
  });
  press("keys-close", () => find("keys").close());
  press("theme", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark", true));
  for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => (button.blur(), use(button.dataset.tool)));
  find("opacity").addEventListener("input", (event) => opacity(event.target.value / 100));
  find("radius").addEventListener("input", (event) => {
    radius = Number(event.target.value);
    resize(0);
  });
  for (const id of ["opacity", "radius"]) find(id).addEventListener("change", (event) => event.target.blur());
  find("who").addEventListener("change", (event) => setting("who", event.target.value));
  view.onpaint = () => {
    if (!work?.answered) return;
    work.answered = false;
    performance.measure("answer", { start: work.asked, end: performance.now() });
  };
  view.onzoom = (scale) => {
    find("zoom").textContent = `${Math.round((scale / (work?.factor ?? 1)) * 100)} %`;
  };
}

function theme(name, keep = false) {
  document.documentElement.dataset.theme = name;
  if (keep) setting("theme", name);
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const followTheme = () => theme(setting("theme") ?? (dark.matches ? "dark" : "light"));
dark.addEventListener("change", followTheme);
followTheme();

async function listen() {
  try {
    const found = await api.changes(news);
    news = found.serial;
    const told = found.calibration !== latest.calibration || found.said !== latest.said;
    latest = found;
    if (found.made !== queue.made) await takeNewMasks(found.made);
    else if (told) progress();
    const rows = found.rows.filter((row) => row.version > (queue.get(row.id)?.version ?? -1));
    if (rows.length) {
      for (const row of rows) if (row.id !== work?.id) ahead.delete(row.id);
      queue.update(rows);
      progress();
    }
  } catch {
    // it is asked again
  }
  setTimeout(listen, NEWS);
}

async function start() {
  bind();
  try {
    about = await api.about();
    news = about.serial;
    document.title = `${about.run} · review`;
    find("run-name").textContent = about.run;
    find("who").value = setting("who") ?? about.reviewer;
    view.setColours(about.classes);
    side = new Side(about, { choose, level, remove: (label) => retag(label, false), add: (label) => retag(label, true) });
    queue = new Queue(about, await api.queue(), open);
  } catch (error) {
    return say(error.message);
  }
  opacity(Number(setting("opacity") ?? 0.5));
  if (setting("outlined") === "false") outline();
  use("grow");
  progress();
  const asked = decodeURIComponent(location.hash.slice(1));
  const first = queue.get(asked) ? asked : queue.first();
  if (first) await open(first);
  else say("Everything is decided.");
  setTimeout(listen, NEWS);
}

start();
