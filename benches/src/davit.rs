//! davit as its users reach it: the local API of an executor, over one warm channel.
//!
//! Invariant: every call is bounded; a run that does not succeed is an error with davit's own words.

pub(crate) mod executor;
pub(crate) mod leftovers;

use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use davit_rpc::local::follow_event::Event;
use davit_rpc::local::images_client::ImagesClient;
use davit_rpc::local::runs_client::RunsClient;
use davit_rpc::local::{FollowRequest, ListRequest, PullRequest, Run, RunRef, SubmitRequest};
use davit_rundir::RunDir;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::image;
use executor::Flavour;
use leftovers::Leftovers;

const CALL_SECONDS_MAX: u64 = 60;
const SEE_POLL_MS: u64 = 5;

/// A client; clones share one channel, which connects again by itself.
#[derive(Clone)]
pub(crate) struct Davit {
    // Current-thread: it only turns inside `block_on`, so it cannot disturb other peers.
    runtime: Rc<Runtime>,
    channel: Channel,
    leftovers: Leftovers,
}

impl Davit {
    /// Connects to the executor at `socket`.
    pub(crate) fn connect(socket: &Path, flavour: Flavour) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the client's runtime")?;
        // This connects to any gRPC server on a unix socket, not only to containerd.
        let channel = runtime
            .block_on(containerd_client::connect(socket))
            .with_context(|| format!("connect to the executor at {}", socket.display()))?;
        let leftovers = runtime.block_on(Leftovers::connect(flavour.namespace()))?;
        Ok(Self {
            runtime: Rc::new(runtime),
            channel,
            leftovers,
        })
    }

    /// Pulls the payload's image, so that launches find it warm.
    pub(crate) fn pull(&self) -> anyhow::Result<()> {
        let request = PullRequest {
            image: image::REFERENCE.to_owned(),
            credentials: None,
        };
        self.bounded("pull the payload's image", async {
            let mut events = ImagesClient::new(self.channel.clone())
                .pull(request)
                .await?
                .into_inner();
            while events.message().await?.is_some() {}
            Ok(())
        })
    }

    /// Submits a run.
    pub(crate) fn submit(&self, request: SubmitRequest) -> anyhow::Result<Run> {
        self.bounded("submit a run", async {
            Ok(self.runs().submit(request).await?.into_inner())
        })
    }

    /// Starts a run of the payload that stays, and returns once its stamp is in the log.
    pub(crate) fn start_and_see(&self, arguments: &[&str]) -> anyhow::Result<Run> {
        let run = self.submit(payload_run(arguments))?;
        let begun = Instant::now();
        while self.stdout(&run.id)?.is_empty() {
            let waited = begun.elapsed().as_secs();
            ensure!(
                waited < CALL_SECONDS_MAX,
                "run {} printed nothing in {waited} s",
                run.id
            );
            std::thread::sleep(Duration::from_millis(SEE_POLL_MS));
        }
        Ok(run)
    }

    /// The run of that id or name, as it is now.
    pub(crate) fn run_named(&self, run: &str) -> anyhow::Result<Run> {
        self.bounded("get a run", async {
            Ok(self.runs().get(reference(run)).await?.into_inner())
        })
    }

    /// All live runs.
    pub(crate) fn list(&self) -> anyhow::Result<Vec<Run>> {
        self.bounded("list runs", async {
            let reply = self.runs().list(ListRequest { all: false }).await?;
            Ok(reply.into_inner().runs)
        })
    }

    /// Returns once the run has ended and its end is durable.
    pub(crate) fn wait(&self, run: &str) -> anyhow::Result<Run> {
        self.wait_at_most(run, Duration::from_secs(CALL_SECONDS_MAX))
    }

    /// The same for a run that may take longer.
    pub(crate) fn wait_at_most(&self, run: &str, limit: Duration) -> anyhow::Result<Run> {
        self.block_on(limit, async {
            let ended = self.runs().wait(reference(run)).await;
            Ok(ended.context("wait for a run")?.into_inner())
        })
    }

    /// Kills a run; returns once it has ended.
    pub(crate) fn cancel(&self, run: &str) -> anyhow::Result<()> {
        self.bounded("cancel a run", async {
            self.runs().cancel(reference(run)).await?;
            Ok(())
        })
    }

    /// What the run has written to stdout so far, from the durable log.
    pub(crate) fn stdout(&self, run: &str) -> anyhow::Result<Vec<u8>> {
        let request = FollowRequest {
            run: run.to_owned(),
            stream: "stdout".to_owned(),
            ..FollowRequest::default()
        };
        self.bounded("read a run's log", async {
            let mut events = self.runs().follow(request).await?.into_inner();
            let mut output = Vec::new();
            while let Some(event) = events.message().await? {
                if let Some(Event::Log(record)) = event.event {
                    output.extend_from_slice(&record.line);
                    output.extend(record.newline.then_some(b'\n'));
                }
            }
            Ok(output)
        })
    }

    /// Forgets an ended run.
    pub(crate) fn remove(&self, run: &str) -> anyhow::Result<()> {
        self.bounded("remove a run", async {
            self.runs().remove(reference(run)).await?;
            Ok(())
        })
    }

    /// Returns once nothing of an ended run is left but its run directory.
    pub(crate) fn wait_until_cleaned(&self, run: &Run) -> anyhow::Result<()> {
        let records = records_of(run)?;
        self.runtime
            .block_on(self.leftovers.wait_until_gone(&records))
    }

    /// Returns once nothing of any of these ended runs is left but the run directories.
    pub(crate) fn wait_until_all_cleaned(&self, runs: &[Run]) -> anyhow::Result<()> {
        let records = runs
            .iter()
            .map(records_of)
            .collect::<anyhow::Result<Vec<_>>>()?;
        self.runtime
            .block_on(self.leftovers.wait_until_all_gone(&records))
    }

    /// A client of its own, for calls that go on side by side.
    pub(crate) fn runs(&self) -> RunsClient<Channel> {
        RunsClient::new(self.channel.clone())
    }

    /// Runs `work` to its end, or to an error when that takes longer than `limit`.
    pub(crate) fn block_on<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        self.runtime
            .block_on(async { tokio::time::timeout(limit, work).await })
            .with_context(|| format!("not done within {} s", limit.as_secs()))?
    }

    fn bounded<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, tonic::Status>>,
    ) -> anyhow::Result<T> {
        let limit = Duration::from_secs(CALL_SECONDS_MAX);
        self.runtime
            .block_on(async { tokio::time::timeout(limit, call).await })
            .with_context(|| format!("{what}: no answer within {CALL_SECONDS_MAX} s"))?
            .with_context(|| what.to_owned())
    }
}

/// A run of the payload with `arguments`, everything else as it comes.
pub(crate) fn payload_run(arguments: &[&str]) -> SubmitRequest {
    let argv = std::iter::once(&image::PAYLOAD_PATH).chain(arguments);
    SubmitRequest {
        image: image::REFERENCE.to_owned(),
        argv: argv.map(|&argument| argument.to_owned()).collect(),
        ..SubmitRequest::default()
    }
}

/// A run by id or name.
pub(crate) fn reference(run: &str) -> RunRef {
    RunRef {
        run: run.to_owned(),
    }
}

/// The run directory of `run`.
pub(crate) fn records_of(run: &Run) -> anyhow::Result<RunDir> {
    RunDir::from_path(Path::new(&run.run_dir))
        .with_context(|| format!("run {} has no run directory: {:?}", run.id, run.run_dir))
}

/// Refuses a run that did not succeed, or whose success is not on disk.
pub(crate) fn check_succeeded(run: &Run) -> anyhow::Result<()> {
    if run.status != "succeeded" {
        let reason = run.end_reason.as_deref().unwrap_or("no reason");
        let message = run.message.as_deref().unwrap_or("no message");
        bail!("run {} is {}: {reason}: {message}", run.id, run.status);
    }
    let end = records_of(run)?.read_end().context("read the run's end")?;
    ensure!(
        end.is_some(),
        "run {} was reported ended before its end was on disk",
        run.id
    );
    Ok(())
}
