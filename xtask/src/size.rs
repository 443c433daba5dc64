//! How large the product may become: its binary, and the number of crates it stands on.
//!
//! Deliberately absent: the time of the build, which depends on the machine.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};

use crate::command::output;
use crate::step::Outcome;
use crate::workspace::Workspace;

/// The release binary is stripped and below [`BINARY_BYTES_MAX`].
pub(crate) fn binary(binary: &Path) -> Result<Outcome> {
    let bytes = std::fs::metadata(binary)?.len();
    if bytes >= BINARY_BYTES_MAX {
        bail!("the binary has {bytes} bytes; {BINARY_BYTES_MAX} is the limit");
    }
    Ok(Outcome::passed(format!(
        "{:.2} MiB of at most {} MiB",
        bytes as f64 / 1048576.0,
        BINARY_BYTES_MAX >> 20
    )))
}

/// What the product is linked from is at most [`CRATES_MAX`] crates, ours included.
pub(crate) fn dependencies(workspace: &Workspace) -> Result<Outcome> {
    let tree = output(&mut workspace.cargo(["tree", "-e", "normal", "-p", "sockeye", "--prefix", "none"]))?;
    let crates = distinct(&tree);
    if crates > CRATES_MAX {
        bail!("{crates} crates; {CRATES_MAX} is the limit");
    }
    Ok(Outcome::passed(format!("{crates} crates of at most {CRATES_MAX}")))
}

/// Lines such as `mio v1.2.0` or `mio v1.2.0 (*)`, each crate and version counted once.
fn distinct(tree: &str) -> usize {
    let crates: BTreeSet<Vec<&str>> = tree
        .lines()
        .map(|line| line.split_whitespace().take(2).collect())
        .filter(|words: &Vec<_>| !words.is_empty())
        .collect();
    crates.len()
}

const BINARY_BYTES_MAX: u64 = 10 << 20;
const CRATES_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::distinct;

    #[test]
    fn a_repeated_crate_counts_once() {
        assert_eq!(
            distinct("sockeye v0.1.0 (/src)\nmio v1.2.0\nlibc v0.2.1\n\nmio v1.2.0 (*)\nlibc v0.3.0\n"),
            4
        );
    }
}
