//! What a host says of itself, as the store keeps it: JSON in [`Host::body`](crate::store::Host) once, and in
//! [`Session::beat`](crate::store::Session) with every heartbeat.
//!
//! Invariants: every list and text is within a bound before it is kept. The client secret is here as SHA-256 only.
//!
//! Absent on purpose: the names of the images in a heartbeat that is stored. Only the replica that ends the connection
//! places runs on the host, and it was told.

use std::collections::BTreeMap;

use davit_placement::{Amounts, ImageRef};
use davit_rpc::link as proto;
use serde::{Deserialize, Serialize};

use super::error::LinkError;

/// Labels of a host.
pub(super) const LABELS_MAX: usize = 64;
/// Bytes of a label's key or value, of a version, of a runtime's name.
pub(super) const TEXT_BYTES_MAX: usize = 253;
/// Images told in a heartbeat.
pub(super) const IMAGES_MAX: usize = 256;
/// Features told.
const FEATURES_MAX: usize = 16;
/// Labels that are davit's own: what a host can do, for placement alone.
const FEATURE_PREFIX: &str = "davit.feature/";
/// OCI runtimes told.
const RUNTIMES_MAX: usize = 16;

/// What is kept of a registration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostBody {
    /// SHA-256 of the client secret, in hexadecimal digits.
    pub client_secret_sha256: String,
    /// As told when it joined.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// All that a host may give to runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCapacity {
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes of disk.
    pub disk_bytes: u64,
    /// OCI runtimes that it has.
    #[serde(default)]
    pub runtimes: Vec<String>,
}

impl HostCapacity {
    /// In placement's words.
    #[must_use]
    pub const fn amounts(&self) -> Amounts {
        Amounts {
            cpu_millis: self.cpu_millis,
            memory_bytes: self.memory_bytes,
            pids: self.pids,
            disk_bytes: self.disk_bytes,
        }
    }
}

/// The latest of a host: what it said when it connected, and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostBeat {
    /// Of its executor.
    pub davit_version: String,
    /// As told when it connected.
    pub labels: BTreeMap<String, String>,
    /// What it does beyond what every host ever did; placement has each as a label of davit's own.
    pub features: Vec<String>,
    /// All it may give.
    pub capacity: HostCapacity,
    /// How many images it told.
    pub images: usize,
    /// How many runs live there, by its own count.
    pub live_runs: u32,
    /// Hundredths of a percent of the last ten seconds in which somebody waited for a CPU.
    pub cpu_some_avg10_centi: Option<u32>,
    /// The same for memory.
    pub memory_some_avg10_centi: Option<u32>,
    /// The same for disks.
    pub io_some_avg10_centi: Option<u32>,
    /// Bytes.
    pub memory_available_bytes: u64,
    /// Bytes.
    pub disk_available_bytes: u64,
}

impl HostBeat {
    /// From a hello, and the images it holds.
    pub(super) fn of(hello: &proto::Hello) -> Result<(Self, Vec<ImageRef>), LinkError> {
        let capacity = hello.capacity.clone().unwrap_or_default();
        bounded("runtimes", capacity.runtimes.len(), RUNTIMES_MAX)?;
        for runtime in &capacity.runtimes {
            bounded("runtime bytes", runtime.len(), TEXT_BYTES_MAX)?;
        }
        bounded("features", hello.features.len(), FEATURES_MAX)?;
        for feature in &hello.features {
            bounded("feature bytes", feature.len(), TEXT_BYTES_MAX)?;
        }
        bounded("version bytes", hello.davit_version.len(), TEXT_BYTES_MAX)?;
        let mut beat = Self {
            davit_version: hello.davit_version.clone(),
            labels: labels(&hello.labels)?,
            features: hello.features.clone(),
            capacity: HostCapacity {
                cpu_millis: capacity.cpu_millis,
                memory_bytes: capacity.memory_bytes,
                pids: capacity.pids,
                disk_bytes: capacity.disk_bytes,
                runtimes: capacity.runtimes,
            },
            ..Self::default()
        };
        let images = beat.hear(&hello.state.clone().unwrap_or_default())?;
        Ok((beat, images))
    }

    /// Takes a heartbeat in; the images it names, as far as they are names of images.
    pub(super) fn hear(&mut self, state: &proto::Heartbeat) -> Result<Vec<ImageRef>, LinkError> {
        bounded("images", state.images.len(), IMAGES_MAX)?;
        self.images = state.images.len();
        self.live_runs = state.live_runs;
        self.cpu_some_avg10_centi = state.cpu_some_avg10_centi;
        self.memory_some_avg10_centi = state.memory_some_avg10_centi;
        self.io_some_avg10_centi = state.io_some_avg10_centi;
        self.memory_available_bytes = state.memory_available_bytes;
        self.disk_available_bytes = state.disk_available_bytes;
        let images = state.images.iter();
        Ok(images.filter_map(|image| image.parse().ok()).collect())
    }

    /// Its labels as placement has them: with one for each of its features, which no host gives itself as a label.
    pub(crate) fn placed_labels(&self) -> Vec<(String, String)> {
        let own = self.labels.iter();
        let own = own.filter(|(key, _)| !key.starts_with(FEATURE_PREFIX));
        let own = own.map(|(key, value)| (key.clone(), value.clone()));
        let features = self.features.iter().map(|feature| feature_label(feature));
        own.chain(features).collect()
    }

    /// As it is stored.
    pub(super) fn text(&self) -> String {
        // Maps with text keys and numbers: nothing of it can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The label of hosts that have a feature.
pub(crate) fn feature_label(feature: &str) -> (String, String) {
    (format!("{FEATURE_PREFIX}{feature}"), "yes".to_owned())
}

/// Labels within their bounds, in order.
pub(super) fn labels<'a>(
    told: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<BTreeMap<String, String>, LinkError> {
    let mut labels = BTreeMap::new();
    for (key, value) in told {
        bounded("label bytes", key.len().max(value.len()), TEXT_BYTES_MAX)?;
        labels.insert(key.clone(), value.clone());
    }
    bounded("labels", labels.len(), LABELS_MAX)?;
    Ok(labels)
}

/// Refuses what is above its bound.
pub(super) fn bounded(what: &'static str, given: usize, max: usize) -> Result<(), LinkError> {
    if given > max {
        return Err(LinkError::TooMuch { what, given, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_read_as_it_was_written_and_names_no_image() {
        let hello = proto::Hello {
            davit_version: "1".to_owned(),
            labels: [("disk".to_owned(), "fast".to_owned())].into(),
            capacity: Some(proto::Capacity {
                cpu_millis: 4_000,
                memory_bytes: 5,
                pids: 6,
                disk_bytes: 7,
                runtimes: vec!["crun".to_owned()],
            }),
            state: Some(proto::Heartbeat {
                images: vec!["busybox".to_owned(), "no image".to_owned()],
                live_runs: 3,
                ..proto::Heartbeat::default()
            }),
            ..proto::Hello::default()
        };
        let (beat, images) = HostBeat::of(&hello).unwrap();
        assert_eq!(images, ["busybox".parse().unwrap()]);
        let text = beat.text();
        assert!(!text.contains("busybox"), "{text}");
        assert_eq!(serde_json::from_str::<HostBeat>(&text).unwrap(), beat);
        assert_eq!(beat.capacity.amounts().cpu_millis, 4_000);
    }

    #[test]
    fn what_is_beyond_a_bound_is_refused() {
        let label = |n: usize| (format!("key {n}"), "x".to_owned());
        let many = |count: usize| (0..count).map(label).collect::<BTreeMap<_, _>>();
        assert_eq!(labels(&many(LABELS_MAX)).unwrap().len(), LABELS_MAX);
        assert!(labels(&many(LABELS_MAX + 1)).is_err());
        let long = BTreeMap::from([("k".to_owned(), "v".repeat(TEXT_BYTES_MAX + 1))]);
        assert!(labels(&long).is_err());
        let state = proto::Heartbeat {
            images: vec!["a".to_owned(); IMAGES_MAX + 1],
            ..proto::Heartbeat::default()
        };
        assert!(HostBeat::default().hear(&state).is_err());
    }
}
