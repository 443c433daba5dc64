//! `cargo xtask tidy`: the rules of the house that a compiler does not know, as one pure function over the tree.
//!
//! Deliberately absent: what rustfmt, clippy and rustdoc already check, and any way to switch a rule off for one line.

mod arrows;
mod code;
mod links;
mod text;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::output;
use crate::step::Outcome;
use crate::workspace::Workspace;

/// Checks the checkout and prints each finding.
pub(crate) fn step(workspace: &Workspace) -> Result<Outcome> {
    let tree = Tree::read(workspace.root())?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings, listed above", findings.len());
    }
    Ok(Outcome::passed(format!("{} files", tree.files.len())))
}

/// All findings in a tree, in the order of its files.
fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        text::check(file, &mut findings);
        if file.path.ends_with(".rs") {
            let code = code::Code::new(&file.text);
            text::check_rust(file, &code, &mut findings);
            arrows::check_rooms(file, &code, &mut findings);
        }
        if file.path.ends_with("Cargo.toml") {
            arrows::check_manifest(file, &mut findings);
        }
        if file.path.ends_with(".md") {
            links::check(tree, file, &mut findings);
        }
    }
    text::check_changelog(tree, &mut findings);
    findings
}

/// The files of a checkout, as `git` lists them: tracked, or new and not ignored.
struct Tree {
    files: Vec<File>,
}

/// One text file.
struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

impl Tree {
    fn read(root: &Path) -> Result<Self> {
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let list = output(Command::new("git").args(list).current_dir(root))?;
        let mut files = Vec::new();
        for path in list.split('\0').filter(|path| !path.is_empty() && !path.starts_with(CORPUS)) {
            // A file that was deleted and not yet committed is listed and absent; one that is not text has no rules.
            let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File { path: path.to_owned(), text });
            }
        }
        files.sort_by(|left, right| left.path.cmp(&right.path));
        files.dedup_by(|left, right| left.path == right.path);
        Ok(Self { files })
    }

    /// True for a file, and for a folder that holds one.
    fn contains(&self, path: &str) -> bool {
        let folder = if path.is_empty() { String::new() } else { format!("{path}/") };
        self.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// A rule that does not hold somewhere.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: &File, line: usize, what: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.what),
            line => write!(formatter, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Fuzz inputs are arbitrary bytes on purpose.
const CORPUS: &str = "fuzz/corpus/";

#[cfg(test)]
mod tests {
    use super::{File, Tree, check};

    /// A tree with a changelog and the given files; returns `path:line: what` of each finding.
    pub(super) fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("CHANGELOG.md", "# Changes\n\n## Unreleased\n")];
        all.extend(files);
        let files = all
            .iter()
            .map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        check(&Tree { files }).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tidy_tree_has_no_findings() {
        let files = [
            ("README.md", "# Sockeye\n\nSee [the design](docs/design.md#the-loop).\n"),
            ("docs/design.md", "# Design\n\n## The loop\n"),
            ("crates/sockeye/src/server/mod.rs", "//! The server.\n\nuse crate::net::stream;\n"),
        ];

        assert_eq!(findings(&files), Vec::<String>::new());
    }
}
