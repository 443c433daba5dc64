//! The arrows of ARCHITECTURE.md: which crate may depend on which, and which folder of the shell may name which.
//!
//! Deliberately absent: exceptions. An arrow that has to turn is turned here and in ARCHITECTURE.md, in one commit.

use super::code::Code;
use super::{File, Finding};

/// Each of our crates and those of ours it may depend on. What is not listed (sim, bench, xtask) may use all.
const CRATES: &[(&str, &[&str])] = &[
    ("sockeye-wire", &[]),
    ("sockeye-hub", &[]),
    ("sockeye-sys", &[]),
    ("sockeye-gateway", &["sockeye-wire", "sockeye-hub"]),
    ("sockeye", &["sockeye-wire", "sockeye-hub", "sockeye-sys", "sockeye-gateway"]),
];

/// Each room of `crates/sockeye/src` and the rooms it may name: `main -> cli -> {server, tool, console} -> {net,
/// address, config}`. The page that the server serves lives in `console`; `server` and `tool` never meet.
const ROOMS: &[(&str, &[&str])] = &[
    ("main", &["cli", "server", "tool", "console", "net", "address", "config"]),
    ("cli", &["server", "tool", "console", "net", "address", "config"]),
    ("server", &["console", "net", "address", "config"]),
    ("tool", &["net", "address", "config"]),
    ("console", &["net", "address", "config"]),
    ("net", &["address", "config"]),
    ("config", &["address"]),
    ("address", &[]),
];

const SHELL: &str = "crates/sockeye/src/";

/// Checks the dependencies that a manifest of one of our crates names, those for tests included.
pub(super) fn check_manifest(file: &File, findings: &mut Vec<Finding>) {
    let Some((_, allowed)) = CRATES.iter().find(|(name, _)| file.path == format!("crates/{name}/Cargo.toml"))
    else {
        if file.path.starts_with("crates/") {
            findings.push(Finding::new(file, 0, "an unknown crate: name it in xtask/src/tidy/arrows.rs"));
        }
        return;
    };
    let mut in_dependencies = false;
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            let section = line.trim_matches(['[', ']']);
            in_dependencies = section.ends_with("dependencies");
            // `[dependencies.sockeye-wire]` names one in its heading.
            if let Some((_, name)) = section.split_once("dependencies.") {
                check_dependency(file, index + 1, name, allowed, findings);
            }
        } else if in_dependencies {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            check_dependency(file, index + 1, name, allowed, findings);
        }
    }
}

fn check_dependency(file: &File, line: usize, name: &str, allowed: &[&str], findings: &mut Vec<Finding>) {
    let name = name.trim_matches('"');
    if CRATES.iter().any(|(ours, _)| *ours == name) && !allowed.contains(&name) {
        findings.push(Finding::new(file, line, format!("the arrows do not allow a dependency on {name}")));
    }
}

/// Checks the paths in one file of the shell.
pub(super) fn check_rooms(file: &File, code: &Code, findings: &mut Vec<Finding>) {
    let Some(place) = file.path.strip_prefix(SHELL) else { return };
    let segments: Vec<&str> =
        place.trim_end_matches(".rs").split('/').filter(|segment| *segment != "mod").collect();
    let Some(room) = segments.first() else { return };
    // The library's table of contents names every room and is used by none but through them.
    if *room == "lib" {
        return;
    }
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| name == room) else {
        findings.push(Finding::new(
            file,
            0,
            format!("unknown room `{room}`: name it in xtask/src/tidy/arrows.rs"),
        ));
        return;
    };
    let mut references = code.behind("crate::");
    references.extend(code.behind("sockeye::"));
    // A file at depth one reaches the root by one `super`, one at depth two by two.
    references.extend(code.behind(&"super::".repeat(segments.len())));
    for reference in references {
        let name = reference.name.as_str();
        let known = ROOMS.iter().any(|(room, _)| *room == name);
        if known && name != *room && !allowed.contains(&name) {
            let what = format!("the arrows do not allow `{room}` to name `{name}`");
            findings.push(Finding::new(file, reference.line, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    #[test]
    fn server_and_tool_never_meet() {
        let found = findings(&[
            ("crates/sockeye/src/server/mod.rs", "//! Serves.\nuse crate::{net::stream, tool::relay};\n"),
            ("crates/sockeye/src/tool/relay.rs", "//! Relays.\nuse super::super::server::Shard;\n"),
        ]);

        assert_eq!(
            found,
            [
                "crates/sockeye/src/server/mod.rs:2: the arrows do not allow `server` to name `tool`",
                "crates/sockeye/src/tool/relay.rs:2: the arrows do not allow `tool` to name `server`",
            ]
        );
    }

    #[test]
    fn nothing_points_upward() {
        let found = findings(&[(
            "crates/sockeye/src/config/file.rs",
            "//! As written.\nfn a() { crate::cli::run() }\n",
        )]);

        assert_eq!(
            found,
            ["crates/sockeye/src/config/file.rs:2: the arrows do not allow `config` to name `cli`"]
        );
    }

    #[test]
    fn downward_arrows_and_own_rooms_are_allowed() {
        let text = "//! A door.\n// crate::main is a comment\nuse crate::server::Server;\nuse super::flags;\nuse crate::cli::exit;\n";

        assert_eq!(findings(&[("crates/sockeye/src/cli/serve.rs", text)]), Vec::<String>::new());
    }

    #[test]
    fn a_room_that_nobody_named_is_reported() {
        let found = findings(&[("crates/sockeye/src/attic.rs", "//! Old things.\n")]);

        assert_eq!(
            found,
            ["crates/sockeye/src/attic.rs: unknown room `attic`: name it in xtask/src/tidy/arrows.rs"]
        );
    }

    #[test]
    fn a_pure_crate_depends_on_none_of_ours() {
        let manifest = "[package]\nname = \"sockeye-wire\"\n\n[dependencies]\nbytes = \"1\"\nsockeye-hub.workspace = true\n";

        let found = findings(&[("crates/sockeye-wire/Cargo.toml", manifest)]);

        assert_eq!(
            found,
            ["crates/sockeye-wire/Cargo.toml:6: the arrows do not allow a dependency on sockeye-hub"]
        );
    }
}
