//! The labels davit puts on what it makes, and reading them back.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use davit_types::RunKey;
use prost_types::Timestamp;

/// On everything davit made: `true`.
pub(crate) const MANAGED: &str = "davit.managed";
/// The run.
const RUN_ID: &str = "davit.run-id";
/// Which execution of it.
const ATTEMPT: &str = "davit.attempt";
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

/// The execution an object belongs to, if its name and its labels agree on one.
pub(super) fn run_of(name: &str, labels: &LabelMap) -> Option<RunKey> {
    let key: RunKey = name.parse().ok()?;
    let ours = of_run(key)
        .iter()
        .all(|(label, value)| labels.get(label) == Some(value));
    ours.then_some(key)
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
    use davit_types::{Attempt, RunId};

    #[test]
    fn only_an_object_whose_name_and_labels_agree_is_ours() {
        let key = RunKey {
            run: RunId::generate(),
            attempt: Attempt::FIRST,
        };
        let labels = of_run(key);
        assert_eq!(run_of(&key.to_string(), &labels), Some(key));
        assert_eq!(run_of("something-else", &labels), None);
        let mut stolen = labels.clone();
        stolen.insert(RUN_ID.into(), RunId::generate().to_string());
        assert_eq!(run_of(&key.to_string(), &stolen), None);
        assert_eq!(run_of(&key.to_string(), &LabelMap::new()), None);
    }

    #[test]
    fn times_before_1970_are_the_epoch() {
        let year_one = Timestamp {
            seconds: -62_135_596_800,
            nanos: 0,
        };
        assert_eq!(time_of(Some(&year_one)), SystemTime::UNIX_EPOCH);
    }
}
