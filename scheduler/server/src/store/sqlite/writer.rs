//! The writer's thread: takes what waits, commits it together, answers.

use std::thread;

use rusqlite::Connection;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::super::database::{Lasting, Operation};
use super::super::error::Failure;
use super::super::limits::{GROUP_JOBS_MAX, WRITE_QUEUE_JOBS_MAX};
use super::connection::failure;
use super::run_now;
use super::transaction::SqliteTx;

/// What is done in a transaction and answered after its commit.
trait Job: Send {
    /// What it is to survive.
    fn lasting(&self) -> Lasting;
    /// Runs it, in another transaction again if this one is taken back; its failure, if its changes are not to be kept.
    fn run(&mut self, connection: &mut Connection) -> Option<Failure>;
    /// Tells its caller: what it answered, or why nothing of it is stored.
    fn answer(self: Box<Self>, lost: Option<Failure>);
}

struct Pending<T> {
    operation: Operation<T>,
    lasting: Lasting,
    done: Option<Result<T, Failure>>,
    caller: oneshot::Sender<Result<T, Failure>>,
}

impl<T: Send> Job for Pending<T> {
    fn lasting(&self) -> Lasting {
        self.lasting
    }

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
        lasting: Lasting,
    ) -> Result<T, Failure> {
        let (caller, answer) = oneshot::channel();
        let job = Box::new(Pending {
            operation,
            lasting,
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
    let mut lasting = None;
    while let Some(message) = jobs.blocking_recv() {
        let closing = match message {
            Message::Job(first) => {
                let (group, closing) = group(first, &mut jobs);
                let wanted = wanted(&group);
                let lost = last(&connection, wanted, &mut lasting).err();
                write_group(&mut connection, group, lost);
                closing
            }
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

type Closing = oneshot::Sender<()>;

/// What waits; and who wants the writer closed afterwards, if somebody does.
fn group(
    first: Box<dyn Job>,
    jobs: &mut mpsc::Receiver<Message>,
) -> (Vec<Box<dyn Job>>, Option<Closing>) {
    let mut group = vec![first];
    while group.len() < GROUP_JOBS_MAX {
        match jobs.try_recv() {
            Ok(Message::Job(job)) => group.push(job),
            Ok(Message::Close(done)) => return (group, Some(done)),
            Err(_) => break,
        }
    }
    (group, None)
}

/// The group's commit is to survive what any of its jobs is to survive.
fn wanted(group: &[Box<dyn Job>]) -> Lasting {
    let light = group.iter().all(|job| job.lasting() == Lasting::Exit);
    if light {
        Lasting::Exit
    } else {
        Lasting::PowerLoss
    }
}

/// Makes the next commits last so long. Between transactions only.
fn last(
    connection: &Connection,
    wanted: Lasting,
    now: &mut Option<Lasting>,
) -> Result<(), Failure> {
    if *now == Some(wanted) {
        return Ok(());
    }
    // FULL: the commit is on the disk when it returns. NORMAL: it is with one of the next that are.
    let words = match wanted {
        Lasting::PowerLoss => "PRAGMA synchronous = FULL",
        Lasting::Exit => "PRAGMA synchronous = NORMAL",
    };
    // Not a cached statement: SQLite heeds this one when it is prepared.
    connection.execute_batch(words).map_err(failure)?;
    *now = Some(wanted);
    Ok(())
}

/// One commit; one for each job where a job of it fails, which is to undo nothing but itself. That hardly ever happens:
/// a savepoint around each job would copy every page that is written.
fn write_group(connection: &mut Connection, group: Vec<Box<dyn Job>>, lost: Option<Failure>) {
    let mut group = group;
    let outcome = lost.map_or_else(|| commit(connection, &mut group), Outcome::Lost);
    if matches!(outcome, Outcome::JobFailed) && group.len() > 1 {
        for job in group {
            write_group(connection, vec![job], None);
        }
        return;
    }
    let lost = match outcome {
        Outcome::Lost(why) => {
            tracing::warn!(jobs = group.len(), why = %why, "a group of writes was not stored");
            Some(why)
        }
        Outcome::Stored | Outcome::JobFailed => None,
    };
    for job in group {
        job.answer(lost.as_ref().map(Failure::again));
    }
}

/// What became of a group.
enum Outcome {
    Stored,
    /// One of its jobs failed, and knows why; nothing is stored.
    JobFailed,
    /// Nothing is stored, for no job's fault.
    Lost(Failure),
}

fn commit(connection: &mut Connection, group: &mut [Box<dyn Job>]) -> Outcome {
    let outcome = run(connection, "BEGIN IMMEDIATE")
        .map_or_else(Outcome::Lost, |()| commit_begun(connection, group));
    // SQLite may have rolled back itself, as it does when the disk is full.
    if !connection.is_autocommit()
        && let Err(error) = run(connection, "ROLLBACK")
    {
        tracing::error!(%error, "cannot roll back a failed group of writes");
    }
    outcome
}

fn commit_begun(connection: &mut Connection, group: &mut [Box<dyn Job>]) -> Outcome {
    for job in group {
        if job.run(connection).is_some() {
            return Outcome::JobFailed;
        }
        if connection.is_autocommit() {
            return Outcome::Lost(Failure::Busy {
                what: "a commit that was rolled back under it",
            });
        }
    }
    run(connection, "COMMIT").map_or_else(Outcome::Lost, |()| Outcome::Stored)
}

fn run(connection: &Connection, words: &str) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(words).map_err(failure)?;
    statement.execute([]).map(drop).map_err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::connection::for_writing;

    /// Does nothing.
    struct Idle(Lasting);

    impl Job for Idle {
        fn lasting(&self) -> Lasting {
            self.0
        }

        fn run(&mut self, _: &mut Connection) -> Option<Failure> {
            None
        }

        fn answer(self: Box<Self>, _: Option<Failure>) {}
    }

    fn group_of(lasting: &[Lasting]) -> Vec<Box<dyn Job>> {
        let job = |lasting: &Lasting| Box::new(Idle(*lasting)) as Box<dyn Job>;
        lasting.iter().map(job).collect()
    }

    #[test]
    fn a_commit_lasts_as_long_as_the_most_durable_of_its_jobs() {
        let dir = tempfile::tempdir().expect("a directory");
        let connection = for_writing(&dir.path().join("store")).expect("a database");
        let mut now = None;
        let mut synchronous = |group: &[Lasting]| {
            last(&connection, wanted(&group_of(group)), &mut now).expect("it is set");
            let level = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            let found = connection.pragma_query_value(None, "synchronous", level);
            found.expect("a level")
        };
        let (full, normal) = (2, 1);
        assert_eq!(synchronous(&[Lasting::Exit, Lasting::Exit]), normal);
        assert_eq!(synchronous(&[Lasting::Exit, Lasting::PowerLoss]), full);
        assert_eq!(synchronous(&[Lasting::PowerLoss]), full);
        assert_eq!(synchronous(&[Lasting::Exit]), normal);
        assert_eq!(synchronous(&[Lasting::PowerLoss, Lasting::Exit]), full);
    }

    /// Stores a value, and fails afterwards if it is to.
    struct Insert {
        value: i64,
        fails: bool,
        answers: mpsc::UnboundedSender<(i64, bool)>,
    }

    impl Job for Insert {
        fn lasting(&self) -> Lasting {
            Lasting::Exit
        }

        fn run(&mut self, connection: &mut Connection) -> Option<Failure> {
            let inserted = connection.execute("INSERT INTO t VALUES (?1)", [self.value]);
            inserted.expect("a row");
            self.fails.then_some(Failure::Busy { what: "a test" })
        }

        fn answer(self: Box<Self>, lost: Option<Failure>) {
            let told = self.answers.send((self.value, lost.is_none()));
            told.expect("somebody listens");
        }
    }

    #[test]
    fn a_job_that_fails_undoes_itself_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut connection = for_writing(&dir.path().join("store")).expect("a database");
        connection
            .execute_batch("CREATE TABLE t (value INTEGER)")
            .expect("a table");
        let (answers, mut told) = mpsc::unbounded_channel();
        let job = |value| {
            let answers = answers.clone();
            let fails = value == 2;
            Box::new(Insert {
                value,
                fails,
                answers,
            }) as Box<dyn Job>
        };
        write_group(&mut connection, (1..=3).map(job).collect(), None);
        let mut statement = connection.prepare("SELECT value FROM t").expect("rows");
        let stored = statement.query_map([], |row| row.get(0)).expect("rows");
        let stored: Vec<i64> = stored.map(|row| row.expect("a row")).collect();
        assert_eq!(stored, [1, 3]);
        let told: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
        // Why the second failed it knows itself.
        assert_eq!(told, [(1, true), (2, true), (3, true)]);
    }
}
