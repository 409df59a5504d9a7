//! Pulls from registries, by how they ended. Requests that shared one pull count once; an image that
//! was here is no pull.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Labels;
use crate::images::ImageError;

const SUCCEEDED: &str = "succeeded";
const FAILED: &str = "failed";
/// Everybody who waited for it went away.
const ABANDONED: &str = "abandoned";

/// What the image store reports to. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PullMeter {
    pub(super) pulls: Family<Labels<1>, Counter>,
}

impl Default for PullMeter {
    fn default() -> Self {
        let this = Self {
            pulls: Family::default(),
        };
        for outcome in [SUCCEEDED, FAILED, ABANDONED] {
            drop(this.pulls.get_or_create(&[("outcome", outcome)]));
        }
        this
    }
}

impl PullMeter {
    /// A pull is over.
    pub(crate) fn over<T>(&self, result: &Result<T, ImageError>) {
        let outcome = match result {
            Ok(_) => SUCCEEDED,
            Err(ImageError::Abandoned { .. }) => ABANDONED,
            Err(_) => FAILED,
        };
        self.pulls.get_or_create(&[("outcome", outcome)]).inc();
    }
}
