//! What went over a container's link, as the kernel counts it at the host's end.
//!
//! It lives here because both read it: the shim for the record, the executor for a run that lives. Invariant: there is a
//! count as long as the link is, which ends with the container's network namespace: who wants the last one holds that open.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::NetworkRecord;

/// A directory for each device (sysfs, Documentation/ABI/testing/sysfs-class-net-statistics).
const DEVICES: &str = "/sys/class/net";

/// Bytes of all layers above the link's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Received by the container.
    pub received_bytes: u64,
    /// Sent by it.
    pub sent_bytes: u64,
}

impl Traffic {
    /// What went over `link` since it was made.
    ///
    /// # Errors
    /// When the link is gone, or of another network namespace than sysfs here.
    pub fn read(link: &NetworkRecord) -> io::Result<Self> {
        let statistics = Path::new(DEVICES).join(&link.interface).join("statistics");
        let count = |name: &str| {
            let text = std::fs::read_to_string(statistics.join(name))?;
            let parsed = text.trim().parse();
            parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        };
        Ok(Self {
            // What the host's end sends, the container receives.
            received_bytes: count("tx_bytes")?,
            sent_bytes: count("rx_bytes")?,
        })
    }

    /// What came since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            received_bytes: self.received_bytes.saturating_sub(before.received_bytes),
            sent_bytes: self.sent_bytes.saturating_sub(before.sent_bytes),
        }
    }
}
