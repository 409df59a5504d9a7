//! The service of files: an upload becomes a run, what was collected is read back.

mod reading;

use std::time::Duration;

use davit_rpc::local::{self, files_reply::Reply, files_upload::Part};
use davit_types::FieldError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use self::reading::Reading;
use super::{Answers, Shutdown, convert, status};
use crate::credentials;
use crate::files::intake::{self, Feed, PIECE_BYTES_MAX};
use crate::runs::{Beside, RunHandle, Runs};

/// Longest wait for the request of an upload, and for each piece of it, seconds. A run whose caller says nothing for so
/// long ends.
const PIECE_SECONDS_MAX: u64 = 300;
/// Bytes of one message: a piece and what is around it.
const MESSAGE_BYTES_MAX: usize = PIECE_BYTES_MAX + (64 << 10);
/// What a caller may send before it is taken, bytes: a few pieces of an upload.
pub(crate) const WINDOW_BYTES: u32 = 2 << 20;
/// The same for all calls of a connection: an upload that is held back leaves room for others, a cancel say.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Answers waiting for a caller who does not read them: all there are.
const REPLIES_MAX: usize = 3;

/// Serves uploads and downloads of [`Runs`].
#[derive(Clone, Debug)]
pub(crate) struct FilesService {
    runs: Runs,
    shutdown: Shutdown,
}

impl FilesService {
    /// The server of it.
    pub(crate) fn server(
        runs: &Runs,
        shutdown: Shutdown,
    ) -> local::files_server::FilesServer<Self> {
        let runs = runs.clone();
        let server = local::files_server::FilesServer::new(Self { runs, shutdown });
        server.max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl local::files_server::Files for FilesService {
    type SubmitStream = ReceiverStream<Result<local::FilesReply, Status>>;
    type DownloadStream = Answers<local::FilesPart>;

    async fn submit(
        &self,
        request: Request<Streaming<local::FilesUpload>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let mut upload = request.into_inner();
        let Some(Part::Submit(mut submit)) = next(&mut upload).await? else {
            let problem = "is wanted first, then the files";
            return Err(status::field(FieldError::new("submit", "", problem)));
        };
        let secrets = convert::secrets(&mut submit);
        let (request, credentials) =
            davit_rpc::run_request(submit).map_err(|wrong| davit_rpc::invalid(&wrong))?;
        let (feed, files) = intake::channel();
        let beside = Beside {
            credentials: credentials.map(credentials::given),
            files: Some(files),
            secrets,
        };
        let handle = self.runs.submit_beside(request, beside).await;
        let handle = handle.map_err(|error| status::run(&error))?;
        let view = handle.view();
        let usage = self.runs.usage(&view).await;
        let (replies, answers) = mpsc::channel(REPLIES_MAX);
        let accepted = Reply::Accepted(convert::run(&view, usage.as_ref()));
        reply(&replies, Ok(accepted)).await;
        tokio::spawn(carry(upload, feed, handle, self.shutdown.clone(), replies));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn download(
        &self,
        request: Request<local::FilesDownload>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let asked = request.into_inner();
        let found = self.runs.find(&asked.run).await;
        let run = found.map_err(|error| status::run(&error))?;
        let reading = Reading::begin(&run, asked)?;
        let shutdown = self.shutdown.clone();
        let parts = futures::stream::try_unfold(reading, move |mut reading| {
            let shutdown = shutdown.clone();
            async move {
                let part = shutdown.or(reading.next()).await?;
                Ok(part.map(|part| (part, reading)))
            }
        });
        Ok(Response::new(Box::pin(parts)))
    }
}

/// Passes the pieces of an upload on, and then says what came of it.
async fn carry(
    mut upload: Streaming<local::FilesUpload>,
    mut feed: Feed,
    run: RunHandle,
    shutdown: Shutdown,
    replies: mpsc::Sender<Result<local::FilesReply, Status>>,
) {
    let mut canceled = feed.canceled.clone();
    let problem = {
        let sent = shutdown.or(send(&mut upload, &feed));
        tokio::select! {
            sent = sent => sent.err().map(|status| status.message().to_owned()),
            // An error means that the run is gone.
            _ = canceled.wait_for(|canceled| *canceled) => Some("the run was ended".to_owned()),
        }
    };
    if let Some(problem) = problem {
        feed.broken(problem).await;
    }
    let taken = match (&mut feed.taken).await {
        Ok(Ok(taken)) => Ok(Reply::Taken(local::FilesTaken {
            files: taken.files,
            bytes: taken.bytes,
        })),
        Ok(Err(problem)) => Err(Status::failed_precondition(problem)),
        Err(_) => Err(ended_first(&run).await),
    };
    reply(&replies, taken).await;
}

/// A run that ended before anybody wanted its files: without its image, say.
async fn ended_first(run: &RunHandle) -> Status {
    let ended = run.ended().await.ok();
    let end = ended.as_ref().and_then(|view| view.end.as_ref());
    let why = end.map_or("the executor goes down", |end| end.message.as_str());
    Status::aborted(format!(
        "run {} ended before its files were taken: {why}",
        run.view().run_id()
    ))
}

/// Passes on all of `upload`.
async fn send(upload: &mut Streaming<local::FilesUpload>, feed: &Feed) -> Result<(), Status> {
    loop {
        match next(upload).await? {
            Some(Part::Data(data)) if data.len() <= PIECE_BYTES_MAX => {
                if !feed.data(data).await {
                    return Ok(());
                }
            }
            Some(Part::End(end)) => {
                feed.end(end.bytes).await;
                return Ok(());
            }
            Some(Part::Data(_) | Part::Submit(_)) => {
                return Err(Status::invalid_argument(format!(
                    "after the request come pieces of at most {PIECE_BYTES_MAX} bytes"
                )));
            }
            None => return Err(Status::aborted("the caller went away")),
        }
    }
}

async fn next(upload: &mut Streaming<local::FilesUpload>) -> Result<Option<Part>, Status> {
    let limit = Duration::from_secs(PIECE_SECONDS_MAX);
    match tokio::time::timeout(limit, upload.message()).await {
        Ok(Ok(Some(message))) => Ok(message.part),
        Ok(Ok(None)) => Ok(None),
        Ok(Err(_)) => Err(Status::aborted("the caller went away")),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "nothing came for {PIECE_SECONDS_MAX} s"
        ))),
    }
}

async fn reply(
    replies: &mpsc::Sender<Result<local::FilesReply, Status>>,
    outcome: Result<Reply, Status>,
) {
    let message = outcome.map(|reply| local::FilesReply { reply: Some(reply) });
    // The caller may have gone.
    drop(replies.send(message).await);
}
