//! Files that an attempt comes with, for the host that has it.
//!
//! A host may fetch them as often and from wherever it wants while the attempt is its own: a connection that breaks, or an
//! executor that is killed, costs a further call. Nobody else learns whether there are any.

use std::sync::Arc;

use bytes::Bytes;
use davit_rpc::link as proto;
use davit_types::RunKey;
use futures::{Stream, StreamExt, stream};
use tonic::Status;
use uuid::Uuid;

use super::Shared;
use super::error::LinkError;
use super::words;
use crate::files::limits::PIECE_BYTES_MAX;
use crate::files::{FilesError, Reader};
use crate::service::planned::{PlannedFiles, PlannedRun};
use crate::store::{BaseRun, Refusal};

/// Pieces of what a host fetches.
pub(super) type Pieces =
    std::pin::Pin<Box<dyn Stream<Item = Result<proto::FilesPiece, Status>> + Send>>;

impl Shared {
    /// What an attempt of `host` comes with, from an offset on.
    pub(super) async fn files(
        self: &Arc<Self>,
        host: Uuid,
        asked: proto::FilesRequest,
    ) -> Result<Pieces, LinkError> {
        let key = words::key(asked.key.as_ref())?;
        self.gate.host(host).await?;
        let files = self.files_of(host, key).await?;
        if asked.offset > files.bytes {
            let wanted = "within what the attempt comes with";
            return Err(LinkError::malformed(
                "offset",
                &asked.offset.to_string(),
                wanted,
            ));
        }
        let reader = self.files.read(files.upload, asked.offset, files.bytes);
        let reader = reader.map_err(|source| LinkError::Files { host, source })?;
        Ok(pieces(reader, host))
    }

    async fn files_of(&self, host: Uuid, key: RunKey) -> Result<PlannedFiles, LinkError> {
        let base = self.run_of(host, key).await?;
        let plan: Result<PlannedRun, _> = serde_json::from_str(&base.spec);
        let files = plan.ok().and_then(|plan| plan.files);
        files.ok_or_else(|| {
            LinkError::malformed("key", &key.to_string(), "of an attempt with files")
        })
    }

    /// The run whose live attempt this is, if that is the host's.
    pub(super) async fn run_of(&self, host: Uuid, key: RunKey) -> Result<BaseRun, LinkError> {
        let store = |source| LinkError::Store { host, source };
        let refused = |refusal| LinkError::Refused { host, refusal };
        let found = self.store.runs(None, vec![key.run]).await.map_err(store)?;
        let run = found.into_iter().next();
        let run = run.ok_or_else(|| refused(Refusal::UnknownRun { run: key.run }))?;
        let is_its_own = run.active.as_ref().is_some_and(|active| {
            active.host == Some(host) && active.attempt == key.attempt.number()
        });
        if !is_its_own {
            return Err(refused(Refusal::WrongHost));
        }
        Ok(run.base)
    }
}

fn pieces(reader: Reader, host: Uuid) -> Pieces {
    let parts = stream::try_unfold(reader, |mut reader| async move {
        let part = reader.next().await?;
        Ok::<_, FilesError>(part.map(|part| (part, reader)))
    });
    let pieces = parts.flat_map(move |part| {
        let pieces: Vec<_> = match part {
            Ok(part) => cut(part).map(Ok).collect(),
            Err(source) => vec![Err(LinkError::Files { host, source }.into())],
        };
        stream::iter(pieces)
    });
    Box::pin(pieces)
}

fn cut(mut part: Bytes) -> impl Iterator<Item = proto::FilesPiece> {
    std::iter::from_fn(move || {
        let piece = part.split_to(part.len().min(PIECE_BYTES_MAX));
        (!piece.is_empty()).then(|| proto::FilesPiece {
            data: piece.to_vec(),
        })
    })
}
