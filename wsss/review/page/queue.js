// The list of images: filters, search, and only the rows that are in sight.

import * as api from "./api.js";
import { find, icon, make, name } from "./dom.js";

const HEIGHT = 64, MARGIN = 4, REST = 60; // pixels a row, rows beyond the edge, milliseconds until pictures load
const MARKS = { accepted: "check", rejected: "cross", skipped: "skip" };
const STATES = {
  todo: ["To do", (row) => ["new", "edited", "skipped"].includes(row.state)],
  accepted: ["Accepted", (row) => row.state === "accepted"],
  rejected: ["Rejected", (row) => row.state === "rejected"],
  edited: ["Edited", (row) => row.state === "edited" || (row.state === "accepted" && row.changed)],
  skipped: ["Skipped", (row) => row.state === "skipped"],
  all: ["All", () => true],
};

export class Queue {
  constructor(about, rows, open) {
    this.open = open;
    this.names = new Map(about.classes.map(({ value, name }) => [value, name]));
    this.made = about.made;
    this.take(rows);
    this.state = "todo";
    this.label = 0;
    this.text = "";
    this.shown = [];
    this.nodes = new Map();
    this.box = find("rows");
    this.spacer = this.box.firstElementChild;
    this.box.addEventListener("scroll", () => this.render(), { passive: true });
    new ResizeObserver(() => this.render()).observe(this.box);
    find("search").addEventListener("input", (event) => {
      this.text = event.target.value.trim().toLowerCase();
      this.filter();
    });
    find("class-filter").addEventListener("change", (event) => {
      this.label = Number(event.target.value);
      this.filter();
    });
    this.fill();
    this.filter();
  }

  take(rows) {
    this.rows = rows;
    this.index = new Map(rows.map((row, i) => [row.id, i]));
    find("sorted").textContent = rows.some((row) => row.score !== null) ? "most uncertain first" : "by name";
  }

  // All masks were made again, in another order.
  replace(rows, made) {
    this.made = made;
    this.take(rows);
    this.fill();
    this.filter();
  }

  get(id) {
    return this.rows[this.index.get(id)];
  }

  // The first image that nobody decided on; of the list as it is filtered.
  first() {
    return (this.shown.find((row) => STATES.todo[1](row) && row.state !== "skipped") || this.shown[0])?.id;
  }

  // The next image of the list after one that may have left it.
  after(id, step = 1) {
    const at = this.index.get(id) ?? -1;
    const others = this.shown.filter((row) => row.id !== id);
    const later = others.find((row) => this.index.get(row.id) > at);
    if (step > 0) return (later || others[0])?.id;
    return others.filter((row) => this.index.get(row.id) < at).at(-1)?.id;
  }

  update(rows) {
    for (const row of rows) {
      if (!this.index.has(row.id)) continue;
      this.rows[this.index.get(row.id)] = row;
      this.nodes.get(row.id)?.remove();
      this.nodes.delete(row.id);
    }
    this.fill();
    this.filter(false);
  }

  select(id) {
    this.selected = id;
    for (const [own, node] of this.nodes) node.setAttribute("aria-selected", own === id);
    const at = this.shown.findIndex((row) => row.id === id);
    if (at < 0) return;
    const top = at * HEIGHT, { scrollTop, clientHeight } = this.box;
    if (top < scrollTop || top + HEIGHT > scrollTop + clientHeight) this.box.scrollTop = Math.max(0, top - clientHeight / 3);
  }

  // Counts on the chips and classes of the filter.
  fill() {
    const chips = Object.entries(STATES).map(([key, [title, test]]) => {
      const count = make("span", {}, String(this.rows.filter(test).length));
      const chosen = key === this.state;
      return make("button", { role: "radio", "aria-checked": String(chosen), "data-state": key, onclick: () => this.choose(key) }, title, count);
    });
    find("states").replaceChildren(...chips);
    const counts = new Map();
    for (const row of this.rows) for (const tag of row.tags) counts.set(tag, (counts.get(tag) || 0) + 1);
    const options = [...counts].sort((a, b) => a[0] - b[0]).map(([tag, count]) => make("option", { value: tag }, `${this.names.get(tag)} (${count})`));
    find("class-filter").replaceChildren(make("option", { value: 0 }, "All classes"), ...options);
    find("class-filter").value = this.label;
  }

  choose(state) {
    this.state = state;
    this.fill();
    this.filter();
  }

  filter(up = true) {
    const test = STATES[this.state][1];
    this.shown = this.rows.filter(
      (row) =>
        test(row) &&
        (!this.label || row.tags.includes(this.label)) &&
        (!this.text || row.id.toLowerCase().includes(this.text) || row.tags.some((tag) => this.names.get(tag).toLowerCase().includes(this.text))),
    );
    find("found").textContent = `${this.shown.length.toLocaleString("en")} image${this.shown.length === 1 ? "" : "s"}`;
    this.spacer.style.height = `${this.shown.length * HEIGHT}px`;
    if (up) this.box.scrollTop = 0;
    for (const node of this.nodes.values()) node.remove();
    this.nodes.clear();
    this.box.querySelector(".empty")?.remove();
    if (!this.shown.length) this.box.append(make("p", { class: "empty" }, "No image fits the filters."));
    this.render();
  }

  render() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / HEIGHT) - MARGIN);
    const last = Math.min(this.shown.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / HEIGHT) + MARGIN);
    const wanted = new Set(this.shown.slice(first, last).map((row) => row.id));
    for (const [id, node] of this.nodes) {
      if (wanted.has(id)) continue;
      node.querySelector("img").removeAttribute("src");
      node.remove();
      this.nodes.delete(id);
    }
    for (let i = first; i < last; i++) {
      const row = this.shown[i];
      if (!this.nodes.has(row.id)) {
        const node = this.node(row);
        node.style.top = `${i * HEIGHT}px`;
        this.nodes.set(row.id, node);
        this.box.append(node);
      }
    }
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.pictures(), REST);
  }

  pictures() {
    for (const [id, node] of this.nodes) {
      const image = node.querySelector("img");
      if (!image.hasAttribute("src")) image.src = api.thumbnail(this.get(id), this.made);
    }
  }

  node(row) {
    const mark = make("div", { class: "mark" });
    if (MARKS[row.state]) mark.append(icon(MARKS[row.state]));
    if (row.state === "edited" || (row.state === "accepted" && row.changed)) mark.append(make("span", { class: "pencil", title: "edited" }));
    if (row.score !== null && !MARKS[row.state]) {
      const bar = make("i");
      bar.style.width = `${Math.round(row.score * 100)}%`;
      mark.append(make("div", { class: "doubt", title: `uncertainty ${row.score.toFixed(2)}` }, bar));
    }
    const tags = row.tags.map((tag) => this.names.get(tag)).join(", ") || "no tag";
    return make(
      "div",
      { class: "row", role: "option", "data-id": row.id, "data-state": row.state, "aria-selected": String(row.id === this.selected), onclick: () => this.open(row.id) },
      make("img", { alt: "", width: 48, height: 48 }),
      make("div", {}, make("b", { class: "name", dir: "auto", title: row.id }, ...name(row.id)), make("small", { title: tags }, tags)),
      mark,
    );
  }
}
