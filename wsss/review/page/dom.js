// Small helpers; text from names and tags goes in as text, never as HTML.

export const find = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "class") node.className = value;
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg"), use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

// A name whose end stays in sight where there is no room for all: ends tell files apart.
export function name(text) {
  const [, head, tail] = text.match(/^(.+?)((?:\P{M}\p{M}*){12})$/su) ?? [null, "", text];
  return [make("span", { class: "head" }, head), make("span", { class: "tail" }, tail)];
}

export function ago(when) {
  const seconds = Math.max(0, (Date.now() - Date.parse(when)) / 1000);
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    const count = Math.floor(seconds / size);
    if (count) return `${count} ${unit}${count > 1 ? "s" : ""} ago`;
  }
  return "just now";
}

export function percent(share) {
  const value = share * 100;
  return `${value >= 10 || value === 0 ? Math.round(value) : value >= 1 ? value.toFixed(1) : value.toFixed(2)} %`;
}
