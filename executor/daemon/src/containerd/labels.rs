//! The labels davit puts on what it makes, and reading them back.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use davit_rundir::SlotId;
use davit_types::{EgressRule, PublishedPort, RunKey};
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
/// The number of a container's place in the network of bridges.
pub(super) const NETWORK: &str = "davit.network";
/// Whom it may reach: rules, a space between them.
pub(super) const EGRESS: &str = "davit.egress";
/// Where it is reached: ports, a space between them.
pub(super) const PUBLISHED: &str = "davit.published";
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
/// What a container has of the network of bridges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkHolder {
    /// The number that its addresses and its link's name follow from.
    pub number: u32,
    /// Whom it may reach; whatever is public when empty.
    pub egress: Vec<EgressRule>,
    /// Where it is reached.
    pub publish: Vec<PublishedPort>,
}

/// Adds what says that a container has a place in the network.
pub(super) fn of_network(holder: &NetworkHolder, labels: &mut LabelMap) {
    let mut add = |key: &str, value: String| labels.insert(key.to_owned(), value);
    add(NETWORK, holder.number.to_string());
    if !holder.egress.is_empty() {
        add(EGRESS, words(&holder.egress));
    }
    if !holder.publish.is_empty() {
        add(PUBLISHED, words(&holder.publish));
    }
}

fn words<T: ToString>(values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(T::to_string).collect();
    texts.join(" ")
}

/// The place a container has; `None` also when its labels are no davit's.
pub(super) fn network_of(labels: &LabelMap) -> Option<NetworkHolder> {
    Some(NetworkHolder {
        number: labels.get(NETWORK)?.parse().ok()?,
        egress: read(labels, EGRESS)?,
        publish: read(labels, PUBLISHED)?,
    })
}

fn read<T: FromStr>(labels: &LabelMap, key: &str) -> Option<Vec<T>> {
    let text = labels.get(key).map_or("", String::as_str);
    text.split_ascii_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

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
    fn a_place_in_the_network_is_read_as_it_was_written() {
        let rule = "2001:db8:1234:5678:9abc:def0:1234:5678/128,tcp,10000-65535";
        let holder = NetworkHolder {
            number: 7,
            egress: vec![rule.parse().expect("a rule"); davit_types::limits::EGRESS_RULES_MAX],
            publish: vec!["8080:80/udp".parse().expect("ports")],
        };
        let mut labels = LabelMap::new();
        of_network(&holder, &mut labels);
        for (key, value) in &labels {
            // containerd refuses longer ones (pkg/labels).
            assert!(key.len() + value.len() <= 4_096, "{key}");
        }
        assert_eq!(network_of(&labels), Some(holder));
        assert_eq!(network_of(&LabelMap::new()), None);
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
