//! Files that come out of runs.

use davit_types::ExtractPath;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::service::extracts::{self, ShownExtract};
use crate::service::runs::Shown;

/// A file or directory that is to come out of a run.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct ExtractBody {
    /// Its path in the container once the job has ended, however it did; a relative one begins at the working directory.
    #[schema(example = "target/report")]
    from: String,
    /// The caller's own name for it, different for each: where `davit run` puts it. As `from`, when absent.
    to: Option<String>,
}

impl From<ExtractBody> for ExtractPath {
    fn from(body: ExtractBody) -> Self {
        Self {
            to: body.to.unwrap_or_else(|| body.from.clone()),
            from: body.from,
        }
    }
}

impl From<ExtractPath> for ExtractBody {
    fn from(path: ExtractPath) -> Self {
        Self {
            from: path.from,
            to: Some(path.to),
        }
    }
}

/// As they are kept.
pub(in crate::rest) fn paths(bodies: Vec<ExtractBody>) -> Vec<ExtractPath> {
    bodies.into_iter().map(ExtractPath::from).collect()
}

/// What became of one of a run's extracts.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum ExtractStatus {
    /// The run has not ended.
    Pending,
    /// It is here, whole.
    Ok,
    /// There was none at the job's end.
    Missing,
    /// It could not be had.
    Error,
}

/// What it was.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum ExtractKind {
    /// A regular file.
    File,
    /// A directory with all below it.
    Directory,
}

/// One of a run's extracts; its place in the list is its number.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct ExtractView {
    from: String,
    to: String,
    status: ExtractStatus,
    /// `null` unless it is `ok`.
    kind: Option<ExtractKind>,
    /// Of a file its bytes, of a directory those of its tar stream; 0 unless it is `ok`.
    bytes: u64,
    /// SHA-256 of those, hexadecimal.
    sha256: Option<String>,
    /// A sentence: why it is not there, or what was left out of it.
    message: Option<String>,
}

impl From<ShownExtract> for ExtractView {
    fn from(shown: ShownExtract) -> Self {
        let told = shown.told;
        let status = told.as_ref().map_or(ExtractStatus::Pending, |told| {
            use davit_types::ExtractStatus as Told;
            match told.status {
                Told::Ok => ExtractStatus::Ok,
                Told::Missing => ExtractStatus::Missing,
                Told::Error => ExtractStatus::Error,
            }
        });
        let kind = told.as_ref().and_then(|told| told.kind);
        Self {
            from: shown.from,
            to: shown.to,
            status,
            kind: kind.map(|kind| match kind {
                davit_types::ExtractKind::File => ExtractKind::File,
                davit_types::ExtractKind::Directory => ExtractKind::Directory,
            }),
            bytes: told.as_ref().map_or(0, |told| told.bytes),
            sha256: told.as_ref().and_then(|told| told.sha256.clone()),
            message: told.and_then(|told| told.message),
        }
    }
}

/// The extracts of one run.
pub(in crate::rest) fn views(shown: &Shown) -> Vec<ExtractView> {
    extracts::of(shown).into_iter().map(Into::into).collect()
}
