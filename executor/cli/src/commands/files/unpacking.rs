//! What came out of a run, unpacked while it arrives: from a host's executor and from a scheduler alike.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use davit_executor::files::{ReceiveError, receive};
use davit_types::ExtractKind;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::PIECES_WAITING_MAX;
use crate::error::CliError;

/// An archive on its way to its place.
pub(crate) struct Unpacking {
    send: mpsc::Sender<Option<Vec<u8>>>,
    receiving: JoinHandle<Result<PathBuf, ReceiveError>>,
    /// What it has to be, told before its end is.
    sha256: Arc<OnceLock<String>>,
    what: String,
}

impl Unpacking {
    /// Puts what is `kind` and was called `from` in the container at `to`.
    pub(crate) fn begin(
        run: &str,
        (kind, from): (&str, &str),
        to: PathBuf,
    ) -> Result<Self, CliError> {
        let kind = match kind {
            "file" => ExtractKind::File,
            "directory" => ExtractKind::Directory,
            _ => return Err(CliError::Protocol("whether it is a file or a directory")),
        };
        let what = format!("bring {from} of run {run}");
        let (from, sha256) = (from.to_owned(), Arc::<OnceLock<String>>::default());
        let (send, pieces) = mpsc::channel(PIECES_WAITING_MAX);
        let told = Arc::clone(&sha256);
        let receiving = tokio::task::spawn_blocking(move || {
            let sha256 = || told.get().cloned().unwrap_or_default();
            receive(Arriving::new(pieces), kind, &from, &to, sha256)
        });
        Ok(Self {
            send,
            receiving,
            sha256,
            what,
        })
    }

    /// Takes what comes next; whether it wants more.
    pub(crate) async fn take(&mut self, piece: Vec<u8>) -> bool {
        self.send.send(Some(piece)).await.is_ok()
    }

    /// All has come, and has to have this digest.
    pub(crate) async fn end(self, sha256: &str) -> Result<(), CliError> {
        // There is none before.
        drop(self.sha256.set(sha256.to_owned()));
        // Gone if it wants no more.
        drop(self.send.send(None).await);
        drop(self.send);
        let bringing = CliError::io(self.what);
        match self.receiving.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(bringing(io::Error::other(error))),
            Err(error) => Err(bringing(io::Error::other(error))),
        }
    }

    /// The rest does not come.
    pub(crate) async fn give_up(self) {
        drop(self.send);
        // That it is not whole is known.
        drop(self.receiving.await);
    }
}

/// A download as bytes: its end is told, so that one that broke off is not taken for whole.
struct Arriving {
    pieces: mpsc::Receiver<Option<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Arriving {
    fn new(pieces: mpsc::Receiver<Option<Vec<u8>>>) -> Self {
        Self {
            pieces,
            piece: Vec::new(),
            at: 0,
            ended: false,
        }
    }
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => (self.piece, self.at) = (piece, 0),
                Some(None) => self.ended = true,
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        let waiting = &self.piece[self.at..];
        let bytes = waiting.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&waiting[..bytes]);
        self.at += bytes;
        Ok(bytes)
    }
}
