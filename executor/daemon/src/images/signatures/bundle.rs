//! Signatures as referrers of their image, which is how cosign 3 stores them: each a manifest of its own, whose layer is a
//! sigstore bundle, in it a DSSE envelope around an in-toto statement that names the image's digest.
//!
//! Of a bundle only the envelope is read. Its entries of a transparency log and its certificates say when and by whom a key
//! was used; here the key is the operator's. (sigstore/protobuf-specs; secure-systems-lab/dsse, protocol.md; in-toto
//! attestation, spec/v1; OCI distribution, "Listing Referrers".)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::simple::{PAYLOAD_BYTES_MAX, SIGNATURES_MAX};
use crate::images::reference::is_sha256;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What cosign 3 writes into a list of referrers that it keeps itself, where the registry keeps none.
const UNSAID: [&str; 2] = ["", "application/vnd.oci.empty.v1+json"];
const IN_TOTO: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// That an image was signed. A statement of another kind says something about it, such as that it failed a scan.
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// The tag of the list of referrers of `digest`, where a registry keeps none itself.
pub(super) fn tag_of(digest: &str) -> String {
    digest.replacen(':', "-", 1)
}

#[derive(Deserialize)]
struct RawIndex {
    manifests: Vec<RawDescriptor>,
}

#[derive(Deserialize)]
struct RawManifest {
    layers: Vec<RawDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    artifact_type: String,
}

/// The digests of manifests that may hold a bundle.
///
/// # Errors
/// What is wrong with the list.
pub(super) fn listed(index: &[u8]) -> Result<Vec<String>, String> {
    let raw: RawIndex = serde_json::from_slice(index).map_err(|error| error.to_string())?;
    let entries = raw.manifests.into_iter();
    let digests: Vec<String> = entries
        .filter(|entry| {
            let kind = entry.artifact_type.as_str();
            (kind == BUNDLE || UNSAID.contains(&kind)) && is_sha256(&entry.digest)
        })
        .map(|entry| entry.digest)
        .collect();
    if digests.len() > SIGNATURES_MAX {
        return Err(format!(
            "it has {} entries, at most {SIGNATURES_MAX} are read: remove old signatures",
            digests.len()
        ));
    }
    Ok(digests)
}

/// The digest of the bundle that a manifest holds, if it does.
pub(super) fn held(manifest: &[u8]) -> Option<String> {
    let raw: RawManifest = serde_json::from_slice(manifest).ok()?;
    let [layer] = raw.layers.try_into().ok()?;
    let fits = layer.media_type == BUNDLE
        && is_sha256(&layer.digest)
        && layer.size <= PAYLOAD_BYTES_MAX as u64;
    fits.then_some(layer.digest)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBundle {
    dsse_envelope: RawEnvelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEnvelope {
    payload: String,
    payload_type: String,
    signatures: Vec<RawSignature>,
}

#[derive(Deserialize)]
struct RawSignature {
    sig: String,
}

/// What a bundle's signature is over, and the signature.
pub(super) fn opened(bundle: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let envelope = serde_json::from_slice::<RawBundle>(bundle)
        .ok()?
        .dsse_envelope;
    // The format has exactly one.
    let [signature] = envelope.signatures.try_into().ok()?;
    if envelope.payload_type != IN_TOTO {
        return None;
    }
    let payload = STANDARD.decode(envelope.payload).ok()?;
    Some((payload, STANDARD.decode(signature.sig).ok()?))
}

/// The bytes that are signed for `payload`: its type is signed along with it.
pub(super) fn message_of(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digests,
}

#[derive(Deserialize)]
struct Digests {
    sha256: Option<String>,
}

/// Whether a payload, whose signature was verified, says that the image with `digest` was signed.
pub(super) fn is_about(payload: &[u8], digest: &str) -> bool {
    let Ok(statement) = serde_json::from_slice::<Statement>(payload) else {
        return false;
    };
    let hex = digest.strip_prefix("sha256:");
    let mut subjects = statement.subject.iter();
    statement.kind == STATEMENT
        && statement.predicate_type == SIGN
        && hex.is_some()
        && subjects.any(|subject| subject.digest.sha256.as_deref() == hex)
}
