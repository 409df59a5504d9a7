//! Files that a scheduler's run comes with, fetched when its container is prepared.
//!
//! ```text
//!  scheduler ══ FetchFiles from an offset ══► fetch ─► intake (a few pieces) ─► unpack
//!                    ▲                          │ broke off: pause, from where it broke
//!                    └──────────────────────────┘
//! ```
//!
//! Nothing of it is kept on the way, as with files of a caller on this host. What it takes to fetch them again stands in
//! `spec.json`: an executor that is killed meanwhile leaves a container half-made, which the next one removes, and it
//! fetches from the beginning.
//!
//! Invariants: the job begins only if length and SHA-256 are those that the scheduler gave with the run; each fetch has a
//! connection of its own, so that one which is held back by a slow disk holds up no session.

use std::sync::Arc;
use std::time::Duration;

use davit_rpc::link::link_client::LinkClient;
use davit_rpc::link::{FilesPiece, FilesRequest, RunFiles};
use davit_rundir::ScheduledFiles;
use davit_types::RunKey;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use super::dial::{self, LinkError};
use super::identity::{Identity, IdentityError};
use super::words;
use crate::files::intake::{self, Feed, PIECE_BYTES_MAX, Upload};
use crate::runs::{offload, sentence};
use crate::settings::LinkSettings;

/// Fetches of this host at once; others wait.
const FETCHES_MAX: usize = 4;
/// A run whose files do not get on for so long ends, milliseconds: a scheduler may be away for a while.
const STALL_MS_MAX: u64 = 900_000;
/// A piece that does not come for so long is asked for by another call, milliseconds.
const PIECE_MS_MAX: u64 = 60_000;
/// Pause before the second call, milliseconds; it doubles up to the longest.
const PAUSE_MS: u64 = 200;
const PAUSE_MS_MAX: u64 = 10_000;

/// Fetches of this host.
#[derive(Debug)]
pub(crate) struct Fetches {
    link: LinkSettings,
    permits: Arc<Semaphore>,
}

impl Fetches {
    /// None yet.
    pub(crate) fn new(link: &LinkSettings) -> Self {
        Self {
            link: link.clone(),
            permits: Arc::new(Semaphore::new(FETCHES_MAX)),
        }
    }

    /// Begins to fetch what an attempt comes with. It goes on until all is there, or nobody wants it any more.
    pub(crate) fn begin(&self, key: RunKey, files: ScheduledFiles) -> Upload {
        let (feed, upload) = intake::channel();
        let permits = Arc::clone(&self.permits);
        let fetch = Fetch {
            link: self.link.clone(),
            key,
            files,
            got: 0,
            hash: Sha256::new(),
        };
        tokio::spawn(async move {
            let mut canceled = feed.canceled.clone();
            let fetched = async {
                // Never closed.
                let _permit = permits.acquire_owned().await;
                fetch.run(&feed).await
            };
            let ended = tokio::select! {
                ended = fetched => ended,
                // An error means that the run is gone.
                _ = canceled.wait_for(|canceled| *canceled) => Err("the run was ended".to_owned()),
                () = feed.gone() => return,
            };
            match ended {
                Ok(bytes) => feed.end(bytes).await,
                Err(problem) => {
                    tracing::warn!(%key, problem, "the files of a run were not fetched");
                    feed.broken(problem).await;
                }
            }
        });
        upload
    }
}

/// What the scheduler says of files.
pub(super) fn wanted(files: RunFiles) -> ScheduledFiles {
    ScheduledFiles {
        bytes: files.bytes,
        sha256: files.sha256,
    }
}

/// Why a call brought no more.
pub(super) enum Broke {
    /// Another call may bring the rest.
    Now(String),
    /// None will.
    ForGood(String),
}

struct Fetch {
    link: LinkSettings,
    key: RunKey,
    files: ScheduledFiles,
    /// Bytes that were passed on,
    got: u64,
    /// and their digest.
    hash: Sha256,
}

impl Fetch {
    async fn run(mut self, feed: &Feed) -> Result<u64, String> {
        let mut pause_ms = PAUSE_MS;
        let mut since = Instant::now();
        while self.got < self.files.bytes {
            let before = self.got;
            let problem = match self.call(feed).await {
                Ok(()) => "it ended early".to_owned(),
                Err(Broke::Now(problem)) => problem,
                Err(Broke::ForGood(problem)) => return Err(problem),
            };
            if self.got == self.files.bytes {
                break;
            }
            if self.got > before {
                (pause_ms, since) = (PAUSE_MS, Instant::now());
            }
            if since.elapsed() > Duration::from_millis(STALL_MS_MAX) {
                return Err(format!(
                    "{} of {} bytes came, and none for {STALL_MS_MAX} ms: {problem}",
                    self.got, self.files.bytes
                ));
            }
            let (key, got) = (self.key, self.got);
            tracing::info!(%key, got, problem, "the files of a run broke off; fetching on");
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
        }
        let arrived = crate::files::hex(self.hash);
        if arrived == self.files.sha256 {
            return Ok(self.got);
        }
        Err(format!(
            "what the scheduler sent has SHA-256 {arrived}, not {}",
            self.files.sha256
        ))
    }

    /// One call, from where the last one broke off.
    async fn call(&mut self, feed: &Feed) -> Result<(), Broke> {
        let mut pieces = self.open().await.map_err(broke)?;
        while let Some(piece) = next(&mut pieces).await? {
            self.take(piece, feed).await?;
        }
        Ok(())
    }

    async fn open(&self) -> Result<Streaming<FilesPiece>, LinkError> {
        let (mut client, bearer) = dial_anew(&self.link).await?;
        let mut request = Request::new(FilesRequest {
            key: Some(words::key_word(self.key)),
            offset: self.got,
        });
        request.metadata_mut().insert("authorization", bearer);
        let opened = dial::within(client.fetch_files(request)).await?;
        let opened = opened.map_err(LinkError::call("give the files of a run"))?;
        Ok(opened.into_inner())
    }

    async fn take(&mut self, piece: FilesPiece, feed: &Feed) -> Result<(), Broke> {
        let data = piece.data;
        let left = self.files.bytes - self.got;
        if data.len() as u64 > left || data.len() > PIECE_BYTES_MAX {
            let problem = format!("a piece of {} bytes came, with {left} left", data.len());
            return Err(Broke::ForGood(problem));
        }
        self.hash.update(&data);
        self.got += data.len() as u64;
        if feed.data(data).await {
            return Ok(());
        }
        Err(Broke::ForGood("the run wants them no more".to_owned()))
    }
}

/// A connection of its own, and what opens calls on it.
pub(super) async fn dial_anew(
    link: &LinkSettings,
) -> Result<(LinkClient<Channel>, MetadataValue<Ascii>), LinkError> {
    let path = link.credentials_file.clone();
    let known = path.clone();
    let identity = offload(move || Identity::read(&known)).await?;
    let Some(identity) = identity.filter(|identity| identity.registered.is_some()) else {
        return Err(IdentityError::Unregistered { path }.into());
    };
    let mut client = dial::connect(&identity.server, link).await?;
    let (token, _) = dial::authenticate(&mut client, &identity).await?;
    let bearer = MetadataValue::try_from(format!("Bearer {token}"));
    let bearer = bearer.map_err(|_| LinkError::Protocol {
        problem: "its token is no header".to_owned(),
    })?;
    Ok((client, bearer))
}

async fn next(pieces: &mut Streaming<FilesPiece>) -> Result<Option<FilesPiece>, Broke> {
    let limit = Duration::from_millis(PIECE_MS_MAX);
    match tokio::time::timeout(limit, pieces.message()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(status)) => Err(broke(LinkError::call("go on with the files of a run")(
            status,
        ))),
        Err(_) => Err(Broke::Now(format!("nothing came for {PIECE_MS_MAX} ms"))),
    }
}

pub(super) fn broke(error: LinkError) -> Broke {
    let problem = sentence(&error);
    match error {
        LinkError::Call { source, .. } if is_final(&source) => Broke::ForGood(problem),
        _ => Broke::Now(problem),
    }
}

/// Whether asking again is of no use.
fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
    )
}
