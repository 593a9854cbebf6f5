// The image that is open: its actions, the mask that they come to, and what the server has of them.
// Actions go to the server with every change; at most one request is under way, the next one carries
// whatever has gathered.

import * as api from "./api.js";
import * as raster from "./raster.js";

const AGAIN = 2000; // milliseconds until a server that does not answer is asked again
const BURST = 900; // in which steps of a level count as one action

const unsaved = new Set();
export const anythingUnsaved = () => unsaved.size > 0;

// Everything to show an image: { item, image, mask }.
export async function load(id) {
  const image = api.image(id);
  image.catch(() => {});
  const item = await api.item(id);
  const mask = await api.mask({ id, actions: item.actions, version: item.version, keep: false });
  return { item, image: await image, mask };
}

export class Work {
  // hooks: changed(work), failed(work, error), conflict(work, found), offline(on)
  constructor({ item, image, mask }, who, hooks) {
    this.item = item;
    this.image = image;
    this.who = who;
    this.hooks = hooks;
    this.actions = item.actions;
    this.undone = [];
    this.version = item.version;
    this.state = item.state;
    this.edited = item.changed || item.state === "edited";
    this.factor = item.width / image.width; // image pixels in a shown pixel
    this.take(mask);
    this.began = performance.now();
    this.saved = true;
    this.line = Promise.resolve();
  }

  get id() {
    return this.item.id;
  }

  take({ labels, width, height }) {
    Object.assign(this, { labels, width, height });
    this.shares = raster.shares(labels);
  }

  // Mask values of the tags that the image has now.
  get tags() {
    const own = new Set(this.item.given);
    for (const action of this.counting) {
      if (action.kind === "tag") own[action.on ? "add" : "delete"](action.label);
    }
    return [...own].sort((a, b) => a - b);
  }

  get counting() {
    return this.actions.slice(this.actions.map((action) => action.kind).lastIndexOf("reset") + 1);
  }

  level(label) {
    return this.counting.reduce((sum, a) => sum + (a.kind === "level" && a.label === label ? a.steps : 0), 0);
  }

  get clicks() {
    const waiting = this.saved ? -1 : this.actions.length - 1;
    return this.counting
      .filter((action) => action.kind === "click")
      .map((action) => ({
        x: action.x / this.factor,
        y: action.y / this.factor,
        label: action.label,
        waiting: this.actions.indexOf(action) === waiting,
      }));
  }

  do(action) {
    const last = this.actions.at(-1), now = performance.now();
    const steps = action.kind === "level" && last?.kind === "level" && last.label === action.label;
    if (steps && now - this.stepped < BURST) {
      const sum = last.steps + action.steps;
      this.actions = [...this.actions.slice(0, -1), ...(sum ? [{ ...last, steps: sum }] : [])];
    } else {
      this.actions = [...this.actions, action];
    }
    if (action.kind === "level") this.stepped = now;
    this.undone = [];
    this.send();
  }

  undo() {
    if (!this.actions.length) return;
    this.undone.push(this.actions.at(-1));
    this.actions = this.actions.slice(0, -1);
    this.send();
  }

  redo() {
    if (!this.undone.length) return;
    this.actions = [...this.actions, this.undone.pop()];
    this.send();
  }

  body(more) {
    return { id: this.id, actions: this.actions, version: this.version, who: this.who(), ...more };
  }

  // Ask for the mask of the actions; they are kept with it.
  send() {
    this.edited = true;
    this.asked = performance.now();
    this.wanted = this.actions;
    this.saved = false;
    unsaved.add(this);
    this.hooks.changed(this);
    if (this.sending) return;
    this.sending = true;
    this.line = this.line.then(() => this.exchange());
  }

  async exchange() {
    while (!this.saved && !this.deciding) {
      const wanted = this.wanted;
      try {
        const mask = await this.patiently(() => api.mask(this.body({ keep: true })));
        this.version = mask.version;
        if (wanted === this.wanted) {
          this.take(mask);
          this.answered = true;
          this.settle();
        }
      } catch (error) {
        if (error instanceof api.Conflict) this.hooks.conflict(this, error.found);
        else {
          // what the server refuses is taken back, so that the rest can be kept
          this.actions = this.actions.slice(0, -1);
          this.hooks.failed(this, error);
        }
        this.settle();
      }
    }
    this.sending = false;
    this.hooks.changed(this);
  }

  settle() {
    this.saved = true;
    unsaved.delete(this);
  }

  // Accept, reject, skip or take back; the page may go on meanwhile.
  decide(decision) {
    const seconds = Math.min((performance.now() - this.began) / 1000, 600);
    this.deciding = true;
    unsaved.add(this);
    const done = this.line.then(async () => {
      const row = await this.patiently(() => api.decide(this.body({ decision, seconds })));
      Object.assign(this, { version: row.version, state: row.state, edited: false });
      return row;
    });
    this.line = done.then(
      () => {},
      () => {},
    );
    return done.finally(() => {
      this.deciding = false;
      this.settle();
    });
  }

  async patiently(ask) {
    for (;;) {
      try {
        const answer = await ask();
        this.hooks.offline(false);
        return answer;
      } catch (error) {
        if (!(error instanceof api.Offline)) throw error;
        this.hooks.offline(true);
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
      }
    }
  }
}
