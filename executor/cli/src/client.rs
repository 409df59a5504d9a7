//! The connection to the executor.

use std::path::{Path, PathBuf};

use davit_rpc::local::{
    consoles_client::ConsolesClient, files_client::FilesClient, host_client::HostClient,
    images_client::ImagesClient, runs_client::RunsClient,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::error::CliError;

/// Largest message taken from the executor, bytes: a list of all of a host's runs.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What the executor may send before it is taken, bytes.
const WINDOW_BYTES: u32 = 4 << 20;

/// A connection to one executor.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    channel: Channel,
    socket: PathBuf,
}

impl Client {
    /// Connects to the executor on `socket`.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, CliError> {
        // A plain connect first: its error is the one that tells people what is wrong.
        let first = UnixStream::connect(socket)
            .await
            .map_err(|source| CliError::NoExecutor {
                socket: socket.to_owned(),
                source,
            })?;
        let unreachable = |error: tonic::transport::Error| CliError::NoExecutor {
            socket: socket.to_owned(),
            source: std::io::Error::other(error),
        };
        let mut first = Some(first);
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let (ready, path) = (first.take(), path.clone());
            async move {
                let stream = match ready {
                    Some(stream) => stream,
                    None => UnixStream::connect(path).await?,
                };
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        // The address is never resolved: the connector above knows where to go.
        let channel = Endpoint::from_static("http://localhost")
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(4 * WINDOW_BYTES)
            .connect_with_connector(connector)
            .await
            .map_err(unreachable)?;
        Ok(Self {
            channel,
            socket: socket.to_owned(),
        })
    }

    /// The socket this is connected to.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The service of runs.
    pub(crate) fn runs(&self) -> RunsClient<Channel> {
        RunsClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The service of files.
    pub(crate) fn files(&self) -> FilesClient<Channel> {
        FilesClient::new(self.channel.clone())
    }

    /// The service of consoles.
    pub(crate) fn consoles(&self) -> ConsolesClient<Channel> {
        ConsolesClient::new(self.channel.clone())
    }

    /// The service of images.
    pub(crate) fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone())
    }

    /// The service of the host.
    pub(crate) fn host(&self) -> HostClient<Channel> {
        HostClient::new(self.channel.clone())
    }
}
