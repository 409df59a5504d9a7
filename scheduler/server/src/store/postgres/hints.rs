//! Hints between replicas: one connection that listens and notifies.
//!
//! Any number of wakes within [`HINT_PERIOD_MS`] become one NOTIFY. A lost connection is made again; what
//! was missed meanwhile is found by polling.

use std::sync::Arc;
use std::time::Duration;

use futures::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls};

use super::super::limits::{
    HINT_CHECK_MS, HINT_PERIOD_MS, HINT_RECONNECT_MS_MAX, POOL_WAIT_MS_MAX,
};
use super::pool::Reach;

/// A handle to the task; the task ends with it.
pub(super) struct Hints {
    count: watch::Sender<u64>,
    wanted: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Hints {
    pub(super) fn start(reach: Reach) -> Self {
        let count = watch::Sender::new(0);
        let wanted = Arc::new(Notify::new());
        let task = tokio::spawn(keep(reach, count.clone(), Arc::clone(&wanted)));
        Self {
            count,
            wanted,
            task,
        }
    }

    /// This replica's own waiters at once, the others' soon.
    pub(super) fn wake(&self) {
        self.count.send_modify(|count| *count += 1);
        self.wanted.notify_one();
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn keep(reach: Reach, count: watch::Sender<u64>, wanted: Arc<Notify>) {
    let first_pause = Duration::from_millis(HINT_PERIOD_MS);
    let mut pause = first_pause;
    loop {
        let began = Instant::now();
        let ended = match &reach.connector {
            None => exchange(reach.config.connect(NoTls), &count, &wanted).await,
            Some(connector) => {
                let connecting = reach.config.connect(connector.clone());
                exchange(connecting, &count, &wanted).await
            }
        };
        tracing::debug!(?ended, "there is no connection for hints");
        if began.elapsed() > Duration::from_millis(HINT_RECONNECT_MS_MAX + POOL_WAIT_MS_MAX) {
            pause = first_pause;
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(HINT_RECONNECT_MS_MAX));
    }
}

/// Why the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Postgres(#[from] Error),
    #[error("no answer within {POOL_WAIT_MS_MAX} ms")]
    Silent(#[from] Elapsed),
}

/// One statement, and no longer than one waits for a connection.
async fn ask(client: &Client, statement: &str) -> Result<(), Ended> {
    let limit = Duration::from_millis(POOL_WAIT_MS_MAX);
    Ok(timeout(limit, client.batch_execute(statement)).await??)
}

/// Connects, then listens and notifies until the connection ends.
async fn exchange<S, T>(
    connecting: impl Future<Output = Result<(Client, Connection<S, T>), Error>>,
    count: &watch::Sender<u64>,
    wanted: &Notify,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let limit = Duration::from_millis(POOL_WAIT_MS_MAX);
    let (client, mut connection) = timeout(limit, connecting).await??;
    let listen = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(_) = message? {
                count.send_modify(|count| *count += 1);
            }
        }
        Ok(())
    };
    let notify = async {
        ask(&client, "LISTEN davit_wake").await?;
        loop {
            let check = sleep(Duration::from_millis(HINT_CHECK_MS));
            tokio::select! {
                () = wanted.notified() => ask(&client, "NOTIFY davit_wake").await?,
                // Says whether the server is there: who only listens would not notice.
                () = check => ask(&client, "").await?,
            }
            sleep(Duration::from_millis(HINT_PERIOD_MS)).await;
        }
    };
    tokio::select! {
        ended = listen => ended,
        failed = notify => failed,
    }
}
