//! davit's log: frames with a checksum, written by the shim, read back through the API.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use davit_rpc::local::follow_event::Event;
use davit_rpc::local::{FollowRequest, Run};

use super::cpu::CpuWatch;
use super::lines::{Check, Job};
use super::{Captured, Capturer};
use crate::clock;
use crate::davit::{Davit as Client, check_succeeded, payload_run, records_of};

/// More than any job here writes.
const LOG_BYTES_MAX: u64 = 16 << 30;
const CAPTURE_SECONDS_MAX: u64 = 300;
const SHIM_SECONDS_MAX: u64 = 30;
const SHIM_POLL_MS: u64 = 1;

/// The shim and the executor.
pub(super) struct Davit {
    client: Client,
    executor: u32,
}

impl Davit {
    pub(super) const fn new(client: Client, executor: u32) -> Self {
        Self { client, executor }
    }

    fn check(&self, run: &Run, job: Job) -> anyhow::Result<Check> {
        let request = FollowRequest {
            run: run.id.clone(),
            stream: "stdout".to_owned(),
            ..FollowRequest::default()
        };
        let limit = Duration::from_secs(CAPTURE_SECONDS_MAX);
        self.client.block_on(limit, async {
            let mut events = self.client.runs().follow(request).await?.into_inner();
            let mut check = Check::of(job);
            while let Some(event) = events.message().await? {
                if let Some(Event::Log(record)) = event.event {
                    ensure!(!record.partial && !record.truncated, "a line was cut");
                    check.line(&record.line, record.unix_ns)?;
                }
            }
            Ok(check)
        })
    }
}

impl Capturer for Davit {
    fn capture(&self, job: Job) -> anyhow::Result<Captured> {
        let executor = CpuWatch::from_now(self.executor)?;
        let arguments = job.arguments();
        let mut request = payload_run(&arguments.each_ref().map(String::as_str));
        request.log_bytes_max = Some(LOG_BYTES_MAX);
        let accepted = self.client.submit(request)?;
        let shim = CpuWatch::from_birth(shim_of(&accepted)?);
        let run = self
            .client
            .wait_at_most(&accepted.id, Duration::from_secs(CAPTURE_SECONDS_MAX))?;
        let complete = clock::Instant::now();
        let cpu = shim.stop()? + executor.stop()?;
        check_succeeded(&run)?;
        let (begun, latencies_us) = self
            .check(&run, job)
            .and_then(Check::end)
            .with_context(|| format!("the log of run {}", run.id))?;
        self.client.wait_until_cleaned(&run)?;
        self.client.remove(&run.id)?;
        Ok(Captured {
            took: complete.since(begun)?,
            cpu,
            latencies_us,
        })
    }
}

/// The process of a run's shim, as soon as it is known.
fn shim_of(run: &Run) -> anyhow::Result<u32> {
    let records = records_of(run)?;
    let begun = Instant::now();
    loop {
        if let Some(state) = records.read_state()? {
            return Ok(state.shim_pid);
        }
        let waited = begun.elapsed().as_secs();
        ensure!(
            waited < SHIM_SECONDS_MAX,
            "run {} has no shim after {waited} s",
            run.id
        );
        std::thread::sleep(Duration::from_millis(SHIM_POLL_MS));
    }
}
