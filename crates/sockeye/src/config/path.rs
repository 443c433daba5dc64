//! Where a relative path of a configuration file begins: in the folder of that file, from wherever the server was started.
//!
//! Deliberately absent: paths that flags give, which begin in the working directory as everywhere on a command line, and
//! those of Unix sockets under `listen`, which are addresses, and as such the same in the file and in a flag.

use std::path::{Path, PathBuf};

use super::{Config, TokenText};
use crate::address::Source;

/// Makes every path of what was read in this folder absolute.
pub(super) fn resolve(config: &mut Config, folder: &Path) {
    let in_folder = |path: &mut PathBuf| *path = folder.join(&*path);
    let tls = &mut config.tls;
    for files in &mut tls.certificates {
        in_folder(&mut files.certificate);
        in_folder(&mut files.key);
    }
    tls.client_ca.iter_mut().for_each(in_folder);
    let auth = &mut config.auth;
    let tokens = auth.tokens.iter_mut().filter_map(|token| match &mut token.text {
        TokenText::Source(source) => Some(source),
        _ => None,
    });
    let sources = auth.secrets.iter_mut().chain(&mut auth.keys).chain(&mut auth.token_files).chain(tokens);
    for source in sources {
        if let Source::File(path) = source {
            in_folder(path);
        }
    }
}
