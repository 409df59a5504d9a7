//! What a run is asked to bring out, on its way while the executor still collects it: packing there and unpacking here are at
//! work at the same time.
//!
//! Nothing is said of what goes wrong: whatever has not come by the run's end is brought then, and that tells.

use std::path::PathBuf;

use davit_types::ExtractPath;
use tokio::task::JoinSet;

use super::fetch_one;
use crate::client::Client;

/// A task that brings them, one after the other; it ends with this.
pub(in crate::commands) struct Ahead {
    bringing: JoinSet<usize>,
}

impl Ahead {
    /// Waits for the end of the job `run`, and begins. Nothing to do where nothing is asked for.
    pub(in crate::commands) fn begin(
        client: &Client,
        run: &str,
        asked: Vec<ExtractPath>,
    ) -> Option<Self> {
        if asked.is_empty() {
            return None;
        }
        let (client, run) = (client.clone(), run.to_owned());
        let mut bringing = JoinSet::new();
        bringing.spawn(async move {
            for (at, ExtractPath { from, to }) in asked.iter().enumerate() {
                let to = PathBuf::from(to);
                let brought = fetch_one(&client, &run, (at, from), to, None).await;
                if brought.is_err() {
                    return at;
                }
            }
            asked.len()
        });
        Some(Self { bringing })
    }

    /// How many of them have come, the first ones; once the run is over.
    pub(super) async fn come(mut self) -> usize {
        let come = self.bringing.join_next().await;
        come.and_then(Result::ok).unwrap_or(0)
    }
}
