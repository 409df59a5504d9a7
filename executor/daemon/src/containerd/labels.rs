//! The labels davit puts on what it makes, and reading them back.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use davit_rundir::SlotId;
use davit_types::RunKey;
use prost_types::Timestamp;

/// On everything davit made: `true`.
pub(crate) const MANAGED: &str = "davit.managed";
/// The run.
const RUN_ID: &str = "davit.run-id";
/// Which execution of it.
const ATTEMPT: &str = "davit.attempt";
/// The slot a container was made as.
const SLOT: &str = "davit.slot";
/// First of the ids that a container's user namespace has, where it has one.
pub(super) const IDS_FIRST: &str = "davit.ids-first";
/// Manifest digest of the container's image.
pub(super) const IMAGE_DIGEST: &str = "davit.image-digest";
/// On an image: when it was last used, seconds since 1970.
pub(crate) const LAST_USED: &str = "davit.last-used";
/// On an image: bytes on disk, compressed and unpacked.
pub(crate) const SIZE_BYTES: &str = "davit.size-bytes";

pub(super) type LabelMap = HashMap<String, String>;

/// The labels of what belongs to `key`.
pub(super) fn of_run(key: RunKey) -> LabelMap {
    LabelMap::from([
        (MANAGED.to_owned(), "true".to_owned()),
        (RUN_ID.to_owned(), key.run.to_string()),
        (ATTEMPT.to_owned(), key.attempt.to_string()),
    ])
}

/// The execution that `labels` name.
pub(super) fn run_of(labels: &LabelMap) -> Option<RunKey> {
    let text = format!("{}.{}", labels.get(RUN_ID)?, labels.get(ATTEMPT)?);
    text.parse().ok()
}

/// The labels of what belongs to `slot`.
pub(super) fn of_slot(slot: &SlotId) -> LabelMap {
    LabelMap::from([
        (MANAGED.to_owned(), "true".to_owned()),
        (SLOT.to_owned(), slot.to_string()),
    ])
}

/// The filter that selects what davit made.
pub(super) fn managed_filter() -> String {
    format!("labels.\"{MANAGED}\"==true")
}

/// containerd's time; the epoch when it gave none.
pub(super) fn time_of(stamp: Option<&Timestamp>) -> SystemTime {
    let Some(stamp) = stamp else {
        return SystemTime::UNIX_EPOCH;
    };
    let seconds = u64::try_from(stamp.seconds).unwrap_or(0);
    let nanos = u32::try_from(stamp.nanos).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos.min(999_999_999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_the_epoch() {
        let year_one = Timestamp {
            seconds: -62_135_596_800,
            nanos: 0,
        };
        assert_eq!(time_of(Some(&year_one)), SystemTime::UNIX_EPOCH);
    }
}
