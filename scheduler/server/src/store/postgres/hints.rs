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
use tokio::time::sleep;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls};

use super::super::limits::{HINT_PERIOD_MS, HINT_RECONNECT_MS_MAX};
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
        let connected = match &reach.connector {
            None => match reach.config.connect(NoTls).await {
                Ok((client, connection)) => Ok(exchange(client, connection, &count, &wanted).await),
                Err(error) => Err(error),
            },
            Some(connector) => match reach.config.connect(connector.clone()).await {
                Ok((client, connection)) => Ok(exchange(client, connection, &count, &wanted).await),
                Err(error) => Err(error),
            },
        };
        match connected {
            Ok(ended) => {
                tracing::debug!(?ended, "the connection for hints ended");
                pause = first_pause;
            }
            Err(error) => tracing::debug!(%error, "no connection for hints"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(HINT_RECONNECT_MS_MAX));
    }
}

/// Listens and notifies until the connection ends.
async fn exchange<S, T>(
    client: Client,
    mut connection: Connection<S, T>,
    count: &watch::Sender<u64>,
    wanted: &Notify,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let listen = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(_) = message? {
                count.send_modify(|count| *count += 1);
            }
        }
        Ok(())
    };
    let notify = async {
        client.batch_execute("LISTEN davit_wake").await?;
        loop {
            wanted.notified().await;
            client.batch_execute("NOTIFY davit_wake").await?;
            sleep(Duration::from_millis(HINT_PERIOD_MS)).await;
        }
    };
    tokio::select! {
        ended = listen => ended,
        failed = notify => failed,
    }
}
