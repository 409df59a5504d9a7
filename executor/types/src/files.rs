//! Files that come out of a run: what is asked for, and what became of it.

use serde::{Deserialize, Serialize};

use crate::{FieldError, limits};

/// What to collect once the job has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtractPath {
    /// A file or directory in the container; a relative one begins at the working directory.
    pub from: String,
    /// Where the one who asked wants it. Nothing on the host is called so.
    pub to: String,
}

impl std::str::FromStr for ExtractPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(Self {
                from: from.to_owned(),
                to: to.to_owned(),
            }),
            _ => Err("is not FROM:TO, a path in the container and one of your own".to_owned()),
        }
    }
}

/// What became of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtractStatus {
    /// It is kept, whole.
    Ok,
    /// There was none at the job's end.
    Missing,
    /// It could not be had.
    Error,
}

impl ExtractStatus {
    /// The word in API, files and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Error => "error",
        }
    }
}

/// What was collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtractKind {
    /// A regular file.
    File,
    /// A directory with all below it.
    Directory,
}

impl ExtractKind {
    /// The word in API, files and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
        }
    }
}

/// The record of one [`ExtractPath`], in the end record of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// As asked for.
    pub from: String,
    /// As asked for.
    pub to: String,
    /// What became of it.
    pub status: ExtractStatus,
    /// What it was; absent unless it is kept.
    pub kind: Option<ExtractKind>,
    /// Of a file its bytes, of a directory those of its tar stream; 0 unless it is kept.
    pub bytes: u64,
    /// SHA-256, in hexadecimal, of those bytes; absent unless it is kept.
    pub sha256: Option<String>,
    /// A sentence: why it is not kept, or what was left out of it.
    pub message: Option<String>,
}

/// What is wrong with `extracts`.
pub(crate) fn check(extracts: &[ExtractPath]) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    if extracts.len() > limits::EXTRACTS_MAX {
        let problem = format!("at most {} allowed", limits::EXTRACTS_MAX);
        wrong.push(FieldError::new("extracts", extracts.len(), problem));
    }
    for (at, ExtractPath { from, to }) in extracts.iter().enumerate() {
        for (part, path) in [("from", from), ("to", to)] {
            let problem = if path.is_empty() {
                "is empty".to_owned()
            } else if path.chars().count() > limits::PATH_CHARS_MAX {
                format!("is longer than {} characters", limits::PATH_CHARS_MAX)
            } else if path.contains('\0') {
                "contains a NUL byte".to_owned()
            } else {
                continue;
            };
            wrong.push(FieldError::new(
                format!("extracts[{at}].{part}"),
                path,
                problem,
            ));
        }
        if extracts.iter().take(at).any(|other| other.to == *to) {
            let problem = "is named twice: one would replace the other";
            wrong.push(FieldError::new(format!("extracts[{at}].to"), to, problem));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(from: &str, to: &str) -> ExtractPath {
        ExtractPath {
            from: from.into(),
            to: to.into(),
        }
    }

    #[test]
    fn from_and_to_are_parted_by_the_first_colon() {
        assert_eq!("out:here".parse(), Ok(path("out", "here")));
        assert_eq!("/a/b:/c:d".parse(), Ok(path("/a/b", "/c:d")));
        for wrong in ["", "out", "out:", ":here", ":"] {
            let told = wrong.parse::<ExtractPath>().unwrap_err();
            assert!(told.contains("FROM:TO"), "{wrong}: {told}");
        }
    }

    #[test]
    fn every_bound_is_told_with_its_field() {
        let fields = |extracts: &[ExtractPath]| -> Vec<String> {
            check(extracts).into_iter().map(|e| e.field).collect()
        };
        assert!(fields(&[path("a", "b"), path("a", "c")]).is_empty());
        let long = "x".repeat(limits::PATH_CHARS_MAX + 1);
        assert_eq!(
            fields(&[path("", "b"), path("a\0", &long), path("c", "b")]),
            [
                "extracts[0].from",
                "extracts[1].from",
                "extracts[1].to",
                "extracts[2].to"
            ]
        );
        let many: Vec<_> = (0..=limits::EXTRACTS_MAX)
            .map(|n| path("a", &n.to_string()))
            .collect();
        assert_eq!(fields(&many), ["extracts"]);
        assert!(fields(&many[1..]).is_empty());
    }
}
