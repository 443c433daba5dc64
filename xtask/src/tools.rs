//! What steps need from outside: found on `PATH`, or fetched when that is allowed, else [`Missing`] with the way to get it.
//!
//! Packages from npm, PyPI and crates.io go into the output folder's `tools`; only programs come through apt-get.
//! Deliberately absent: any list of addresses. Every client asks the registry it is configured with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};

use crate::command::{on_path, output, run};
use crate::step::Missing;
use crate::workspace::Workspace;

/// A program on `PATH`, or from a package of the operating system.
pub(crate) fn program(workspace: &Workspace, names: &[&str], package: &str) -> Result<PathBuf> {
    if let Some(found) = on_path(names) {
        return Ok(found);
    }
    let missing = || Missing::new(names[0], format!("`apt-get install {package}`, or run with --install"));
    if !workspace.may_install() {
        return Err(missing().into());
    }
    install_package(workspace, package)?;
    on_path(names).ok_or_else(|| missing().into())
}

/// A cargo subcommand (`cargo-deny`, `cargo-fuzz`), reachable for [`Workspace::cargo`].
pub(crate) fn cargo_subcommand(workspace: &Workspace, name: &str) -> Result<()> {
    if on_path(&[name]).is_some() || workspace.tools().join("bin").join(name).is_file() {
        return Ok(());
    }
    if !workspace.may_install() {
        return Err(
            Missing::new(name, format!("`cargo install {name} --locked`, or run with --install")).into()
        );
    }
    // Unoptimized: it runs for seconds, and is built in a third of the time.
    run(workspace
        .cargo(["install", name, "--locked", "--debug", "--root"])
        .arg(workspace.tools())
        .env("CARGO_PROFILE_DEV_DEBUG", "0"))
}

/// Whom the benchmark measures beside us, as far as they can be had: what is missing is the benchmark's to say.
pub(crate) fn bench_peers(workspace: &Workspace) -> Result<()> {
    if !workspace.may_install() {
        return Ok(());
    }
    program(workspace, &["socat"], "socat")?;
    program(workspace, &["nginx"], "nginx-light")?;
    if !Path::new("/usr/lib/nginx/modules/ngx_stream_module.so").is_file() {
        install_package(workspace, "libnginx-mod-stream")?;
    }
    if on_path(&["websocat"]).is_some() || workspace.tools().join("bin/websocat").is_file() {
        return Ok(());
    }
    let words = ["install", "websocat", "--version", "1.14.1", "--locked", "--root"];
    run(workspace.cargo(words).arg(workspace.tools()))
}

/// The folder whose `node_modules` holds what `tests/clients/package-lock.json` names, and the node program.
pub(crate) fn node(workspace: &Workspace) -> Result<Node> {
    let program = program(workspace, &["node", "nodejs"], "nodejs")?;
    let folder = workspace.tools().join("node");
    let source = workspace.root().join("tests/clients");
    let lock = fs::read(source.join("package-lock.json")).context("tests/clients/package-lock.json")?;
    // npm writes this file last, so it marks a complete installation; the lock beside it says of what.
    let complete = folder.join("node_modules/.package-lock.json").is_file();
    let installed = complete && fs::read(folder.join("package-lock.json")).is_ok_and(|copy| copy == lock);
    if !installed {
        if !workspace.may_install() {
            return Err(Missing::new("node_modules", "run with --install to fetch it with npm").into());
        }
        let npm = self::program(workspace, &["npm"], "npm")?;
        fs::create_dir_all(&folder)?;
        fs::copy(source.join("package.json"), folder.join("package.json"))?;
        fs::write(folder.join("package-lock.json"), &lock)?;
        run(Command::new(npm)
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder))?;
    }
    Ok(Node { program, folder })
}

/// Node and the folder of its packages.
pub(crate) struct Node {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
}

/// A Python 3 that has what `tests/clients/requirements.txt` names.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.tools().join("python");
    let python = folder.join("bin/python");
    let requirements = workspace.root().join("tests/clients/requirements.txt");
    let wanted = fs::read(&requirements).context("tests/clients/requirements.txt")?;
    let mark = folder.join("installed.txt");
    if python.is_file() && fs::read(&mark).is_ok_and(|copy| copy == wanted) {
        return Ok(python);
    }
    if !workspace.may_install() {
        return Err(Missing::new("Python's websockets", "run with --install to fetch it from PyPI").into());
    }
    let system = program(workspace, &["python3"], "python3")?;
    let make = || output(Command::new(&system).args(["-m", "venv", "--clear"]).arg(&folder));
    if make().is_err() {
        // Debian packs the module apart from the interpreter.
        install_package(workspace, "python3-venv")?;
        make()?;
    }
    run(Command::new(&python)
        .args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "-r"])
        .arg(&requirements))?;
    fs::write(mark, wanted)?;
    Ok(python)
}

/// Autobahn's `wstest`, which needs Python 2.7.
pub(crate) fn wstest(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.tools().join("autobahn");
    let wstest = folder.join("python/bin/wstest");
    if wstest.is_file() {
        return Ok(wstest);
    }
    // No package of a current distribution brings it, so a build machine without it is excused.
    let Some(python) = python_2_7() else {
        return Err(Missing::excused(
            "Python 2.7 (Autobahn's test suite needs it)",
            "`pyenv install 2.7.18`, or put a python2.7 on PATH",
        )
        .into());
    };
    if !workspace.may_install() {
        return Err(Missing::new("autobahntestsuite", "run with --install to fetch it from PyPI").into());
    }
    let pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check"];
    let maker = folder.join("virtualenv");
    run(Command::new(&python).args(pip).arg("--target").arg(&maker).arg("virtualenv==20.15.1"))?;
    run(Command::new(&python)
        .args(["-m", "virtualenv", "-q", "--no-download"])
        .arg(folder.join("python"))
        .env("PYTHONPATH", &maker))?;
    run(Command::new(folder.join("python/bin/python")).args(pip).arg("autobahntestsuite==25.10.1"))?;
    Ok(wstest)
}

/// A Python 2.7 that starts. A version manager's shim may stand on `PATH` without one behind it.
fn python_2_7() -> Option<PathBuf> {
    let mut candidates: Vec<PathBuf> = on_path(&["python2.7"]).into_iter().collect();
    if let Some(home) = std::env::var_os("HOME") {
        let versions = Path::new(&home).join(".pyenv/versions");
        let found = fs::read_dir(versions).into_iter().flatten().flatten();
        let found = found.filter(|entry| entry.file_name().to_string_lossy().starts_with("2.7."));
        candidates.extend(found.map(|entry| entry.path().join("bin/python2.7")));
    }
    candidates.into_iter().find(|python| output(Command::new(python).arg("--version")).is_ok())
}

fn install_package(workspace: &Workspace, package: &str) -> Result<()> {
    let apt_get = || {
        let root = output(Command::new("id").arg("-u")).is_ok_and(|user| user.trim() == "0");
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.args(["-n", "apt-get"]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    if on_path(&["apt-get"]).is_none() {
        return Err(Missing::new(package, "there is no apt-get here; install it by hand").into());
    }
    if !workspace.package_lists_are_fresh.swap(true, Ordering::Relaxed) {
        run(apt_get().args(["update", "-q"]))?;
    }
    run(apt_get().args(["install", "-y", "-q", "--no-install-recommends", package]))
}
