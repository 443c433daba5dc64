//! Reading the chapter: its sections and its blocks.
//!
//! A fence says what the block is, in which terminal, and what it needs: ```` ```sh 2 needs=ss ````. `sh` is pasted, `text` is
//! what is shown then, `typed` is typed. The prose before a fence names the terminal, since readers do not see what a fence says.

use std::path::Path;

/// A chapter.
pub(crate) struct Chapter {
    pub(crate) titles: Vec<String>,
    pub(crate) blocks: Vec<Block>,
}

/// A block.
#[derive(Clone)]
pub(crate) struct Block {
    /// The number of its section.
    pub(crate) section: usize,
    pub(crate) action: Action,
    pub(crate) terminal: u8,
    /// The program that must be there.
    pub(crate) needs: Option<String>,
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// What is done with a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is pasted.
    Run,
    /// It is shown. `as_stream`: where a dump in hexadecimal is cut is left to chance, as a stream leaves it.
    Shown { as_stream: bool },
    /// It is typed into what runs there.
    Typed,
}

impl Chapter {
    /// Reads a file. `terminal` is the word for it in its language; with an empty one the prose is not looked at.
    pub(crate) fn read(path: &Path, terminal: &str) -> Chapter {
        let text = std::fs::read_to_string(path).unwrap();
        let mut chapter = Chapter { titles: Vec::new(), blocks: Vec::new() };
        let mut prose = "";
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            if let Some(title) = line.strip_prefix("## ") {
                chapter.titles.push(title.to_owned());
            }
            let Some(fence) = line.strip_prefix("```") else {
                if !line.is_empty() {
                    prose = line;
                }
                continue;
            };
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            let text = inside.map(|line| format!("{line}\n")).collect();
            let section = chapter.titles.len().checked_sub(1).expect("a block stands in a section");
            let block = Block::new(fence, section, text, index + 1);
            let label = format!("**{terminal} {}**", block.terminal);
            assert!(
                terminal.is_empty() || prose.contains(&label),
                "{}, line {}: the words before it do not name its terminal: {prose}",
                path.display(),
                block.line
            );
            chapter.blocks.push(block);
        }
        chapter
    }

    /// The sections that have blocks.
    pub(crate) fn sections(&self) -> Vec<(&str, Vec<Block>)> {
        let of =
            |section| self.blocks.iter().filter(move |block| block.section == section).cloned().collect();
        let sections = self.titles.iter().enumerate().map(|(section, title)| (title.as_str(), of(section)));
        sections.filter(|(_, blocks): &(_, Vec<Block>)| !blocks.is_empty()).collect()
    }
}

impl Block {
    fn new(fence: &str, section: usize, text: String, line: usize) -> Block {
        let mut words = fence.split(' ');
        let mut action = match words.next() {
            Some("sh") => Action::Run,
            Some("text") => Action::Shown { as_stream: false },
            Some("typed") => Action::Typed,
            other => panic!("line {line}: a block begins with sh, text or typed, and not with {other:?}"),
        };
        let terminal = words.next().and_then(|word| word.parse().ok());
        let mut needs = None;
        for word in words {
            match word.strip_prefix("needs=") {
                Some(program) => needs = Some(program.to_owned()),
                None if word == "stream" => action = Action::Shown { as_stream: true },
                None => panic!("line {line}: {word} means nothing"),
            }
        }
        Block { section, action, terminal: terminal.expect("a terminal has a number"), needs, text, line }
    }
}

/// How a title is linked to.
pub(crate) fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|character| character.is_alphanumeric() || " -".contains(*character));
    kept.map(|character| if character == ' ' { '-' } else { character }).collect::<String>().to_lowercase()
}
