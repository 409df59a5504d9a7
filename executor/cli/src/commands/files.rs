//! Files into a run and out of it: `run --dir`, `run --extract`, `extract`.
//!
//! ```text
//!  directory ─ pack ─┐ (a thread)
//!  tar, stdin ───────┴─► pieces ─► Files.Submit ─► the executor          Files.Download ─► receive (a thread) ─► TO
//! ```

mod ahead;
mod unpacking;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use davit_executor::files::{Packed, pack};
use davit_rpc::local::{
    Extracted, FilesDownload, FilesEnd, FilesReply, FilesUpload, Run, RunRef, SubmitRequest,
    files_reply::Reply, files_upload::Part,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

pub(super) use self::ahead::Ahead;
pub(crate) use self::unpacking::Unpacking;
use super::Context;
use crate::args::Format;
use crate::client::Client;
use crate::error::CliError;
use crate::exit;
use crate::output::run::ExtractedJson;
use crate::output::{harmless, note, print_json, print_line};

/// Bytes of one piece of an upload.
const PIECE_BYTES: usize = 512 << 10;
/// Pieces on their way to or from a thread.
const PIECES_WAITING_MAX: usize = 8;

/// What goes into a run.
pub(crate) enum Source {
    /// A directory.
    Directory { dir: OwnedFd, path: PathBuf },
    /// A tar stream, and what it is called.
    Tar(Box<dyn Read + Send>, String),
}

impl Source {
    /// What `path` names: a directory, a tar file, or `-`.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        if path == Path::new("-") {
            let name = "standard input".to_owned();
            return Ok(Self::Tar(Box::new(io::stdin()), name));
        }
        let opening = || CliError::io(format!("open {}", path.display()));
        let file = File::open(path).map_err(opening())?;
        let is_dir = file.metadata().map_err(opening())?.is_dir();
        Ok(if is_dir {
            Self::Directory {
                dir: file.into(),
                path: path.to_owned(),
            }
        } else {
            Self::Tar(Box::new(file), path.display().to_string())
        })
    }

    /// Writes it all to `pieces`. Blocking.
    fn send(self, pieces: &mut Pieces) -> Result<(), CliError> {
        match self.write_to(pieces) {
            // Nobody wants it any more: the run's end says why.
            Err(_) if pieces.unwanted => return Ok(()),
            written => written?,
        }
        pieces.end();
        Ok(())
    }

    /// Writes it all as a tar stream, and says what is left out. Blocking.
    pub(crate) fn write_to(self, out: &mut impl Write) -> Result<(), CliError> {
        let packed = match self {
            Self::Directory { dir, path } => pack(dir, out).map_err(|error| {
                let reading = CliError::io(format!("send {}", path.display()));
                reading(io::Error::other(error))
            })?,
            Self::Tar(mut stream, name) => {
                io::copy(&mut stream, out).map_err(CliError::io(format!("send {name}")))?;
                Packed::default()
            }
        };
        if let Some(left_out) = packed.sentence() {
            note(&format!("--dir: {}", harmless(&left_out)));
        }
        Ok(())
    }
}

/// An upload under way.
pub(super) struct Upload {
    sending: oneshot::Receiver<Result<(), CliError>>,
    replies: Streaming<FilesReply>,
}

/// Submits a run with the files of `source`; they go on being sent afterwards.
pub(super) async fn submit(
    client: &Client,
    request: SubmitRequest,
    source: Source,
) -> Result<(Run, Upload), CliError> {
    let (send, pieces) = mpsc::channel(PIECES_WAITING_MAX);
    let first = FilesUpload {
        part: Some(Part::Submit(request)),
    };
    // There is room, and it is received below.
    drop(send.send(first).await);
    let answer = client.files().submit(ReceiverStream::new(pieces)).await?;
    let mut replies = answer.into_inner();
    let Some(Reply::Accepted(accepted)) = replies.message().await?.and_then(|reply| reply.reply)
    else {
        return Err(CliError::Protocol("the accepted run"));
    };
    let (told, sending) = oneshot::channel();
    // Not one of the event loop's: it may wait for standard input when all is over.
    std::thread::spawn(move || {
        // Whoever asked may have gone.
        drop(told.send(source.send(&mut Pieces::new(send))));
    });
    Ok((accepted, Upload { sending, replies }))
}

impl Upload {
    /// Returns once all files are in their places.
    pub(super) async fn finished(mut self) -> Result<(), CliError> {
        let taken = self.replies.message().await;
        // What went wrong on this side is the cause of what the executor says.
        if let Ok(sent) = (&mut self.sending).await {
            sent?;
        }
        match taken?.and_then(|reply| reply.reply) {
            Some(Reply::Taken(_)) => Ok(()),
            _ => Err(CliError::Protocol("that the files were taken")),
        }
    }

    /// Says what goes wrong on this side; what goes wrong on the other the run's end tells.
    pub(super) async fn told(mut self) {
        match self.sending.await {
            Ok(Err(error)) => error.print(),
            // Hung up before they are taken, what is on its way would be lost.
            _ => drop(self.replies.message().await),
        }
    }
}

/// A stream of bytes on its way into messages.
struct Pieces {
    send: mpsc::Sender<FilesUpload>,
    piece: Vec<u8>,
    bytes: u64,
    unwanted: bool,
}

impl Pieces {
    fn new(send: mpsc::Sender<FilesUpload>) -> Self {
        Self {
            send,
            piece: Vec::with_capacity(PIECE_BYTES),
            bytes: 0,
            unwanted: false,
        }
    }

    fn pass_on(&mut self, part: Part) -> io::Result<()> {
        let message = FilesUpload { part: Some(part) };
        self.send.blocking_send(message).map_err(|_| {
            self.unwanted = true;
            io::ErrorKind::BrokenPipe.into()
        })
    }

    fn pass_on_piece(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.bytes += piece.len() as u64;
        self.pass_on(Part::Data(piece))
    }

    /// Says that this was all.
    fn end(&mut self) {
        let last = self.pass_on_piece();
        let bytes = self.bytes;
        // A run that is over needs no telling.
        drop(last.and_then(|()| self.pass_on(Part::End(FilesEnd { bytes }))));
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.pass_on_piece()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How bringing a run's files went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// All that was asked for is there.
    Whole,
    /// All that was kept is there, but not all was.
    Lacking,
    /// Something that was kept is not there.
    Failed,
}

/// `davit extract`.
pub(super) async fn extract(
    run: &str,
    base: Option<&Path>,
    context: &Context,
) -> Result<u8, CliError> {
    let run = RunRef {
        run: run.to_owned(),
    };
    let ended = context.client.runs().wait(run).await?.into_inner();
    let fetched = fetch(&ended, base, None, context).await;
    if context.format == Format::Json {
        let extracts: Vec<ExtractedJson<'_>> = ended.extracts.iter().map(Into::into).collect();
        print_json(&extracts)?;
    } else {
        for extracted in ended.extracts.iter().filter(|one| one.status == "ok") {
            print_line(&harmless(&extracted.to))?;
        }
    }
    Ok(fetched.exit())
}

impl Fetched {
    /// Of a command that does nothing else.
    pub(crate) const fn exit(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Lacking | Self::Failed => exit::DAVIT_FAILED,
        }
    }
}

/// Brings all that was collected from `ended` and has not come `ahead`, and says on standard error what is not there.
pub(super) async fn fetch(
    ended: &Run,
    base: Option<&Path>,
    ahead: Option<Ahead>,
    context: &Context,
) -> Fetched {
    let come = match ahead {
        Some(ahead) => ahead.come().await,
        None => 0,
    };
    let bring = async |at, extracted: &Extracted| {
        if at < come {
            return Ok(());
        }
        let to = place(extracted, base);
        let what = (at, extracted.from.as_str());
        fetch_one(&context.client, &ended.id, what, to, Some(extracted)).await
    };
    each(&ended.extracts, bring).await
}

/// Where `extracted` goes.
pub(crate) fn place(extracted: &Extracted, base: Option<&Path>) -> PathBuf {
    let to = PathBuf::from(&extracted.to);
    base.map_or_else(|| to.clone(), |base| base.join(&to))
}

/// Has each of those that were kept brought, and says on standard error what is not there.
pub(crate) async fn each(
    extracts: &[Extracted],
    bring: impl AsyncFn(usize, &Extracted) -> Result<(), CliError>,
) -> Fetched {
    let mut fetched = Fetched::Whole;
    for (at, extracted) in extracts.iter().enumerate() {
        let Extracted { from, status, .. } = extracted;
        let message = extracted.message.as_deref().unwrap_or_default();
        if status != "ok" {
            note(&harmless(&format!("--extract {from}: {status}: {message}")));
            if fetched == Fetched::Whole {
                fetched = Fetched::Lacking;
            }
            continue;
        }
        if !message.is_empty() {
            note(&harmless(&format!("--extract {from}: {message}")));
        }
        if let Err(error) = bring(at, extracted).await {
            error.print();
            fetched = Fetched::Failed;
        }
    }
    fetched
}

/// Brings one of a run's to `to`: what is `known` to be kept, or else what is still to be collected, while it is.
async fn fetch_one(
    client: &Client,
    run: &str,
    (at, from): (usize, &str),
    to: PathBuf,
    known: Option<&Extracted>,
) -> Result<(), CliError> {
    let request = FilesDownload {
        run: run.to_owned(),
        index: u32::try_from(at).unwrap_or(u32::MAX),
        follow: known.is_none(),
    };
    let mut parts = client.files().download(request).await?.into_inner();
    let Some(mut part) = parts.message().await? else {
        return Err(CliError::Protocol("what was collected"));
    };
    let kind = known.map_or(&part.kind, |known| &known.kind);
    let mut unpacking = Unpacking::begin(run, (kind, from), to)?;
    let mut sha256 = known.and_then(|known| known.sha256.clone());
    loop {
        if !part.sha256.is_empty() {
            sha256 = Some(part.sha256);
        }
        if !part.data.is_empty() && !unpacking.take(part.data).await {
            break;
        }
        part = match parts.message().await {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(status) => {
                unpacking.give_up().await;
                return Err(status.into());
            }
        };
    }
    unpacking.end(&sha256.unwrap_or_default()).await
}
