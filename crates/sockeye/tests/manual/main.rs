//! The chapter `docs/sockets.md`, done as its reader does it: every block is pasted into a terminal, and what is shown
//! is compared.
//!
//! It needs the binary and `/bin/sh`. Blocks that say `needs=` are for programs that may not be there; they are passed over, and
//! told. Each section has ports and a folder of its own, so all of them run at once. Absent: Korean runs, since both languages
//! must hold the same blocks.

// Helpers are tests too: they may unwrap.
#![cfg(test)]

mod chapter;
mod compare;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::Command;

use chapter::{Action, Chapter};
use terminal::Desk;

/// What a folder of the repository is called from here.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_block_does_what_the_chapter_shows() {
    let chapter = Chapter::read(&root().join("docs/sockets.md"), "Terminal");
    let sections = chapter.sections();
    assert!(sections.len() >= 9, "the sections were not found");

    std::thread::scope(|scope| {
        let running: Vec<_> = sections
            .iter()
            .map(|(title, blocks)| (title, scope.spawn(move || Desk::new(title).play(blocks))))
            .collect();
        let failed: Vec<_> =
            running.into_iter().filter_map(|(title, play)| play.join().is_err().then_some(title)).collect();
        assert!(failed.is_empty(), "these sections are not true: {failed:?}");
    });
}

#[test]
fn both_languages_hold_the_same_blocks_under_the_same_sections() {
    let english = Chapter::read(&root().join("docs/sockets.md"), "Terminal");
    let korean = Chapter::read(&root().join("docs/sockets.ko.md"), "터미널");

    for (left, right) in english.blocks.iter().zip(&korean.blocks) {
        assert_eq!(
            (left.section, &left.action, left.terminal, &left.text, &left.needs),
            (right.section, &right.action, right.terminal, &right.text, &right.needs),
            "docs/sockets.md, line {}, and docs/sockets.ko.md, line {}",
            left.line,
            right.line
        );
    }
    assert_eq!(english.blocks.len(), korean.blocks.len());
    assert_eq!(english.titles.len(), korean.titles.len());
}

#[test]
fn what_the_chapter_links_to_exists() {
    for name in ["sockets.md", "sockets.ko.md"] {
        let chapter = Chapter::read(&root().join("docs").join(name), "");
        let text = std::fs::read_to_string(root().join("docs").join(name)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            match link.strip_prefix('#') {
                Some(anchor) => {
                    assert!(chapter.titles.iter().any(|title| chapter::anchor(title) == anchor), "{link}");
                }
                None if link.starts_with("https://") => {}
                None => assert!(root().join("docs").join(link).exists(), "{name} links to {link}"),
            }
        }
    }
}

#[test]
fn the_table_of_exit_codes_is_that_of_the_man_page() {
    let ran = Command::new(terminal::BINARY).args(["man", "connect"]).output().unwrap();
    let page = String::from_utf8(ran.stdout).unwrap().replace("\\-", "-");
    let text = std::fs::read_to_string(root().join("docs/sockets.md")).unwrap();
    let table = text.split("| code | what it says |").nth(1).unwrap();

    let rows: Vec<(&str, &str)> = table
        .lines()
        .skip(2)
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .map(|(code, rest)| (code, rest.split(" | ").next().unwrap().trim()))
        .collect();

    assert_eq!(rows.len(), 13);
    for (index, (code, meaning)) in rows.into_iter().enumerate() {
        assert_eq!(code.parse(), Ok(index));
        assert!(page.contains(meaning), "the man page does not say that {code} is: {meaning}");
    }
}

#[test]
fn every_foreign_program_is_named_where_it_is_needed() {
    let chapter = Chapter::read(&root().join("docs/sockets.md"), "Terminal");
    for block in chapter.blocks.iter().filter(|block| block.action == Action::Run && block.needs.is_none()) {
        for word in ["ss ", "nc ", "curl ", "strace ", "openssl ", "socat ", "python", "cargo "] {
            let is_there =
                block.text.split(['\n', '|', ';', '&']).any(|command| command.trim_start().starts_with(word));
            assert!(!is_there, "line {}: {word} without needs=", block.line);
        }
    }
}
