//! A cgroup's path within the hierarchy, checked once.

use std::fmt;
use std::str::FromStr;

use crate::CgroupError;

/// Longest cgroup path, bytes.
pub const PATH_BYTES_MAX: usize = 1_024;

/// Longest name of one cgroup, bytes (NAME_MAX).
const PART_BYTES_MAX: usize = 255;

/// An absolute path in the hierarchy, e.g. `/davit/<key>`: no empty part, no `.` or `..`, no control
/// character. `/` is the root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// The root of the hierarchy.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Names from the root down; none for the root.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// The cgroup that holds it; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        match self.0.rsplit_once('/')? {
            ("", "") => None,
            ("", _) => Some(Self::root()),
            (parent, _) => Some(Self(parent.to_owned())),
        }
    }

    /// The cgroup `name` in it.
    ///
    /// # Errors
    /// When `name` is no single name, or the path becomes too long.
    pub fn child(&self, name: &str) -> Result<Self, CgroupError> {
        let separator = if self.0 == "/" { "" } else { "/" };
        let path = format!("{}{separator}{name}", self.0);
        if name.contains('/') {
            return Err(CgroupError::BadPath {
                path,
                problem: "a name holds no `/`",
            });
        }
        path.parse()
    }
}

impl FromStr for CgroupPath {
    type Err = CgroupError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |problem| CgroupError::BadPath {
            path: text.chars().take(PATH_BYTES_MAX).collect(),
            problem,
        };
        if text.len() > PATH_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(bad("it must begin with `/`"));
        };
        if rest.is_empty() {
            return Ok(Self::root());
        }
        for part in rest.split('/') {
            match part {
                "" => return Err(bad("it has an empty part")),
                "." | ".." => return Err(bad("it must not contain `.` or `..`")),
                _ if part.len() > PART_BYTES_MAX => return Err(bad("a part is too long")),
                _ if part.chars().any(char::is_control) => {
                    return Err(bad("it has a control character"));
                }
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_plain_absolute_paths_pass() {
        for good in ["/", "/davit", "/davit.slice/a b/…"] {
            assert!(good.parse::<CgroupPath>().is_ok(), "{good}");
        }
        let long = format!("/{}", "x".repeat(256));
        for bad in [
            "", "davit", "//", "/a//b", "/a/", "/..", "/a/../b", "/.", "/a\nb", "/a\0", &long,
        ] {
            assert!(bad.parse::<CgroupPath>().is_err(), "{bad:?}");
        }
        assert!(
            format!("/{}", "x/".repeat(600))
                .parse::<CgroupPath>()
                .is_err()
        );
    }

    #[test]
    fn children_stay_below() {
        let davit = CgroupPath::root().child("davit").unwrap();
        assert_eq!(davit.child("a").unwrap().as_str(), "/davit/a");
        assert!(davit.child("..").is_err());
        assert!(davit.child("a/b").is_err());
        assert!(davit.child("").is_err());
        assert_eq!(davit.parent(), Some(CgroupPath::root()));
        assert_eq!(CgroupPath::root().parent(), None);
    }

    proptest! {
        #[test]
        fn what_parses_never_leaves_the_hierarchy(text in "[/.a-c\\n]{0,24}") {
            if let Ok(path) = text.parse::<CgroupPath>() {
                prop_assert_eq!(path.to_string(), text);
                prop_assert!(path.parts().all(|part| part != ".." && part != "."));
            }
        }
    }
}
