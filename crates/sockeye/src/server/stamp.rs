//! What files look like from outside, so that a change is noticed.
//!
//! Looking works on every file system, through links and mounts that are exchanged under a name, where notices of changes do
//! not.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What some files looked like, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps(Vec<Option<Stamp>>);

/// Which file it is, when it was changed, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    written: (i64, i64),
    bytes: u64,
}

impl Stamps {
    /// Looks at files; one that is not there looks like nothing.
    pub fn look<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Stamps {
        let stamp = |path| {
            let metadata = fs::metadata(path).ok()?;
            Some(Stamp {
                file: (metadata.dev(), metadata.ino()),
                written: (metadata.mtime(), metadata.mtime_nsec()),
                bytes: metadata.len(),
            })
        };
        Stamps(paths.into_iter().map(stamp).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn another_content_another_file_and_no_file_look_different() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two, link) =
            (folder.path().join("one"), folder.path().join("two"), folder.path().join("link"));
        fs::write(&one, "a").expect("a file");
        fs::write(&two, "a").expect("a file");
        symlink(&one, &link).expect("a link");
        let look = || Stamps::look([link.as_path()]);

        let first = look();
        assert_eq!(look(), first);
        fs::write(&one, "ab").expect("a file");
        let longer = look();
        assert_ne!(longer, first);
        // As a mounted configuration is exchanged: the name leads to another file.
        fs::remove_file(&link).expect("a link");
        assert_ne!(look(), longer);
        symlink(&two, &link).expect("a link");
        assert_ne!(look(), first);
    }
}
