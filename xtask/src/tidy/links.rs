//! Links between the documents: the file exists, and so does the heading.
//!
//! Deliberately absent: links into the network, which a test must not depend on.

use super::{File, Finding, Tree};

/// Checks the relative links of one Markdown file.
pub(super) fn check(tree: &Tree, file: &File, findings: &mut Vec<Finding>) {
    for (line, target) in links(&file.text) {
        // `https:`, `mailto:` and the like lead elsewhere.
        let scheme = target.split_once(':').map(|(scheme, _)| scheme);
        if scheme.is_some_and(|scheme| scheme.chars().all(|character| character.is_ascii_alphabetic())) {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let path = if path.is_empty() { file.path.clone() } else { resolve(&file.path, path) };
        if !tree.contains(&path) {
            findings.push(Finding::new(file, line, format!("the link leads nowhere: {target}")));
        } else if let Some(linked) = tree.file(&path).filter(|_| !anchor.is_empty())
            && !headings(&linked.text).any(|heading| heading == anchor)
        {
            findings.push(Finding::new(file, line, format!("no such heading: {target}")));
        }
    }
}

/// `](target)` outside code, with the line it stands in.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        for (index, _) in line.match_indices("](") {
            // A link in backquotes is an example.
            if line[..index].matches('`').count() % 2 == 1 {
                continue;
            }
            let target = line[index + 2..].split([')', ' ']).next().unwrap_or_default();
            found.push((number, target.trim_matches(['<', '>'])));
        }
    }
    found
}

/// The lines outside fenced code, with their numbers from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence).then_some((index + 1, line))
    })
}

/// The anchors of the headings: lower case, spaces as hyphens, punctuation dropped.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter_map(|(_, line)| {
        let heading = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
        let kept = heading
            .trim()
            .chars()
            .filter(|character| character.is_alphanumeric() || " -_".contains(*character));
        Some(
            kept.map(|character| if character == ' ' { '-' } else { character })
                .collect::<String>()
                .to_lowercase(),
        )
    })
}

/// `link` as seen from the folder of `from`, with `.` and `..` resolved.
fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    #[test]
    fn links_to_files_folders_and_headings_resolve() {
        let text = "# Top\n\n[a](../README.md) [b](protocol/) [c](#top) [d](../README.md#한-줄) [e](https://example.org)\n";

        assert_eq!(
            findings(&[("README.md", "## 한 줄\n"), ("docs/a.md", text), ("docs/protocol/ws.txt", "\n")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn broken_links_are_found_with_their_line() {
        let found = findings(&[("README.md", "# Top\n\n[a](gone.md)\n[b](#bottom)\n")]);

        assert_eq!(
            found,
            ["README.md:3: the link leads nowhere: gone.md", "README.md:4: no such heading: #bottom"]
        );
    }

    #[test]
    fn links_in_code_are_examples() {
        let text = "```\n[a](gone.md)\n```\nand `[b](gone.md)` too\n";

        assert_eq!(findings(&[("README.md", text)]), Vec::<String>::new());
    }
}
