//! An upload on its way from a caller to the thread that unpacks it.
//!
//! ```text
//!  caller's stream ─► Feed (async, one task) ─► a few pieces ─► Upload ─► Intake: Read (blocking)
//!                        ▲ Cancel: its run is to end
//! ```
//!
//! Nothing of it is kept anywhere but in the run's own layer. It is whole only if its last piece says how long it was,
//! and that is so: anything else is told as a reading error, with a sentence.

use std::io::{self, Read};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::Unpacked;

/// Pieces waiting to be unpacked; each at most [`PIECE_BYTES_MAX`].
const PIECES_WAITING_MAX: usize = 8;
/// Bytes of one piece.
pub(crate) const PIECE_BYTES_MAX: usize = 1 << 20;
/// Bytes after the end of an archive that are read and dropped: tar fills its last record up.
const TAIL_BYTES_MAX: u64 = 16 << 20;

/// What came of it, for the caller.
pub(crate) type Taken = Result<Unpacked, String>;

#[derive(Debug)]
enum Piece {
    Data(Vec<u8>),
    /// All of it was sent.
    End {
        bytes: u64,
    },
    Broken(String),
}

/// The caller's end.
#[derive(Debug)]
pub(crate) struct Feed {
    pieces: mpsc::Sender<Piece>,
    /// Set when the run is to end before its files are in place.
    pub(crate) canceled: watch::Receiver<bool>,
    /// What came of it.
    pub(crate) taken: oneshot::Receiver<Taken>,
}

/// The run's end.
#[derive(Debug)]
pub(crate) struct Upload {
    pieces: mpsc::Receiver<Piece>,
    taken: oneshot::Sender<Taken>,
    cancel: Cancel,
}

/// Ends an upload from the outside. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Cancel(Arc<watch::Sender<bool>>);

impl Cancel {
    pub(crate) fn cancel(&self) {
        self.0.send_replace(true);
    }
}

/// The two ends of an upload.
pub(crate) fn channel() -> (Feed, Upload) {
    let (send, pieces) = mpsc::channel(PIECES_WAITING_MAX);
    let (told, taken) = oneshot::channel();
    let (cancel, canceled) = watch::channel(false);
    let feed = Feed {
        pieces: send,
        canceled,
        taken,
    };
    let upload = Upload {
        pieces,
        taken: told,
        cancel: Cancel(Arc::new(cancel)),
    };
    (feed, upload)
}

impl Feed {
    /// Passes on a piece; waits while enough are waiting. False if nobody wants it any more.
    pub(crate) async fn data(&self, bytes: Vec<u8>) -> bool {
        self.pieces.send(Piece::Data(bytes)).await.is_ok()
    }

    /// Says that all was sent.
    pub(crate) async fn end(&self, bytes: u64) {
        // A run that is gone needs no telling.
        drop(self.pieces.send(Piece::End { bytes }).await);
    }

    /// Ready when nobody wants any of it any more.
    pub(crate) async fn gone(&self) {
        self.pieces.closed().await;
    }

    /// Says why nothing more will come.
    pub(crate) async fn broken(&self, problem: String) {
        // A run that is gone needs no telling.
        drop(self.pieces.send(Piece::Broken(problem)).await);
    }
}

impl Upload {
    /// What ends it.
    pub(crate) fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Lets `unpack` read it, sees that it was whole, and tells the caller. Blocking.
    ///
    /// # Errors
    /// What `unpack` failed of, or how the upload broke off.
    pub(crate) fn take<E: std::error::Error + From<io::Error>>(
        self,
        unpack: impl FnOnce(&mut dyn Read) -> Result<Unpacked, E>,
    ) -> Result<Unpacked, E> {
        let mut intake = Intake {
            pieces: self.pieces,
            piece: Vec::new(),
            at: 0,
            bytes: 0,
            ended: false,
        };
        let unpacked = unpack(&mut intake).and_then(|unpacked| {
            intake.drain()?;
            Ok(unpacked)
        });
        let told = unpacked.as_ref().map(|unpacked| *unpacked);
        let told = told.map_err(|error| crate::runs::sentence(error));
        // The caller may have gone.
        drop(self.taken.send(told));
        unpacked
    }
}

/// An upload as bytes.
struct Intake {
    pieces: mpsc::Receiver<Piece>,
    piece: Vec<u8>,
    /// Bytes of the piece that were read.
    at: usize,
    /// Bytes of all pieces.
    bytes: u64,
    ended: bool,
}

impl Intake {
    /// Reads on to the end of the upload.
    fn drain(&mut self) -> io::Result<()> {
        let tail = io::copy(&mut self.take(TAIL_BYTES_MAX), &mut io::sink())?;
        if tail == TAIL_BYTES_MAX {
            let problem = format!("more than {TAIL_BYTES_MAX} bytes follow the end of the archive");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(())
    }

    fn next_piece(&mut self) -> io::Result<()> {
        let broke_off = |problem: String| Err(io::Error::new(io::ErrorKind::BrokenPipe, problem));
        match self.pieces.blocking_recv() {
            Some(Piece::Data(piece)) => {
                self.bytes += piece.len() as u64;
                (self.piece, self.at) = (piece, 0);
                Ok(())
            }
            Some(Piece::End { bytes }) if bytes == self.bytes => {
                self.ended = true;
                Ok(())
            }
            Some(Piece::End { bytes }) => broke_off(format!(
                "the upload had {} bytes, and {bytes} were said to be sent",
                self.bytes
            )),
            Some(Piece::Broken(problem)) => broke_off(format!(
                "the upload broke off after {} bytes: {problem}",
                self.bytes
            )),
            None => broke_off(format!("the upload broke off after {} bytes", self.bytes)),
        }
    }
}

impl Read for Intake {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            if self.ended || buffer.is_empty() {
                return Ok(0);
            }
            self.next_piece()?;
        }
        let waiting = &self.piece[self.at..];
        let bytes = waiting.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&waiting[..bytes]);
        self.at += bytes;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
