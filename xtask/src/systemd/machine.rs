//! A machine that a real systemd runs: PID 1 of namespaces of its own, over this system's files as they are.
//!
//! ```text
//!   xtask ── unshare --mount ── keeper ── unshare --cgroup --pid ... ── systemd
//!              a pipe: the keeper       │
//!              ends all when it closes  └ in a control group of its own, which the keeper removes
//! ```
//!
//! The root is an overlay that forgets what was written; what the system would mount, start or set at its own boot is hidden,
//! and so are its devices and its network. Deliberately absent: another distribution than the one that is here.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::{output, run};
use crate::step::Missing;

/// The door by which this program calls itself again, on the other side of `unshare`.
pub(crate) const INSIDE: &str = "systemd-inside";
/// How long systemd may take to boot.
const PATIENCE: Duration = Duration::from_secs(60);
/// What systemd is not given, for it could be felt outside: modules, the clock, the kernel's log, raw devices, swap and the like.
const WITHHELD: &str = "-sys_module,-sys_time,-syslog,-sys_rawio,-mac_admin,-mac_override,-sys_pacct,-mknod,-wake_alarm,-audit_control";

/// A machine that runs, until this value goes.
pub(crate) struct Machine {
    folder: PathBuf,
    keeper: Child,
    /// The process whose namespaces it has.
    entrance: u32,
}

impl Machine {
    /// Boots one. Where that cannot be done, for want of rights or of what the kernel has, the error is a [`Missing`].
    pub(crate) fn boot(systemd: &Path) -> Result<Self> {
        if output(Command::new("id").arg("-u"))?.trim() != "0" {
            return Err(Missing::excused("root", "run it as root, in a container for example").into());
        }
        let folder = std::env::temp_dir().join(format!("sockeye-systemd-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let console = fs::File::create(folder.join("console"))?;
        let mut keeper = Command::new("unshare")
            .arg("--mount")
            .arg(own_program())
            .args([INSIDE, "keep"])
            .arg(&folder)
            .arg(systemd)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(console)
            // Ctrl-C is for us alone: the keeper has to tidy up.
            .process_group(0)
            .spawn()
            .context("starting unshare")?;
        let mut line = String::new();
        let said = keeper.stdout.take().context("standard output was asked for")?;
        BufReader::new(said).read_line(&mut line)?;
        let machine = Self { folder, keeper, entrance: line.trim().parse().unwrap_or(0) };
        machine.wait_for_boot().map_err(|error| {
            let console = fs::read_to_string(machine.folder.join("console")).unwrap_or_default();
            let last = console.lines().last().unwrap_or("nothing was said").to_owned();
            Missing::excused(format!("a systemd that boots here ({error:#}; {last})"), "try another machine")
        })?;
        Ok(machine)
    }

    fn wait_for_boot(&self) -> Result<()> {
        ensure!(self.entrance != 0, "there are no namespaces to be had");
        let started = Instant::now();
        loop {
            // It fails by design while systemd is starting, and where a unit has failed, which is none of ours.
            let state = self.command("systemctl").arg("is-system-running").output()?.stdout;
            let state = String::from_utf8_lossy(&state).trim().to_owned();
            if ["running", "degraded"].contains(&state.as_str()) {
                return Ok(());
            }
            // One that has ended and was not waited for has no root any more.
            ensure!(self.path("/").exists(), "it ended");
            ensure!(started.elapsed() < PATIENCE, "it is still {state:?} after {} s", PATIENCE.as_secs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Its root, for files that are to be put there or looked at.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        // Its processes are seen from outside, and through them what they see.
        Path::new("/proc").join(self.entrance.to_string()).join("root").join(path.trim_start_matches('/'))
    }

    /// A command inside, as root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let id = self.entrance;
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={id}")).arg(format!("--pid=/proc/{id}/ns/pid_for_children"));
        command.args(["--mount", "--uts", "--ipc", "--net", "--cgroup", "--", program]);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LC_ALL", "C.UTF-8").env("SYSTEMD_PAGER", "").env("SYSTEMD_COLORS", "0");
        command
    }

    /// Runs words inside, which must succeed, and returns what they say.
    pub(crate) fn say(&self, words: &str) -> Result<String> {
        let mut parts = words.split(' ');
        let mut command = self.command(parts.next().unwrap_or_default());
        output(command.args(parts)).with_context(|| words.to_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The keeper hears that its input ends, ends the machine, and removes what there was. What it could not begin it leaves.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What this program does on the other side of `unshare`: `keep FOLDER SYSTEMD` or `boot FOLDER SYSTEMD`.
pub(crate) fn inside(arguments: &[String]) -> Result<()> {
    match arguments {
        [stage, folder, systemd] if stage == "keep" => keep(Path::new(folder), systemd),
        [stage, folder, systemd] if stage == "boot" => boot(Path::new(folder), systemd),
        _ => bail!("{INSIDE} is not for people"),
    }
}

/// Starts the machine in a control group of its own, and ends both when the standard input ends.
fn keep(folder: &Path, systemd: &str) -> Result<()> {
    let groups = folder.join("groups");
    fs::create_dir_all(&groups)?;
    mount(&["-t", "cgroup2", "cgroup2"], &groups)?;
    let group = groups.join(format!("sockeye-xtask-{}", std::process::id()));
    fs::create_dir(&group)?;
    let outcome = keep_in(folder, systemd, &group);
    remove_groups(&group)?;
    outcome?;
    // Whoever started us may be gone. Nothing is mounted in the folder any more that is seen here.
    run(Command::new("umount").arg(&groups))?;
    Ok(fs::remove_dir_all(folder)?)
}

fn keep_in(folder: &Path, systemd: &str, group: &Path) -> Result<()> {
    let mut machine = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "sh", "-c", "echo 0 > \"$0\" && exec \"$@\""])
        .arg(group.join("cgroup.procs"))
        .args([
            "unshare",
            "--cgroup",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .arg(own_program())
        .args([INSIDE, "boot"])
        .arg(folder)
        .arg(systemd)
        .stdin(Stdio::null())
        .stdout(fs::OpenOptions::new().append(true).open(folder.join("console"))?)
        .spawn()
        .context("starting setpriv")?;
    println!("{}", machine.id());
    // Nothing is ever said to us: this waits for the end.
    let _ = std::io::stdin().read(&mut [0]);
    machine.kill()?;
    machine.wait()?;
    Ok(())
}

/// Removes a control group with those in it, once the last of its processes has gone.
fn remove_groups(group: &Path) -> Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    let started = Instant::now();
    while let Err(error) = fs::remove_dir(group) {
        ensure!(started.elapsed() < Duration::from_secs(10), "{}: {error}", group.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Makes the root, goes there, and becomes systemd. This is PID 1 of the new namespaces.
fn boot(folder: &Path, systemd: &str) -> Result<()> {
    let place = folder.join("machine");
    fs::create_dir_all(&place)?;
    mount(&["-t", "tmpfs", "tmpfs", "-o", "mode=755"], &place)?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| place.join(name));
    for new in [&upper, &work, &root] {
        fs::create_dir(new)?;
    }
    let layers = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    mount(&["-t", "overlay", "overlay", "-o", &layers], &root)?;
    mount(&["-t", "proc", "proc"], &root.join("proc"))?;
    // The kernel's settings are everybody's.
    mount(&["--bind", "/proc/sys"], &root.join("proc/sys"))?;
    mount(&["-o", "remount,bind,ro"], &root.join("proc/sys"))?;
    mount(&["-t", "sysfs", "sysfs", "-o", "ro"], &root.join("sys"))?;
    mount(&["-t", "cgroup2", "cgroup2"], &root.join("sys/fs/cgroup"))?;
    for hidden in ["run", "tmp", "var/tmp", "var/log", "etc/systemd/system", "dev"] {
        mount(&["-t", "tmpfs", "tmpfs"], &root.join(hidden))?;
    }
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        let place = root.join("dev").join(device);
        fs::write(&place, "")?;
        mount(&["--bind", &format!("/dev/{device}")], &place)?;
    }
    for folder in ["shm", "pts"] {
        fs::create_dir(root.join("dev").join(folder))?;
    }
    mount(&["-t", "devpts", "devpts", "-o", "newinstance,ptmxmode=666"], &root.join("dev/pts"))?;
    for (link, to) in [("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd")] {
        std::os::unix::fs::symlink(to, root.join("dev").join(link))?;
    }
    // Disks of the system, and the settings of its own boot.
    for file in ["etc/fstab", "etc/crypttab"] {
        fs::write(root.join(file), "")?;
    }
    run(Command::new("hostname").arg("sockeye-test"))?;

    fs::create_dir_all(root.join(".old"))?;
    run(Command::new("pivot_root").arg(&root).arg(root.join(".old")))?;
    std::env::set_current_dir("/")?;
    run(Command::new("umount").args(["-l", "/.old"]))?;
    let error = Command::new("setpriv")
        .args([
            "--bounding-set",
            WITHHELD,
            "--",
            systemd,
            "--system",
            "--unit=basic.target",
            "--show-status=0",
        ])
        .env_clear()
        .env("container", "other")
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .exec();
    Err(error).context("becoming systemd")
}

fn mount(arguments: &[&str], place: &Path) -> Result<()> {
    run(Command::new("mount").args(arguments).arg(place))
}

/// This program, as it runs: at its path there may be a newer one by now, or none for the moment, where tests build it too.
fn own_program() -> PathBuf {
    Path::new("/proc").join(std::process::id().to_string()).join("exe")
}
