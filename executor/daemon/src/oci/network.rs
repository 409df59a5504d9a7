//! What a spec says of its container's link to the outside: asked for by [`super::build`], made when the container is.
//!
//! It is an annotation, so that it belongs to a warm slot's profile like all the rest: a slot has its link before anybody
//! knows the run.

use davit_types::{NetworkMode, RunSpec};
use oci_spec::runtime::Spec;

use super::SpecError;
use crate::network::Wanted;

/// The annotation. Set here only: no annotation of an image or a run gets into a spec.
const NETWORK_ANNOTATION: &str = "davit.network";

/// The annotation that a run's spec has, with a bridge.
pub(super) fn annotation(run: &RunSpec) -> Result<Option<(String, String)>, SpecError> {
    if run.network != NetworkMode::Bridge {
        return Ok(None);
    }
    let text = serde_json::to_string(&Wanted::of(run)).map_err(malformed)?;
    Ok(Some((NETWORK_ANNOTATION.to_owned(), text)))
}

/// What the container of `spec` asks of its link; `None`: it has none.
///
/// # Errors
/// When the annotation is not one of davit's.
pub(crate) fn network(spec: &Spec) -> Result<Option<Wanted>, SpecError> {
    let annotations = spec.annotations().as_ref();
    let text = annotations.and_then(|all| all.get(NETWORK_ANNOTATION));
    text.map(|text| serde_json::from_str(text).map_err(malformed))
        .transpose()
}

fn malformed(error: serde_json::Error) -> SpecError {
    SpecError::Builder {
        part: "network annotation",
        problem: error.to_string(),
    }
}
