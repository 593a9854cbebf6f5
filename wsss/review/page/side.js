// The panel beside the image: its classes with keys, areas and levels; what is known of it.

import { ago, find, icon, make, percent } from "./dom.js";
import { UNSURE } from "./raster.js";

const WIDEST = 12; // steps of a level at the end of its bar

export class Side {
  // hooks: choose(label), level(label, steps), remove(label), add(label)
  constructor(about, hooks) {
    this.hooks = hooks;
    this.classes = new Map(about.classes.map((one) => [one.value, one]));
    find("names").replaceChildren(
      ...about.classes.filter(({ value }) => value > 0 && value < UNSURE).map(({ name }) => make("option", { value: name })),
    );
    const add = find("add");
    add.addEventListener("change", () => this.added(add));
    add.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.added(add);
      if (event.key === "Escape") add.blur();
      event.stopPropagation();
    });
  }

  added(input) {
    const text = input.value.trim().toLowerCase();
    const found = [...this.classes.values()].find(({ name, value }) => name.toLowerCase() === text && value > 0 && value < UNSURE);
    if (!found) return;
    input.value = "";
    input.blur();
    this.hooks.add(found.value);
  }

  has(label) {
    return this.classes.has(label);
  }

  name(label) {
    return this.classes.get(label)?.name ?? String(label);
  }

  render(work, chosen) {
    const tags = work.tags;
    const rows = tags.map((label, i) => this.row(work, label, i < 9 ? String(i + 1) : "", chosen));
    if (this.has(0)) rows.push(this.row(work, 0, "0", chosen));
    rows.push(this.row(work, UNSURE, "U", chosen));
    find("legend").replaceChildren(...rows);
    this.facts(work);
  }

  row(work, label, key, chosen) {
    const swatch = make("span", { class: label === UNSURE ? "swatch hatch" : "swatch" });
    if (label !== UNSURE) swatch.style.background = `rgb(${this.classes.get(label).colour.join(" ")})`;
    const share = work.shares[label], absent = share === 0 && label > 0 && label !== UNSURE;
    const area = make("span", { class: absent ? "area none" : "area" }, absent ? "not in the mask" : percent(share));
    const node = make(
      "li",
      { role: "option", "aria-selected": String(label === chosen), "data-label": label, onclick: () => this.hooks.choose(label) },
      make("kbd", {}, key || "·"),
      swatch,
      make("b", { title: this.name(label) }, this.name(label)),
      area,
    );
    if (label > 0 && label !== UNSURE) {
      node.append(this.level(work, label));
      node.addEventListener("wheel", (event) => {
        event.preventDefault();
        this.hooks.level(label, event.deltaY < 0 ? 1 : -1);
      });
    }
    return node;
  }

  level(work, label) {
    const steps = work.level(label), fill = make("i");
    const half = Math.min(Math.abs(steps) / WIDEST, 1) * 50;
    fill.style.width = `${half}%`;
    fill.style.left = `${steps < 0 ? 50 - half : 50}%`;
    const button = (title, name, press, kind = "") =>
      make("button", { title, "aria-label": `${title}: ${this.name(label)}`, class: kind, onclick: (event) => (event.stopPropagation(), press()) }, icon(name));
    return make(
      "div",
      { class: "more" },
      button("Less (−)", "minus", () => this.hooks.level(label, -1)),
      make("div", { class: "level", title: `${steps > 0 ? "+" : ""}${steps}` }, fill),
      button("More (+)", "plus", () => this.hooks.level(label, 1)),
      button("Remove this tag (Del)", "cross", () => this.hooks.remove(label), "remove"),
    );
  }

  facts(work) {
    const { item } = work, count = (kind) => work.counting.filter((action) => kind.includes(action.kind)).length;
    const facts = [
      ["Size", `${item.width} × ${item.height}`],
      item.score === null ? null : ["Uncertainty", item.score.toFixed(2)],
      ["Clicks", String(count(["click"]))],
      ["Painted", String(count(["stroke", "polygon"]))],
      item.who ? ["Last by", item.who] : null,
      item.when ? ["", ago(item.when)] : null,
    ].filter(Boolean);
    find("facts").replaceChildren(...facts.map(([term, text]) => make("div", {}, make("dt", {}, term), make("dd", {}, text))));
  }
}
