//! `sockeye man`: the manual, made of the very help that the commands print.
//!
//! Deliberately absent: prose of its own, which would have to be kept true a second time.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap_mangen::Man as Page;

use super::Failure;
use super::failure::MEANINGS;
use crate::net::ErrorKind;

/// Write the manual, one page a command
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sockeye man | man -l -                                  the page of sockeye itself\n  \
    sockeye man connect | man -l -\n  \
    sockeye man --directory ~/.local/share/man/man1         all pages; then `man sockeye-connect`")]
pub(super) struct Man {
    /// Whose page to write to standard output; that of sockeye itself if none is named
    #[arg(conflicts_with = "directory")]
    command: Option<String>,
    /// Write all pages into this folder, which is made if it is missing
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, mut command: clap::Command) -> Result<(), Failure> {
        command = command.disable_help_subcommand(true);
        command.build();
        if let Some(directory) = self.directory {
            return write_all(&directory, &command);
        }
        let wanted = match &self.command {
            None => &command,
            Some(name) => command.find_subcommand(name).ok_or_else(|| {
                let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
                let why = format!("{name:?} is no command: the manual has pages of {}", names.join(", "));
                Failure::new(ErrorKind::Usage, why)
            })?,
        };
        io::stdout().lock().write_all(&page(wanted)?).context("cannot write to standard output")?;
        Ok(())
    }
}

fn write_all(directory: &Path, command: &clap::Command) -> Result<(), Failure> {
    let refused = |what: &Path, error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            _ => ErrorKind::Usage,
        };
        Failure::new(kind, format!("cannot write {}: {error}", what.display()))
    };
    fs::create_dir_all(directory).map_err(|error| refused(directory, error))?;
    for command in std::iter::once(command).chain(command.get_subcommands()) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        let file = directory.join(format!("{name}.1"));
        fs::write(&file, page(command)?).map_err(|error| refused(&file, error))?;
    }
    Ok(())
}

/// The page of a command.
fn page(command: &clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    render(command, &mut page).context("cannot make the page")?;
    Ok(page)
}

fn render(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    let is_whole = command.get_subcommands().next().is_some();
    let man = Page::new(command.clone());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if is_whole {
        man.render_subcommands_section(page)?;
    }
    if let Some(words) = command.get_after_help() {
        let words = words.to_string();
        let (title, words) = match words.strip_prefix("Examples:\n") {
            Some(examples) => ("EXAMPLES", examples),
            None => ("NOTES", words.as_str()),
        };
        // As they stand: whoever copies a line gets the line.
        writeln!(page, ".SH {title}\n.nf")?;
        for line in words.lines() {
            writeln!(page, "{}", escaped(line))?;
        }
        writeln!(page, ".fi")?;
    }
    writeln!(page, ".SH \"EXIT STATUS\"\n.TP\n0\neverything was done")?;
    for (kind, meaning) in MEANINGS {
        writeln!(page, ".TP\n{}\n{meaning}", kind.exit_code())?;
    }
    if is_whole {
        man.render_version_section(page)?;
    } else {
        writeln!(page, ".SH \"SEE ALSO\"\n.BR sockeye (1)")?;
    }
    Ok(())
}

/// A line of text that roff takes for nothing else (groff(7)).
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if line.starts_with('.') { format!("\\&{line}") } else { line }
}
