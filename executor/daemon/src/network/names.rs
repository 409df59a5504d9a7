//! What an executor calls its links and its table, so that two on a host never take each other's for their own. Pure.

use std::path::Path;

use sha2::{Digest as _, Sha256};

/// What the names of all executors' links begin with.
pub(super) const ALL_LINKS: &str = "davit";

/// The names of one executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// What its links' names begin with, and what its table is called: `davit` and four digits that follow from its state
    /// directory. Six more have room in a link's name (IFNAMSIZ).
    own: String,
}

impl Names {
    /// Those of the executor whose state is in `state_dir`.
    pub(super) fn of(state_dir: &Path) -> Self {
        let digest = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
        Self {
            own: format!("{ALL_LINKS}{:02x}{:02x}", digest[0], digest[1]),
        }
    }

    /// The table, of family inet and of family arp.
    pub(super) fn table(&self) -> &str {
        &self.own
    }

    /// What its links' names begin with.
    pub(super) fn links(&self) -> &str {
        &self.own
    }

    /// The name of the link of a container's number.
    pub(super) fn link(&self, number: u32) -> String {
        format!("{}{number:x}", self.own)
    }

    /// The number behind a link's name; `None`: it is not this executor's.
    pub(super) fn number_of(&self, link: &str) -> Option<u32> {
        u32::from_str_radix(link.strip_prefix(&self.own)?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_name_fits_and_tells_whose_and_which_it_is() {
        let ours = Names::of(Path::new("/var/lib/davit"));
        let theirs = Names::of(Path::new("/var/lib/other"));
        let last = (1 << 24) - 2;
        let link = ours.link(last);
        assert!(link.len() <= 15, "IFNAMSIZ: {link}");
        assert_eq!(ours.number_of(&link), Some(last));
        assert_eq!(theirs.number_of(&link), None);
        assert_eq!(ours.number_of("eth0"), None);
        assert!(link.starts_with(ALL_LINKS));
    }
}
