//! `shim.sock`: the executor's line to its run, independent of containerd.
//!
//! One JSON request a line, one reply each, in order; see `davit_rundir::ControlRequest`. A connection that asks for a
//! console becomes one, and leaves its place. The socket is 0600 in
//! a 0700 directory: whoever may connect is root.
//!
//! Invariants: connections, line length and waiting are bounded; a client that goes away frees its place even
//! in the middle of a Wait.

use std::io;
use std::sync::Arc;

use davit_rundir::{ControlError, ControlErrorCode, ControlReply, ControlRequest};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::owner::Command;
use super::{Run, RunError, refused};
use crate::consoles::{self, CONSOLES_MAX};
use crate::error::chain;
use crate::lines::{Lines, Said, listen};

/// Connections at a time; the executor needs one or two.
const CONNECTIONS_MAX: usize = 16;

/// Longest request, bytes, newline included. Replies may be up to [`davit_rundir::FRAME_BYTES_MAX`].
const REQUEST_BYTES_MAX: usize = 4096;

/// Listens on the run's socket until the shim ends.
pub(super) fn serve(run: Run) -> Result<(), RunError> {
    let listener = listen(&run.shared.dir.socket_path())?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            // The place first: a connection too many waits in the socket's backlog.
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let run = run.clone();
                    tokio::spawn(async move {
                        let served = Connection::new(run.clone(), stream).serve().await;
                        drop(place);
                        match served {
                            Ok(None) => {}
                            Ok(Some(console)) => console.serve(run).await,
                            Err(error) => log::debug!("control connection: {error}"),
                        }
                    });
                }
                Err(error) => {
                    log::error!("control socket: {error}");
                    return;
                }
            }
        }
    });
    Ok(())
}

struct Connection {
    run: Run,
    lines: Lines,
}

impl Connection {
    const fn new(run: Run, stream: UnixStream) -> Self {
        Self {
            run,
            lines: Lines::new(stream, REQUEST_BYTES_MAX),
        }
    }

    async fn serve(mut self) -> io::Result<Option<Console>> {
        loop {
            let line = match self.lines.next().await? {
                Said::Line(line) => line,
                Said::TooMuch => {
                    let error = refused(ControlErrorCode::Malformed, "the line is too long");
                    self.lines.send(&ControlReply::Error(error)).await?;
                    return Ok(None);
                }
                Said::End => return Ok(None),
            };
            let reply = match serde_json::from_slice(&line) {
                Ok(ControlRequest::Wait) => match self.wait().await? {
                    Some(reply) => reply,
                    None => return Ok(None),
                },
                Ok(ControlRequest::Console) => match self.console_place() {
                    Ok((place, reply)) => {
                        self.lines.send(&reply).await?;
                        let lines = self.lines;
                        return Ok(Some(Console { place, lines }));
                    }
                    Err(error) => ControlReply::Error(error),
                },
                Ok(request) => self.run.control(request).await,
                Err(error) => ControlReply::Error(ControlError {
                    code: ControlErrorCode::Malformed,
                    message: error.to_string(),
                }),
            };
            self.lines.send(&reply).await?;
        }
    }

    fn console_place(&self) -> Result<(OwnedSemaphorePermit, ControlReply), ControlError> {
        let not_created = || refused(ControlErrorCode::NotRunning, "the container is not created");
        let state = self.run.shared.state().ok_or_else(not_created)?;
        let place = self.run.shared.places.clone().try_acquire_owned();
        let place = place.map_err(|_full| {
            let why = format!("the run has {CONSOLES_MAX} consoles, and no more at a time");
            refused(ControlErrorCode::TooMany, &why)
        })?;
        Ok((place, ControlReply::State(Box::new(state))))
    }

    /// Waits for the end of the run, or of the client (`None`).
    async fn wait(&mut self) -> io::Result<Option<ControlReply>> {
        let mut end = self.run.shared.end.subscribe();
        loop {
            let room = self.lines.has_room();
            tokio::select! {
                over = end.wait_for(Option::is_some) => {
                    let record = over.ok().and_then(|end| end.clone()).flatten();
                    return Ok(Some(match record {
                        Some(record) => ControlReply::Exited(Box::new((*record).clone())),
                        None => ControlReply::Error(refused(
                            ControlErrorCode::Failed,
                            "the end of the run could not be recorded",
                        )),
                    }));
                }
                more = self.lines.read_more(), if room => if !more? {
                    return Ok(None);
                }
            }
        }
    }
}

/// A connection that is a console from now on.
struct Console {
    place: OwnedSemaphorePermit,
    lines: Lines,
}

impl Console {
    async fn serve(self, run: Run) {
        let (stream, buffer) = self.lines.into_parts();
        consoles::serve(run, stream, buffer).await;
        drop(self.place);
    }
}

impl Run {
    /// Any request but Wait and Console.
    async fn control(&self, request: ControlRequest) -> ControlReply {
        let result = match request {
            ControlRequest::State | ControlRequest::Wait | ControlRequest::Console => {
                self.shared.state().ok_or_else(|| {
                    refused(ControlErrorCode::NotRunning, "the container is not created")
                })
            }
            ControlRequest::Start => self.start().await,
            ControlRequest::Pause => self.ask(Command::Pause).await,
            ControlRequest::Resume => self.ask(Command::Resume).await,
            ControlRequest::Stop { signal, grace_ms } => {
                self.ask(|reply| Command::Stop {
                    signal,
                    grace_ms,
                    reply,
                })
                .await
            }
            ControlRequest::Cancel => {
                self.ask(|reply| Command::Stop {
                    signal: None,
                    grace_ms: 0,
                    reply,
                })
                .await
            }
            ControlRequest::Extend { timeout_ms } => {
                self.ask(|reply| Command::Extend { timeout_ms, reply })
                    .await
            }
        };
        match result {
            Ok(state) => ControlReply::State(Box::new(state)),
            Err(error) => {
                log::info!("control request refused: {}", chain(&error));
                ControlReply::Error(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_rundir::{ExitRecord, FORMAT_VERSION, LaunchRecord, LogTotals, RunDir, Stamp};
    use davit_types::{Attempt, EndReason, ExitStatus, RunId, RunKey, StopSignal, Usage};
    use std::fs;
    use std::time::Duration;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    fn key() -> RunKey {
        RunKey {
            run: RunId::generate(),
            attempt: Attempt::FIRST,
        }
    }

    fn run_in(runs: &std::path::Path) -> Run {
        let dir = RunDir::at(runs, key());
        fs::create_dir(dir.path()).unwrap();
        dir.write_launch(&LaunchRecord {
            version: FORMAT_VERSION,
            key: dir.key(),
            boot_id: String::new(),
            image_digest: "sha256:0".to_owned(),
            cgroup: "/none".to_owned(),
            runtime_binary: "/bin/false".into(),
            timeout_ms: 1000,
            max_pause_ms: 1000,
            log_bytes_max: 1000,
            stop_signal: StopSignal::TERM,
            slot: None,
            security: None,
            network: None,
            stdin: false,
            tty: false,
            workdir: None,
        })
        .unwrap();
        Run::open(dir.path(), None).unwrap()
    }

    fn record(run: &Run) -> ExitRecord {
        ExitRecord {
            version: FORMAT_VERSION,
            key: run.shared.dir.key(),
            boot_id: run.shared.boot_id.clone(),
            status: ExitStatus::Code(3),
            end_reason: EndReason::Exited,
            started: None,
            ended: Stamp::now(),
            pauses: Vec::new(),
            timeout_ms: 1000,
            usage: Usage::default(),
            log: LogTotals::default(),
        }
    }

    async fn ask(stream: &mut BufReader<UnixStream>, line: &str) -> Option<ControlReply> {
        stream.get_mut().write_all(line.as_bytes()).await.unwrap();
        let mut reply = String::new();
        // A connection closed on unread bytes ends with an error instead of EOF.
        let _end = stream.read_line(&mut reply).await;
        (!reply.is_empty()).then(|| serde_json::from_str(&reply).unwrap())
    }

    async fn connect(run: &Run) -> BufReader<UnixStream> {
        BufReader::new(
            UnixStream::connect(run.shared.dir.socket_path())
                .await
                .unwrap(),
        )
    }

    #[tokio::test(flavor = "current_thread")]
    async fn wrong_requests_are_refused_and_the_line_goes_on() {
        let runs = tempfile::tempdir().unwrap();
        let run = run_in(runs.path());
        serve(run.clone()).unwrap();
        let mut stream = connect(&run).await;
        for (line, code) in [
            ("{\"do\":\"dance\"}\n", ControlErrorCode::Malformed),
            ("\n", ControlErrorCode::Malformed),
            ("{\"do\":\"state\"}\n", ControlErrorCode::NotRunning),
        ] {
            let Some(ControlReply::Error(error)) = ask(&mut stream, line).await else {
                panic!("{line} was not refused");
            };
            assert_eq!(error.code, code, "{line}");
        }
        let long = "x".repeat(REQUEST_BYTES_MAX);
        assert!(matches!(
            ask(&mut stream, &long).await,
            Some(ControlReply::Error(error)) if error.message == "the line is too long"
        ));
        assert_eq!(
            ask(&mut stream, "").await,
            None,
            "the connection ends there"
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn wait_answers_with_the_record() {
        let runs = tempfile::tempdir().unwrap();
        let run = run_in(runs.path());
        serve(run.clone()).unwrap();
        let mut stream = connect(&run).await;
        let record = record(&run);
        let (end, told) = (run.shared.clone(), record.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            end.end.send_replace(Some(Some(Arc::new(told))));
        });
        let reply = ask(&mut stream, "{\"do\":\"wait\"}\n").await;
        assert_eq!(reply, Some(ControlReply::Exited(Box::new(record))));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn clients_that_leave_while_waiting_free_their_place() {
        let runs = tempfile::tempdir().unwrap();
        let run = run_in(runs.path());
        serve(run.clone()).unwrap();
        for _client in 0..CONNECTIONS_MAX * 2 {
            let mut stream = connect(&run).await;
            stream
                .get_mut()
                .write_all(b"{\"do\":\"wait\"}\n")
                .await
                .unwrap();
        }
        let mut last = connect(&run).await;
        let reply = ask(&mut last, "{\"do\":\"state\"}\n");
        let reply = tokio::time::timeout(Duration::from_secs(5), reply).await;
        assert!(matches!(reply, Ok(Some(ControlReply::Error(_)))));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn paths_longer_than_an_address_still_work() {
        let top = tempfile::tempdir().unwrap();
        let runs = top.path().join("r".repeat(120));
        fs::create_dir(&runs).unwrap();
        let run = run_in(&runs);
        serve(run.clone()).unwrap();
        assert!(run.shared.dir.socket_path().exists());
    }

    #[test]
    fn a_used_run_directory_is_refused() {
        let runs = tempfile::tempdir().unwrap();
        let run = run_in(runs.path());
        run.shared.dir.write_exit(&record(&run)).unwrap();
        assert!(matches!(
            Run::open(run.dir(), None),
            Err(RunError::UsedBefore(_))
        ));
        let other = runs.path().join("not-a-run");
        assert!(matches!(Run::open(&other, None), Err(RunError::NotARun(_))));
        let empty = RunDir::at(runs.path(), key());
        assert!(matches!(
            Run::open(empty.path(), None),
            Err(RunError::NoLaunch(_))
        ));
    }
}
