//! Where we are: the root of the checkout, the folder for build output, and how this run was asked to behave.
//!
//! Deliberately absent: a configuration file. The environment says `CI=true` and `CARGO_TARGET_DIR`, nothing else.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};

use crate::command::output;

/// The checkout that is worked on.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    build_machine: bool,
    install: bool,
    /// `apt-get update` is run once, before the first package that is installed.
    pub(crate) package_lists_are_fresh: AtomicBool,
}

impl Workspace {
    /// Finds the checkout this program was built from and asks cargo where its output goes.
    pub(crate) fn open(install: bool) -> Result<Self> {
        // Cargo sets this at run time; the compiled-in value serves a binary that is started by hand.
        let manifest =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().context("xtask has no parent folder")?.to_path_buf();
        let mut command = Command::new(cargo_program());
        command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(&root);
        let metadata: serde_json::Value = serde_json::from_str(&output(&mut command)?)?;
        let target =
            metadata["target_directory"].as_str().context("cargo metadata names no target_directory")?;
        let build_machine = std::env::var_os("CI").is_some_and(|value| value == "true" || value == "1");
        Ok(Self {
            target: PathBuf::from(target),
            root,
            build_machine,
            install: install || build_machine,
            package_lists_are_fresh: AtomicBool::new(false),
        })
    }

    /// The folder that holds the root `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's output folder: `CARGO_TARGET_DIR`, or what the configuration says, or `target`.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where fetched tools live: inside the output folder, so that deleting it deletes them.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// True with `CI=true`: a skipped step is then a failure.
    pub(crate) fn is_build_machine(&self) -> bool {
        self.build_machine
    }

    /// True if what is missing may be fetched.
    pub(crate) fn may_install(&self) -> bool {
        self.install
    }

    /// A cargo command in the root folder that sees the tools fetched earlier.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(cargo_program());
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        path.push(":");
        path.push(self.tools().join("bin"));
        command.args(arguments).current_dir(&self.root).env("PATH", path);
        command
    }
}

fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
