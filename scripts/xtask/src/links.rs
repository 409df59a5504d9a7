//! What documents point at is there: files, headings, and tests.
//!
//! ```text
//!  [text](../path#heading)                 path exists; of a document of ours, the heading too
//!  [`a_test`](../path/of/a_file.rs)        that file has `fn a_test(`: a promise is tied to what holds it
//! ```
//!
//! Absent on purpose: links to other hosts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::tidy;

/// Checks every document below `root`.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    for name in tidy::files(root)? {
        if !name.ends_with(".md") {
            continue;
        }
        let Ok(text) = fs::read_to_string(root.join(&name)) else {
            // Deleted but not yet committed.
            continue;
        };
        for (at, line) in (1..).zip(text.lines()) {
            let broken = links(line).filter_map(|link| link.problem(root, &name, &text));
            wrong.extend(broken.map(|problem| format!("{name}:{at}: {problem}")));
        }
    }
    if !wrong.is_empty() {
        bail!("\n   {}", wrong.join("\n   "));
    }
    Ok(())
}

/// `[text](target)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link<'a> {
    text: &'a str,
    target: &'a str,
}

fn links(line: &str) -> impl Iterator<Item = Link<'_>> {
    line.match_indices("](").filter_map(|(middle, _)| {
        let text = &line[line[..middle].rfind('[')? + 1..middle];
        let rest = &line[middle + 2..];
        let target = &rest[..rest.find(')')?];
        (!target.contains("://")).then_some(Link { text, target })
    })
}

impl Link<'_> {
    /// What is wrong with it in `document`, whose text is `own`.
    fn problem(self, root: &Path, document: &str, own: &str) -> Option<String> {
        let (path, heading) = self.target.split_once('#').unwrap_or((self.target, ""));
        let file: PathBuf = match path {
            "" => root.join(document),
            path => root.join(document).parent()?.join(path),
        };
        if !path.is_empty() && !file.exists() {
            return Some(format!("there is no {path}"));
        }
        let text = match path {
            "" => own.to_owned(),
            _ if file.is_dir() => return None,
            _ => fs::read_to_string(&file).unwrap_or_default(),
        };
        if path.ends_with(".rs")
            && let Some(function) = self
                .text
                .strip_prefix('`')
                .and_then(|t| t.strip_suffix('`'))
            && !text.contains(&format!("fn {function}("))
        {
            return Some(format!("there is no {function} in {path}"));
        }
        let is_there = heading.is_empty() || text.lines().filter_map(anchor).any(|a| a == heading);
        (!is_there).then(|| format!("there is no heading #{heading} in {path}"))
    }
}

/// What a heading is linked by.
fn anchor(line: &str) -> Option<String> {
    let heading = line.trim_start_matches('#');
    if heading.len() == line.len() {
        return None;
    }
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    Some(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        links(text)
            .filter_map(|link| link.problem(root, "document.md", text))
            .collect()
    }

    #[test]
    fn what_is_not_there_is_told() {
        assert_eq!(problems("[x](nowhere.rs)"), ["there is no nowhere.rs"]);
        let test = "[`what_is_told`](src/links.rs)";
        assert_eq!(problems(test), ["there is no what_is_told in src/links.rs"]);
        assert_eq!(problems("[x](#none)"), ["there is no heading #none in "]);
    }

    #[test]
    fn what_is_there_is_not() {
        let found = "# A heading: one\n[a](#a-heading-one), [`what_is_there_is_not`](src/links.rs) and \
                     [b](src) or [c](https://example.com/d)";
        assert_eq!(problems(found), [""; 0]);
        assert_eq!(links(found).count(), 3);
    }
}
