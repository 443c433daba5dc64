//! Who may do what: patterns of channels to publish to and to hear, and the right to administer.
//!
//! [`Rights`] are shared: one for each distinct grant, however many clients have it. What makes two clients of one grant
//! different is their user's name, which stands where a pattern says `{user}`. [`Identity`] is what one client is known
//! as. Where the rights are asked is in `admission`. Deliberately absent: tokens, keys and signatures, which are the
//! shell's, and names of roles, which are the configuration's.

use std::{borrow::Cow, sync::Arc};

use crate::{
    error::{NameError, Refusal, RefusalCode},
    name,
};

/// Stands in a pattern for the name of the user.
pub const USER_PLACE: &str = "{user}";

/// What a client may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights {
    publish: Box<[Box<str>]>,
    hear: Box<[Box<str>]>,
    admin: bool,
    unlimited: bool,
    asks_for_token: bool,
}

/// What one client is known as, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user, which its messages carry as `from`; absent for an anonymous one.
    pub user: Option<Arc<str>>,
    /// What it may do.
    pub rights: Arc<Rights>,
    /// When this ends, in monotonic milliseconds: the client is told before, and closed then.
    pub expires_ms: Option<u64>,
    /// By what the shell knows again what was shown, if it may be taken back ([`crate::Hub::reconsider`]).
    pub credential: Option<u64>,
}

impl Rights {
    /// Publishing and hearing as these patterns say, in which `{user}` stands for the user's name.
    ///
    /// # Errors
    ///
    /// Gives back the first pattern that is none, and its fault. That is also a word in braces other than `{user}`: it would be
    /// a name that nobody uses, and the right nobody's.
    pub fn new(publish: &[String], hear: &[String], admin: bool) -> Result<Self, (String, NameError)> {
        let patterns = |texts: &[String]| {
            let mut patterns: Vec<Box<str>> = Vec::with_capacity(texts.len());
            for text in texts {
                name::check_pattern(text).map_err(|error| (text.clone(), error))?;
                if text.split('/').any(has_unknown_place) {
                    return Err((text.clone(), NameError::UnknownPlace));
                }
                // Every name has a first level, so these two mean the same.
                patterns.push(if text == "+/#" { "#".into() } else { text.as_str().into() });
            }
            // Equal grants are equal rights, in whatever order they were written.
            patterns.sort_unstable();
            patterns.dedup();
            Ok(patterns.into_boxed_slice())
        };
        Ok(Self { publish: patterns(publish)?, hear: patterns(hear)?, admin, ..Self::default() })
    }

    /// Everything but administering: what everybody has where nobody has to say who he is.
    pub fn open() -> Self {
        Self { unlimited: true, ..Self::default() }
    }

    /// The same rights, of somebody who could have shown a token and has not: what is refused asks for one.
    #[must_use]
    pub fn without_token(mut self) -> Self {
        self.asks_for_token = true;
        self
    }

    /// Whether there is anything that these rights allow.
    pub fn is_empty(&self) -> bool {
        !self.unlimited && !self.admin && self.publish.is_empty() && self.hear.is_empty()
    }

    /// Whether every channel may be published to and heard, the server's own left aside.
    pub fn is_unlimited(&self) -> bool {
        self.unlimited
    }

    /// Whether what the server says about itself may be heard.
    pub fn is_admin(&self) -> bool {
        self.admin
    }

    /// Whether a user of this name may publish to a channel.
    ///
    /// # Errors
    ///
    /// The refusal to be told.
    pub fn check_publishing(&self, user: Option<&str>, channel: &str) -> Result<(), Refusal> {
        if self.unlimited || self.publish.iter().any(|allowed| covers(allowed, channel, user)) {
            return Ok(());
        }
        Err(self.refusal(format!("no publish permission on {channel}")))
    }

    /// Whether a user of this name may hear a channel, or all that a pattern means.
    ///
    /// # Errors
    ///
    /// The refusal to be told.
    pub fn check_hearing(&self, user: Option<&str>, wanted: &str) -> Result<(), Refusal> {
        if name::is_system(wanted) {
            return match self.admin {
                true => Ok(()),
                false => Err(self.refusal("hearing $sys/ needs the admin permission".into())),
            };
        }
        if self.unlimited || self.hear.iter().any(|allowed| covers(allowed, wanted, user)) {
            return Ok(());
        }
        Err(self.refusal(format!("no permission to hear {wanted}")))
    }

    fn refusal(&self, why: String) -> Refusal {
        match self.asks_for_token {
            true => Refusal::lasting(RefusalCode::Unauthorized, format!("{why} without a token")),
            false => Refusal::lasting(RefusalCode::Denied, why),
        }
    }
}

/// Whether everything that `wanted` means, a channel or a pattern, is also meant by `allowed`, in which `{user}` is the
/// user's name. Both are taken to be well formed.
pub(crate) fn covers(allowed: &str, wanted: &str, user: Option<&str>) -> bool {
    let mut wanted_levels = wanted.split('/');
    for (depth, level) in allowed.split('/').enumerate() {
        let given = wanted_levels.next();
        // Wildcards in the first level do not match names that begin with `$`, and nobody is called into being one.
        let may_vary = depth > 0 || given.is_some_and(|given| !given.starts_with('$'));
        match (level, given) {
            ("#", _) => return may_vary,
            (_, None | Some("#")) => return false,
            ("+", Some(_)) => {
                if !may_vary {
                    return false;
                }
            }
            (level, Some(given)) => match with_user(level, user) {
                Some(Cow::Borrowed(level)) if level == given => {}
                Some(Cow::Owned(level)) if may_vary && level == given => {}
                _ => return false,
            },
        }
    }
    wanted_levels.next().is_none()
}

/// Whether a level has something in braces that can only be meant for the user's place, and is not it. Digits make it a name:
/// a GUID is also written in braces.
fn has_unknown_place(level: &str) -> bool {
    // What stands before the first brace is in none.
    level.split('{').skip(1).any(|rest| {
        rest.split_once('}').is_some_and(|(word, _)| {
            let is_word = word.chars().any(char::is_alphabetic)
                && word
                    .chars()
                    .all(|letter| letter.is_alphabetic() || matches!(letter, ' ' | '-' | '_' | '.'));
            is_word && word != &USER_PLACE[1..USER_PLACE.len() - 1]
        })
    })
}

/// A level of a pattern with the user's name in its place: owned if there is such a place. `None` if no level of a name
/// could be that: the user has no name, or one with a separator, a wildcard or a control character in it. So a name can
/// never make a pattern mean more than one level of itself.
fn with_user<'a>(level: &'a str, user: Option<&str>) -> Option<Cow<'a, str>> {
    if !level.contains(USER_PLACE) {
        return Some(Cow::Borrowed(level));
    }
    let user = user.filter(|user| {
        !user.is_empty()
            && !user.chars().any(|letter| matches!(letter, '/' | '+' | '#') || letter.is_control())
    })?;
    let level = level.replace(USER_PLACE, user);
    (level != "." && level != "..").then_some(Cow::Owned(level))
}
