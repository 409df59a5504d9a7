//! What a run may ask of this host: what is installed, and what its operator allows.

use davit_types::{FieldError, FieldErrors, NetworkMode, RunSpec};

use super::{Host, RunError};
use crate::images::ImageName;

/// Holds `spec` against this host.
///
/// # Errors
/// Every field that asks for what is not offered here.
pub(super) fn check(host: &Host, spec: &RunSpec) -> Result<(), RunError> {
    let mut wrong = Vec::new();
    if let Err(error) = ImageName::parse(&spec.image) {
        wrong.push(error);
    }
    if spec.network == NetworkMode::Host && !host.settings.network.allow_host {
        wrong.push(FieldError::new(
            "network",
            "host",
            "is not allowed on this host: its operator can set network.allow_host",
        ));
    }
    let allowed = &host.settings.capabilities_allowed;
    for capability in &spec.capabilities {
        if !allowed.contains(capability) {
            wrong.push(FieldError::new(
                "capabilities",
                capability.as_str(),
                "is not allowed on this host: its operator can add it to capabilities_allowed",
            ));
        }
    }
    if !host.runtimes.contains_key(&spec.runtime) {
        let known: Vec<_> = host.runtimes.keys().map(|known| known.binary()).collect();
        wrong.push(FieldError::new(
            "runtime",
            spec.runtime.binary(),
            format!("is not installed on this host; it has {}", known.join(", ")),
        ));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(FieldErrors(wrong).into())
    }
}
