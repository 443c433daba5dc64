//! Sockeye under a real systemd: installed as `docs/operations.md` says, with the very files of `packaging/systemd`, around the
//! release build, and put through what happens to a service.
//!
//! Deliberately absent: bounds of control groups (memory, CPU), which not every machine has to give away.

mod machine;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

pub(crate) use self::machine::{INSIDE, inside};

use self::machine::Machine;
use crate::command::{Conversation, output};
use crate::server::Server;
use crate::step::{Outcome, Report};
use crate::tools;
use crate::workspace::Workspace;

/// Where the checkout is inside.
const CHECKOUT: &str = "/run/checkout";
const CONFIG: &str = "/etc/sockeye/sockeye.toml";
/// How long something may take to come about.
const PATIENCE: Duration = Duration::from_secs(30);
/// What `sockeye.socket` opens.
const ADDRESSES: [&str; 4] =
    ["tcp:127.0.0.1:7625", "ws://127.0.0.1:7625/ws", "unix:/run/sockeye/sockeye.sock", "udp:127.0.0.1:7625"];

/// Adds one step.
pub(crate) fn steps(workspace: &Workspace, binary: &Path, report: &mut Report) {
    report.step("under systemd", || check(workspace, binary));
}

fn check(workspace: &Workspace, binary: &Path) -> Result<Outcome> {
    let systemd = tools::program(workspace, &["/usr/lib/systemd/systemd"], "systemd")?;
    let [install, remove] = documented(workspace)?;
    let service = Service { machine: Machine::boot(&systemd)? };
    for folder in ["packaging/systemd", "target/release"] {
        fs::create_dir_all(service.machine.path(CHECKOUT).join(folder))?;
    }
    fs::copy(binary, service.machine.path(CHECKOUT).join("target/release/sockeye"))?;
    for file in fs::read_dir(workspace.root().join("packaging/systemd"))? {
        let file = file?;
        let place = service.machine.path(CHECKOUT).join("packaging/systemd");
        fs::copy(file.path(), place.join(file.file_name()))?;
    }
    let outcome = service.goes_through(&install, &remove, binary);
    if outcome.is_err() {
        // What happened is told by the journal, which goes with the machine.
        println!(
            "{}",
            service.machine.say("journalctl -q --no-pager -n 30 -o short-precise").unwrap_or_default()
        );
    }
    outcome?;
    Ok(Outcome::passed("installed, served, reloaded, stopped, refused, crashed, stuck, removed"))
}

/// The commands that the documents give to install it, and those to take it away.
fn documented(workspace: &Workspace) -> Result<[Vec<String>; 2]> {
    let text = fs::read_to_string(workspace.root().join("docs/operations.md"))?;
    let (_, chapter) = text.split_once("\n## Under systemd\n").context("there is no such chapter")?;
    let chapter = chapter.split("\n## ").next().unwrap_or_default();
    let blocks = chapter.split("```console\n").skip(1).filter_map(|block| block.split("```").next());
    let commands = |block: &str| {
        block.lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let blocks: Vec<_> = blocks.map(commands).collect();
    blocks.try_into().ok().context("the chapter on systemd has not two blocks of commands")
}

/// Sockeye as a service of a machine.
struct Service {
    machine: Machine,
}

impl Service {
    fn goes_through(&self, install: &[String], remove: &[String], binary: &Path) -> Result<()> {
        self.follow(install).context("the installation")?;
        self.serves_without_a_complaint().context("the start")?;
        self.has_what_it_has_outside(binary)?;
        self.reloads_what_is_good_and_nothing_else().context("a reload")?;
        self.says_goodbye_and_is_started_by_who_comes_back().context("a stop")?;
        self.does_not_try_a_wrong_configuration_again().context("a wrong start")?;
        self.has_its_sockets_whatever_was_done_to_them().context("the socket unit")?;
        self.opens_a_port_below_1024().context("port 443")?;
        self.comes_back_from_a_crash().context("a crash")?;
        self.comes_back_when_it_is_stuck().context("the watchdog")?;
        self.follow(remove).context("the removal")?;
        self.is_gone().context("the removal")
    }

    fn follow(&self, commands: &[String]) -> Result<()> {
        for command in commands {
            println!("# {command}");
            let words = format!("cd {CHECKOUT} && {command}");
            output(self.machine.command("sh").args(["-c", &words]))?;
        }
        Ok(())
    }

    fn systemctl(&self, words: &str) -> Result<String> {
        self.machine.say(&format!("systemctl {words}"))
    }

    fn property(&self, name: &str) -> Result<String> {
        Ok(self.systemctl(&format!("show -P {name} sockeye.service"))?.trim().to_owned())
    }

    /// Waits until a property has a value.
    fn comes_to(&self, name: &str, value: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let found = self.property(name)?;
            if found == value {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "{name} is {found:?} and does not come to {value:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the journal has of it, from a priority upward.
    fn journal(&self, priority: &str) -> Result<String> {
        self.machine.say("journalctl --sync")?;
        self.machine.say(&format!(
            "journalctl -q -o cat -p {priority} -u sockeye.service -u sockeye.socket --no-pager"
        ))
    }

    fn publish(&self, to: &str) -> Result<()> {
        self.machine.say(&format!("sockeye pub --to {to} systemd/check hello")).map(drop)
    }

    fn is_whole(&self) -> Result<()> {
        self.systemctl("is-active sockeye.socket sockeye.service")?;
        ADDRESSES.iter().try_for_each(|address| self.publish(address))
    }

    fn serves_without_a_complaint(&self) -> Result<()> {
        let units = "systemd-analyze verify sockeye.service sockeye.socket 2>&1";
        let found = output(self.machine.command("sh").args(["-c", units]))?;
        ensure!(!found.contains("sockeye"), "systemd-analyze says: {found}");
        ensure!(self.property("StatusText")? == "serving", "the status is not \"serving\"");
        self.is_whole()?;
        // The Unix socket is for the group.
        for (group, may) in [("sockeye", true), ("nogroup", false)] {
            let mut command = self.machine.command("setpriv");
            command.args(["--reuid", "nobody", "--regid", group, "--clear-groups"]);
            command.args(["sockeye", "pub", "--to", ADDRESSES[2], "systemd/check", "hello"]);
            let published = command.output()?.status.success();
            ensure!(published == may, "somebody of the group {group} published: {published}");
        }
        let complaints = self.journal("warning")?;
        ensure!(complaints.is_empty(), "the journal says: {complaints}");
        ensure!(self.journal("info")?.contains("listening listen="), "the journal does not have the log");
        Ok(())
    }

    /// The unit takes nothing away without a word: io_uring is there if it is elsewhere.
    fn has_what_it_has_outside(&self, binary: &Path) -> Result<()> {
        let server = Server::start(binary, &[])?;
        let outside = has_io_uring(&Path::new("/proc").join(server.id().to_string()).join("fd"))?;
        let id = self.property("MainPID")?;
        let inside = has_io_uring(&self.machine.path(&format!("/proc/{id}/fd")))?;
        ensure!(inside == outside, "io_uring is there outside: {outside}, and inside: {inside}");
        Ok(())
    }

    fn reloads_what_is_good_and_nothing_else(&self) -> Result<()> {
        let id = self.property("MainPID")?;
        self.systemctl("reload sockeye")?;
        self.with_a_wrong_configuration(|| {
            ensure!(self.systemctl("reload sockeye").is_err(), "what is wrong is taken");
            ensure!(self.journal("err")?.contains("nonsense"), "the journal has no error that names it");
            self.comes_to("StatusText", "serving as before: the configuration that was read cannot be used")
        })?;
        self.systemctl("reload sockeye")?;
        self.comes_to("StatusText", "serving")?;
        ensure!(self.property("MainPID")? == id, "it is not the same process");
        Ok(())
    }

    fn with_a_wrong_configuration(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let file = self.machine.path(CONFIG);
        let good = fs::read_to_string(&file)?;
        fs::write(&file, format!("nonsense = 1\n{good}"))?;
        act()?;
        Ok(fs::write(&file, good)?)
    }

    fn says_goodbye_and_is_started_by_who_comes_back(&self) -> Result<()> {
        let mut subscribers = Vec::new();
        // Datagrams have no --last, and what was published before is what tells that a client has subscribed.
        for address in ADDRESSES.into_iter().filter(|address| !address.starts_with("udp:")) {
            let words = format!("sockeye sub --last 1 --from {address} systemd/check 2>&1");
            let mut talk = Conversation::start(address, self.machine.command("sh").args(["-c", &words]))?;
            talk.hear("the last message", |line| line.contains("hello"))?;
            subscribers.push(talk);
        }
        self.systemctl("stop sockeye.service")?;
        for mut talk in subscribers {
            talk.hear("a goodbye", |line| line.contains("goodbye: drain"))?;
        }
        ensure!(self.property("Result")? == "success", "it did not end well");
        self.publish(ADDRESSES[0])?;
        self.is_whole()?;
        self.systemctl("restart sockeye.service")?;
        self.is_whole()
    }

    fn does_not_try_a_wrong_configuration_again(&self) -> Result<()> {
        self.with_a_wrong_configuration(|| {
            ensure!(self.systemctl("restart sockeye.service").is_err(), "it starts");
            ensure!(self.property("ExecMainStatus")? == "2", "the exit code is not 2");
            ensure!(self.property("ActiveState")? == "failed", "it is tried again");
            // Whoever comes makes systemd try, until it gives the sockets up.
            ensure!(self.publish(ADDRESSES[0]).is_err(), "somebody is served");
            Ok(())
        })?;
        self.systemctl("start sockeye.service")?;
        self.is_whole()
    }

    fn has_its_sockets_whatever_was_done_to_them(&self) -> Result<()> {
        // systemd opens no socket of a service that runs, and closes what it had.
        ensure!(self.systemctl("restart sockeye.socket").is_err(), "systemd has learnt something");
        self.systemctl("restart sockeye.service")?;
        self.is_whole()?;
        self.systemctl("stop sockeye.socket sockeye.service")?;
        self.systemctl("start sockeye.service")?;
        self.is_whole()
    }

    fn opens_a_port_below_1024(&self) -> Result<()> {
        let file = self.machine.path(CONFIG);
        let before = fs::read_to_string(&file)?;
        let after = before.replace("listen = [\"tcp:localhost:7625\"]", "listen = [\"tcp:127.0.0.1:443\"]");
        ensure!(after != before, "the configuration has another `listen`");
        fs::write(&file, after)?;
        self.systemctl("restart sockeye.service")?;
        self.publish("tcp:127.0.0.1:443")?;
        fs::write(&file, before)?;
        self.systemctl("restart sockeye.service")?;
        Ok(())
    }

    fn comes_back_from_a_crash(&self) -> Result<()> {
        self.systemctl("kill -s KILL sockeye.service")?;
        self.comes_to("NRestarts", "1")?;
        self.comes_to("ActiveState", "active")?;
        self.is_whole()
    }

    fn comes_back_when_it_is_stuck(&self) -> Result<()> {
        let folder = self.machine.path("/etc/systemd/system/sockeye.service.d");
        fs::create_dir(&folder)?;
        fs::write(folder.join("soon.conf"), "[Service]\nWatchdogSec=2s\n")?;
        self.systemctl("daemon-reload")?;
        self.systemctl("restart sockeye.service")?;
        self.systemctl("kill -s STOP sockeye.service")?;
        self.comes_to("NRestarts", "1")?;
        self.comes_to("ActiveState", "active")?;
        self.is_whole()?;
        fs::remove_dir_all(folder)?;
        Ok(())
    }

    fn is_gone(&self) -> Result<()> {
        let units =
            self.machine.command("systemctl").args(["list-units", "-q", "--all", "sockeye*"]).output()?;
        let units = String::from_utf8_lossy(&units.stdout).trim().to_owned();
        ensure!(units.is_empty(), "there is still {units}");
        ensure!(self.machine.say("getent passwd sockeye").is_err(), "the user is still there");
        for path in ["/etc/sockeye", "/run/sockeye", "/usr/bin/sockeye"] {
            ensure!(!self.machine.path(path).exists(), "{path} is still there");
        }
        Ok(())
    }
}

/// Whether a process holds an io_uring.
fn has_io_uring(descriptors: &Path) -> Result<bool> {
    let listed = output(Command::new("ls").arg("-l").arg(descriptors))?;
    Ok(listed.contains("io_uring"))
}
