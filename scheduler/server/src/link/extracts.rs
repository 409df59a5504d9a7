//! Files that come out of an attempt, sent by the host that has it.
//!
//! ```text
//!  begin {length, SHA-256} ─► place {offset} ◄─ pieces ─► parts ─► read back, hashed ─► place {stored}
//! ```
//!
//! A host sends them before it reports the end, so that whoever hears of the end has them. It may send them as often as it
//! wants while the attempt is its own: a connection that breaks costs what was on its way. Nothing is said to be stored that is
//! not durable.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use davit_rpc::link as proto;
use davit_rpc::link::extract_from_host::Message as Said;
use davit_types::{ExtractKind, ExtractStatus, RunKey, Tenant, limits};
use futures::{Stream, stream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::error::LinkError;
use super::facts::bounded;
use super::{HELLO_MS_MAX, Shared, words};
use crate::files::Whole;
use crate::files::limits::PIECE_BYTES_MAX;
use crate::service::extracts::ToldExtract;
use crate::service::planned::PlannedRun;
use crate::store::Upload;

/// What a host is told: where it goes on, and that it is stored.
const PLACES_MAX: usize = 2;
/// Characters of what a host says of one of them.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// What a host is told of what it sends.
pub(super) type Places = ReceiverStream<Result<proto::ExtractPlace, Status>>;

impl Shared {
    /// Takes an extract of an attempt of `host`.
    pub(super) async fn extract(
        self: &Arc<Self>,
        host: Uuid,
        mut sent: Streaming<proto::ExtractFromHost>,
    ) -> Result<Places, LinkError> {
        let first = timeout(Duration::from_millis(HELLO_MS_MAX), sent.message()).await;
        let first = first.map_err(|_| LinkError::Silent {
            wanted: "beginning",
            waited_ms: HELLO_MS_MAX,
        })?;
        let said = first.ok().flatten().and_then(|message| message.message);
        let Some(Said::Begin(begin)) = said else {
            return Err(LinkError::OutOfPlace {
                given: "something else",
                wanted: "a beginning",
            });
        };
        let key = words::key(begin.key.as_ref())?;
        let whole = whole(&begin)?;
        self.gate.host(host).await?;
        let tenant = self.tenant_of_extract(host, key, begin.number).await?;
        let files = |source| LinkError::Files { host, source };
        let begun = self
            .files
            .begin_extract(key, begin.number, &tenant, &whole)
            .await
            .map_err(files)?;
        let (places, told) = mpsc::channel(PLACES_MAX);
        let place = proto::ExtractPlace {
            offset: begun.bytes,
            stored: begun.sha256.is_some(),
        };
        // There is room.
        drop(places.send(Ok(place)).await);
        if !place.stored {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                let done = shared.take(host, key, &begun, &whole, sent).await;
                // Who hung up asks again.
                drop(places.send(done.map_err(Status::from)).await);
            });
        }
        Ok(ReceiverStream::new(told))
    }

    async fn take(
        &self,
        host: Uuid,
        key: RunKey,
        begun: &Upload,
        whole: &Whole,
        sent: Streaming<proto::ExtractFromHost>,
    ) -> Result<proto::ExtractPlace, LinkError> {
        let pieces = pieces(sent, whole.bytes - begun.bytes);
        let taken = self.files.take_extract(begun, whole, pieces).await;
        taken.map_err(|source| LinkError::Files { host, source })?;
        tracing::debug!(%key, bytes = whole.bytes, "files of a run are stored");
        Ok(proto::ExtractPlace {
            offset: whole.bytes,
            stored: true,
        })
    }

    /// Whose run it is, if the attempt is the host's and has such an extract.
    async fn tenant_of_extract(
        &self,
        host: Uuid,
        key: RunKey,
        number: u32,
    ) -> Result<Tenant, LinkError> {
        let base = self.run_of(host, key).await?;
        let plan: Result<PlannedRun, _> = serde_json::from_str(&base.spec);
        let count = plan.map_or(0, |plan| plan.request.extracts.len());
        if usize::try_from(number).is_ok_and(|number| number < count) {
            return Ok(base.tenant);
        }
        let wanted = "one of the attempt's extracts";
        Err(LinkError::malformed("number", &number.to_string(), wanted))
    }
}

/// What became of each, as it is stored: a list of [`ToldExtract`]. For people and their programs only: what is too long is cut
/// short, and holds up no end.
pub(super) fn told(told: Vec<proto::Extracted>) -> Option<String> {
    let short = |text: String, max: usize| text.chars().take(max).collect::<String>();
    let told = told.into_iter().take(limits::EXTRACTS_MAX);
    let kept = told.map(|told| ToldExtract {
        status: match told.status.as_str() {
            "ok" => ExtractStatus::Ok,
            "missing" => ExtractStatus::Missing,
            _ => ExtractStatus::Error,
        },
        kind: match told.kind.as_str() {
            "file" => Some(ExtractKind::File),
            "directory" => Some(ExtractKind::Directory),
            _ => None,
        },
        bytes: told.bytes,
        sha256: told.sha256.map(|digits| short(digits, 64)),
        message: told.message.map(|text| short(text, MESSAGE_CHARS_MAX)),
    });
    let kept: Vec<ToldExtract> = kept.collect();
    // Texts and numbers in named fields always serialise.
    (!kept.is_empty()).then(|| serde_json::to_string(&kept).unwrap_or_default())
}

fn whole(begin: &proto::ExtractBegin) -> Result<Whole, LinkError> {
    let digits = &begin.sha256;
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(LinkError::malformed(
            "sha256",
            digits,
            "64 hexadecimal digits",
        ));
    }
    Ok(Whole {
        bytes: begin.bytes,
        sha256: digits.to_ascii_lowercase(),
    })
}

/// The pieces that a host sends, `left` bytes of them at most.
fn pieces(
    sent: Streaming<proto::ExtractFromHost>,
    left: u64,
) -> impl Stream<Item = Result<Bytes, LinkError>> {
    stream::try_unfold((sent, left), |(mut sent, left)| async move {
        let broke = |_| LinkError::OutOfPlace {
            given: "the end of the connection",
            wanted: "a piece",
        };
        let Some(message) = sent.message().await.map_err(broke)? else {
            return Ok(None);
        };
        let Some(Said::Data(data)) = message.message else {
            return Err(LinkError::OutOfPlace {
                given: "something else",
                wanted: "a piece",
            });
        };
        bounded("piece bytes", data.len(), PIECE_BYTES_MAX)?;
        let bytes_max = usize::try_from(left).unwrap_or(usize::MAX);
        bounded("bytes of the rest", data.len(), bytes_max)?;
        let left = left - data.len() as u64;
        Ok(Some((Bytes::from(data), (sent, left))))
    })
}
