// Requests to the server. An answer that says no becomes an Error with the server's sentence.

export class Conflict extends Error {
  constructor(found) {
    super("changed by somebody else");
    this.found = found;
  }
}

export class Offline extends Error {}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Offline("The server does not answer.");
  }
  if (answer.ok) return answer;
  const found = await answer.json().catch(() => ({}));
  if (answer.status === 409) throw new Conflict(found);
  throw new Error(found.error || `The server answered ${answer.status}.`);
}

const post = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
const of = (path, id) => `${path}?${new URLSearchParams({ id })}`;
const json = (answer) => answer.json();

export const about = () => ask("api/about").then(json);
export const queue = () => ask("api/queue").then(json);
export const changes = (since) => ask(`api/changes?since=${since}`).then(json);
export const item = (id) => ask(of("api/item", id)).then(json);
export const decide = (body) => post("api/decide", body).then(json);
export const prepare = (id) => post("api/prepare", { id });
export const calibrate = () => post("api/calibrate", {}).then(json);
// Addresses differ where pictures do: by what people did, and by how often the masks were made.
export const thumbnail = (row, made) => `${of("api/thumbnail", row.id)}&v=${row.version}.${made}`;

export async function image(id) {
  const answer = await ask(of("api/image", id));
  return createImageBitmap(await answer.blob());
}

// The labels that actions come to: { labels, width, height, version }.
export async function mask(body) {
  const answer = await post("api/mask", body);
  const [width, height, version] = ["X-Width", "X-Height", "X-Version"].map((name) => Number(answer.headers.get(name)));
  return { labels: new Uint8Array(await answer.arrayBuffer()), width, height, version };
}
