//! Files that came out of a scheduler's job, sent before its end is told.
//!
//! ```text
//!  end.json, files/N.tar ─► begin {length, SHA-256} ══ SendExtract ══► place {offset}
//!                               ▲                       pieces ══════► place {stored} ─► the next
//!                               └── broke off: pause ──────┘
//! ```
//!
//! Nothing of it is kept on the way: where an archive goes on is the scheduler's to say, so a connection that breaks, or an
//! executor that is killed, costs what was on its way. The archives go with the end's acknowledgement
//! ([`settle_end`](crate::runs::Runs::settle_end)), before that is recorded.
//!
//! Invariants: what is told to be `ok` is stored, durably; what the scheduler will not have, or does not get for too long, is
//! told as an error, and holds up the end no longer; each call has a connection of its own, so that a large archive holds up no
//! session.

use std::io::{self, Read, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use davit_rpc::link::extract_from_host::Message;
use davit_rpc::link::{ExtractBegin, ExtractFromHost, ExtractPlace};
use davit_types::{ExtractStatus, Extracted, RunKey};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::dial::{self, LinkError};
use super::fetch::{Broke, broke, dial_anew};
use super::words;
use crate::files::collect::kept_path;
use crate::files::hex;
use crate::runs::offload;
use crate::settings::LinkSettings;

/// Archives on their way at once; others wait.
const SENDS_MAX: usize = 4;
/// One that does not get on for so long, in a session, is told as an error, milliseconds.
const STALL_MS_MAX: u64 = 900_000;
/// Longest wait for a piece to be taken, milliseconds.
const PIECE_MS_MAX: u64 = 60_000;
/// Longest wait for the scheduler to read back what it stored, milliseconds.
const STORED_MS_MAX: u64 = 600_000;
/// Pause before the second call, milliseconds; it doubles up to the longest.
const PAUSE_MS: u64 = 200;
const PAUSE_MS_MAX: u64 = 10_000;
/// Pieces that wait for the connection.
const PIECES_MAX: usize = 2;
/// Bytes of one piece, as many as a scheduler takes.
const PIECE_BYTES: usize = 512 << 10;
/// Bytes that are hashed at once.
const HASHED_BYTES: usize = 256 << 10;

/// What the deliveries of a session share. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Deliveries {
    link: LinkSettings,
    permits: Arc<Semaphore>,
}

impl Deliveries {
    pub(super) fn new(link: &LinkSettings) -> Self {
        Self {
            link: link.clone(),
            permits: Arc::new(Semaphore::new(SENDS_MAX)),
        }
    }
}

/// The files of one attempt; it ends when dropped.
#[derive(Debug)]
pub(super) struct Delivery {
    shared: Deliveries,
    under_way: Option<UnderWay>,
    told: Option<Vec<Extracted>>,
}

#[derive(Debug)]
struct UnderWay {
    collected: Vec<Extracted>,
    /// As far as they came.
    results: watch::Receiver<Option<Vec<Extracted>>>,
    /// What was wanted of the run when it began.
    revision: u32,
    _task: JoinSet<()>,
}

impl Delivery {
    pub(super) fn new(shared: Deliveries) -> Self {
        Self {
            shared,
            under_way: None,
            told: None,
        }
    }

    /// Begins, once, to send what was `collected` of an attempt that is over, and lies in `kept_in`. `wanted` is the revision of
    /// what is wanted of the run, and whether it is to stop: a stop that came afterwards gives up what is not stored yet.
    pub(super) fn go_on(
        &mut self,
        key: RunKey,
        kept_in: &Path,
        collected: &[Extracted],
        wanted: (u32, bool),
    ) {
        if self.told.is_some() {
            return;
        }
        let Some(under_way) = &self.under_way else {
            return self.begin(key, kept_in, collected.to_vec(), wanted.0);
        };
        // Before the results are looked at: they come first.
        let is_over = under_way.results.has_changed().is_err();
        let given_up = |why| {
            let collected = under_way.collected.iter().cloned();
            collected.map(|one| failed(one, why)).collect()
        };
        let results = under_way.results.borrow().clone();
        self.told = match results {
            Some(results) => Some(results),
            None if is_over => Some(given_up("the executor failed to send them")),
            None if wanted.1 && wanted.0 > under_way.revision => {
                Some(given_up("the run was stopped before they were sent"))
            }
            None => return,
        };
        self.under_way = None;
    }

    fn begin(&mut self, key: RunKey, kept_in: &Path, collected: Vec<Extracted>, revision: u32) {
        if !collected.iter().any(|one| one.status == ExtractStatus::Ok) {
            self.told = Some(collected);
            return;
        }
        let (done, results) = watch::channel(None);
        let mut task = JoinSet::new();
        let all = Sending {
            shared: self.shared.clone(),
            key,
            kept_in: kept_in.to_owned(),
        };
        let waiting = collected.clone();
        task.spawn(async move { drop(done.send(Some(all.run(waiting).await))) });
        self.under_way = Some(UnderWay {
            collected,
            results,
            revision,
            _task: task,
        });
    }

    /// What became of each, once nothing more is to be sent.
    pub(super) fn told(&self) -> Option<Vec<Extracted>> {
        self.told.clone()
    }

    /// Returns when all was sent.
    pub(super) async fn done(&mut self) {
        match &mut self.under_way {
            // An error means that it is done, and was looked at.
            Some(under_way) => drop(under_way.results.changed().await),
            None => std::future::pending().await,
        }
    }
}

fn failed(extracted: Extracted, problem: &str) -> Extracted {
    if extracted.status != ExtractStatus::Ok {
        return extracted;
    }
    Extracted {
        status: ExtractStatus::Error,
        kind: None,
        bytes: 0,
        sha256: None,
        message: Some(format!("it was collected, and not stored: {problem}")),
        ..extracted
    }
}

struct Sending {
    shared: Deliveries,
    key: RunKey,
    kept_in: PathBuf,
}

impl Sending {
    async fn run(self, collected: Vec<Extracted>) -> Vec<Extracted> {
        let mut results = Vec::with_capacity(collected.len());
        for (at, extracted) in collected.into_iter().enumerate() {
            if extracted.status != ExtractStatus::Ok {
                results.push(extracted);
                continue;
            }
            // Never closed.
            let _permit = self.shared.permits.acquire().await;
            match self.send(at).await {
                Ok(()) => results.push(extracted),
                Err(problem) => {
                    let key = self.key;
                    tracing::warn!(%key, at, problem, "files of a run were not sent");
                    results.push(failed(extracted, &problem));
                }
            }
        }
        results
    }

    async fn send(&self, at: usize) -> Result<(), String> {
        let path = kept_path(&self.kept_in, at);
        let (place, hashed) = (path.clone(), offload(move || hash(&path)).await);
        let unreadable = |error| format!("cannot read {}: {error}", place.display());
        let (bytes, sha256) = hashed.map_err(unreadable)?;
        let begin = ExtractBegin {
            key: Some(words::key_word(self.key)),
            number: u32::try_from(at).unwrap_or(u32::MAX),
            bytes,
            sha256,
        };
        let mut pause_ms = PAUSE_MS;
        let (mut stored, mut since) = (0, Instant::now());
        loop {
            let before = stored;
            let problem = match self.call(&place, &begin, &mut stored).await {
                Ok(()) => return Ok(()),
                Err(Broke::ForGood(problem)) => return Err(problem),
                Err(Broke::Now(problem)) => problem,
            };
            if stored > before {
                (pause_ms, since) = (PAUSE_MS, Instant::now());
            }
            if since.elapsed() > Duration::from_millis(STALL_MS_MAX) {
                return Err(format!(
                    "{stored} of {bytes} bytes were stored, and none for {STALL_MS_MAX} ms: {problem}"
                ));
            }
            let key = self.key;
            tracing::info!(%key, at, stored, problem, "the files of a run broke off; sending on");
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
        }
    }

    /// One call, from where the scheduler says; `stored` is what it says.
    async fn call(&self, path: &Path, begin: &ExtractBegin, stored: &mut u64) -> Result<(), Broke> {
        let (send, pieces) = mpsc::channel(PIECES_MAX);
        let first = Message::Begin(begin.clone());
        // There is room, and the call receives it.
        drop(send.send(message(first)).await);
        let opened = self.open(ReceiverStream::new(pieces)).await;
        let mut places = opened.map_err(broke)?;
        let place = next(&mut places, PIECE_MS_MAX).await?;
        if place.stored {
            return Ok(());
        }
        if place.offset > begin.bytes {
            let problem = format!("{} bytes are stored of {}", place.offset, begin.bytes);
            return Err(Broke::Now(problem));
        }
        *stored = place.offset;
        let mut sending = pin!(pass_on(path, place.offset, send));
        let limit_ms = STORED_MS_MAX;
        let last = tokio::select! {
            // It is refused before all was sent, or at once where nothing was left to send.
            last = places.message() => last,
            sent = &mut sending => {
                sent.map_err(Broke::Now)?;
                let limit = Duration::from_millis(limit_ms);
                let last = timeout(limit, places.message()).await;
                last.map_err(|_| broke(LinkError::Silent { limit_ms }))?
            }
        };
        match last.map_err(|status| broke(LinkError::call("store the files of a run")(status)))? {
            Some(place) if place.stored => Ok(()),
            _ => Err(Broke::Now("it did not say that they are stored".to_owned())),
        }
    }

    async fn open(
        &self,
        pieces: ReceiverStream<ExtractFromHost>,
    ) -> Result<Streaming<ExtractPlace>, LinkError> {
        let (mut client, bearer) = dial_anew(&self.shared.link).await?;
        let mut request = Request::new(pieces);
        request.metadata_mut().insert("authorization", bearer);
        let opened = dial::within(client.send_extract(request)).await?;
        let opened = opened.map_err(LinkError::call("take the files of a run"))?;
        Ok(opened.into_inner())
    }
}

fn message(message: Message) -> ExtractFromHost {
    ExtractFromHost {
        message: Some(message),
    }
}

async fn next(places: &mut Streaming<ExtractPlace>, limit_ms: u64) -> Result<ExtractPlace, Broke> {
    let limit = Duration::from_millis(limit_ms);
    match timeout(limit, places.message()).await {
        Ok(Ok(Some(place))) => Ok(place),
        Ok(Ok(None)) => Err(Broke::Now("it ended the call".to_owned())),
        Ok(Err(status)) => Err(broke(LinkError::call("take the files of a run")(status))),
        Err(_) => Err(broke(LinkError::Silent { limit_ms })),
    }
}

/// Sends a file from `offset` on; the stream ends with it.
async fn pass_on(
    path: &Path,
    offset: u64,
    send: mpsc::Sender<ExtractFromHost>,
) -> Result<(), String> {
    let reading = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let mut file = tokio::fs::File::open(path).await.map_err(reading)?;
    file.seek(SeekFrom::Start(offset)).await.map_err(reading)?;
    let limit = Duration::from_millis(PIECE_MS_MAX);
    loop {
        let mut data = Vec::with_capacity(PIECE_BYTES);
        let mut piece = (&mut file).take(PIECE_BYTES as u64);
        if piece.read_to_end(&mut data).await.map_err(reading)? == 0 {
            return Ok(());
        }
        match timeout(limit, send.send(message(Message::Data(data)))).await {
            Ok(Ok(())) => {}
            // Its answer says why.
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(format!("no piece was taken for {PIECE_MS_MAX} ms")),
        }
    }
}

/// Length and SHA-256 of a file. Blocking.
fn hash(path: &Path) -> io::Result<(u64, String)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; HASHED_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hex(hash)));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

#[cfg(test)]
mod tests;
