//! The capabilities that a run may be given beyond none (capabilities(7)).
//!
//! Invariant: none of these is a way out of a container by itself: each acts on what the container has of its own.
//!
//! Absent on purpose: those that speak to the host's kernel as a whole (`SYS_ADMIN`, `SYS_MODULE`, `SYS_RAWIO`, `BPF`,
//! `SYS_TIME`, `DAC_READ_SEARCH`…). No setting gives them: who needs one needs no container.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A capability, by its name in capabilities(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
#[expect(missing_docs, reason = "capabilities(7) documents them")]
pub enum Capability {
    Chown,
    DacOverride,
    Fowner,
    Fsetid,
    IpcLock,
    Kill,
    NetAdmin,
    NetBindService,
    NetRaw,
    Setfcap,
    Setgid,
    Setpcap,
    Setuid,
    SysChroot,
    SysNice,
    SysPtrace,
}

impl Capability {
    /// All of them, by name.
    pub const ALL: [Self; 16] = [
        Self::Chown,
        Self::DacOverride,
        Self::Fowner,
        Self::Fsetid,
        Self::IpcLock,
        Self::Kill,
        Self::NetAdmin,
        Self::NetBindService,
        Self::NetRaw,
        Self::Setfcap,
        Self::Setgid,
        Self::Setpcap,
        Self::Setuid,
        Self::SysChroot,
        Self::SysNice,
        Self::SysPtrace,
    ];

    /// The names of [`Self::ALL`], in its order.
    pub const NAMES: [&'static str; 16] = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_IPC_LOCK",
        "CAP_KILL",
        "CAP_NET_ADMIN",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
        "CAP_SYS_NICE",
        "CAP_SYS_PTRACE",
    ];

    /// `CAP_…`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl FromStr for Capability {
    type Err = String;

    /// In any case, with or without `CAP_`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let found = Self::ALL
            .into_iter()
            .find(|known| known.as_str().strip_prefix("CAP_") == Some(short));
        found.ok_or_else(|| {
            format!(
                "`{text}` is no capability that a run can be given: {}",
                Self::NAMES.join(", ")
            )
        })
    }
}

impl TryFrom<String> for Capability {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Capability> for &'static str {
    fn from(capability: Capability) -> Self {
        capability.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_is_read_by_its_own_name() {
        for capability in Capability::ALL {
            let name = capability.as_str();
            let short = name.trim_start_matches("CAP_").to_lowercase();
            assert_eq!(name.parse(), Ok(capability));
            assert_eq!(short.parse(), Ok(capability));
            assert_eq!(Capability::try_from(name.to_owned()), Ok(capability));
            assert_eq!(<&str>::from(capability), name);
        }
    }

    #[test]
    fn what_is_the_hosts_is_no_capability_of_a_run() {
        for name in ["CAP_SYS_ADMIN", "sys_module", "CAP_BPF", "ALL", ""] {
            let refused = name.parse::<Capability>().expect_err("it is not offered");
            assert!(refused.contains("CAP_NET_BIND_SERVICE"), "{refused}");
        }
    }
}
