//! `sockeye completions`, `sockeye man`, and the examples that every `--help` shows.

use std::process::{Command, Stdio};

use crate::world::{Running, run, said};

/// Every command.
fn commands() -> Vec<String> {
    let help = said(&["--help"], b"");
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let names = list
        .lines()
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_shell_completes_every_command() {
    let commands = commands();
    assert!(commands.len() >= 11, "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = said(&["completions", shell], b"");

        for word in commands.iter().map(String::as_str).chain(["linger", "certificate-days"]) {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
    }
    assert_eq!(run(&["completions", "cmd"], b"").code, 2);
}

#[test]
fn a_framing_is_completed_by_its_words_and_not_by_files() {
    for (shell, offer) in [
        ("bash", "compgen -W \"raw lines nul len32 jsonl\""),
        ("zsh", ":FRAME:(raw lines nul len32 jsonl)"),
        ("fish", "-a \"raw\\t''\nlines\\t''\nnul\\t''\nlen32\\t''\njsonl\\t''\""),
    ] {
        let script = said(&["completions", shell], b"");

        assert!(script.matches(offer).count() >= 3, "{shell} does not offer {offer}");
    }
    for command in ["connect", "listen", "relay"] {
        let help = said(&[command, "--help"], b"");
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("[possible values: raw, lines, nul, len32, jsonl]"), "{help}");
        let ran = run(&[command, "--frame", "words", "tcp::1"], b"");
        assert!(ran.code == 2 && ran.errors.contains("words") && ran.errors.contains("jsonl"), "{ran:?}");
    }
}

#[test]
fn shells_that_are_here_accept_their_script() {
    for (shell, arguments) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["--no-execute"])] {
        if Command::new(shell).arg("-c").arg("true").stderr(Stdio::null()).status().is_err() {
            eprintln!("skipped: there is no {shell} here");
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script");
        std::fs::write(&file, said(&["completions", shell], b"")).unwrap();

        let ran = Running::start_in(Command::new(shell).args(arguments).arg(&file)).finish();

        assert_eq!((ran.code, ran.errors.as_str()), (0, ""), "{shell}: {ran:?}");
    }
}

#[test]
fn every_command_has_a_page_that_formats_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    said(&["man", "--directory", pages.to_str().unwrap()], b"");
    let has_groff = Command::new("groff").arg("--version").stdout(Stdio::null()).status().is_ok();

    for command in commands() {
        let file = pages.join(format!("sockeye-{command}.1"));
        let page = std::fs::read_to_string(&file).unwrap();
        assert_eq!(page, said(&["man", &command], b""), "{command}");
        for part in [".TH sockeye-", ".SH NAME", ".SH SYNOPSIS", ".SH EXAMPLES", ".SH \"EXIT STATUS\"", "(1)"]
        {
            assert!(page.contains(part), "the page of {command} has no {part}");
        }
        if has_groff {
            let mut groff = Command::new("groff");
            let ran = Running::start_in(groff.args(["-man", "-Tutf8", "-ww", "-z"]).arg(&file)).finish();
            assert_eq!((ran.code, ran.errors.as_str()), (0, ""), "{command}");
        }
    }
    if !has_groff {
        eprintln!("skipped: there is no groff here to format the pages");
    }
    assert!(said(&["man"], b"").contains("sockeye\\-connect(1)"));
    let ran = run(&["man", "conect"], b"");
    assert!(ran.code == 2 && ran.errors.contains("connect"), "{ran:?}");
    assert_eq!(run(&["man", "--directory", "/dev/null/x"], b"").code, 2);
}

#[test]
fn every_help_shows_examples_whose_flags_and_addresses_exist() {
    for command in commands() {
        let help = said(&[&command, "--help"], b"");
        let examples =
            help.split("Examples:\n").nth(1).unwrap_or_else(|| panic!("{command} shows no examples"));
        let lines: Vec<&str> = examples.lines().take_while(|line| !line.is_empty()).collect();
        assert!(lines.iter().any(|line| line.contains(&format!("sockeye {command}"))), "{command}");
        for line in lines {
            // Some prepare what the next one takes.
            let Some(example) = line.split("sockeye ").nth(1) else { continue };
            // Two blanks begin the words about it.
            check(example.split("  ").next().unwrap());
        }
    }
}

#[test]
fn the_commands_of_the_guide_have_flags_and_addresses_that_exist() {
    // A bar is written in a table as a table wants it.
    let guide = include_str!("../../../../docs/connect.md").replace("\\|", "|");
    let quoted = guide.split('`').skip(1).step_by(2);
    let examples: Vec<&str> = quoted.filter_map(|quoted| quoted.split("sockeye ").nth(1)).collect();

    assert!(examples.len() > 20, "{examples:?}");
    examples.into_iter().for_each(check);
}

/// Checks one command, without its program: what has a name must exist.
fn check(example: &str) {
    let command = example.split_whitespace().next().unwrap();
    if command.chars().all(char::is_uppercase) || !command.chars().all(char::is_alphanumeric) {
        return;
    }
    let help = said(&[command, "--help"], b"");
    // These characters are the shell's, and a command of its own stands behind two dashes.
    let own = example.split(" -- ").next().unwrap();
    let own = own.split([';', '|', '<', '>']).next().unwrap();
    for word in own.split_whitespace() {
        if word.starts_with("--") {
            let flag = word.split('=').next().unwrap();
            assert!(help.contains(&format!("{flag} ")), "{command} has no {flag}: {example}");
        }
        let address = word.trim_matches('\'');
        let bases = ["tcp:", "tls:", "udp:", "unix:", "ws:", "wss:", "ws+", "ch:"];
        if bases.iter().any(|base| address.starts_with(base)) {
            said(&["explain", address], b"");
        }
    }
}
