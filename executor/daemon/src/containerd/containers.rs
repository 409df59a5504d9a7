//! Container records.

use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, DeleteContainerRequest, ListContainersRequest,
    UpdateContainerRequest,
};
use containerd_client::tonic::transport::Channel;
use davit_types::{IdRange, RunKey};
use oci_spec::runtime::Spec;
use prost_types::{Any, FieldMask};

use super::error::gone_is_fine;
use super::labels::{self, IDS_FIRST, IMAGE_DIGEST, NetworkHolder, managed_filter, of_run};
use super::sandboxes::SANDBOX;
use super::{
    Call, ContainerName, Containerd, ContainerdError, ImageRecord, REPLY_BYTES_MAX, RuncOptions,
};

/// The runtime name of davit's own shim.
pub const DAVIT_RUNTIME: &str = "io.containerd.davit.v1";

/// How containerd types an OCI runtime spec.
const SPEC_TYPE_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// A container record to be made. Labels are not in it: they follow from the name.
#[derive(Clone, Debug)]
pub struct ContainerSpec<'a> {
    /// Of record and snapshot.
    pub name: &'a ContainerName,
    /// Normalised image reference.
    pub image: &'a str,
    /// Digest the reference resolved to.
    pub image_digest: &'a str,
    /// The whole OCI runtime spec.
    pub spec: &'a Spec,
    /// Runtime name, normally [`DAVIT_RUNTIME`].
    pub runtime: &'a str,
    /// Options for the shim.
    pub options: Option<RuncOptions>,
    /// The ids of its user namespace, if it has one.
    pub ids: Option<IdRange>,
    /// What it has of the network of bridges; for the labels.
    pub network: Option<&'a NetworkHolder>,
    /// Whether its task will be given the address of a shim that runs already.
    pub in_sandbox: bool,
}

impl Containerd {
    fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    /// Makes a container record, upon the snapshot of the same name.
    ///
    /// # Errors
    /// [`ContainerdError::AlreadyExists`] when there is one.
    pub async fn container_create(&self, spec: ContainerSpec<'_>) -> Result<(), ContainerdError> {
        let id = spec.name.to_string();
        let call = Call::metadata("create container", &id);
        let value = serde_json::to_vec(spec.spec)
            .map_err(|_| call.malformed("was not reached: the spec is no JSON"))?;
        let mut labels = spec.name.labels();
        labels.insert(IMAGE_DIGEST.to_owned(), spec.image_digest.to_owned());
        if let Some(ids) = spec.ids {
            labels.insert(IDS_FIRST.to_owned(), ids.first.to_string());
        }
        if let Some(network) = spec.network {
            labels::of_network(network, &mut labels);
        }
        let container = Container {
            id: id.clone(),
            labels,
            image: spec.image.to_owned(),
            runtime: Some(Runtime {
                name: spec.runtime.to_owned(),
                options: spec.options.as_ref().map(RuncOptions::to_any),
            }),
            spec: Some(Any {
                type_url: SPEC_TYPE_URL.to_owned(),
                value,
            }),
            snapshotter: self.snapshotter().to_owned(),
            snapshot_key: id.clone(),
            sandbox: if spec.in_sandbox {
                SANDBOX.to_owned()
            } else {
                String::new()
            },
            ..Container::default()
        };
        let request = self.request(CreateContainerRequest {
            container: Some(container),
        });
        call.bound(self.containers().create(request))
            .await
            .map(drop)
    }

    /// Adds to the record of `name` the labels of the run that was given it; fine if it is gone.
    ///
    /// # Errors
    /// When containerd fails.
    pub async fn container_given(
        &self,
        name: &ContainerName,
        key: RunKey,
    ) -> Result<(), ContainerdError> {
        let labels = of_run(key);
        let paths = labels.keys().map(|label| format!("labels.{label}"));
        let id = name.to_string();
        let request = self.request(UpdateContainerRequest {
            update_mask: Some(FieldMask {
                paths: paths.collect(),
            }),
            container: Some(Container {
                id: id.clone(),
                labels,
                ..Container::default()
            }),
        });
        gone_is_fine(
            Call::metadata("label container", &id)
                .bound(self.containers().update(request))
                .await
                .map(drop),
        )
    }

    /// Removes the record of `name`; fine if it is gone. Snapshot and task are not touched.
    ///
    /// # Errors
    /// When it still has a task, or containerd fails.
    pub async fn container_delete(&self, name: &ContainerName) -> Result<(), ContainerdError> {
        let id = name.to_string();
        let request = self.request(DeleteContainerRequest { id: id.clone() });
        gone_is_fine(
            Call::metadata("delete container", &id)
                .bound(self.containers().delete(request))
                .await,
        )
    }

    /// The containers of davit's with a user namespace, and the first of the ids that each has.
    pub(crate) async fn id_ranges(&self) -> Result<Vec<(ContainerName, u32)>, ContainerdError> {
        let found = self.list_containers(vec![managed_filter()]).await?;
        let ranges = found.iter().filter_map(|container| {
            let first = container.labels.get(IDS_FIRST)?.parse().ok()?;
            Some((
                ContainerName::of_object(&container.id, &container.labels)?,
                first,
            ))
        });
        Ok(ranges.collect())
    }

    /// The places in the network of bridges that containers have.
    ///
    /// # Errors
    /// When containerd fails.
    pub(crate) async fn networks(
        &self,
    ) -> Result<Vec<(ContainerName, NetworkHolder)>, ContainerdError> {
        let found = self.list_containers(vec![managed_filter()]).await?;
        let networks = found.iter().filter_map(|container| {
            let name = ContainerName::of_object(&container.id, &container.labels)?;
            Some((name, labels::network_of(&container.labels)?))
        });
        Ok(networks.collect())
    }

    /// Digests and names of the images that containers here were made from.
    pub(crate) async fn images_of_containers(&self) -> Result<Vec<ImageUse>, ContainerdError> {
        let found = self.list_containers(Vec::new()).await?;
        Ok(found
            .into_iter()
            .map(|mut container| ImageUse {
                container: container.id,
                name: container.image,
                digest: container.labels.remove(IMAGE_DIGEST),
            })
            .collect())
    }

    pub(super) async fn list_containers(
        &self,
        filters: Vec<String>,
    ) -> Result<Vec<Container>, ContainerdError> {
        let request = self.request(ListContainersRequest { filters });
        Call::metadata("list", "containers")
            .bound(self.containers().list(request))
            .await
            .map(|reply| reply.containers)
    }
}

/// Which image a container was made from.
#[derive(Clone, Debug)]
pub(crate) struct ImageUse {
    pub(crate) container: String,
    pub(crate) name: String,
    pub(crate) digest: Option<String>,
}

impl ImageUse {
    /// Whether the container was made from this image, under this or another name.
    pub(crate) fn is(&self, record: &ImageRecord) -> bool {
        self.name == record.name || self.digest.as_ref() == Some(&record.target.digest)
    }
}
