// npm's `ws` as a client: /ws, the raw socket /ch/NAME, /echo, and compression.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { bytesMoved, load, Queue, run, within } from "./support.mjs";

const { WebSocket } = load("ws");

// Whoever names a certificate to trust wants TLS.
const ca = process.env.CLIENTS_CA && readFileSync(process.env.CLIENTS_CA);
const scheme = ca ? "wss" : "ws";

/** An open socket and the queue of its messages: text as a string, binary as a Buffer. */
async function open(url) {
  const socket = new WebSocket(url, { ca });
  const heard = new Queue();
  socket.on("message", (data, isBinary) => heard.push(isBinary ? data : data.toString()));
  await within(
    new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    }),
    `the handshake of ${url}`,
  );
  return { socket, next: (what) => heard.next(what) };
}

/** Closes from our side and returns the code the server closed with. */
function close(socket) {
  const closed = new Promise((resolve) => socket.once("close", (code) => resolve(code)));
  socket.close(1000, "done");
  return within(closed, "the close");
}

async function protocol(server) {
  const hearer = await open(`${scheme}://${server}/ws`);
  const publisher = await open(`${scheme}://${server}/ws`);
  hearer.socket.send('{"sub":"clients/ws","self":false,"id":1}');
  assert.equal(JSON.parse(await hearer.next("the answer to sub")).ok, 1);

  publisher.socket.send('{"pub":"clients/ws","data":{"text":"안녕"},"id":"a"}');
  const answer = JSON.parse(await publisher.next("the answer to pub"));
  const push = JSON.parse(await hearer.next("the push"));
  assert.equal(answer.ok, "a");
  assert.equal(push.at, answer.at);
  assert.deepEqual(push.data, { text: "안녕" });

  // One's own messages were not asked for, so the answer is all that comes.
  hearer.socket.send('{"pub":"clients/ws","data":"own","id":2}');
  assert.equal(JSON.parse(await hearer.next("the answer")).ok, 2);
  hearer.socket.send('{"ping":3}');
  assert.equal(JSON.parse(await hearer.next("the pong")).pong, 3);
  assert.equal(await close(hearer.socket), 1000);
  assert.equal(await close(publisher.socket), 1000);
}

async function compression(server) {
  const { socket, next } = await open(`${scheme}://${server}/echo`);
  assert.match(socket.extensions, /permessage-deflate/);
  const text = "the same again and ".repeat(1_000);
  const before = await bytesMoved(server);
  for (let n = 0; n < 3; n += 1) {
    socket.send(text);
    assert.equal(await next("the echo"), text);
  }
  const moved = (await bytesMoved(server)) - before;
  assert.ok(moved < text.length, `three echoes of ${text.length} bytes moved ${moved}`);
  assert.equal(await close(socket), 1000);
}

async function mistakes(server) {
  const { socket, next } = await open(`${scheme}://${server}/ws`);
  socket.send('{"dance":1,"id":7}');
  const unknown = JSON.parse(await next("the error"));
  assert.deepEqual([unknown.error, unknown.code, unknown.retry], [7, "unknown_verb", false]);
  socket.send("not JSON");
  const unreadable = JSON.parse(await next("the error"));
  assert.deepEqual([unreadable.error, unreadable.code], [null, "bad_request"]);
  assert.equal(await close(socket), 1000);
}

async function raw(server) {
  const url = `${scheme}://${server}/ch/clients/ws/raw`;
  const one = await open(url);
  const other = await open(`${url}?pub=0`);
  for (const payload of ["text", Buffer.from([0, 255, 10]), '{"a":1}', "x".repeat(100_000)]) {
    one.socket.send(payload);
    assert.deepEqual(await other.next("the message"), payload);
    assert.deepEqual(await one.next("its own message"), payload);
  }
  const late = await open(`${url}?last=2`);
  assert.equal(await late.next("history"), '{"a":1}');
  assert.equal(await late.next("history"), "x".repeat(100_000));
  assert.equal(await close(one.socket), 1000);
  assert.equal(await close(other.socket), 1000);
  assert.equal(await close(late.socket), 1000);
}

async function echo(server) {
  const { socket, next } = await open(`${scheme}://${server}/echo`);
  const payloads = ["", "반향", Buffer.from([1, 2, 3]), Buffer.alloc(70_000, 7)];
  for (const payload of payloads) socket.send(payload);
  for (const payload of payloads) assert.deepEqual(await next("the echo"), payload);
  // A message in three frames comes back as one message.
  socket.send("a", { fin: false });
  socket.send("b", { fin: false });
  socket.send("c", { fin: true });
  assert.equal(await next("the echo"), "abc");
  const pong = new Promise((resolve) => socket.once("pong", (data) => resolve(data.toString())));
  socket.ping("are you there");
  assert.equal(await within(pong, "the pong"), "are you there");
  assert.equal(await close(socket), 1000);
}

async function join(server, channel, heard) {
  const { socket } = await open(`${scheme}://${server}/ws`);
  const subscribed = new Promise((resolve) => {
    socket.on("message", (data) => {
      const message = JSON.parse(data.toString());
      if (message.ok === 0) resolve();
      if (message.ch === channel) heard(message.data);
    });
  });
  socket.send(JSON.stringify({ sub: channel, id: 0 }));
  await within(subscribed, "the answer to sub");
  return (text) => socket.send(JSON.stringify({ pub: channel, data: text }));
}

await run(
  {
    "/ws publishes, hears, answers and leaves out one's own": protocol,
    "messages are compressed both ways": compression,
    "mistakes are answered by words and keep the connection": mistakes,
    "/ch carries text and bytes without an envelope, and history": raw,
    "/echo gives every message back, fragments and pings too": echo,
  },
  join,
);
