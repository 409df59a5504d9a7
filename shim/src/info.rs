//! `-info`: what runtime stands behind this shim and what it can do.

use std::io::{self, Read};
use std::process::{Command, Stdio};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{self, Message, MessageField};
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};

use crate::bootstrap::{self, INPUT_BYTES_MAX};
use crate::runtime::{RuntimeError, find_binary};

/// The name containers ask for.
const NAME: &str = "io.containerd.davit.v1";

/// What containerd unpacks features as: the JSON `<runtime> features` prints.
const FEATURES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Why nothing could be said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InfoError {
    #[error("cannot read stdin")]
    Stdin(#[source] io::Error),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("cannot encode the answer")]
    Answer(#[source] protobuf::Error),
}

/// Asks the OCI runtime; returns the answer to print.
pub(crate) fn run() -> Result<Vec<u8>, InfoError> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(InfoError::Stdin)?;
    let options = Any::parse_from_bytes(&bytes)
        .ok()
        .filter(|any| !any.type_url.is_empty());
    let binary_name = options
        .as_ref()
        .and_then(bootstrap::runc_options)
        .map(|options| options.binary_name)
        .unwrap_or_default();
    let binary = find_binary(&binary_name)?;
    // A runtime too old to know the command has no features to tell.
    let features = Command::new(&binary)
        .arg("features")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| Any {
            type_url: FEATURES_TYPE.to_owned(),
            value: output.stdout,
            ..Any::default()
        });
    RuntimeInfo {
        name: NAME.to_owned(),
        version: MessageField::some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..RuntimeVersion::default()
        }),
        options: options.into(),
        features: features.into(),
        ..RuntimeInfo::default()
    }
    .write_to_bytes()
    .map_err(InfoError::Answer)
}
