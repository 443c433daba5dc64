// Chromium as a client: the page, a plain WebSocket, and an EventSource that resumes after its connection was cut.
// Deliberately absent: a browser that is downloaded. The system's Chromium is driven, by the name the caller gives.

import assert from "node:assert/strict";
import net from "node:net";

import { bytesMoved, load, Queue, run, within } from "./support.mjs";

const { chromium } = load("playwright-core");
const { WebSocket, WebSocketServer } = load("ws");

let browser;

/** A page whose errors fail the test: an exception, a refused request, a complaint of the content policy. */
async function open(url) {
  browser ??= await chromium.launch({
    executablePath: process.env.CLIENTS_CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  const page = await browser.newPage({ viewport: { width: 360, height: 740 } });
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(url);
  return { page, errors };
}

async function publish(server, channel, text, type = "text/plain") {
  const headers = { "Content-Type": type };
  const answer = await fetch(`http://${server}/ch/${channel}`, { method: "POST", body: text, headers });
  assert.equal(answer.status, 200);
  return (await answer.json()).at;
}

const log = (page) => page.getByRole("log");
const connected = (page) => page.getByRole("status").filter({ hasText: "connected" }).first().waitFor();

async function pageHears(server) {
  const channel = "clients/browser/page";
  await publish(server, channel, "before the page");
  const { page, errors } = await open(`http://${server}/`);
  await connected(page);
  assert.match(await page.title(), /Sockeye/);

  // By keyboard, as somebody without a mouse does it.
  const chooser = page.getByLabel("Channel", { exact: true });
  await chooser.fill(channel);
  await chooser.press("Enter");
  await log(page).getByText("before the page").waitFor();
  await publish(server, channel, '<b id="planted">live & 안녕</b>');
  await log(page).getByText('<b id="planted">live & 안녕</b>').waitFor();

  assert.equal(await page.locator("#planted").count(), 0, "a message became markup");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `at 360 pixels the page is ${overflow} pixels too wide`);
  assert.deepEqual(errors, []);
  await page.close();
}

async function pagePublishes(server) {
  const channel = "clients/browser/form";
  const heard = new Queue();
  const socket = new WebSocket(`ws://${server}/ch/${channel}?pub=0`);
  socket.on("message", (data) => heard.push(data.toString()));
  await within(new Promise((resolve) => socket.once("open", resolve)), "the handshake");
  // The address of a channel is its page, for a browser.
  const { page, errors } = await open(`http://${server}/ch/${channel}`);
  await connected(page);

  await write(page, "from the page");

  assert.equal(await heard.next("the message"), "from the page");
  await log(page).getByText("from the page").waitFor();
  assert.deepEqual(errors, []);
  socket.close();
  await page.close();
}

async function write(page, text) {
  const field = page.locator("form").getByRole("textbox", { name: "Message" });
  await field.fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

async function plainWebSocket(server) {
  // Any address of the server gives its origin; this one brings no script of its own.
  const { page } = await open(`http://${server}/healthz`);
  const heard = await within(
    page.evaluate(
      () =>
        new Promise((resolve, reject) => {
          const socket = new WebSocket(`ws://${location.host}/ws`);
          const messages = [];
          socket.onerror = () => reject(new Error("the WebSocket failed"));
          socket.onopen = () => socket.send('{"sub":"clients/browser/ws","id":1}');
          socket.onmessage = (event) => {
            const message = JSON.parse(event.data);
            messages.push(message);
            if (message.ok === 1) socket.send('{"pub":"clients/browser/ws","data":{"n":1},"id":2}');
            if (message.ch) resolve(messages);
          };
        }),
    ),
    "the browser's own message",
  );
  assert.deepEqual(heard.map((message) => message.ok ?? message.data), [1, 2, { n: 1 }]);
  assert.equal(heard[1].at, heard[2].at);
  await page.close();
}

async function pageKeepsJson(server) {
  const channel = "clients/browser/json", written = '{"z":9007199254740993, "a":1.0}';
  const { page, errors } = await open(`http://${server}/ch/${channel}`);
  await connected(page);

  await page.getByLabel("JSON", { exact: true }).check();
  await write(page, written);

  await log(page).getByText("JSON").first().waitFor();
  const past = await (await fetch(`http://${server}/ch/${channel}?last=1`)).text();
  assert.ok(past.includes(written), past);
  // A string would become text on its way, which is said before it is sent.
  await write(page, ' "quoted"');
  await page.getByRole("alert").filter({ hasText: "choose Text" }).waitFor();
  await page.getByLabel("Text", { exact: true }).check();
  await write(page, '"quoted"');
  await log(page).getByText('"quoted"').waitFor();
  assert.equal(await log(page).getByRole("listitem").count(), 2);
  assert.deepEqual(errors, []);
  await page.close();
}

async function pageShowsJsonAsItIs(server) {
  const channel = "clients/browser/shown";
  const written = [
    '{"z":12345678901234567890, "a":1e400,"b":1.0,"c":-0,"a":[ {"data":"}\\"]"} ]}',
    "12345678901234567890",
    "1.00",
    ' [1 , {"data": 0.1000000000000000055}] ',
    `{"long":[${"1.0, ".repeat(40)}-0]}`,
    "null",
  ];
  await publish(server, channel, "text before");
  for (const json of written) await publish(server, channel, json, "application/json");
  // An object that came as text is shown as JSON, and is as long as it was.
  written.push('{ "data" : "\\u00e9" }');
  await publish(server, channel, written.at(-1));
  const { page, errors } = await open(`http://${server}/ch/${channel}`);
  const rows = log(page).getByRole("listitem");
  await rows.nth(written.length).waitFor();

  for (const [row, json] of written.entries()) {
    assert.equal(await rows.nth(row + 1).locator("pre").textContent(), json);
    const about = await rows.nth(row + 1).locator(".about").textContent();
    assert.ok(about.includes(`JSON${json.length} B`), `${json} is said to be ${about}`);
  }
  assert.deepEqual(errors, []);
  await page.close();
}

async function textHasItsOwnDirection(server) {
  const channel = "שלום/עולם", path = encodeURI(channel);
  const { page, errors } = await open(`http://${server}/ch/${path}`);
  await connected(page);
  const rows = log(page).getByRole("listitem");
  await write(page, "مرحبا (hello) 123!");
  await rows.nth(0).waitFor();
  await publish(server, path, "first line\nשורה שנייה.");
  await publish(server, path, '["שלום"]', "application/json");
  await rows.nth(2).waitFor();
  const look = (locator) => locator.evaluate((element) => [getComputedStyle(element).direction, getComputedStyle(element).unicodeBidi]);

  assert.deepEqual(await look(rows.nth(0).locator("pre")), ["rtl", "plaintext"]);
  // Each line of a text has its own.
  assert.deepEqual(await look(rows.nth(1).locator("pre")), ["ltr", "plaintext"]);
  assert.equal((await look(rows.nth(2).locator("pre")))[0], "ltr");
  assert.equal((await look(page.getByRole("heading", { level: 1 })))[0], "rtl");
  assert.equal((await look(page.getByLabel("Channel", { exact: true })))[0], "rtl");
  const field = page.locator("form").getByRole("textbox", { name: "Message" });
  await field.fill("שלום");
  assert.deepEqual(await look(field), ["rtl", "plaintext"]);
  // A name does not turn round what stands beside it.
  await page.goto(`http://${server}/#%2B/%2B`);
  await connected(page);
  await publish(server, path, "to the pattern");
  assert.deepEqual(await look(log(page).locator(".ch").first()), ["rtl", "isolate"]);
  assert.deepEqual(errors, []);
  await page.close();
}

async function badEscapeIsTold(server) {
  const { page, errors } = await open(`http://${server}/#100%`);
  await connected(page);
  const notice = page.getByRole("alert").filter({ hasText: "100%" });
  const heading = page.getByRole("heading", { level: 1 }), field = page.getByLabel("Channel", { exact: true });
  const message = page.locator("form").getByRole("textbox", { name: "Message" });

  await notice.waitFor();
  assert.equal(await heading.textContent(), "No channel");
  assert.ok(await message.isDisabled());
  assert.ok(await page.getByText("Reach this channel").isHidden());
  // What was meant is in the field, and opened as it stands.
  assert.equal(await field.inputValue(), "100%");
  await field.press("Enter");
  assert.equal(await heading.textContent(), "100%");
  assert.ok(page.url().endsWith("/#100%25"), page.url());
  await notice.waitFor({ state: "hidden" });
  await write(page, "heard");
  await log(page).getByText("heard").waitFor();

  // From a channel that was open it is the same, and that one is left.
  await page.evaluate(() => (location.hash = "#%zz"));
  await page.getByRole("alert").filter({ hasText: "%zz" }).waitFor();
  await publish(server, "100%25", "unheard");
  assert.equal(await heading.textContent(), "No channel");
  assert.equal(await log(page).getByRole("listitem").count(), 0);
  await page.goBack();
  await log(page).getByText("unheard").waitFor();
  assert.deepEqual(errors, []);
  await page.close();
}

async function figuresStayWhereTheyBelong(server) {
  const { page } = await open(`http://${server}/#$sys/none`);
  await connected(page);
  // Rates are there with the second of the figures.
  await page.getByText("/s", { exact: false }).first().waitFor();
  assert.equal(await log(page).getByRole("listitem").count(), 0, "figures among the messages of another channel");
  await page.evaluate(() => (location.hash = "#$sys/stats"));
  await log(page).getByRole("listitem").first().waitFor();
  await page.close();
}

/** client.js before a server that says what is seldom said: that a token ends, again and again; nothing of a lost connection. */
async function clientInTrouble(server) {
  const { page } = await open(`http://${server}/healthz`);
  const listener = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await new Promise((resolve) => listener.once("listening", resolve));
  const asked = new Queue(), auths = [];
  listener.on("connection", (socket) => {
    const say = (object) => socket.send(JSON.stringify(object));
    socket.on("message", (data) => {
      const request = JSON.parse(data.toString());
      if (request.auth) {
        auths.push(request.auth);
        say({ ok: request.id, expires_ms: 900 });
        for (const expires_ms of [900, 899, 898]) say({ expires_ms });
        return;
      }
      say({ ok: request.id, at: "live:5" });
      asked.push({ ...request, end: () => socket.terminate() });
    });
  });
  const gaps = new Queue();
  await page.exposeFunction("tellGap", (gap) => gaps.push(gap));
  await page.evaluate(async (url) => {
    const { Sockeye } = await import("/client.js");
    const sockeye = new Sockeye(url, { token: "the same" });
    sockeye.addEventListener("gap", (event) => globalThis.tellGap(event.detail));
    await sockeye.sub("live/x", { last: 10 }, () => {});
    // What was shown for the notices was sent before this.
    await sockeye.past("live/x", { last: 1 });
  }, `ws://127.0.0.1:${listener.address().port}/`);

  assert.equal((await asked.next("the subscription")).sub, "live/x");
  const past = await asked.next("a look into the past");
  assert.deepEqual(auths, ["the same"], "a token that was shown already was shown again");
  // Nothing was heard before the loss, so what came meanwhile is not known: that is told.
  past.end();
  assert.equal((await asked.next("the subscription again")).last, 10);
  assert.deepEqual(await gaps.next("the gap"), { ch: "live/x", gap: { why: "reconnect" } });
  assert.equal(auths.length, 2, "a new connection is shown the token once");
  await page.close();
  listener.close();
}

async function compression(server) {
  const { page } = await open(`http://${server}/healthz`);
  const text = "the same again and ".repeat(1_000);
  const before = await bytesMoved(server);
  const extensions = await within(
    page.evaluate(
      (text) =>
        new Promise((resolve, reject) => {
          const socket = new WebSocket(`ws://${location.host}/echo`);
          let echoes = 0;
          socket.onerror = () => reject(new Error("the WebSocket failed"));
          socket.onopen = () => socket.send(text);
          socket.onmessage = (event) => {
            if (event.data !== text) reject(new Error("another text came back"));
            echoes += 1;
            if (echoes === 3) resolve(socket.extensions);
            else socket.send(text);
          };
        }),
      text,
    ),
    "the echoes",
  );
  assert.match(extensions, /permessage-deflate/);
  const moved = (await bytesMoved(server)) - before;
  assert.ok(moved < text.length, `three echoes of ${text.length} bytes moved ${moved}`);
  await page.close();
}

async function eventSource(server) {
  const channel = "clients/browser/events";
  const proxy = await Proxy.start(server);
  const { page } = await open(`http://${proxy.address}/healthz`);
  const heard = new Queue();
  await page.exposeFunction("report", (what) => heard.push(what));
  await page.evaluate((path) => {
    const source = new EventSource(path);
    source.onmessage = (event) => {
      // The first event of each connection is the answer: whether everything since then is there.
      const message = JSON.parse(event.data);
      report(message.ch ? message.data : `recovered: ${message.recovered}`);
    };
  }, `/ch/${channel}`);
  assert.equal(await heard.next("the event stream"), "recovered: undefined");
  for (const text of ["1", "2", "3"]) {
    await publish(server, channel, text);
    assert.equal(await heard.next(`message ${text}`), text);
  }

  // While the browser is cut off, messages go by; what it hears after its return is all of them, once, in order.
  proxy.cut();
  for (const text of ["4", "5", "6"]) await publish(server, channel, text);
  proxy.mend();

  assert.equal(await heard.next("the browser's return"), "recovered: true");
  await publish(server, channel, "7");
  for (const text of ["4", "5", "6", "7"]) assert.equal(await heard.next(`message ${text}`), text);
  assert.ok(proxy.lastEventId, "the browser did not say where it was");
  proxy.stop();
  await page.close();
}

/** Passes connections on to the server; those of event streams can be cut, and are then held until it is mended. */
class Proxy {
  #streams = new Set();
  #held = [];
  #isCut = false;

  static async start(server) {
    const proxy = new Proxy();
    proxy.listener = net.createServer((browserSide) => proxy.#accept(browserSide, server));
    await new Promise((resolve) => proxy.listener.listen(0, "127.0.0.1", resolve));
    proxy.address = `127.0.0.1:${proxy.listener.address().port}`;
    return proxy;
  }

  #accept(browserSide, server) {
    const [host, port] = server.split(":");
    const serverSide = net.connect(Number(port), host);
    const end = () => [browserSide, serverSide].forEach((side) => side.destroy());
    for (const side of [browserSide, serverSide]) side.on("error", end).on("close", end);
    serverSide.pipe(browserSide);
    // A connection may carry other requests before the one for the events, so each head is looked at.
    browserSide.on("data", (bytes) => {
      const head = bytes.toString("latin1");
      if (!/^accept: text\/event-stream/im.test(head)) return void serverSide.write(bytes);
      this.lastEventId = head.match(/^last-event-id: (.+)$/im)?.[1] ?? this.lastEventId;
      this.#streams.add(end);
      if (this.#isCut) this.#held.push(() => serverSide.write(bytes));
      else serverSide.write(bytes);
    });
  }

  cut() {
    this.#isCut = true;
    for (const end of this.#streams) end();
    this.#streams.clear();
  }

  mend() {
    this.#isCut = false;
    for (const release of this.#held.splice(0)) release();
  }

  stop() {
    this.cut();
    this.listener.close();
  }
}

async function join(server, channel, heard) {
  const { page } = await open(`http://${server}/ch/${channel}`);
  await page.exposeFunction("report", (text) => heard(text.replaceAll("\n", " ")));
  await log(page).waitFor({ state: "attached" });
  await page.evaluate(() => {
    const list = document.querySelector("[role=log]");
    for (const row of list.children) report(row.textContent);
    new MutationObserver((changes) => {
      for (const row of changes.flatMap((change) => [...change.addedNodes])) report(row.textContent);
    }).observe(list, { childList: true });
  });
  await connected(page);
  return (text) => write(page, text);
}

await run(
  {
    "the page shows history and live messages, as text": pageHears,
    "what the page sends is heard elsewhere": pagePublishes,
    "the page publishes JSON as it is written": pageKeepsJson,
    "the page shows JSON as it was published, and its size": pageShowsJsonAsItIs,
    "text is laid out in its own direction": textHasItsOwnDirection,
    "an address that is no channel's name is told": badEscapeIsTold,
    "figures are shown in their own channel only": figuresStayWhereTheyBelong,
    "client.js shows a token once, and tells what it cannot know": clientInTrouble,
    "a plain WebSocket in a page publishes and hears": plainWebSocket,
    "a browser's messages are compressed both ways": compression,
    "an EventSource resumes after its connection was cut": eventSource,
  },
  join,
  () => browser?.close(),
);
