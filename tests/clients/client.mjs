// client.js in Node, with npm's `ws` as its WebSocket: before the real server, and before one that plays what is seldom said.
// Deliberately absent: what needs a page; browser.mjs has it.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { load, Queue, run, within } from "./support.mjs";

const { WebSocket, WebSocketServer } = load("ws");

globalThis.WebSocket = WebSocket;

const folder = mkdtempSync(join(tmpdir(), "sockeye-clients-"));

/** The client as the server gives it. */
async function client(server) {
  const file = join(folder, "client.mjs");
  writeFileSync(file, await (await fetch(`http://${server}/client.js`)).text());
  return import(pathToFileURL(file));
}

async function connect(server, url = `ws://${server}/ws`) {
  const { Sockeye } = await client(server);
  const sockeye = new Sockeye(url);
  await within(state(sockeye, "open"), "the connection");
  return sockeye;
}

function state(sockeye, wanted) {
  if (sockeye.state === wanted) return Promise.resolve();
  return new Promise((resolve) => {
    sockeye.addEventListener("state", (event) => event.detail === wanted && resolve());
  });
}

/** A server that answers nothing by itself: each request is waited for, with its socket to answer on. */
async function scripted() {
  const listener = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await new Promise((resolve) => listener.once("listening", resolve));
  const asked = new Queue();
  listener.on("connection", (socket) => {
    const say = (...objects) => objects.forEach((object) => socket.send(JSON.stringify(object)));
    socket.on("message", (data) => asked.push({ ...JSON.parse(data.toString()), say, end: () => socket.terminate() }));
  });
  return { url: `ws://127.0.0.1:${listener.address().port}/`, asked, stop: () => listener.close() };
}

async function publish(server, channel, ...texts) {
  for (const body of texts) {
    const answer = await fetch(`http://${server}/ch/${channel}`, { method: "POST", body });
    assert.equal(answer.status, 200);
  }
}

async function remounts(server) {
  const channel = "clients/client/remount", sent = ["1", "2", "3"];
  await publish(server, channel, ...sent);
  const sockeye = await connect(server);
  for (let round = 4; round < 24; round += 1) {
    const heard = [], wanted = sent.slice(-3);
    const all = new Promise((resolve) => {
      // As a component does that is mounted, let go and mounted again at once.
      const hear = (message) => heard.push(message.data) && message.data === String(round) && resolve();
      sockeye.sub(channel, { last: 3 }, hear);
      sockeye.unsub(channel);
      sockeye.sub(channel, { last: 3 }, hear).then(() => publish(server, channel, String(round)));
    });
    await within(all, `message ${round}`);
    sent.push(String(round));
    assert.deepEqual(heard, [...wanted, String(round)]);
    await sockeye.unsub(channel);
  }
  sockeye.close();
}

async function pushesHaveOneHearer(server) {
  const { url, asked, stop } = await scripted();
  const sockeye = await connect(server, url);
  const heard = [], gaps = [];
  const hear = (who) => (message) => heard.push(`${who} ${message.data}`);
  sockeye.addEventListener("gap", ({ detail }) => gaps.push(detail.gap));
  const push = (n) => ({ ch: "a/b", at: `live:${n}`, t: 1, data: String(n) });

  sockeye.sub("a/+", {}, hear("pattern"));
  const pattern = await asked.next("the pattern");
  pattern.say({ ok: pattern.id }, push(1));
  sockeye.sub("a/b", { last: 2 }, hear("first"));
  const first = await asked.next("the first subscription");
  first.say(push(2), { ok: first.id, at: "live:2" }, push(1), push(2));
  // The replaced one hears until the other is answered.
  sockeye.sub("a/b", { last: 1 }, hear("second"));
  const second = await asked.next("the second subscription");
  second.say(push(3), { ok: second.id, at: "live:3" }, push(3), push(4));
  await allHeard(sockeye, asked);
  // After letting go nobody hears what is still under way; the third hears nothing before its own answer.
  sockeye.unsub("a/b");
  sockeye.sub("a/b", { last: 1 }, hear("third"));
  const left = await asked.next("the end of the second"), third = await asked.next("the third subscription");
  third.say(push(5), { ch: "a/b", gap: { from: "live:6", to: "live:7", why: "slow" } }, { ok: left.id }, push(8));
  third.say({ ok: third.id, at: "live:8" }, push(8), push(9));
  await allHeard(sockeye, asked);

  assert.deepEqual(heard, [
    ...["pattern 1", "pattern 2", "first 1", "first 2", "first 3", "second 3", "second 4"],
    ...["pattern 8", "third 8", "third 9"],
  ]);
  assert.deepEqual(gaps, []);
  third.end();
  const back = [await asked.next("the pattern again"), await asked.next("the channel again")];
  assert.deepEqual(back.map(({ sub, since }) => [sub, since]), [["a/+", undefined], ["a/b", "live:9"]]);
  sockeye.close();
  stop();
}

async function anotherEpoch(server) {
  const { url, asked, stop } = await scripted();
  const sockeye = await connect(server, url);
  const heard = [];
  sockeye.addEventListener("gap", ({ detail }) => heard.push(detail.gap));
  const push = (at) => ({ ch: "a", at, t: 1, data: at });
  const first = sockeye.sub("a", { last: 2, slow: "latest" }, (message) => heard.push(message.data));
  const begin = await asked.next("the subscription");
  begin.say({ ok: begin.id, at: "old:8" }, push("old:8"));
  assert.equal((await first).at, "old:8");
  begin.end();

  // The server began anew, and holds messages already. What comes before they are asked for comes with them.
  const back = await asked.next("the subscription again");
  back.say({ ok: back.id, at: "new:1", recovered: false, why: "epoch" }, push("new:2"));
  const last = await asked.next("the last ones");
  last.say({ ok: last.id, at: "new:2" }, push("new:1"), push("new:2"), push("new:3"));
  await allHeard(sockeye, asked);

  assert.deepEqual([back.since, back.last], ["old:8", undefined]);
  assert.deepEqual([last.since, last.last, last.slow], [undefined, 2, "latest"]);
  assert.deepEqual(heard, ["old:8", { since: "old:8", why: "epoch" }, "new:1", "new:2", "new:3"]);
  last.end();
  assert.equal((await asked.next("the subscription once more")).since, "new:3");

  // Who did not want the last ones goes on live, and whoever let go meanwhile is not subscribed again.
  sockeye.unsub("a");
  sockeye.sub("b", { since: "old:1" }, () => {});
  const live = [await asked.next("an end"), await asked.next("a subscription by position")][1];
  live.say({ ok: live.id, at: "new:9", recovered: false, why: "epoch" });
  sockeye.sub("c", { since: "old:1", last: 1 }, () => {});
  const short = await asked.next("a subscription by position");
  sockeye.unsub("c");
  assert.equal((await asked.next("its end")).unsub, "c");
  short.say({ ok: short.id, at: "new:9", recovered: false, why: "epoch" });
  await allHeard(sockeye, asked);
  assert.deepEqual(heard.slice(5), [{ since: "old:1", to: "new:9", why: "epoch" }]);
  sockeye.close();
  stop();
}

async function everythingSettles(server) {
  const { Sockeye } = await client(server);
  const sockeye = new Sockeye(`ws://${server}/ws`);
  const hear = () => {};
  const before = [sockeye.sub("clients/client/a", {}, hear), sockeye.sub("clients/client/a", {}, hear)];
  sockeye.unsub("clients/client/a");
  // Both came to nothing by one's own wish, which is no error.
  assert.deepEqual(await within(Promise.all(before), "what was let go"), [undefined, undefined]);
  await state(sockeye, "open");
  const under = sockeye.sub("clients/client/a", {}, hear), other = sockeye.sub("clients/client/b", {}, hear);
  const end = sockeye.unsub("clients/client/b");
  sockeye.close();
  assert.deepEqual(await within(Promise.all([under, other, end]), "what was closed"), [undefined, undefined, undefined]);
  for (const late of [sockeye.sub("a", {}, hear), sockeye.pub("a", "b"), sockeye.past("a")]) {
    await assert.rejects(within(late, "an act after the end"), { code: "lost" });
  }

  const early = new Sockeye(`ws://${server}/ws`);
  const asked = [early.sub("clients/client/b", {}, hear), early.past("clients/client/b", { last: 1 })];
  early.close();
  assert.equal(await within(asked[0], "what was closed"), undefined);
  await assert.rejects(within(asked[1], "what was closed"), { code: "lost" });
}

async function refusedConnection(server) {
  const { Sockeye } = await client(server);
  // A port that was free a moment ago.
  const { url, stop } = await scripted();
  stop();
  const sockeye = new Sockeye(url);
  await within(state(sockeye, "waiting"), "the refusal");
  await within(state(sockeye, "connecting"), "another attempt");
  await within(state(sockeye, "waiting"), "the refusal");
  sockeye.close();
}

async function publishesAtOnce(server) {
  const channel = "clients/client/early";
  const { Sockeye } = await client(server);
  const sockeye = new Sockeye(`ws://${server}/ws`);
  const data = { n: 1 }, answers = [sockeye.pub(channel, data), sockeye.pub(channel, "2"), sockeye.past(channel)];
  // What is sent is what it was when it was published.
  data.n = 3;
  const [one, two, past] = await within(Promise.all(answers), "the answers");
  assert.deepEqual([one.at, two.at].map((at) => at.split(":")[1]), ["1", "2"]);
  assert.deepEqual(past.messages.map((message) => message.data), [{ n: 1 }, "2"]);
  sockeye.close();

  // Once there was a connection, its loss is told at once.
  const { url, asked, stop } = await scripted();
  const other = await connect(server, url);
  const lost = other.past("a");
  const past2 = await asked.next("a look into the past");
  past2.end();
  await assert.rejects(lost, { code: "lost" });
  await assert.rejects(other.pub("a", "b"), { code: "lost" });
  other.close();
  stop();
}

async function bytesAreBytes(server) {
  const sockeye = await connect(server);
  const heard = new Queue();
  await sockeye.sub("clients/client/bytes", {}, (message) => heard.push(message.b64 ?? message));
  const bytes = Uint8Array.of(9, 1, 2, 3, 4, 9);
  const inner = [bytes.buffer, 1, 4];
  const views = [bytes, bytes.buffer, bytes.subarray(1, 5), Buffer.from(...inner), new DataView(...inner)];
  for (const data of [...views, Uint16Array.of(258), new Float64Array(1)]) {
    await sockeye.pub("clients/client/bytes", data);
    const given = ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength) : Buffer.from(data);
    assert.equal(await heard.next(data.constructor.name), given.toString("base64"), data.constructor.name);
  }
  await assert.rejects(sockeye.pub("clients/client/bytes", new Blob(["x"])), /arrayBuffer/);
  await assert.rejects(sockeye.pub("clients/client/bytes", 1n), TypeError);
  sockeye.close();
}

async function listenersMayAct(server) {
  const channel = "clients/client/listener";
  await publish(server, channel, "1", "2");
  const { Sockeye } = await client(server);
  const sockeye = new Sockeye(`ws://${server}/ws`), heard = new Queue();
  sockeye.addEventListener("state", ({ detail }) => {
    if (detail === "open") sockeye.sub(channel, { last: 2 }, (message) => heard.push(message.data));
  });
  await within(state(sockeye, "open"), "the connection");
  await sockeye.pub(channel, "3");
  for (const text of ["1", "2", "3"]) assert.equal(await heard.next(`message ${text}`), text);
  sockeye.close();

  // Closed when it has hardly begun to come back, it stays closed, with no timer left.
  const { url, asked, stop } = await scripted();
  const other = await connect(server, url), lost = other.past("a").catch(() => {});
  const { setInterval } = globalThis, running = [];
  globalThis.setInterval = (...all) => (running.push(setInterval(...all)), running.at(-1));
  other.addEventListener("state", ({ detail }) => detail === "connecting" && other.close());
  (await asked.next("a look into the past")).end();
  await lost;
  await within(state(other, "closed"), "the end");
  Object.assign(globalThis, { setInterval });
  assert.deepEqual(running.map((timer) => timer._destroyed), [true]);
  stop();
}

async function silence(server) {
  const { url, asked, stop } = await scripted();
  // The clock and the timer are the test's.
  const { now } = Date, { setInterval } = globalThis;
  let ahead = 0, tick;
  Date.now = () => now() + ahead;
  globalThis.setInterval = (act) => void (tick = act);
  const sockeye = await connect(server, url);
  const pass = (seconds) => ((ahead += 1_000 * seconds), tick());
  const states = [];
  sockeye.addEventListener("state", ({ detail }) => states.push(detail));

  const question = async () => {
    const asks = await asked.next("a question");
    assert.deepEqual(asks.ping, 0);
    return asks;
  };
  const givesUpAfter = async (seconds) => {
    pass(30);
    for (let silent = 40; silent < seconds; silent += 10) {
      await question();
      pass(10);
    }
    await question();
    assert.deepEqual(states.splice(0), [], `before ${seconds} s`);
    pass(10);
    assert.deepEqual(states.splice(0), ["waiting"], `after ${seconds} s`);
    await state(sockeye, "open");
    states.length = 0;
  };

  // A large message may come slowly: all the while there is nothing that a script can see. So the next time is longer.
  await givesUpAfter(45);
  await givesUpAfter(90);
  await givesUpAfter(180);
  await givesUpAfter(180);
  pass(30);
  (await question()).say({ pong: 0 });
  await allHeard(sockeye, asked);
  await givesUpAfter(45);

  // Who slept asks first.
  pass(10_000);
  await question();
  assert.equal(sockeye.state, "open");
  Object.assign(Date, { now });
  Object.assign(globalThis, { setInterval });
  sockeye.close();
  stop();
}

/** Waits until the client has heard everything that was said to it so far. */
async function allHeard(sockeye, asked) {
  const answer = sockeye.past("any");
  const past = await asked.next("a look into the past");
  past.say({ ok: past.id });
  await within(answer, "its answer");
}

async function talk(server, channel, heard) {
  const sockeye = await connect(server);
  await sockeye.sub(channel, {}, (message) => heard(message.data));
  return (text) => sockeye.pub(channel, text);
}

await run(
  {
    "client.js: a subscription that is let go and made again hears everything once": remounts,
    "client.js: pushes go to whom the server has answered": pushesHaveOneHearer,
    "client.js: the last messages of another epoch are asked for": anotherEpoch,
    "client.js: what is asked for settles, by the server's answer or one's own wish": everythingSettles,
    "client.js: a refused connection is tried again": refusedConnection,
    "client.js: what is asked for before the first connection waits for it": publishesAtOnce,
    "client.js: who listens to its state may subscribe and close at once": listenersMayAct,
    "client.js: a silent connection is asked, and given up, each time later": silence,
    "client.js: every view of bytes is binary, and a blob is refused": bytesAreBytes,
  },
  talk,
  () => rmSync(folder, { recursive: true }),
);
