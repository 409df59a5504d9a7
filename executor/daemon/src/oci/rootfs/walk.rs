//! Where a path leads in the merged layers, directory by directory, the end of it existing or not.

use std::os::fd::OwnedFd;

use rustix::fs::{Stat, fstat};

use super::{Entry, LINKS_MAX, Layers, PARTS_MAX, RootfsError, look_up, open_failed, parts};

/// One directory of the path, from the root on; no link is among them.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Its name.
    pub(crate) name: String,
    /// What it is in the image; absent if it is not there.
    pub(crate) found: Option<Stat>,
}

impl Layers {
    /// The topmost layer: what a container writes to.
    pub(crate) fn into_top(self) -> Option<OwnedFd> {
        self.roots.into_iter().next()
    }

    /// The directories that `path` (from the root) leads through.
    ///
    /// # Errors
    /// When something in it is neither directory nor link, or it leads through too many links.
    pub(crate) fn walk(&self, path: &str) -> Result<Vec<Step>, RootfsError> {
        let mut todo: Vec<String> = parts(path).rev().collect();
        let mut passed: Vec<(String, Option<Vec<OwnedFd>>)> = Vec::new();
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = todo.pop() {
            steps += 1;
            if steps > PARTS_MAX {
                return Err(RootfsError::TooManyLinks(path.to_owned()));
            }
            if part == ".." {
                passed.pop();
                continue;
            }
            let here = match passed.last() {
                None => Some(&self.roots),
                Some((_, found)) => found.as_ref(),
            };
            let Some(here) = here else {
                passed.push((part, None));
                continue;
            };
            match look_up(here, &part)? {
                Entry::Absent => passed.push((part, None)),
                Entry::Directory(merged) => passed.push((part, Some(merged))),
                Entry::File(_) => return Err(RootfsError::NotADirectory(path.to_owned())),
                Entry::Link(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(RootfsError::TooManyLinks(path.to_owned()));
                    }
                    if target.starts_with('/') {
                        passed.clear();
                    }
                    todo.extend(parts(&target).rev());
                }
            }
        }
        let step = |(name, merged): (String, Option<Vec<OwnedFd>>)| {
            let top = merged.as_ref().and_then(|merged| merged.first());
            let stat = top.map(fstat).transpose();
            let found = stat.map_err(|error| open_failed(&name, error))?;
            Ok(Step { name, found })
        };
        passed.into_iter().map(step).collect()
    }
}
