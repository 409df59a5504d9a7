//! The writer's thread: takes what waits, commits it together, answers.

use std::thread;

use rusqlite::Connection;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::super::database::Operation;
use super::super::error::Failure;
use super::super::limits::{GROUP_JOBS_MAX, WRITE_QUEUE_JOBS_MAX};
use super::connection::failure;
use super::run_now;
use super::transaction::SqliteTx;

/// What is done in a transaction and answered after its commit.
trait Job: Send {
    /// Runs it; its failure, if its changes are not to be kept.
    fn run(&mut self, connection: &mut Connection) -> Option<Failure>;
    /// Tells its caller: what it answered, or why nothing of it is stored.
    fn answer(self: Box<Self>, lost: Option<Failure>);
}

struct Pending<T> {
    operation: Operation<T>,
    done: Option<Result<T, Failure>>,
    caller: oneshot::Sender<Result<T, Failure>>,
}

impl<T: Send> Job for Pending<T> {
    fn run(&mut self, connection: &mut Connection) -> Option<Failure> {
        let done = run_now(&self.operation, &mut SqliteTx::new(connection));
        let failure = done.as_ref().err().map(Failure::again);
        self.done = Some(done);
        failure
    }

    fn answer(self: Box<Self>, lost: Option<Failure>) {
        let answer = match (lost, self.done) {
            // Its own failure says more than the group's.
            (_, Some(Err(own))) => Err(own),
            (Some(lost), _) => Err(lost),
            (None, Some(done)) => done,
            (None, None) => Err(Failure::Closed),
        };
        if self.caller.send(answer).is_err() {
            tracing::debug!("a caller went away before its write was answered");
        }
    }
}

enum Message {
    Job(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// The queue to the thread. The thread ends with its last handle, or when it is closed.
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, Failure> {
        let (queue, jobs) = mpsc::channel(WRITE_QUEUE_JOBS_MAX);
        let started = thread::Builder::new()
            .name("davit-store".to_owned())
            .spawn(move || write(connection, jobs));
        started.map_err(|error| Failure::Unavailable {
            source: error.into(),
        })?;
        Ok(Self { queue })
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: Operation<T>,
    ) -> Result<T, Failure> {
        let (caller, answer) = oneshot::channel();
        let job = Box::new(Pending {
            operation,
            done: None,
            caller,
        });
        self.queue
            .try_send(Message::Job(job))
            .map_err(|error| match error {
                TrySendError::Full(_) => Failure::Busy {
                    what: "the writer's queue",
                },
                TrySendError::Closed(_) => Failure::Closed,
            })?;
        answer.await.unwrap_or(Err(Failure::Closed))
    }

    /// Waits for what is queued, then lets go of the file.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() && closed.await.is_err() {
            tracing::debug!("the writer ended before it was closed");
        }
    }
}

fn write(mut connection: Connection, mut jobs: mpsc::Receiver<Message>) {
    while let Some(message) = jobs.blocking_recv() {
        let closing = match message {
            Message::Job(first) => write_group(&mut connection, first, &mut jobs),
            Message::Close(done) => Some(done),
        };
        if let Some(done) = closing {
            // Checkpoints and removes the log.
            drop(connection);
            if done.send(()).is_err() {
                tracing::debug!("nobody waits for the store to close");
            }
            return;
        }
    }
}

/// One commit. Returns who wants the writer closed, if the group met that wish.
fn write_group(
    connection: &mut Connection,
    first: Box<dyn Job>,
    jobs: &mut mpsc::Receiver<Message>,
) -> Option<oneshot::Sender<()>> {
    let mut group = Vec::new();
    let mut closing = None;
    let mut lost = connection
        .execute_batch("BEGIN IMMEDIATE")
        .err()
        .map(failure);
    let mut next = Some(first);
    while let Some(mut job) = next.take() {
        if lost.is_none() {
            lost = run_in_savepoint(connection, &mut *job);
        }
        group.push(job);
        if group.len() < GROUP_JOBS_MAX {
            next = match jobs.try_recv() {
                Ok(Message::Job(job)) => Some(job),
                Ok(Message::Close(done)) => {
                    closing = Some(done);
                    None
                }
                Err(_) => None,
            };
        }
    }
    if lost.is_none() {
        lost = connection.execute_batch("COMMIT").err().map(failure);
    }
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "cannot roll back a failed group of writes");
    }
    if let Some(why) = &lost {
        tracing::warn!(jobs = group.len(), why = %why, "a group of writes was not stored");
    }
    for job in group {
        job.answer(lost.as_ref().map(Failure::again));
    }
    closing
}

/// Runs one job; the failure is the group's, not the job's.
fn run_in_savepoint(connection: &mut Connection, job: &mut dyn Job) -> Option<Failure> {
    if let Err(error) = connection.execute_batch("SAVEPOINT job") {
        return Some(failure(error));
    }
    let failed = job.run(connection);
    if connection.is_autocommit() {
        // SQLite rolled the whole group back itself, as it does when the disk is full.
        return failed.or(Some(Failure::Busy {
            what: "a commit that was rolled back under it",
        }));
    }
    let end = match failed {
        None => "RELEASE job",
        Some(_) => "ROLLBACK TO job; RELEASE job",
    };
    connection.execute_batch(end).err().map(failure)
}
