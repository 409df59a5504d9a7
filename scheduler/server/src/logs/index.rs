//! Indexes chunks of all attempts in batches: one transaction for as many as wait.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::error::LogError;
use super::limits::INDEX_QUEUE_CHUNKS_MAX;
use crate::store::{LogChunk, Sender, Store, Verdict, limits::BATCH_ITEMS_MAX};

struct Request {
    from: Sender,
    chunk: LogChunk,
    answer: oneshot::Sender<Result<Verdict, LogError>>,
}

/// Hands chunks to the task that indexes them; it ends with the last of these.
#[derive(Clone)]
pub(super) struct Index {
    requests: mpsc::Sender<Request>,
}

impl Index {
    /// What the store says of a chunk whose object is durable.
    pub(super) async fn add(&self, from: Sender, chunk: LogChunk) -> Result<Verdict, LogError> {
        let key = chunk.key;
        let (answer, answered) = oneshot::channel();
        let request = Request {
            from,
            chunk,
            answer,
        };
        let stopped = || LogError::Stopped { key };
        self.requests.send(request).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

pub(super) fn start(store: Arc<dyn Store>) -> Index {
    let (requests, inbox) = mpsc::channel(INDEX_QUEUE_CHUNKS_MAX);
    tokio::spawn(run(store, inbox));
    Index { requests }
}

async fn run(store: Arc<dyn Store>, mut inbox: mpsc::Receiver<Request>) {
    let mut batch = Vec::with_capacity(BATCH_ITEMS_MAX);
    while inbox.recv_many(&mut batch, BATCH_ITEMS_MAX).await > 0 {
        let items = batch
            .iter()
            .map(|request| (request.from, request.chunk.clone()));
        let answers = match store.index_logs(items.collect()).await {
            Ok(verdicts) => verdicts.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(LogError::store("-", error)); batch.len()],
        };
        for (request, answer) in batch.drain(..).zip(answers) {
            // Who does not wait any more repeats it.
            drop(request.answer.send(answer));
        }
    }
}
