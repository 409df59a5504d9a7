//! Following a run: its records go to our own stdout and stderr byte for byte.
//!
//! An executor that goes away is waited for: the log goes on after the last record printed, so a
//! restart of it is seen as a pause at most.

use std::time::{Duration, Instant};

use davit_rpc::local::{FollowEvent, FollowRequest, Run, follow_event::Event};
use tonic::{Code, Status};

use crate::client::Client;
use crate::error::CliError;
use crate::output::log::{LogFormat, Printer};
use crate::output::note;
use crate::output::progress::Progress;

/// How long an executor that went away is waited for.
const RETURN_SECONDS_MAX: u64 = 120;
/// Between two tries to reach it again.
const RETRY_MS: u64 = 250;

/// What to follow and how to show it.
#[derive(Clone, Debug)]
pub(super) struct Following {
    pub(super) run: String,
    /// Print only records after this one.
    pub(super) after_id: u64,
    /// Until the run has ended, not just what is there.
    pub(super) follow: bool,
    /// `stdout`, `stderr`, or both when empty.
    pub(super) stream: String,
    pub(super) show: LogFormat,
    /// Pull progress on stderr.
    pub(super) progress: bool,
}

/// Prints until the end; the answer is the run as it was told last.
pub(super) async fn follow(client: &Client, mut following: Following) -> Result<Run, CliError> {
    let mut client = client.clone();
    let mut progress = Progress::new(following.progress);
    loop {
        match follow_once(&client, &mut following, &mut progress).await {
            Ok(run) => return Ok(run),
            Err(Broken::Ours(error)) => return Err(error),
            Err(Broken::Executor(status)) if following.follow && is_gone(&status) => {
                progress.clear();
                client = wait_for_return(&client, &following.run).await?;
            }
            Err(Broken::Executor(status)) => return Err(status.into()),
        }
    }
}

enum Broken {
    Ours(CliError),
    Executor(Status),
}

pub(super) fn is_gone(status: &Status) -> bool {
    // A broken connection is `Unknown` or `Internal` with a transport error behind it.
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

async fn follow_once(
    client: &Client,
    following: &mut Following,
    progress: &mut Progress,
) -> Result<Run, Broken> {
    let request = FollowRequest {
        run: following.run.clone(),
        after_id: following.after_id,
        follow: following.follow,
        stream: following.stream.clone(),
    };
    let answer = client
        .runs()
        .follow(request)
        .await
        .map_err(Broken::Executor)?;
    let mut events = answer.into_inner();
    let mut printer = Printer::new(following.show);
    while let Some(FollowEvent { event }) = events.message().await.map_err(Broken::Executor)? {
        match event {
            Some(Event::Pull(step)) => progress.show(&step),
            Some(Event::Log(record)) => {
                progress.clear();
                following.after_id = record.id;
                printer.print(&record).map_err(Broken::Ours)?;
            }
            Some(Event::State(run)) => {
                progress.clear();
                return Ok(run);
            }
            None => {}
        }
    }
    Err(Broken::Ours(CliError::Protocol("a final state")))
}

async fn wait_for_return(client: &Client, run: &str) -> Result<Client, CliError> {
    note("the executor went away; the run goes on; waiting for the executor");
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(RETURN_SECONDS_MAX) {
        if let Ok(client) = Client::connect(client.socket()).await {
            return Ok(client);
        }
        tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
    }
    Err(CliError::Lost {
        seconds: RETURN_SECONDS_MAX,
        run: run.to_owned(),
    })
}
