//! Signatures beside their image: the tag `sha256-….sig` in its repository, each layer one signature.
//!
//! The layer's blob is the payload; its signature is an annotation of the layer. The payload is "simple signing" JSON
//! (containers/image, docs/atomic-signature.md; sigstore/cosign, specs/SIGNATURE_SPEC.md).

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::images::reference::is_sha256;

/// Largest payload, bytes.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Most layers such a manifest may have.
pub(super) const SIGNATURES_MAX: usize = 64;
/// Longest signature, in base64.
const SIGNATURE_CHARS_MAX: usize = 2_048;
const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const PAYLOAD_TYPE: &str = "cosign container image signature";

/// The tag that signatures of `digest` have.
pub(super) fn tag_of(digest: &str) -> String {
    format!("{}.sig", digest.replacen(':', "-", 1))
}

/// A signature and where what it signs is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) payload_digest: String,
    pub(super) signature: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: u32,
    layers: Vec<RawLayer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLayer {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// What a manifest announces, without what is no signature or beyond a bound.
///
/// # Errors
/// What is wrong with the whole.
pub(super) fn announced(manifest: &[u8]) -> Result<Vec<Announced>, String> {
    let raw: RawManifest = serde_json::from_slice(manifest).map_err(|error| error.to_string())?;
    if raw.schema_version != 2 {
        return Err(format!(
            "its schema version is {}, not 2",
            raw.schema_version
        ));
    }
    if raw.layers.len() > SIGNATURES_MAX {
        // Not the first few of them: which are tried would be whoever's choice orders them.
        return Err(format!(
            "it has {} layers, at most {SIGNATURES_MAX} are read: remove old signatures",
            raw.layers.len()
        ));
    }
    let layers = raw.layers.into_iter();
    Ok(layers.filter_map(announced_by).collect())
}

fn announced_by(layer: RawLayer) -> Option<Announced> {
    let text = layer.annotations.get(ANNOTATION)?;
    let fits = layer.media_type == MEDIA_TYPE
        && is_sha256(&layer.digest)
        && layer.size <= PAYLOAD_BYTES_MAX as u64
        && text.len() <= SIGNATURE_CHARS_MAX;
    if !fits {
        return None;
    }
    Some(Announced {
        payload_digest: layer.digest,
        signature: STANDARD.decode(text).ok()?,
    })
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Whether a payload, whose signature was verified, says that the image with `digest` was signed.
pub(super) fn is_about(payload: &[u8], digest: &str) -> bool {
    serde_json::from_slice::<Payload>(payload).is_ok_and(|Payload { critical }| {
        critical.kind == PAYLOAD_TYPE && critical.image.digest == digest
    })
}
