// Chromium over TLS, with a certificate that only this run trusts: the page, a plain WebSocket, and the client of the
// server's own page, which comes back by itself after the server was killed and started again.
//
// secure_browser.mjs check; the environment names the server's binary, the browser, a certificate and its key.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { createInterface } from "node:readline";

import { load, Queue, within } from "./support.mjs";

const { chromium } = load("playwright-core");
const { CLIENTS_CA: certificate, CLIENTS_KEY: key, CLIENTS_SERVER: binary } = process.env;

/** A server on this port (0: a free one), which keeps it for the next. */
async function start(port) {
  const flags = ["--listen", `tcp:127.0.0.1:${port}`, "--tls-certificate", certificate, "--tls-key", key];
  const child = spawn(binary, ["serve", "--json", ...flags], { stdio: ["ignore", "ignore", "pipe"] });
  const lines = createInterface({ input: child.stderr });
  const first = await within(new Promise((resolve) => lines.once("line", resolve)), "the server");
  const address = JSON.parse(first).fields.listen.find((listened) => listened.startsWith("tcp:"));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  return { port: Number(address.split(":").at(-1)), kill: () => (child.kill("SIGKILL"), ended) };
}

/** Publishes without the browser. */
function publish(channel, text) {
  const options = { method: "POST", ca: readFileSync(certificate) };
  const answered = new Promise((resolve, reject) => {
    request(`${origin}/ch/${channel}`, options, (answer) => resolve(answer.resume().statusCode)).on("error", reject).end(text);
  });
  return within(answered, "the answer").then((status) => assert.equal(status, 200));
}

let server = await start(0);
const origin = `https://localhost:${server.port}`;
const publicKey = new X509Certificate(readFileSync(certificate)).publicKey.export({ type: "spki", format: "der" });
const pin = createHash("sha256").update(publicKey).digest("base64");
const browser = await chromium.launch({
  executablePath: process.env.CLIENTS_CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", `--ignore-certificate-errors-spki-list=${pin}`],
});

let code = 0;
try {
  const page = await browser.newPage();
  const response = await page.goto(`${origin}/`);
  assert.match((await response.securityDetails()).protocol, /TLS 1\.3/);
  await page.getByRole("status").filter({ hasText: "connected" }).first().waitFor();
  console.log("passed: the page connects by wss");

  const [length, extensions] = await within(
    page.evaluate(
      () =>
        new Promise((resolve, reject) => {
          const socket = new WebSocket(`wss://${location.host}/echo`);
          socket.onerror = () => reject(new Error("the WebSocket failed"));
          socket.onopen = () => socket.send("x".repeat(200_000));
          socket.onmessage = (event) => resolve([event.data.length, socket.extensions]);
        }),
    ),
    "the echo",
  );
  assert.equal(length, 200_000);
  assert.match(extensions, /permessage-deflate/);
  console.log("passed: a plain WebSocket in a page speaks wss, and compresses");

  const heard = new Queue();
  await page.exposeFunction("report", (what) => heard.push(what));
  await page.evaluate(async () => {
    const { Sockeye } = await import("/client.js");
    const sockeye = (window.sockeye = new Sockeye());
    sockeye.addEventListener("gap", ({ detail }) => report(`gap ${detail.gap.why}`));
    await sockeye.sub("clients/secure", { last: 10 }, (message) => report(message.data));
    await sockeye.pub("clients/secure", "before");
  });
  assert.equal(await heard.next("its own message"), "before");
  await server.kill();
  server = await start(server.port);
  await publish("clients/secure", "meanwhile");
  // History went with the old server, and who resumes is told so, and hears what the new one has already.
  assert.equal(await heard.next("its return"), "gap epoch");
  assert.equal(await heard.next("what was published before its return"), "meanwhile");
  await page.evaluate(() => window.sockeye.pub("clients/secure", "after"));
  assert.equal(await heard.next("a message after its return"), "after");
  console.log("passed: client.js comes back by wss after the server was started again");
} catch (error) {
  console.error(error);
  code = 1;
}
await browser.close();
await server.kill();
process.exit(code);
