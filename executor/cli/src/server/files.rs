//! Files into a run and out of it through a scheduler: `run --dir`, `run --extract`, `extract`.
//!
//! ```text
//!  directory ─ pack ─┐ (a thread)
//!  tar, stdin ───────┴─► a piece ─► PATCH at its offset ─► … ─► complete {length, SHA-256} ─► the run names it
//!                          └─ lost? where to go on? ─┘
//!  GET …/extracts/N, from the byte where it broke ─► unpack, as on a host (a thread) ─► TO
//! ```
//!
//! A piece is held until it is stored, so what is sent need not be read twice, standard input say.

use std::io::{self, Write};
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use davit_rpc::local::Extracted;
use davit_types::{ExtractPath, FieldError};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::Session;
use super::client::{Call, Pause};
use super::control::until;
use super::error::{Problem, ServerError};
use super::run::RunView;
use super::words::RUNS;
use crate::commands::files::{Fetched, Source, Unpacking, each, place};
use crate::error::CliError;
use crate::output::tree::Tree;
use crate::output::{harmless, print_json, print_line};

/// Bytes of one piece of an upload: one part of the scheduler's.
const PIECE_BYTES: usize = 4 << 20;
/// Pieces that wait for the one that is being sent.
const PIECES_WAITING_MAX: usize = 1;
/// How long a piece, or a download, may get nowhere, milliseconds.
const STALL_MS_MAX: u64 = 120_000;

/// Uploads all of `source`; the complete upload's id.
pub(super) async fn upload(source: Source, session: &Session) -> Result<String, CliError> {
    let (send, mut pieces) = mpsc::channel(PIECES_WAITING_MAX);
    let (told, sending) = oneshot::channel();
    // Not one of the event loop's: it may wait for standard input when all is over.
    std::thread::spawn(move || {
        let mut out = Pieces::new(send);
        let written = source.write_to(&mut out).and_then(|()| out.end());
        // Whoever asked may have gone.
        drop(told.send(written));
    });
    let made = session.client.send(&Call::make(&["uploads"])).await?;
    let made = made.tree("upload")?;
    let id = made
        .text("id")
        .ok_or(CliError::Protocol("the upload's id"))?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    while let Some(piece) = pieces.recv().await {
        hash.update(&piece);
        send_piece(id, bytes, &piece, session).await?;
        bytes += piece.len() as u64;
    }
    // An error means that the thread is gone, which says so before.
    sending.await.unwrap_or_else(|_| {
        let ended = io::Error::other("it ended early");
        Err(CliError::io("read what is to be sent")(ended))
    })?;
    let sha256: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    let whole = json!({"bytes": bytes, "sha256": sha256});
    let call = Call::order(&["uploads", id, "complete"]).body(&whole)?;
    session.client.send(&call).await?;
    Ok(id.to_owned())
}

/// Sends a piece that belongs at `begins`, as often as it takes until all of it is stored.
async fn send_piece(
    id: &str,
    begins: u64,
    piece: &[u8],
    session: &Session,
) -> Result<(), CliError> {
    let ends = begins + piece.len() as u64;
    let mut stored = begins;
    let mut since = Instant::now();
    let mut pause = Pause::default();
    while stored < ends {
        let rest = usize::try_from(stored - begins).unwrap_or(usize::MAX);
        let call = Call::new(Method::PATCH, &["uploads", id])
            .header("upload-offset", &stored.to_string())
            .octets(piece[rest..].to_vec());
        let failure = match session.client.open(&call).await {
            Ok(_) => return Ok(()),
            Err(failure) if is_passing(&failure) => failure,
            Err(failure) => return Err(failure.into()),
        };
        if since.elapsed() > Duration::from_millis(STALL_MS_MAX) {
            return Err(failure.into());
        }
        tokio::time::sleep(pause.next()).await;
        let known = session.client.send(&Call::get(&["uploads", id])).await?;
        let known: Known = known.tree("upload")?.read().map_err(strange)?;
        if !(begins..=ends).contains(&known.bytes) {
            return Err(CliError::Protocol("where the upload goes on"));
        }
        if known.bytes > stored {
            (since, pause) = (Instant::now(), Pause::default());
        }
        stored = known.bytes;
    }
    Ok(())
}

/// Whether a call may do better from where the scheduler is.
fn is_passing(failure: &ServerError) -> bool {
    match failure {
        ServerError::Unreachable { .. } => true,
        ServerError::Problem(problem) => {
            problem.is_passing() || problem.is("upload-offset") || problem.is("broke-off")
        }
        _ => false,
    }
}

fn strange(source: serde_json::Error) -> ServerError {
    let asked = "files".to_owned();
    ServerError::Answer { asked, source }
}

#[derive(Debug, Deserialize)]
struct Known {
    bytes: u64,
}

/// A stream of bytes on its way into pieces.
struct Pieces {
    send: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn new(send: mpsc::Sender<Vec<u8>>) -> Self {
        Self {
            send,
            piece: Vec::with_capacity(PIECE_BYTES),
        }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let sent = self.send.blocking_send(piece);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn end(mut self) -> Result<(), CliError> {
        if self.piece.is_empty() {
            return Ok(());
        }
        self.pass_on().map_err(CliError::io("send files"))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One of a run's extracts.
#[derive(Debug, Deserialize)]
struct ExtractView {
    from: String,
    to: String,
    status: String,
    kind: Option<String>,
    bytes: u64,
    sha256: Option<String>,
    message: Option<String>,
}

impl From<ExtractView> for Extracted {
    fn from(view: ExtractView) -> Self {
        Self {
            from: view.from,
            to: view.to,
            status: view.status,
            kind: view.kind.unwrap_or_default(),
            bytes: view.bytes,
            sha256: view.sha256,
            message: view.message,
        }
    }
}

/// What the document of an ended run says of its extracts; nothing, where the scheduler knows none.
fn extracts(run: &Tree) -> Result<Vec<Extracted>, CliError> {
    let Some(told) = run.at("extracts") else {
        return Ok(Vec::new());
    };
    let views: Vec<ExtractView> = told.read().map_err(strange)?;
    Ok(views.into_iter().map(Extracted::from).collect())
}

/// Brings what was `asked` for of `ended`, to where the one who asked said: not to where the scheduler says that anybody did.
/// Says on standard error what is not there.
pub(super) async fn fetch(
    run: &str,
    ended: &Tree,
    asked: &[ExtractPath],
    session: &Session,
) -> Result<Fetched, CliError> {
    if asked.is_empty() {
        return Ok(Fetched::Whole);
    }
    let mut told = extracts(ended)?;
    if told.len() != asked.len() {
        return Err(CliError::Protocol("what became of each --extract"));
    }
    for (told, asked) in told.iter_mut().zip(asked) {
        told.from.clone_from(&asked.from);
        told.to.clone_from(&asked.to);
    }
    let bring = async |at, extracted: &Extracted| bring(run, at, extracted, None, session).await;
    Ok(each(&told, bring).await)
}

/// `davit extract`. Whoever made the run said where its files go: others of the tenant may have. So they stay below the
/// directory that is named, or the current one.
pub(super) async fn extract(
    run: &str,
    base: Option<&Path>,
    session: &Session,
) -> Result<u8, CliError> {
    let id = RUNS.id(&session.client, run).await?;
    let ended = until(&id, None, RunView::has_ended, session).await?;
    let mut all = extracts(&ended)?;
    for extracted in &mut all {
        extracted.to = below(&extracted.to, base.is_some()).ok_or_else(|| {
            let problem = "leads out of the current directory: say with --to where it is to be";
            CliError::field(FieldError::new("TO", &extracted.to, problem))
        })?;
    }
    let bring = async |at, extracted: &Extracted| bring(&id, at, extracted, base, session).await;
    let fetched = each(&all, bring).await;
    if session.is_json() {
        print_json(&ended.at("extracts"))?;
    } else {
        for extracted in all.iter().filter(|one| one.status == "ok") {
            print_line(&harmless(&extracted.to))?;
        }
    }
    Ok(fetched.exit())
}

/// `to` if it stays below where it begins; else its last name, where that will do.
fn below(to: &str, or_its_name: bool) -> Option<String> {
    let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(to).components().all(stays) {
        return Some(to.to_owned());
    }
    let name = Path::new(to).file_name().filter(|_| or_its_name)?;
    name.to_str().map(str::to_owned)
}

async fn bring(
    run: &str,
    at: usize,
    extracted: &Extracted,
    base: Option<&Path>,
    session: &Session,
) -> Result<(), CliError> {
    let what = (extracted.kind.as_str(), extracted.from.as_str());
    let mut unpacking = Unpacking::begin(run, what, place(extracted, base))?;
    let mut download = Download {
        run,
        at,
        got: 0,
        tag: None,
    };
    let mut since = Instant::now();
    let mut pause = Pause::default();
    loop {
        let before = download.got;
        let failure = match download.go_on(&mut unpacking, session).await {
            Ok(()) => {
                let sha256 = extracted.sha256.as_deref().unwrap_or_default();
                return unpacking.end(sha256).await;
            }
            Err(failure) => failure,
        };
        if download.got > before {
            (since, pause) = (Instant::now(), Pause::default());
        }
        let stalled = since.elapsed() > Duration::from_millis(STALL_MS_MAX);
        if stalled || !is_passing(&failure) {
            unpacking.give_up().await;
            return Err(failure.into());
        }
        tokio::time::sleep(pause.next()).await;
    }
}

/// An archive as far as it came.
struct Download<'a> {
    run: &'a str,
    at: usize,
    got: u64,
    /// Of which archive: another one is not gone on with.
    tag: Option<String>,
}

impl Download<'_> {
    /// Goes on to the end.
    async fn go_on(
        &mut self,
        unpacking: &mut Unpacking,
        session: &Session,
    ) -> Result<(), ServerError> {
        let number = self.at.to_string();
        let mut call = Call::get(&["runs", self.run, "extracts", &number]);
        if let Some(tag) = self.tag.as_ref().filter(|_| self.got > 0) {
            call = call
                .header("range", &format!("bytes={}-", self.got))
                .header("if-range", tag);
        }
        let mut response = session.client.open(&call).await?;
        if self.got > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            // From its beginning again, which is no continuation.
            let problem = Problem::of_status(response.status());
            return Err(ServerError::Problem(Box::new(problem)));
        }
        let tag = response.headers().get("etag");
        self.tag = tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let broke = |source| session.client.unreachable(source);
        while let Some(piece) = response.chunk().await.map_err(broke)? {
            self.got += piece.len() as u64;
            if !unpacking.take(piece.to_vec()).await {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn what_others_asked_for_stays_below_where_it_is_brought() {
        for (to, without, named) in [
            ("got", Some("got"), Some("got")),
            ("./a/b/", Some("./a/b/"), Some("./a/b/")),
            ("/etc/passwd", None, Some("passwd")),
            ("../up", None, Some("up")),
            ("a/../../up", None, Some("up")),
            ("..", None, None),
            ("/", None, None),
        ] {
            let told = [false, true].map(|or_its_name| below(to, or_its_name));
            assert_eq!(
                told.each_ref().map(Option::as_deref),
                [without, named],
                "{to}"
            );
        }
    }
}
