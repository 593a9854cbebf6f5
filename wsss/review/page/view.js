// The canvas: image, mask, marks of clicks, what is being drawn; zoom and pan.
// Positions are those of the image as it is shown ("shown pixels") unless they say "screen".

import * as raster from "./raster.js";

const LARGEST = 40;

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.overlay = document.createElement("canvas");
    this.opacity = 0.5;
    this.hidden = false;
    this.outlined = true;
    this.marks = [];
    this.draft = []; // vertices of a polygon that is being drawn
    this.pointer = null;
    this.radius = 0; // of the brush's circle; 0 draws none
    this.colours = new Uint32Array(256);
    this.css = [];
    this.onzoom = () => {};
    this.onpaint = () => {};
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  setColours(classes) {
    for (const { value, colour: [r, g, b] } of classes) {
      this.colours[value] = (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
      this.css[value] = `rgb(${r} ${g} ${b})`;
    }
  }

  show(image) {
    this.image = image;
    this.labels = null;
    this.marks = [];
    this.draft = [];
    this.fit();
  }

  clear() {
    this.image = this.labels = null;
    this.redraw();
  }

  // Take new labels; without a box everything changed.
  setLabels(labels, width, height, box) {
    if (!this.pixels || this.pixels.width !== width || this.pixels.height !== height) {
      this.overlay.width = width;
      this.overlay.height = height;
      this.pixels = new ImageData(width, height);
    }
    this.labels = labels;
    const part = box || { left: 0, top: 0, right: width, bottom: height };
    raster.colour(labels, width, this.pixels, this.colours, part);
    const context = this.overlay.getContext("2d");
    context.putImageData(this.pixels, 0, 0, part.left, part.top, part.right - part.left, part.bottom - part.top);
    // outlines follow when the brush is lifted
    this.paths = box ? null : raster.outlines(labels, width, height);
    this.redraw();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas, ratio = devicePixelRatio || 1;
    const whole = !this.scale || this.fitted;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.ratio = ratio;
    if (whole) this.fit();
    else this.redraw();
  }

  fit() {
    if (!this.image) return this.redraw();
    const { clientWidth, clientHeight } = this.canvas, { width, height } = this.image;
    const room = { left: 64, top: 56, right: 24, bottom: 84 };
    const free = { x: clientWidth - room.left - room.right, y: clientHeight - room.top - room.bottom };
    this.scale = Math.max(0.02, Math.min(free.x / width, free.y / height, 8));
    this.x = room.left + (free.x - width * this.scale) / 2;
    this.y = room.top + (free.y - height * this.scale) / 2;
    this.fitted = true;
    this.onzoom(this.scale);
    this.redraw();
  }

  zoom(factor, screen) {
    if (!this.image) return;
    const scale = Math.min(LARGEST, Math.max(0.02, this.scale * factor));
    this.x = screen.x - ((screen.x - this.x) * scale) / this.scale;
    this.y = screen.y - ((screen.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.onzoom(scale);
    this.redraw();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.redraw();
  }

  toImage(screen) {
    return { x: (screen.x - this.x) / this.scale, y: (screen.y - this.y) / this.scale };
  }

  contains({ x, y }) {
    return this.image && x >= 0 && y >= 0 && x < this.image.width && y < this.image.height;
  }

  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
      this.onpaint();
    });
  }

  draw() {
    const c = this.context;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.image) return;
    const zoom = this.scale * this.ratio, { width, height } = this.image;
    c.setTransform(zoom, 0, 0, zoom, this.x * this.ratio, this.y * this.ratio);
    c.imageSmoothingEnabled = this.scale < 4;
    c.imageSmoothingQuality = "high";
    c.drawImage(this.image, 0, 0);
    if (this.labels && !this.hidden) {
      c.globalAlpha = this.opacity;
      c.imageSmoothingEnabled = false;
      c.drawImage(this.overlay, 0, 0, width, height);
      c.globalAlpha = 1;
      if (this.outlined && this.paths) this.drawOutlines(c);
    }
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.marks.forEach((mark) => this.drawMark(c, mark));
    this.drawDraft(c);
    this.drawBrush(c);
  }

  drawOutlines(c) {
    c.lineCap = "square";
    c.lineWidth = 3.2 / this.scale;
    c.strokeStyle = "#000a";
    for (const path of this.paths.values()) c.stroke(path);
    c.lineWidth = 1.6 / this.scale;
    for (const [label, path] of this.paths) {
      c.strokeStyle = this.css[label] || "#ddd";
      c.stroke(path);
    }
  }

  toScreen({ x, y }) {
    return { x: this.x + x * this.scale, y: this.y + y * this.scale };
  }

  drawMark(c, mark) {
    const { x, y } = this.toScreen(mark);
    c.beginPath();
    c.arc(x, y, 5.5, 0, 7);
    c.fillStyle = mark.label === 0 ? "#14171b" : this.css[mark.label];
    c.fill();
    c.lineWidth = 2;
    c.strokeStyle = "#fff";
    c.stroke();
    if (mark.waiting) {
      c.beginPath();
      c.arc(x, y, 10, 0, 7);
      c.lineWidth = 1.5;
      c.stroke();
    }
  }

  drawDraft(c) {
    if (!this.draft.length) return;
    c.beginPath();
    for (const point of this.draft) {
      const { x, y } = this.toScreen(point);
      c.lineTo(x, y);
    }
    if (this.pointer) c.lineTo(this.pointer.x, this.pointer.y);
    strokeTwice(c, 3, "#000a", 1.5);
    this.draft.forEach((point, i) => {
      const { x, y } = this.toScreen(point);
      c.beginPath();
      c.arc(x, y, i ? 3 : 5, 0, 7);
      c.fillStyle = "#fff";
      c.fill();
    });
  }

  drawBrush(c) {
    if (!this.radius || !this.pointer) return;
    c.beginPath();
    c.arc(this.pointer.x, this.pointer.y, this.radius * this.scale, 0, 7);
    strokeTwice(c, 2.5, "#0008", 1.2);
  }
}

// white on a darker edge: seen on any image
function strokeTwice(c, edge, colour, line) {
  c.lineWidth = edge;
  c.strokeStyle = colour;
  c.stroke();
  c.lineWidth = line;
  c.strokeStyle = "#fff";
  c.stroke();
}
