//! The service of consoles on the local socket.

use std::time::Duration;

use davit_rpc::console::{ConsoleInput, ConsoleOutput, console_input::Input};
use davit_rpc::local;
use davit_types::FieldError;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, Shutdown, status};
use crate::consoles::Consoles;
use crate::runs::Runs;

/// Longest wait for the first message of a console, seconds.
const OPEN_SECONDS_MAX: u64 = 30;
/// Messages of a client that wait for its process, and the other way round.
const MESSAGES_WAITING_MAX: usize = 4;
/// Bytes of one message: a process with all that it may be given.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Serves [`Consoles`].
#[derive(Clone, Debug)]
pub(crate) struct ConsolesService {
    consoles: Consoles,
    shutdown: Shutdown,
}

impl ConsolesService {
    /// The server of it.
    pub(crate) fn server(
        runs: &Runs,
        shutdown: Shutdown,
    ) -> local::consoles_server::ConsolesServer<Self> {
        let consoles = Consoles::new(runs);
        let server = local::consoles_server::ConsolesServer::new(Self { consoles, shutdown });
        server.max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl local::consoles_server::Consoles for ConsolesService {
    type OpenStream = Answers<ConsoleOutput>;

    async fn open(
        &self,
        request: Request<Streaming<ConsoleInput>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let mut messages = request.into_inner();
        let bound = Duration::from_secs(OPEN_SECONDS_MAX);
        let first = tokio::time::timeout(bound, messages.message()).await;
        let first = first.map_err(|_| {
            Status::deadline_exceeded(format!("nothing was said within {OPEN_SECONDS_MAX} s"))
        })??;
        let Some(Input::Open(open)) = first.and_then(|message| message.input) else {
            let problem = "is wanted first, and what is typed after it";
            return Err(status::field(FieldError::new("open", "", problem)));
        };
        let (input, typed) = mpsc::channel(MESSAGES_WAITING_MAX);
        let (output, mut shown) = mpsc::channel(MESSAGES_WAITING_MAX);
        let consoles = self.consoles.clone();
        tokio::spawn(feed(messages, input));
        let serving = tokio::spawn(async move { consoles.open(open, typed, output).await });
        let Some(first) = shown.recv().await else {
            let refused = serving
                .await
                .map_err(|error| Status::internal(error.to_string()))?;
            return Err(refused
                .err()
                .unwrap_or_else(|| Status::internal("the console ended before it began")));
        };
        let shutdown = self.shutdown.clone();
        let answers =
            futures::stream::try_unfold((Some(first), shown), move |(first, mut shown)| {
                let shutdown = shutdown.clone();
                async move {
                    let next = match first {
                        Some(first) => Some(first),
                        None => shutdown.or(async { Ok(shown.recv().await) }).await?,
                    };
                    Ok(next.map(|next| (next, (None, shown))))
                }
            });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Hands on what the client sends. One that has no more to say may still be listening; one that is gone is not.
async fn feed(mut messages: Streaming<ConsoleInput>, input: mpsc::Sender<ConsoleInput>) {
    loop {
        match messages.message().await {
            Ok(Some(message)) => {
                if input.send(message).await.is_err() {
                    return;
                }
            }
            Ok(None) => return input.closed().await,
            Err(status) => {
                tracing::debug!(%status, "a console's client");
                return;
            }
        }
    }
}
