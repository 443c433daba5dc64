//! Rules about single files: how they open, how long they are, and what they must not contain.
//!
//! Deliberately absent: rules of taste. Each of these was a mistake that somebody made twice.

use super::code::Code;
use super::{File, Finding, Tree};

/// Lines of a Rust file; what passes this usually holds two nouns.
const LINES_MAX: usize = 700;
/// Files that may be longer, each with a reason beside it. There are none.
const LONGER: &[&str] = &[];
/// Lines of a fuzz target: what it checks lives in `fuzz/src`, where the tests replay the corpora too.
const FUZZ_TARGET_LINES_MAX: usize = 20;
/// Names that say nothing about what is in a room.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "misc", "helpers", "helper"];
/// What must not be left behind in code.
const LEFTOVERS: &[&str] = &["todo!", "unimplemented!", "dbg!"];
/// Folders that exist on somebody's machine only. Written in two parts, so that this file may name them.
const MACHINE_FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Conversations in which a space at the end of a line is something that was sent.
const TRANSCRIPTS: &str = "docs/protocol/";

/// Rules for every text file.
pub(super) fn check(file: &File, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        if line.ends_with([' ', '\t', '\r']) && !file.path.starts_with(TRANSCRIPTS) {
            findings.push(Finding::new(file, index + 1, "white space at the end of the line"));
        }
        if MACHINE_FOLDERS.iter().any(|folder| names_folder(line, folder)) {
            findings.push(Finding::new(file, index + 1, "a path that exists on one machine only"));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.push(Finding::new(file, 0, "no line break at the end"));
    }
    if file.path.ends_with("package-lock.json") && file.text.contains("\"resolved\"") {
        findings.push(Finding::new(
            file,
            0,
            "names a registry's host: use npm's --omit-lockfile-registry-resolved",
        ));
    }
    if file.path.starts_with("tests/") && !file.path.ends_with(".rs") {
        refuse_waiting(file, file.text.lines().enumerate().map(|(index, line)| (index + 1, line)), findings);
    }
}

/// Rules for Rust files.
pub(super) fn check_rust(file: &File, code: &Code, findings: &mut Vec<Finding>) {
    if !file.text.starts_with("//!") {
        findings.push(Finding::new(file, 1, "opens without `//!`: say what the room is for"));
    }
    let lines = file.text.lines().count();
    if lines > LINES_MAX && !LONGER.contains(&file.path.as_str()) {
        findings.push(Finding::new(
            file,
            0,
            format!("{lines} lines; {LINES_MAX} is the limit: split it by noun"),
        ));
    }
    if file.path.starts_with("fuzz/fuzz_targets/") && lines > FUZZ_TARGET_LINES_MAX {
        let what = format!("{lines} lines; a fuzz target has at most {FUZZ_TARGET_LINES_MAX}");
        findings.push(Finding::new(file, 0, what));
    }
    for name in file.path.trim_end_matches(".rs").split('/').filter(|name| EMPTY_NAMES.contains(name)) {
        findings.push(Finding::new(file, 0, format!("`{name}` says nothing: name the noun")));
    }
    for (number, line) in code.lines() {
        for leftover in LEFTOVERS.iter().filter(|leftover| line.contains(**leftover)) {
            findings.push(Finding::new(file, number, format!("`{leftover}` is left behind")));
        }
    }
    // Unit tests stand last in a file, so everything behind the attribute is a test.
    let is_test = file.path.contains("/tests/");
    let unit_tests = code.lines().skip_while(|(_, line)| !is_test && !line.contains("#[cfg(test)]"));
    refuse_waiting(file, unit_tests, findings);
}

/// The changelog has a part for what is not released.
pub(super) fn check_changelog(tree: &Tree, findings: &mut Vec<Finding>) {
    let is_open = tree.file("CHANGELOG.md").is_some_and(|file| {
        file.text.lines().any(|line| line.trim_matches(['#', ' ', '[', ']']) == "Unreleased")
    });
    if !is_open {
        let what = "has no part `## Unreleased`".to_owned();
        findings.push(Finding { path: "CHANGELOG.md".to_owned(), line: 0, what });
    }
}

/// A test that waits for a length of time fails on a slow machine and is slow on a fast one.
fn refuse_waiting<'a>(
    file: &File,
    lines: impl Iterator<Item = (usize, &'a str)>,
    findings: &mut Vec<Finding>,
) {
    for (number, line) in lines {
        let mut calls = line.match_indices(concat!("sle", "ep("));
        // A word that only ends so, such as `may_...`, is another one.
        let is_word =
            |at: usize| !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        if calls.any(|(at, _)| is_word(at)) {
            findings.push(Finding::new(file, number, "a test waits for events, not for a length of time"));
        }
    }
}

/// True if `folder` begins an absolute path in the line; in `https://host/folder/` it does not.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(index, _)| {
        let before = line[..index].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || "._-/}~".contains(character))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;
    use super::{FUZZ_TARGET_LINES_MAX, LINES_MAX};

    #[test]
    fn a_rust_file_opens_with_its_purpose() {
        assert_eq!(
            findings(&[("sim/src/main.rs", "fn main() {}\n")]),
            ["sim/src/main.rs:1: opens without `//!`: say what the room is for"]
        );
    }

    #[test]
    fn length_is_limited() {
        let longest = |limit: usize| format!("//! Long.\n{}", "fn a() {}\n".repeat(limit - 1));

        let exact = findings(&[("sim/src/a.rs", &longest(LINES_MAX))]);
        let over = findings(&[("sim/src/a.rs", &longest(LINES_MAX + 1))]);
        let target = findings(&[("fuzz/fuzz_targets/a.rs", &longest(FUZZ_TARGET_LINES_MAX + 1))]);

        assert_eq!((exact.len(), over.len(), target.len()), (0, 1, 1));
    }

    #[test]
    fn empty_names_are_refused_as_file_and_as_folder() {
        let found =
            findings(&[("sim/src/utils.rs", "//! Things.\n"), ("sim/src/common/mod.rs", "//! Things.\n")]);

        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn leftovers_are_found_in_code_only() {
        let text = "//! todo! is spoken of here.\nfn a() { todo!() }\nfn b() { let c = \"dbg!\"; }\n";

        assert_eq!(findings(&[("sim/src/a.rs", text)]), ["sim/src/a.rs:2: `todo!` is left behind"]);
    }

    #[test]
    fn only_tests_must_not_wait() {
        let wait = "std::thread::sleep(second)";
        let text = format!(
            "//! A file.\nfn a() {{ {wait} }}\n#[cfg(test)]\nmod tests {{\n    fn b() {{ {wait} }}\n}}\n"
        );

        let unit = findings(&[("sim/src/a.rs", &text)]);
        let integration =
            findings(&[("crates/sockeye/tests/a.rs", &format!("//! A test.\nfn a() {{ {wait} }}\n"))]);

        assert_eq!(unit, ["sim/src/a.rs:5: a test waits for events, not for a length of time"]);
        assert_eq!(integration.len(), 1);
    }

    #[test]
    fn white_space_and_the_last_line_break_are_checked() {
        let found = findings(&[("a.toml", "one \ntwo\t\nthree")]);

        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn paths_of_one_machine_are_found_and_addresses_are_not() {
        let folder = format!("/{}/", "home");
        let found = findings(&[
            ("a.txt", &format!("see {folder}ana/notes\n")),
            ("b.txt", &format!("see https://example.org{folder}\n")),
        ]);

        assert_eq!(found, ["a.txt:1: a path that exists on one machine only"]);
    }

    #[test]
    fn a_lock_file_names_no_host() {
        let lock = "{\"resolved\": \"https://registry.example.org/ws.tgz\"}\n";

        assert_eq!(findings(&[("tests/clients/package-lock.json", lock)]).len(), 1);
    }
}
