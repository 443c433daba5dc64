//! Channel names and patterns: what they may look like, and which pattern means which name.
//!
//! [`matches()`] is the slow, obvious rule. The hub itself asks its `tree`, and the tests hold the two together.

use crate::error::NameError;

/// The longest name.
pub(crate) const NAME_BYTES_MAX: usize = 1024;
/// The deepest name.
pub(crate) const LEVELS_MAX: usize = 32;

/// Checks the name of one channel.
///
/// # Errors
///
/// Names the first fault: see [`NameError`].
pub fn check_name(name: &str) -> Result<(), NameError> {
    check_shape(name)?;
    match name.bytes().find(|byte| matches!(byte, b'+' | b'#')) {
        Some(wildcard) => Err(NameError::Wildcard(wildcard.into())),
        None => Ok(()),
    }
}

/// Checks a pattern. A plain name is a pattern that means one channel.
///
/// # Errors
///
/// Names the first fault: see [`NameError`].
pub fn check_pattern(pattern: &str) -> Result<(), NameError> {
    check_shape(pattern)?;
    let last = pattern.split('/').count() - 1;
    for (index, level) in pattern.split('/').enumerate() {
        if level.contains('+') && level != "+" {
            return Err(NameError::PlusNotAlone);
        }
        if level.contains('#') && (level != "#" || index != last) {
            return Err(NameError::HashNotLast);
        }
    }
    Ok(())
}

/// Whether this is meant as a pattern: it has a wildcard.
pub fn is_pattern(name: &str) -> bool {
    name.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Whether this name is the server's own.
pub fn is_system(name: &str) -> bool {
    name.starts_with("$sys/") || name == "$sys"
}

/// Whether `pattern` means `name`; both are taken to be well formed.
pub fn matches(pattern: &str, name: &str) -> bool {
    // Wildcards in the first level do not match names that begin with `$`.
    if name.starts_with('$') && (pattern.starts_with('+') || pattern.starts_with('#')) {
        return false;
    }
    let mut names = name.split('/');
    for level in pattern.split('/') {
        if level == "#" {
            return true;
        }
        match names.next() {
            Some(part) if level == "+" || level == part => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

/// What names and patterns have in common, seen in one pass over the bytes: it is on the way of every message.
fn check_shape(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    let (mut levels, mut level_start, mut has_dots, mut may_have_control) = (1, 0, false, false);
    let bytes = name.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => {
                has_dots |= matches!(&bytes[level_start..index], b"." | b"..");
                levels += 1;
                level_start = index + 1;
            }
            // 0xC2 begins the control characters beyond ASCII, and others.
            0x00..=0x1F | 0x7F | 0xC2 => may_have_control = true,
            _ => {}
        }
    }
    has_dots |= matches!(&bytes[level_start..], b"." | b"..");
    if levels > LEVELS_MAX {
        return Err(NameError::TooDeep(levels));
    }
    if may_have_control && let Some(control) = name.chars().find(|character| character.is_control()) {
        return Err(NameError::Control(control as u32));
    }
    if has_dots {
        return Err(NameError::DotLevel);
    }
    Ok(())
}
