//! Rust source with its comments, strings and character literals blanked, so that a rule about code sees only code.
//!
//! Deliberately absent: a parser. The rules ask for words and paths, and lines keep their numbers.

/// The code of one file, line by line as in the file.
pub(super) struct Code {
    text: String,
}

/// A word or path segment that a rule asks about, and the line it stands in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) line: usize,
}

impl Code {
    pub(super) fn new(source: &str) -> Self {
        Self { text: blank(source) }
    }

    /// The lines, each with its number from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// What stands directly behind `root` in the paths of this file: `a` and `b` in `crate::{a::x, b}` and `crate::a`.
    pub(super) fn behind(&self, root: &str) -> Vec<Reference> {
        let mut found = Vec::new();
        for (start, _) in self.text.match_indices(root) {
            let before = self.text[..start].chars().next_back();
            // `super::super::x` is found at its first segment only, and `my_crate::x` is not `crate::x`.
            if before.is_some_and(|character| is_word(character) || character == ':') {
                continue;
            }
            let rest = &self.text[start + root.len()..];
            let mut names = Vec::new();
            match rest.strip_prefix('{') {
                Some(group) => group_heads(group, &mut names),
                None => names.push(first_word(rest).to_owned()),
            }
            let line = self.text[..start].matches('\n').count() + 1;
            let named = names.into_iter().filter(|name| !name.is_empty());
            found.extend(named.map(|name| Reference { name, line }));
        }
        found
    }
}

/// The first segment of each member of a `{...}` group whose opening brace was taken.
fn group_heads(group: &str, names: &mut Vec<String>) {
    let mut depth = 0;
    let mut at_head = true;
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => return,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            _ if at_head && is_word(character) => {
                names.push(first_word(&group[index..]).to_owned());
                at_head = false;
            }
            _ => {}
        }
    }
}

fn first_word(text: &str) -> &str {
    text.split(|character| !is_word(character)).next().unwrap_or_default()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Replaces what is not code by spaces and keeps every line break.
fn blank(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(character) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if character == '"' {
            string(rest)
        } else if let Some(length) = raw_string(rest, &code) {
            length
        } else if character == '\'' {
            character_literal(rest)
        } else {
            0
        };
        let (taken, next) = rest.split_at(if skipped > 0 { skipped } else { character.len_utf8() });
        if skipped > 0 {
            code.extend(taken.chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
        } else {
            code.push_str(taken);
        }
        rest = next;
    }
    code
}

/// Block comments nest in Rust.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut index = 0;
    while index < text.len() {
        let rest = &text.as_bytes()[index..];
        if rest.starts_with(b"/*") {
            depth += 1;
            index += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            index += 2;
            if depth == 0 {
                return index;
            }
        } else {
            index += 1;
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// `r"..."` and `r#"..."#`, unless the `r` ends a word.
fn raw_string(text: &str, before: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?;
    // `br"..."` is a raw string too.
    let mut behind = before.chars().rev();
    let word = match behind.next() {
        Some('b') => behind.next(),
        other => other,
    };
    if word.is_some_and(is_word) {
        return None;
    }
    let count = hashes.len() - hashes.trim_start_matches('#').len();
    hashes[count..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(count));
    let body = 1 + count + 1;
    Some(text[body..].find(&end).map_or(text.len(), |index| body + index + end.len()))
}

/// `'x'` and `'\n'`; 0 for a lifetime.
fn character_literal(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => text[3.min(text.len())..].find('\'').map_or(0, |index| 3 + index + 1),
        Some(_) => match characters.next() {
            Some((index, '\'')) => index + 1,
            _ => 0,
        },
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn comments_and_literals_are_not_code() {
        let source = concat!(
            "let a = \"one \\\" two\"; // three\n",
            "/* four /* five */ six */ let b = r#\"seven \" eight\"#;\n",
            "let c: &'a str = 'x'; let d = '\\''; let e = br\"nine\"; end\n",
        );

        let code = Code::new(source);

        let words: Vec<&str> = code.text.split_whitespace().collect();
        assert_eq!(words.join(" "), "let a = ; let b = ; let c: &'a str = ; let d = ; let e = b ; end");
        assert_eq!(code.text.lines().count(), 3);
    }

    #[test]
    fn the_heads_of_paths_are_found() {
        let source = "use crate::{\n    net::{stream, datagram},\n    address,\n};\nfn a() { crate::cli::run(); my_crate::x(); }\n";

        let found: Vec<(String, usize)> = Code::new(source)
            .behind("crate::")
            .into_iter()
            .map(|reference| (reference.name, reference.line))
            .collect();

        assert_eq!(found, [("net".to_owned(), 1), ("address".to_owned(), 1), ("cli".to_owned(), 5)]);
    }
}
