// The page: one channel heard through client.js, written to, and explained for other tools. Data from the network only
// ever becomes text nodes. Deliberately absent: a framework, a build step, several channels at once (the console's part).
import { Json, Sockeye, matches } from "/client.js";

const ROWS_MAX = 500, SHOWN_CHARACTERS_MAX = 4_096, SHOWN_BYTES_MAX = 96, HISTORY = 200;
const byId = id => document.getElementById(id);
// A token comes in the address (?token=...), and is taken out of it at once: it lives as long as this tab.
const given = new URLSearchParams(location.search).get("token");
if (given) history.replaceState(null, "", location.pathname + location.hash);
let token = given;
try { if (given) sessionStorage.setItem("sockeye-token", given); else token = sessionStorage.getItem("sockeye-token"); } catch { /* storage is refused */ }
const sockeye = new Sockeye(undefined, { token });
let channel = null, refused = false, pending = [], scheduled = false, unseen = 0;

// Makes an element; children are elements or text, never markup.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// ---------------------------------------------------------------------------------------------- theme and state
// The choice is kept for the next visit where the browser lets us; without one the system's setting holds.
const themes = ["system", "light", "dark"];
let theme = "system";
function showTheme() {
  if (theme === "system") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme;
}
try { theme = themes.find(name => name === localStorage.getItem("sockeye-theme")) ?? theme; } catch { /* storage is refused */ }
byId("change-theme").addEventListener("click", () => {
  theme = themes[(themes.indexOf(theme) + 1) % themes.length];
  try { localStorage.setItem("sockeye-theme", theme); } catch { /* storage is refused */ }
  showTheme();
});
showTheme();

function showState(state) {
  byId("state").textContent = { connecting: "connecting", open: "connected", waiting: "reconnecting", closed: "closed" }[state];
  byId("dot").className = `dot ${state}`;
}
sockeye.addEventListener("state", event => showState(event.detail));
showState(sockeye.state);

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}
sockeye.addEventListener("refused", event => notice(`The server refused: ${event.detail.why ?? event.detail.code}`));

// ---------------------------------------------------------------------------------------------- the channel's address
const isPattern = name => /[+#]/.test(name);
// What encodeURIComponent leaves alone and a shell does not is escaped too.
const escaped = character => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
const inPath = name => name.split("/").map(level => encodeURIComponent(level).replace(/[!'()*]/g, escaped)).join("/");
const inFragment = name => inPath(name).replaceAll("%24", "$");

// Opens the channel of the address. One that is not well-formed is told, and put where it can be mended.
function visit() {
  const written = location.hash.slice(1) || (location.pathname.startsWith("/ch/") ? location.pathname.slice(4) : "lobby");
  let name = "";
  try { name = decodeURIComponent(written); } catch { /* none */ }
  open(name);
  if (name) return;
  byId("channel").value = written;
  notice(`No channel has the address ${written}: a percent sign is written %25 there.`);
}

function choose(name) {
  let address;
  try { address = location.pathname.startsWith("/ch/") ? `/ch/${inPath(name)}` : `/#${inFragment(name)}`; } catch { return notice("A channel name is well-formed Unicode text."); }
  if (name !== channel) history.pushState(null, "", address);
  open(name);
}

function open(name) {
  if (name === channel && !refused) return;
  // The figures' own subscription stays when its channel was the one looked at.
  if (channel && !refused && channel !== "$sys/stats") sockeye.unsub(channel).catch(() => {});
  channel = name; refused = false; pending = []; unseen = 0;
  byId("log").replaceChildren();
  byId("empty").hidden = false; byId("newest").hidden = true;
  byId("channel").value = name; byId("title").textContent = name || "No channel"; byId("count").textContent = "";
  document.title = name ? `${name} · Sockeye` : "Sockeye";
  for (const id of ["text", "send"]) byId(id).disabled = !name || isPattern(name);
  byId("empty").textContent = name ? "Nothing yet. What is published from anywhere appears here." : "Choose a channel.";
  byId("problem").textContent = isPattern(name) ? "A pattern is heard, not written to: choose one channel to publish." : "";
  notice(""); byId("reach").hidden = !name;
  if (name) showRecipes();
  if (!name || name === "$sys/stats") return;
  sockeye.sub(name, isPattern(name) ? {} : { last: HISTORY }, (message, envelope) => { if (channel === name) add({ ...message, envelope }); })
    .catch(error => { if (channel === name) refused = true, notice(`${name}: ${error.why ?? error.message}`); });
}

byId("choose").addEventListener("submit", event => { event.preventDefault(); choose(byId("channel").value); });
// The fragment is the channel's name here, so this link moves the focus itself.
byId("skip").addEventListener("click", event => { event.preventDefault(); byId("text").focus(); });
for (const type of ["popstate", "hashchange"]) addEventListener(type, visit);

// ---------------------------------------------------------------------------------------------- messages
const bytesOf = text => new TextEncoder().encode(text).length;
const size = bytes => bytes < 1_024 ? `${bytes} B` : bytes < 1_048_576 ? `${(bytes / 1_024).toFixed(1)} KiB` : `${(bytes / 1_048_576).toFixed(1)} MiB`;

function cut(text) {
  return text.length <= SHOWN_CHARACTERS_MAX ? text : `${text.slice(0, SHOWN_CHARACTERS_MAX)}\n… and ${text.length - SHOWN_CHARACTERS_MAX} more characters`;
}

// What is shown of a payload: its kind, its size, its text.
function shown(message) {
  if (message.b64 !== undefined) {
    const bytes = atob(message.b64);
    const hex = Array.from(bytes.slice(0, SHOWN_BYTES_MAX), byte => byte.charCodeAt(0).toString(16).padStart(2, "0")).join(" ");
    return { kind: "binary", bytes: bytes.length, text: bytes.length > SHOWN_BYTES_MAX ? `${hex} …` : hex };
  }
  if (typeof message.data === "string") return { kind: "text", bytes: bytesOf(message.data), text: cut(message.data) };
  const json = asPublished(message.envelope);
  return { kind: "JSON", bytes: bytesOf(json), text: cut(json) };
}

// The payload as it stands in the envelope, which is one well-formed object: values of JavaScript keep neither digits, nor
// order, nor members that are repeated.
function asPublished(envelope) {
  let depth = 0, name = "", value = 0;
  for (let i = 0; i < envelope.length; i++) {
    const character = envelope[i], begin = i;
    if (character === '"') {
      while (envelope[++i] !== '"') if (envelope[i] === "\\") i++;
      if (depth === 1 && !value) name = envelope.slice(begin + 1, i);
    } else if (depth === 1 && character === ":") value = i + 1;
    else if (depth === 1 && (character === "," || character === "}")) {
      if (name === "data") return envelope.slice(value, i);
      value = 0;
    } else if (character === "{" || character === "[") depth++;
    else if (character === "}" || character === "]") depth--;
  }
}

function messageRow(message) {
  const { kind, bytes, text } = shown(message), date = new Date(message.t), pad = (n, width) => String(n).padStart(width, "0");
  const time = make("time", { dateTime: date.toISOString(), title: date.toLocaleString() },
    `${pad(date.getHours(), 2)}:${pad(date.getMinutes(), 2)}:${pad(date.getSeconds(), 2)}.${pad(date.getMilliseconds(), 3)}`);
  const about = make("div", { className: "about" }, time);
  if (message.from !== undefined) about.append(make("span", { className: "from", dir: "auto" }, message.from));
  if (message.ch !== channel) about.append(make("span", { className: "ch", dir: "auto" }, message.ch));
  about.append(make("span", { className: "kind" }, kind), make("span", {}, size(bytes)), make("span", { className: "at", title: "position" }, message.at));
  return make("li", {}, about, make("pre", { dir: kind === "text" ? "auto" : "ltr" }, text));
}

function gapRow({ ch, gap }) {
  const where = gap.from ? `${gap.from} to ${gap.to}` : gap.since ? `after ${gap.since}${gap.to ? `, going on from ${gap.to}` : ""}` : "while the connection was lost";
  const count = gap.from ? Number(gap.to.split(":")[1]) - Number(gap.from.split(":")[1]) + 1 : 0;
  const what = count === 1 ? "1 message missing" : count > 1 ? `${count} messages missing` : "Messages may be missing";
  return make("li", { className: "gap" }, `${what} on `, make("bdi", {}, ch), `: ${where} (${gap.why})`);
}

// A burst is shown once a frame, and only what will stay: a hidden page holds at most ROWS_MAX messages.
function add(entry) {
  pending.push(entry);
  if (pending.length > ROWS_MAX) pending.shift();
  if (!scheduled) requestAnimationFrame(flush);
  scheduled = true;
}

function flush() {
  scheduled = false;
  if (!pending.length) return;
  const log = byId("log"), scroll = byId("scroll");
  const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 48;
  log.append(...pending.map(entry => entry.gap ? gapRow(entry) : messageRow(entry)));
  unseen = atEnd ? 0 : unseen + pending.length;
  pending = [];
  while (log.childElementCount > ROWS_MAX) log.firstElementChild.remove();
  byId("empty").hidden = true;
  byId("count").textContent = log.childElementCount === ROWS_MAX ? `the newest ${ROWS_MAX}` : `${log.childElementCount} shown`;
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
  byId("newest").hidden = !unseen;
  byId("newest").textContent = unseen === 1 ? "1 newer message" : `${unseen} newer messages`;
}

byId("newest").addEventListener("click", () => { byId("scroll").scrollTop = byId("scroll").scrollHeight; byId("scroll").focus(); });
byId("scroll").addEventListener("scroll", () => {
  const scroll = byId("scroll");
  if (scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 48) { unseen = 0; byId("newest").hidden = true; }
});
sockeye.addEventListener("gap", event => {
  if (event.detail.ch === channel || (isPattern(channel) && event.detail.ch !== "$sys/stats")) add(event.detail);
});

// ---------------------------------------------------------------------------------------------- writing
let key = null;
async function send() {
  const input = byId("text"), problem = byId("problem"), written = input.value, asJson = byId("composer").elements.kind.value === "json";
  if (!written || isPattern(channel)) return;
  let data = written;
  problem.textContent = "";
  if (asJson) try { data = new Json(written); } catch (error) { problem.textContent = `Not JSON: ${error.message}`; return; }
  if (asJson && /^\s*"/.test(written)) { problem.textContent = "A string in quotes would be published as text: choose Text and leave the quotes out. As JSON it is published over HTTP only, with curl for example."; return; }
  // The key makes it harmless to press Send again when the answer was lost with the connection.
  key ??= Array.from(crypto.getRandomValues(new Uint8Array(9)), byte => byte.toString(36)).join("");
  try {
    await sockeye.pub(channel, data, key);
    key = null;
    if (input.value === written) input.value = "";
    // One's own message follows the answer, and should be seen.
    byId("scroll").scrollTop = byId("scroll").scrollHeight;
  } catch (error) {
    if (error.code !== "lost") key = null;
    problem.textContent = error.code === "lost" ? "The connection was lost: press Send to try again." : `Not published: ${error.why ?? error.message}`;
  }
}
byId("text").addEventListener("input", () => { key = null; });
byId("composer").addEventListener("submit", event => { event.preventDefault(); send(); });
byId("text").addEventListener("keydown", event => {
  // While an input method composes, Enter chooses a word.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
});

// ---------------------------------------------------------------------------------------------- the server's figures
const number = value => value >= 1e6 ? `${(value / 1e6).toFixed(1)} M` : value >= 1e4 ? `${(value / 1e3).toFixed(1)} k` : String(Math.round(value));
const figures = new Map(), rates = [];
let previous = null;

function figure(name, value, wide) {
  if (!figures.has(name)) {
    const dd = make("dd");
    byId("figures").append(make("div", { className: wide ? "wide" : "" }, make("dt", {}, name), dd));
    figures.set(name, dd);
  }
  figures.get(name).textContent = value;
}

function uptime(seconds) {
  const days = Math.floor(seconds / 86_400), hours = Math.floor(seconds / 3_600) % 24, minutes = Math.floor(seconds / 60) % 60;
  return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${Math.floor(seconds) % 60} s` : `${Math.floor(seconds)} s`;
}

function showFigures({ t, data }) {
  if (typeof data !== "object" || !data) return;
  byId("no-figures").hidden = true;
  const total = (group, way) => Number(data[group]?.[way] ?? 0);
  figure("connections", number(data.connections ?? 0));
  figure("channels", number(data.channels ?? 0));
  figure("subscriptions", number(data.subscriptions ?? 0));
  // Totals become rates by difference; a server that began anew starts from a smaller total, and is not a negative rate.
  const seconds = previous ? (t - previous.t) / 1_000 : 0;
  const rate = (group, way) => Math.max(0, (total(group, way) - Number(previous.data[group]?.[way] ?? 0)) / seconds);
  for (const [group, shownAs] of [["messages", number], ["bytes", value => size(Math.round(value))]])
    for (const way of ["in", "out"]) figure(`${group} ${way}`, seconds > 0 ? `${shownAs(rate(group, way))}/s` : "…");
  if (seconds > 0) {
    rates.push(rate("messages", "out"));
    if (rates.length > 120) rates.shift();
    const most = Math.max(1, ...rates);
    byId("spark-line").setAttribute("points", rates.map((value, i) => `${120 - rates.length + i + 1},${(26.5 - 25 * value / most).toFixed(1)}`).join(" "));
    byId("spark").toggleAttribute("hidden", rates.length < 2);
  }
  figure("lagging", number(data.lagging ?? 0));
  figure("gaps", number(data.gaps ?? 0));
  figure("uptime", uptime(data.uptime_s ?? 0));
  figure("connections by protocol", Object.entries(data.protocols ?? {}).filter(([, count]) => count).map(([name, count]) => `${name} ${count}`).join(", ") || "none", true);
  previous = { t, data };
}

sockeye.sub("$sys/stats", { slow: "latest" }, (message, envelope) => { showFigures(message); if (matches(channel, "$sys/stats")) add({ ...message, envelope }); })
  .catch(error => { byId("no-figures").textContent = `This server does not show its figures here: ${error.why ?? error.message}`; });

// ---------------------------------------------------------------------------------------------- how to reach the channel
// One word for a POSIX shell: within single quotes only the quote itself means something.
const shell = word => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

function recipes(name) {
  const secure = location.protocol === "https:", http = `${location.protocol}//${location.host}`, ws = `${secure ? "wss" : "ws"}://${location.host}`;
  const url = `/ch/${inPath(name)}`, pattern = isPattern(name);
  const host = location.hostname.replace(/^\[(.*)\]$/, "$1"), port = location.port || (secure ? "443" : "80");
  const nc = `${secure ? "ncat --ssl" : "nc"} ${shell(host)} ${port}`;
  const line = request => `printf '%s\\n' ${shell(JSON.stringify(request))}`;
  const subscribe = pattern ? { sub: name } : { sub: name, last: 10 };
  const one = (...list) => list.filter(([, , onlyOneChannel]) => !(pattern && onlyOneChannel));
  return [
    ["curl", one(
      ["Publish text", `curl -d hello ${shell(http + url)}`, true],
      ["Publish JSON", `curl -H 'Content-Type: application/json' -d '{"text":"hello"}' ${shell(http + url)}`, true],
      ["The last ten messages", `curl ${shell(`${http}${url}?last=10`)}`, true],
      ["Hear it live, as events", `curl -N -H 'Accept: text/event-stream' ${shell(http + url)}`],
    )],
    ["nc", one(
      ["Hear it", `${line(subscribe)} | ${nc}`],
      ["Publish", `${line({ pub: name, data: "hello", id: 1 })} | ${secure ? nc : nc.replace("nc", "nc -w 1")}`, true],
      ["Or type it: connect, then paste a line", `${nc}\n${JSON.stringify(subscribe)}`],
    )],
    ["wscat, websocat", one(
      ["Each line a message, each message a line", `wscat -c ${shell(ws + url)}`, true],
      ["The same with websocat", `websocat ${shell(ws + url)}`, true],
      ["With envelopes, positions and answers", `${line(subscribe)} | websocat -n ${shell(`${ws}/ws`)}`],
    )],
    ["JavaScript", one(
      ["A plain WebSocket", `const socket = new WebSocket(${JSON.stringify(ws + url)});\nsocket.onopen = () => socket.send("hello");\nsocket.onmessage = event => console.log(event.data);`, true],
      ["An event stream", `const events = new EventSource(${JSON.stringify(http + url)});\nevents.onmessage = event => console.log(JSON.parse(event.data));`],
      ["The small client: reconnects and resumes", `import { Sockeye } from ${JSON.stringify(`${http}/client.js`)};\nconst sockeye = new Sockeye();\nawait sockeye.sub(${JSON.stringify(name)}, ${pattern ? "{}" : "{ last: 10 }"}, message => console.log(message));${pattern ? "" : `\nsockeye.pub(${JSON.stringify(name)}, { text: "hello" });`}`],
    )],
  ];
}

async function copy(text, code) {
  try { await navigator.clipboard.writeText(text); return true; } catch { /* no permission, or not a secure context */ }
  getSelection().selectAllChildren(code);
  return document.execCommand("copy");
}

function showRecipes() {
  const wasOpen = new Set(Array.from(byId("recipes").querySelectorAll("details[open]"), details => details.dataset.name));
  if (!byId("recipes").childElementCount) wasOpen.add("curl");
  byId("recipes").replaceChildren(...recipes(channel).map(([name, list]) => {
    const details = make("details", { open: wasOpen.has(name) }, make("summary", {}, name), ...list.map(([what, text]) => {
      const code = make("code", {}, text), button = make("button", { type: "button", ariaLabel: `Copy: ${what}, ${name}` }, "Copy");
      button.addEventListener("click", async () => {
        const done = await copy(text, code);
        button.textContent = done ? "Copied" : "Selected";
        byId("copied").textContent = done ? `${what}: copied` : `${what}: selected, copy it with the keyboard`;
        setTimeout(() => { button.textContent = "Copy"; }, 1_500);
      });
      return make("div", { className: "recipe" }, make("div", { className: "what" }, make("span", {}, what), button), make("pre", { tabIndex: 0 }, code));
    }));
    details.dataset.name = name;
    return details;
  }));
}

visit();
