//! The one record of containerd's sandbox store that davit makes.
//!
//! containerd takes the address of a shim that runs already only for a container that names a sandbox
//! (`core/runtime/v2/shim_manager.go`, `Start`), and of that it wants no more than that the store has it. There is no
//! controller and no group behind the record: each container has a shim of its own.

use containerd_client::services::v1::sandbox::StoreCreateRequest;
use containerd_client::services::v1::sandbox::store_client::StoreClient;
use containerd_client::types::Sandbox;
use containerd_client::types::sandbox::Runtime;
use prost_types::Any;

use super::labels::MANAGED;
use super::{Call, Containerd, ContainerdError, DAVIT_RUNTIME, REPLY_BYTES_MAX};

/// The name of the record.
pub(super) const SANDBOX: &str = "davit";

impl Containerd {
    /// Makes the record; fine if it is there.
    ///
    /// # Errors
    /// When containerd fails, or has no sandbox store.
    pub(crate) async fn sandbox_create(&self) -> Result<(), ContainerdError> {
        let request = self.request(StoreCreateRequest {
            sandbox: Some(Sandbox {
                sandbox_id: SANDBOX.to_owned(),
                labels: [(MANAGED.to_owned(), "true".to_owned())].into(),
                // Every message is there, be it empty: containerd 2.1 takes a missing one for granted and dies of it.
                runtime: Some(Runtime {
                    name: DAVIT_RUNTIME.to_owned(),
                    options: Some(Any::default()),
                }),
                spec: Some(Any::default()),
                ..Sandbox::default()
            }),
        });
        let mut store = StoreClient::new(self.channel()).max_decoding_message_size(REPLY_BYTES_MAX);
        let created = Call::metadata("create sandbox", SANDBOX)
            .bound(store.create(request))
            .await;
        match created {
            Err(error) if !error.is_already_exists() => Err(error),
            _ => Ok(()),
        }
    }
}
