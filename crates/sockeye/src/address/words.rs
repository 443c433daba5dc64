//! Words of a command that is run without a shell: separated by blanks, kept together by quotes.
//!
//! Deliberately absent: variables, patterns, pipes. Who wants those writes `sh:`.

/// Takes a command apart. Single quotes keep everything, double quotes everything but `\"` and `\\`; a backslash keeps
/// the next character.
pub(super) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), character) if character == open => quote = None,
            (Some('"'), '\\') if matches!(characters.peek(), Some('"' | '\\')) => {
                word.get_or_insert_default().extend(characters.next());
            }
            (Some(_), character) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '\\') => match characters.next() {
                Some(character) => word.get_or_insert_default().push(character),
                None => return Err("the command ends in a backslash"),
            },
            (None, character) if character.is_whitespace() => words.extend(word.take()),
            (None, character) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err("a quote in the command is not closed");
    }
    words.extend(word);
    if words.first().is_none_or(String::is_empty) {
        return Err("a command is missing: write exec:PROGRAM ARGUMENTS");
    }
    Ok(words)
}

/// Puts a command together, with quotes where they are needed.
pub(super) fn join(words: &[String]) -> String {
    let quoted = |word: &String| {
        let is_plain =
            |character: char| !character.is_whitespace() && !matches!(character, '\'' | '"' | '\\');
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
