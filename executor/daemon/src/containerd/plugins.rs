//! What containerd tells of its plugins.

use std::path::PathBuf;

use containerd_client::services::v1::PluginsRequest;
use containerd_client::services::v1::introspection_client::IntrospectionClient;

use super::{Call, Containerd, ContainerdError, REPLY_BYTES_MAX};

/// The type of snapshotters.
const SNAPSHOTTERS: &str = "io.containerd.snapshotter.v1";
/// What a plugin calls the directory that it works in.
const ROOT: &str = "root";

impl Containerd {
    /// The directory of the snapshotter, in which its layers are.
    ///
    /// # Errors
    /// When containerd fails, or does not tell.
    pub(crate) async fn snapshotter_root(&self) -> Result<PathBuf, ContainerdError> {
        let snapshotter = self.snapshotter();
        let request = self.request(PluginsRequest {
            filters: vec![format!("type=={SNAPSHOTTERS},id=={snapshotter}")],
        });
        let mut client =
            IntrospectionClient::new(self.channel()).max_decoding_message_size(REPLY_BYTES_MAX);
        let call = Call::metadata("ask for the directory of", snapshotter);
        let plugins = call.bound(client.plugins(request)).await?.plugins;
        let root = plugins
            .into_iter()
            .find_map(|mut plugin| plugin.exports.remove(ROOT));
        root.map(PathBuf::from)
            .ok_or_else(|| call.malformed("names none"))
    }
}
