// A client for a Sockeye server: reconnects, resumes, and says what was missed. Copy it, or import it from the server.
//   const sockeye = new Sockeye();
//   await sockeye.sub("chat/42", { last: 50 }, message => console.log(message.data));
//   await sockeye.pub("chat/42", { text: "hi" });
// Where the server asks for a token: new Sockeye(url, { token }), a text, or a function that gives a fresh one when it is needed.
// Events: "state" (connecting, open, waiting, closed), "gap" ({ ch, gap }), "bye", "refused"; each carries its value in `detail`.
const random = (from, to) => from + Math.random() * (to - from);
const lost = why => Object.assign(new Error(why), { code: "lost", retry: true });
const PATIENCE = { least: 45_000, most: 180_000 };
const isPattern = name => /[+#]/.test(name);
export function matches(pattern, name) {
  const wanted = pattern.split("/"), given = name.split("/"), rest = wanted.at(-1) === "#";
  if (/^[+#]/.test(pattern) && name.startsWith("$")) return false;
  if (rest ? given.length < wanted.length - 1 : given.length !== wanted.length) return false;
  return wanted.every((level, i) => level === "+" || level === given[i] || (rest && i === wanted.length - 1));
}
function base64(data) {
  const bytes = ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
  return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
}

// JSON that is published as it is written: its digits, spaces and order are kept, which values of JavaScript do not do. A string
// in quotes is text, as in the protocol.
export class Json {
  constructor(text) { JSON.parse(text); this.text = text; }
}

export class Sockeye extends EventTarget {
  // What is wanted, and what the server has said that it holds: a push is for the latter, whatever is under way.
  #subs = new Map(); #held = new Map(); #waiting = new Map();
  #id = 0; #attempt = 0; #heard = 0; #asked = false; #patience = PATIENCE.least; #wait = null; #socket; #timer; #retry; #token; #shown; #first; #begun;
  constructor(url = new URL("/ws", import.meta.url).href.replace(/^http/, "ws"), options) {
    super(); this.url = url; this.#token = options?.token;
    this.#first = new Promise(resolve => { const timer = setTimeout(resolve, 10_000); this.#begun = () => { clearTimeout(timer); resolve(); }; });
    this.#connect();
  }

  // Hears a channel or a pattern until `unsub`, over any number of connections. A second `sub` of one name takes the place of the
  // first, which hears until the second is answered. Resolves with the first answer, or with nothing where `unsub`, `close` or
  // another `sub` came before it. `onMessage` is given the message, and its text as it came, which has the digits that values of
  // JavaScript do not keep.
  sub(name, options, onMessage) {
    return new Promise((resolve, reject) => {
      if (this.state === "closed") return reject(lost("not connected"));
      const earlier = this.#subs.get(name), wish = earlier?.wish ?? { over: false };
      earlier?.resolve();
      const sub = { name, options, onMessage, wish, at: null, lived: false, resolve, reject };
      this.#subs.set(name, sub);
      if (this.state === "open") this.#subscribe(sub);
    });
  }
  async unsub(name) {
    const sub = this.#subs.get(name);
    if (!sub) return;
    this.#subs.delete(name); sub.wish.over = true; sub.resolve();
    if (this.state !== "open") return;
    // With the connection everything has ended that was heard over it.
    return this.#ask({ unsub: name }, "", () => this.#held.delete(name)).catch(error => { if (error.code !== "lost") throw error; });
  }
  // A string is text, an ArrayBuffer or a view of one is binary, anything else is JSON; `new Json(text)` is JSON as written. With
  // a `key`, sending again after a loss is harmless. The first connection is waited for, 10 s at most; where there is none later,
  // what is asked is rejected with the code "lost", and nothing is sent by itself.
  async pub(name, data, key) {
    if (globalThis.Blob && data instanceof Blob) throw new TypeError("a Blob has to be read first: await blob.arrayBuffer()");
    if (data instanceof Json) return this.#ask({ pub: name, key }, `,"data":${data.text}`);
    const isBytes = data instanceof ArrayBuffer || ArrayBuffer.isView(data);
    return this.#ask({ pub: name, ...(isBytes ? { b64: base64(data) } : { data }), key });
  }
  past(name, options) { return this.#ask({ past: name, ...options }); }
  // Ends it all; what is not answered yet is rejected as lost.
  close() {
    for (const sub of this.#subs.values()) sub.resolve();
    this.#subs.clear(); clearTimeout(this.#retry); this.#lost(this.#socket, "closed"); this.#begun();
  }

  #tell(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }
  #enter(state) { this.state = state; this.#tell("state", state); }
  // `more` is written already, as members.
  async #ask(request, more = "", onAnswer) {
    const members = JSON.stringify(request).slice(1, -1) + more;
    if (this.state !== "open") await this.#first;
    if (this.state !== "open") throw lost("not connected");
    return this.#send(members, onAnswer);
  }
  // Shows the token: before anything else is asked, and another one, if there is one, when it is about to end.
  async #show(socket) {
    try {
      const token = typeof this.#token === "function" ? await this.#token() : this.#token;
      if (token && token !== this.#shown && socket === this.#socket) await this.#send(`"auth":${JSON.stringify(this.#shown = token)}`);
    } catch (error) { if (error.code !== "lost") this.#tell("refused", error); }
  }
  // `onAnswer` is called before what follows the answer is looked at.
  #send(members, onAnswer) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(++this.#id, { resolve, reject, onAnswer });
      this.#socket.send(`{${members},"id":${this.#id}}`);
    });
  }
  // `anew`: not from the position where it was.
  async #subscribe(sub, anew) {
    const socket = this.#socket, since = anew ? undefined : sub.at ?? sub.options?.since;
    const { since: _, last, ...options } = sub.options ?? {};
    const begin = answer => {
      const missed = since && !answer.recovered && !sub.wish.over;
      if (missed && last && answer.why !== "ahead" && this.#subs.get(sub.name) === sub) {
        // What history holds now came after `since`: the last of it are asked for, and nothing is heard until they come.
        this.#held.set(sub.name, { ...sub, wish: { over: true } });
        this.#tell("gap", { ch: sub.name, gap: { since, why: answer.why } });
        return this.#subscribe(sub, true);
      }
      this.#held.set(sub.name, sub);
      // What is recovered follows as pushes, and only they move the position on: the connection may be lost between.
      if (answer.at && (since ? !answer.recovered : !last || answer.at.endsWith(":0"))) sub.at = answer.at;
      if (missed) this.#tell("gap", { ch: sub.name, gap: { since, to: answer.at, why: answer.why } });
      // Without a position nobody knows what came meanwhile.
      if (sub.lived && !anew && (isPattern(sub.name) || !since)) this.#tell("gap", { ch: sub.name, gap: { why: "reconnect" } });
      sub.lived = true; sub.resolve(answer);
    };
    try {
      await this.#ask({ sub: sub.name, ...options, ...(since ? { since } : { last }) }, "", begin);
    } catch (error) {
      if (error.code === "lost" || this.#subs.get(sub.name) !== sub) return;
      if (error.retry) return setTimeout(() => socket === this.#socket && this.#subs.get(sub.name) === sub && this.#subscribe(sub), random(1000, 5000));
      this.#subs.delete(sub.name); sub.reject(error);
      if (sub.lived) this.#tell("refused", error);
    }
  }
  #connect() {
    const socket = this.#socket = new WebSocket(this.url);
    this.#heard = Date.now(); this.#asked = false; this.#shown = null;
    socket.onopen = async () => {
      if (this.#token) await this.#show(socket);
      if (socket !== this.#socket) return;
      // What is wanted already comes first: who hears of the state may subscribe to more.
      this.state = "open";
      for (const sub of this.#subs.values()) this.#subscribe(sub);
      this.#begun(); this.#enter("open");
    };
    socket.onmessage = event => { if (socket === this.#socket) this.#receive(JSON.parse(event.data), event.data); };
    // The close tells it all; but npm's ws throws an error that nobody hears.
    socket.onerror = () => {};
    socket.onclose = () => this.#lost(socket, "waiting");
    // A script sees neither the server's pings nor the beginning of a message, so silence is asked about, and given up after
    // 45 seconds. It may have been a long message over a slow link, so the next connection has twice the time, up to three
    // minutes (1 MiB at 50 kbit/s), until a question is answered.
    this.#timer = setInterval(() => {
      const silent = Date.now() - this.#heard;
      if (silent < 25_000) return;
      if (this.state !== "open") return this.#lost(socket, "waiting");
      if (this.#asked && silent > this.#patience) {
        this.#patience = Math.min(2 * this.#patience, PATIENCE.most);
        return this.#lost(socket, "waiting");
      }
      this.#asked = true; socket.send('{"ping":0}');
    }, 10_000);
    this.#enter("connecting");
  }
  #receive(message, text) {
    this.#heard = Date.now(); this.#asked = false; this.#attempt = 0;
    const id = message.ok ?? message.error, waiting = this.#waiting.get(id);
    if (message.ch !== undefined) {
      // The exact subscription hears it, else the oldest pattern that matches: as on the server. After `unsub` nobody does.
      const sub = this.#held.get(message.ch) ?? [...this.#held.values()].find(({ name }) => isPattern(name) && matches(name, message.ch));
      if (!sub || sub.wish.over) return;
      if (sub.name === message.ch) sub.at = message.gap ? message.gap.to : message.at;
      if (message.gap) this.#tell("gap", message); else sub.onMessage?.(message, text);
    } else if (waiting) {
      this.#waiting.delete(id);
      if ("ok" in message) { waiting.onAnswer?.(message); waiting.resolve(message); } else waiting.reject(Object.assign(new Error(message.why), message));
    } else if ("pong" in message) { this.#patience = PATIENCE.least;
    } else if (message.bye) { this.#wait = message.reconnect; this.#tell("bye", message); } else if (message.expires_ms) this.#show(this.#socket);
    // A subscription may end by itself: the error names it.
    else if ("error" in message) { this.#subs.delete(message.sub); this.#held.delete(message.sub); this.#tell("refused", message); }
  }
  #lost(socket, state) {
    if (socket !== this.#socket) return;
    this.#socket = null; clearInterval(this.#timer); socket?.close();
    const waiting = [...this.#waiting.values()], delay = 500 * 2 ** Math.min(this.#attempt++, 6);
    this.#waiting.clear(); this.#held.clear(); this.#enter(state);
    for (const { reject } of waiting) reject(lost("the connection was lost"));
    clearTimeout(this.#retry);
    if (this.state === "waiting") this.#retry = setTimeout(() => this.state === "waiting" && this.#connect(), random(...(this.#wait ?? [delay / 2, delay])));
    this.#wait = null;
  }
}
