// What the node scripts share: their packages, a queue of what was heard, and the two ways to be called.
// Deliberately absent: a wait of a fixed length. Every wait is for a message, with a limit.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const PATIENCE_MS = 20_000;

/** Packages live in the output folder, which the caller names. */
export const load = createRequire(`${process.env.CLIENTS_PACKAGES ?? import.meta.dirname}/`);

/** Messages in the order in which they came, to be waited for one by one. */
export class Queue {
  #items = [];
  #waiting = [];

  push(item) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(item);
    else this.#items.push(item);
  }

  next(what) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return within(new Promise((resolve) => this.#waiting.push(resolve)), what);
  }
}

/** What went over all of the server's sockets until now, in both directions, by its own account. */
export async function bytesMoved(server) {
  const metrics = await (await fetch(`http://${server}/metrics`)).text();
  const total = (name) => Number(metrics.match(new RegExp(`^${name} (\\d+)`, "m"))?.[1] ?? NaN);
  return total("sockeye_received_bytes_total") + total("sockeye_sent_bytes_total");
}

/** Fails when `promise` takes too long. */
export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Ends the process whatever sockets are still open, after `clean` has closed what would outlive it. */
export async function run(checks, join, clean = async () => {}) {
  let code = 0;
  await main(checks, join).catch((error) => {
    console.error(error);
    code = 1;
  });
  await clean();
  process.exit(code);
}

/** Calls the checks in turn, or joins a channel: `SCRIPT HOST:PORT check` or `SCRIPT HOST:PORT join CHANNEL`. */
async function main(checks, join) {
  const [server, act, channel] = process.argv.slice(2);
  if (server && act === "check") {
    for (const [claim, check] of Object.entries(checks)) {
      await check(server);
      console.log(`passed: ${claim}`);
    }
  } else if (server && act === "join" && channel) {
    const publish = await join(server, channel, (text) => console.log(`heard ${text}`));
    console.log("ready");
    for await (const line of createInterface({ input: process.stdin })) await publish(line);
  } else {
    throw new Error("usage: SCRIPT HOST:PORT check | join CHANNEL");
  }
}
