// Labels as pixels: colours over the image, outlines, and a preview of paint before the server answers.

export const UNSURE = 255;

// Colours of the labels in a box into an ImageData of the whole mask; unsure pixels are striped.
export function colour(labels, width, pixels, colours, box) {
  const out = new Uint32Array(pixels.data.buffer);
  for (let y = box.top; y < box.bottom; y++) {
    for (let x = box.left, i = y * width + x; x < box.right; x++, i++) {
      const label = labels[i];
      if (label === 0) out[i] = 0;
      else if (label === UNSURE) out[i] = (x + y) % 8 < 3 ? 0xffd8d8d8 : 0x60404040;
      else out[i] = colours[label];
    }
  }
}

// Borders between labels as one path per label, in runs of pixel edges.
export function outlines(labels, width, height) {
  const paths = new Map();
  const edge = (label, x0, y0, x1, y1) => {
    let path = paths.get(label);
    if (!path) paths.set(label, (path = new Path2D()));
    path.moveTo(x0, y0);
    path.lineTo(x1, y1);
  };
  // a border belongs to the one of its two labels that is a class; what is unsure has none
  const owner = (a, b) => (a === b ? 0 : a !== 0 && a !== UNSURE ? a : b !== UNSURE ? b : 0);
  for (let y = 1; y < height; y++) {
    let own = 0, start = 0;
    for (let x = 0, i = y * width; x < width; x++, i++) {
      const next = owner(labels[i - width], labels[i]);
      if (next !== own) {
        if (own) edge(own, start, y, x, y);
        own = next;
        start = x;
      }
    }
    if (own) edge(own, start, y, width, y);
  }
  for (let x = 1; x < width; x++) {
    let own = 0, start = 0;
    for (let y = 0, i = x; y < height; y++, i += width) {
      const next = owner(labels[i - 1], labels[i]);
      if (next !== own) {
        if (own) edge(own, x, start, x, y);
        own = next;
        start = y;
      }
    }
    if (own) edge(own, x, start, x, height);
  }
  return paths;
}

// Paint a line of a round brush; returns the box of what may have changed.
export function brush(labels, width, height, from, to, radius, label) {
  const box = {
    left: Math.max(0, Math.floor(Math.min(from.x, to.x) - radius)),
    top: Math.max(0, Math.floor(Math.min(from.y, to.y) - radius)),
    right: Math.min(width, Math.ceil(Math.max(from.x, to.x) + radius)),
    bottom: Math.min(height, Math.ceil(Math.max(from.y, to.y) + radius)),
  };
  const dx = to.x - from.x, dy = to.y - from.y, length = dx * dx + dy * dy;
  for (let y = box.top; y < box.bottom; y++) {
    for (let x = box.left; x < box.right; x++) {
      const px = x + 0.5 - from.x, py = y + 0.5 - from.y;
      const t = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
      const ex = px - t * dx, ey = py - t * dy;
      if (ex * ex + ey * ey <= radius * radius) labels[y * width + x] = label;
    }
  }
  return box;
}

// Fill a polygon by the even-odd rule.
export function polygon(labels, width, height, points, label) {
  const ys = points.map((p) => p.y);
  const top = Math.max(0, Math.floor(Math.min(...ys))), bottom = Math.min(height, Math.ceil(Math.max(...ys)));
  for (let y = top; y < bottom; y++) {
    const middle = y + 0.5, crossings = [];
    points.forEach((a, i) => {
      const b = points[(i + 1) % points.length];
      if (a.y <= middle !== b.y <= middle) crossings.push(a.x + ((middle - a.y) * (b.x - a.x)) / (b.y - a.y));
    });
    crossings.sort((a, b) => a - b);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      const end = Math.min(width, Math.round(crossings[k + 1]));
      for (let x = Math.max(0, Math.round(crossings[k])); x < end; x++) labels[y * width + x] = label;
    }
  }
}

// Share of the pixels that each label has.
export function shares(labels) {
  const counts = new Uint32Array(256);
  for (let i = 0; i < labels.length; i++) counts[labels[i]]++;
  return Array.from(counts, (count) => count / labels.length);
}
