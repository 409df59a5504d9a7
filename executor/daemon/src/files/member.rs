//! Which names a member of an archive may have. Pure.

use std::fmt;

/// Bytes of a whole path (Linux: PATH_MAX, less the final NUL).
pub(super) const PATH_BYTES_MAX: usize = 4_095;
/// Bytes of one name in it (Linux: NAME_MAX).
const NAME_BYTES_MAX: usize = 255;
/// Directories in each other. Each is a file descriptor while a tree is read.
pub(super) const DEPTH_MAX: usize = 128;

/// A path that stays below the directory it is taken from: names, separated by single slashes. Empty is that
/// directory itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MemberPath(Vec<u8>);

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathProblem {
    #[error("has no name")]
    Empty,
    #[error("is an absolute path")]
    Absolute,
    #[error("leads out with `..`")]
    Parent,
    #[error("contains a NUL byte")]
    Nul,
    #[error("is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    #[error("has a name longer than {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    #[error("is deeper than {DEPTH_MAX} directories")]
    TooDeep,
}

impl MemberPath {
    /// Takes a path as an archive has it.
    pub(super) fn parse(raw: &[u8]) -> Result<Self, PathProblem> {
        if raw.is_empty() {
            return Err(PathProblem::Empty);
        }
        if raw.starts_with(b"/") {
            return Err(PathProblem::Absolute);
        }
        if raw.contains(&0) {
            return Err(PathProblem::Nul);
        }
        let mut path = Vec::with_capacity(raw.len().min(PATH_BYTES_MAX));
        let mut depth = 0;
        for name in raw.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return Err(PathProblem::Parent),
                _ if name.len() > NAME_BYTES_MAX => return Err(PathProblem::NameTooLong),
                _ => {}
            }
            depth += 1;
            if depth > DEPTH_MAX {
                return Err(PathProblem::TooDeep);
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            if path.len() > PATH_BYTES_MAX {
                return Err(PathProblem::TooLong);
            }
        }
        Ok(Self(path))
    }

    /// Whether it is the directory itself.
    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory it is in, and its name there.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&[], &self.0),
        }
    }
}

impl fmt::Display for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

/// A hostile name as people may see it: no control characters, and not endless.
pub(super) fn printable(raw: &[u8]) -> String {
    /// Characters shown of a name.
    const CHARS_MAX: usize = 200;
    let text = String::from_utf8_lossy(raw);
    let mut shown: String = text
        .chars()
        .take(CHARS_MAX)
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(raw: &[u8]) -> Result<String, PathProblem> {
        MemberPath::parse(raw).map(|path| path.to_string())
    }

    #[test]
    fn paths_stay_below() {
        assert_eq!(parsed(b"a/b").unwrap(), "a/b");
        assert_eq!(parsed(b"./a//b/./c/").unwrap(), "a/b/c");
        assert_eq!(parsed(b"./").unwrap(), "");
        assert_eq!(parsed(b"..a/b..").unwrap(), "..a/b..");
        for (raw, problem) in [
            (&b""[..], PathProblem::Empty),
            (b"/etc/passwd", PathProblem::Absolute),
            (b"../x", PathProblem::Parent),
            (b"a/../../x", PathProblem::Parent),
            (b"a/..", PathProblem::Parent),
            (b"a\0b", PathProblem::Nul),
        ] {
            assert_eq!(parsed(raw), Err(problem), "{}", printable(raw));
        }
    }

    #[test]
    fn every_bound_holds() {
        let name = |bytes| vec![b'n'; bytes];
        assert!(parsed(&name(NAME_BYTES_MAX)).is_ok());
        assert_eq!(
            parsed(&name(NAME_BYTES_MAX + 1)),
            Err(PathProblem::NameTooLong)
        );
        let deep = |depth| vec!["d"; depth].join("/").into_bytes();
        assert!(parsed(&deep(DEPTH_MAX)).is_ok());
        assert_eq!(parsed(&deep(DEPTH_MAX + 1)), Err(PathProblem::TooDeep));
        let long = vec!["n".repeat(NAME_BYTES_MAX); 17].join("/");
        assert_eq!(parsed(long.as_bytes()), Err(PathProblem::TooLong));
        assert_eq!(printable(b"a\x1b[2Jb"), "a?[2Jb");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_has_only_names_in_it(raw in "[a./]{0,12}|[a./\\x00]{0,12}") {
            if let Ok(path) = MemberPath::parse(raw.as_bytes()) {
                let names: Vec<&[u8]> = path.as_bytes().split(|b| *b == b'/').collect();
                if !path.is_root() {
                    for name in names {
                        prop_assert!(!name.is_empty() && name != b"." && name != b"..");
                        prop_assert!(!name.contains(&0));
                    }
                    let (parent, name) = path.split();
                    let mut joined = parent.to_vec();
                    if !parent.is_empty() {
                        joined.push(b'/');
                    }
                    joined.extend_from_slice(name);
                    prop_assert_eq!(&joined[..], path.as_bytes());
                }
                // Taken once, it is taken as it is.
                if !path.is_root() {
                    prop_assert_eq!(MemberPath::parse(path.as_bytes()), Ok(path));
                }
            }
        }
    }
}
