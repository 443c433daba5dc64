//! Sockeye behind nginx, HAProxy and Caddy: the very files of `docs/examples`, with their addresses replaced, around the
//! release build; a WebSocket, an event stream and publishes go through each.
//!
//! Deliberately absent: TLS, which the proxies end by themselves, and a second server behind one proxy.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::clients;
use crate::command::{Conversation, output};
use crate::server::Server;
use crate::step::{Missing, Outcome, Report};
use crate::tools;
use crate::workspace::Workspace;

/// The name by which the examples are called.
const NAME: &str = "chat.example";
/// Where the examples look for Sockeye.
const UPSTREAM: &str = "127.0.0.1:7625";
/// How long a proxy may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// Adds one step for each proxy.
pub(crate) fn steps(workspace: &Workspace, binary: &Path, report: &mut Report) {
    for proxy in &PROXIES {
        report.step(&format!("behind {}", proxy.name), || check(workspace, binary, proxy));
    }
}

/// A proxy, and how its example becomes one that runs here.
struct Proxy {
    name: &'static str,
    program: &'static str,
    package: &'static str,
    example: &'static str,
    /// The line of the example that says where the proxy listens, and what stands there on a given port.
    listens: (&'static str, fn(u16) -> String),
    /// What the example says that sockeye.toml must have, beside the name.
    config: &'static str,
    /// Makes the command from the program, the folder and the file of the configuration, which lies in it.
    command: fn(&Path, &Path, &Path) -> Result<Command>,
}

const PROXIES: [Proxy; 3] = [
    Proxy {
        name: "nginx",
        program: "nginx",
        package: "nginx",
        example: "docs/examples/nginx.conf",
        listens: ("listen 80;", |port| format!("listen 127.0.0.1:{port};")),
        config: "",
        command: nginx,
    },
    Proxy {
        name: "HAProxy",
        program: "haproxy",
        package: "haproxy",
        example: "docs/examples/haproxy.cfg",
        listens: ("bind :80", |port| format!("bind 127.0.0.1:{port}")),
        config: "proxy_protocol_from = [\"127.0.0.1\"]\n",
        command: haproxy,
    },
    Proxy {
        name: "Caddy",
        program: "caddy",
        package: "caddy",
        example: "docs/examples/Caddyfile",
        listens: ("chat.example {", |port| format!("http://{NAME}:{port}, http://127.0.0.1:{port} {{")),
        config: "",
        command: caddy,
    },
];

/// The example is a part of nginx's configuration; around it stands what a test needs: one process, nothing elsewhere.
fn nginx(program: &Path, folder: &Path, file: &Path) -> Result<Command> {
    let (folder_text, file) = (folder.display(), file.display());
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {folder_text}/pid;\nerror_log stderr warn;\nevents {{}}\nhttp {{\n\
         access_log off;\nclient_body_temp_path {folder_text}/body;\nproxy_temp_path {folder_text}/proxy;\n\
         fastcgi_temp_path {folder_text}/f;\nuwsgi_temp_path {folder_text}/u;\nscgi_temp_path {folder_text}/s;\n\
         include {file};\n}}\n"
    );
    let main = folder.join("main.conf");
    std::fs::write(&main, whole)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(main);
    Ok(command)
}

fn haproxy(program: &Path, _folder: &Path, file: &Path) -> Result<Command> {
    // A test may not have the descriptors of a server that faces the world.
    let text = std::fs::read_to_string(file)?;
    std::fs::write(file, text.replace("maxconn 50000", "maxconn 500"))?;
    let mut command = Command::new(program);
    // In the foreground, one process.
    command.args(["-db", "-f"]).arg(file);
    Ok(command)
}

fn caddy(program: &Path, folder: &Path, file: &Path) -> Result<Command> {
    // Its port of administration is the same for every Caddy, so a test must do without.
    let text = std::fs::read_to_string(file)?;
    std::fs::write(file, format!("{{\n\tadmin off\n\tauto_https off\n}}\n{text}"))?;
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    command.env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder).env("HOME", folder);
    Ok(command)
}

/// A proxy that runs in front of a server.
struct Running<'a> {
    proxy: &'a Proxy,
    binary: &'a Path,
    curl: PathBuf,
    port: u16,
    folder: PathBuf,
    server: Server,
    _process: Conversation,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // What is left of a test is only in the way.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn check(workspace: &Workspace, binary: &Path, proxy: &Proxy) -> Result<Outcome> {
    let program = tools::program(workspace, &[proxy.program], proxy.package)?;
    let curl = tools::program(workspace, &["curl"], "curl")?;
    let running = start(workspace, binary, proxy, &program, curl)?;
    everything_goes_through(&running)?;
    pages_are_known_by_their_origin(&running)?;
    what_is_inside_stays_inside(&running)?;
    if !proxy.config.is_empty() {
        the_clients_address_comes_through(&running)?;
    }
    let foreign = match clients::check_python_through_proxy(workspace, &format!("127.0.0.1:{}", running.port))
    {
        Ok(()) => "; Python's websockets",
        Err(error) if error.is::<Missing>() => "",
        Err(error) => return Err(error.context("Python's websockets")),
    };
    a_drain_is_heard(&running)?;
    Ok(Outcome::passed(format!("WebSocket, event stream, publishes, origins, drain{foreign}")))
}

fn start<'a>(
    workspace: &Workspace,
    binary: &'a Path,
    proxy: &'a Proxy,
    program: &Path,
    curl: PathBuf,
) -> Result<Running<'a>> {
    let folder = std::env::temp_dir().join(format!("sockeye-{}-{}", proxy.program, std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let config = folder.join("sockeye.toml");
    std::fs::write(&config, format!("names = [\"{NAME}\"]\n{}", proxy.config))?;
    let server = Server::start(binary, &["--config", &config.to_string_lossy()])?;
    // Another program may take the port before the proxy does; then it ends, and the next wait says so.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();

    let (listens, at) = proxy.listens;
    let mut text = std::fs::read_to_string(workspace.root().join(proxy.example))?;
    for (from, to) in [(listens, at(port)), (UPSTREAM, server.tcp.clone())] {
        ensure!(text.matches(from).count() == 1, "{} does not say {from:?} once", proxy.example);
        text = text.replace(from, &to);
    }
    let file = folder.join("example");
    std::fs::write(&file, text)?;
    let mut command = (proxy.command)(program, &folder, &file)?;
    let process = Conversation::start(proxy.name, &mut command)?;
    let running = Running { proxy, binary, curl, port, folder, server, _process: process };

    let started = Instant::now();
    while !matches!(running.status("/readyz", &[]).as_deref(), Ok("200")) {
        ensure!(started.elapsed() < PATIENCE, "{} does not come to serve on port {port}", proxy.name);
    }
    Ok(running)
}

impl Running<'_> {
    /// curl, called as a browser would: by the name, through the proxy.
    fn curl(&self, path: &str) -> Command {
        let mut command = Command::new(&self.curl);
        command.args(["-sS", "--max-time", "60", "--resolve"]).arg(format!("{NAME}:{}:127.0.0.1", self.port));
        command.arg(format!("http://{NAME}:{}{path}", self.port));
        command
    }

    fn status(&self, path: &str, arguments: &[&str]) -> Result<String> {
        output(self.curl(path).args(["-o", "/dev/null", "-w", "%{http_code}"]).args(arguments))
    }

    fn expect(&self, path: &str, arguments: &[&str], status: &str) -> Result<()> {
        let found = self.status(path, arguments)?;
        ensure!(found == status, "{} {path} {arguments:?} was answered with {found}", self.proxy.name);
        Ok(())
    }

    /// Our own client, over WebSocket through the proxy.
    fn sockeye(&self, verb: &str, direction: &str) -> Command {
        let mut command = Command::new(self.binary);
        command.args([verb, direction, &format!("ws://127.0.0.1:{}/ws", self.port)]);
        command
    }

    /// An event stream through the proxy, whose head has come.
    fn events(&self, channel: &str) -> Result<Conversation> {
        let mut command = self.curl(&format!("/ch/{channel}"));
        command.args(["-N", "-i", "-H", "Accept: text/event-stream"]);
        let mut events = Conversation::start("curl -N", &mut command)?;
        events.hear("status 200", |line| line.starts_with("HTTP/1.1 200"))?;
        // The first event is the answer: it comes at once, or the proxy holds events back.
        events.hear("the first event", |line| line.starts_with("data:"))?;
        Ok(events)
    }

    fn publish(&self, channel: &str, text: &str) -> Result<()> {
        let answer = output(self.curl(&format!("/ch/{channel}")).args(["--fail-with-body", "-d", text]))?;
        let answer: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        ensure!(answer["ack"] == "accepted", "the answer is {answer}");
        Ok(())
    }
}

/// The object of a `data:` line.
fn event(line: &str) -> Option<Value> {
    serde_json::from_str(line.strip_prefix("data:")?.trim_start()).ok()
}

fn everything_goes_through(running: &Running<'_>) -> Result<()> {
    let channel = "proxies/together";
    let mut events = running.events(channel)?;
    running.publish(channel, "by POST")?;
    let mut command = running.sockeye("sub", "--from");
    let mut socket = Conversation::start("sockeye sub", command.args(["--last", "1", channel]))?;
    socket.hear("what was published before", |line| line.contains("by POST"))?;
    events.hear("what was posted", |line| event(line).is_some_and(|event| event["data"] == "by POST"))?;

    output(running.sockeye("pub", "--to").args([channel, "by WebSocket"]))?;
    for (name, talk) in [("the event stream", &mut events), ("the WebSocket", &mut socket)] {
        talk.hear("what came by WebSocket", |line| line.contains("by WebSocket")).context(name)?;
    }

    let large = running.folder.join("large");
    std::fs::write(&large, vec![b'x'; 1_000_000])?;
    let body = format!("@{}", large.display());
    running.expect("/ch/proxies/large", &["--data-binary", &body], "200")?;
    std::fs::write(&large, vec![b'x'; 3_000_000])?;
    running.expect("/ch/proxies/large", &["--data-binary", &body], "413")
}

fn pages_are_known_by_their_origin(running: &Running<'_>) -> Result<()> {
    let own = format!("Origin: http://{NAME}:{}", running.port);
    running.expect("/ch/proxies/origin", &["-d", "own", "-H", &own], "200")?;
    running.expect("/ch/proxies/origin", &["-d", "foreign", "-H", "Origin: https://evil.example"], "403")
}

fn what_is_inside_stays_inside(running: &Running<'_>) -> Result<()> {
    running.expect("/metrics", &[], "403")?;
    running.expect("/healthz", &[], "403")
}

/// With the PROXY protocol the server knows whom the proxy relays.
fn the_clients_address_comes_through(running: &Running<'_>) -> Result<()> {
    let mut command = running.sockeye("sub", "--from");
    let mut system = Conversation::start("sockeye sub", command.args(["--json", "$sys/#"]))?;
    system.hear("the figures of a second", |line| line.contains("$sys/stats"))?;
    running.expect("/ch/proxies/address", &["--interface", "127.0.0.9", "-d", "who am I"], "200")?;
    system.hear("the client's address", |line| line.contains("\"address\":\"127.0.0.9:"))?;
    Ok(())
}

/// The goodbye of a server that drains reaches who listens through the proxy.
fn a_drain_is_heard(running: &Running<'_>) -> Result<()> {
    let mut events = running.events("proxies/drain")?;
    running.server.terminate()?;
    let line =
        events.hear("a goodbye", |line| event(line).is_some_and(|event| event.get("bye").is_some()))?;
    let Some(bye) = event(&line) else { bail!("no goodbye: {line}") };
    ensure!(bye["bye"] == json!("drain"), "the goodbye is {bye}");
    // curl ends with the stream: nobody holds it open.
    ensure!(events.wait()?, "the event stream did not end well");
    Ok(())
}
