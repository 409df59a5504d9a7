//! Leases: what a pull is making is held by one, so that containerd's garbage collector leaves it alone.
//!
//! Root file systems need none: see [`super::snapshots`].

use std::time::{Duration, SystemTime};

use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{
    AddResourceRequest, CreateRequest, DeleteRequest, ListRequest, Resource,
};
use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::transport::Channel;

use super::error::gone_is_fine;
use super::labels::{LabelMap, MANAGED};
use super::{Call, ContainerName, Containerd, ContainerdError, REPLY_BYTES_MAX};

/// Longest life of a pull's lease, seconds; above any pull deadline the settings allow.
const PULL_LEASE_SECONDS: u64 = 6 * 3_600;
/// On leases of image pulls.
const PULL_KIND: (&str, &str) = ("davit.kind", "pull");

/// The name of a lease; made by this module, hence fit for a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseName {
    text: String,
    header: MetadataValue<Ascii>,
}

impl LeaseName {
    fn new(text: String) -> Self {
        let header = text.parse().expect("pull ids are printable ASCII");
        Self { text, header }
    }

    /// A fresh name for one pull.
    pub(crate) fn for_pull() -> Self {
        Self::new(format!("davit-pull-{}", uuid::Uuid::new_v4().simple()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn header(&self) -> MetadataValue<Ascii> {
        self.header.clone()
    }
}

impl Containerd {
    pub(super) fn leases(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.channel()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    /// Gives up the lease that an executor of old took for `name`; fine if it is gone.
    ///
    /// # Errors
    /// When containerd fails.
    pub async fn lease_delete(&self, name: &ContainerName) -> Result<(), ContainerdError> {
        self.lease_drop(&name.to_string(), false).await
    }

    /// Takes a lease for a pull.
    pub(crate) async fn pull_lease_create(&self, name: &LeaseName) -> Result<(), ContainerdError> {
        let labels = LabelMap::from([
            (MANAGED.to_owned(), "true".to_owned()),
            (PULL_KIND.0.to_owned(), PULL_KIND.1.to_owned()),
            (
                "containerd.io/gc.expire".to_owned(),
                rfc3339_in(PULL_LEASE_SECONDS),
            ),
        ]);
        self.lease_take(name, labels).await
    }

    /// Gives a pull's lease up; with `collect`, what only it held is gone on return.
    pub(crate) async fn pull_lease_delete(
        &self,
        name: &LeaseName,
        collect: bool,
    ) -> Result<(), ContainerdError> {
        self.lease_drop(name.as_str(), collect).await
    }

    /// Drops the leases of all pulls, and what only they held: for the start, when no pull can be
    /// under way.
    pub(crate) async fn pull_leases_sweep(&self) -> Result<usize, ContainerdError> {
        let (label, value) = PULL_KIND;
        let request = self.request(ListRequest {
            filters: vec![format!("labels.\"{label}\"=={value}")],
        });
        let stale = Call::metadata("list the leases of", "pulls")
            .bound(self.leases().list(request))
            .await?
            .leases;
        for (at, lease) in stale.iter().enumerate() {
            // The last one collects for all.
            let collect = at + 1 == stale.len();
            self.lease_drop(&lease.id, collect).await?;
        }
        Ok(stale.len())
    }

    /// Lets `lease` hold a blob, whether or not it is there yet.
    pub(crate) async fn lease_blob(
        &self,
        lease: &LeaseName,
        digest: &str,
    ) -> Result<(), ContainerdError> {
        self.lease_add(lease, "content".to_owned(), digest).await
    }

    /// Lets `lease` hold a snapshot.
    pub(crate) async fn lease_snapshot(
        &self,
        lease: &LeaseName,
        name: &str,
    ) -> Result<(), ContainerdError> {
        let kind = format!("snapshots/{}", self.snapshotter());
        self.lease_add(lease, kind, name).await
    }

    async fn lease_add(
        &self,
        lease: &LeaseName,
        kind: String,
        id: &str,
    ) -> Result<(), ContainerdError> {
        let request = self.request(AddResourceRequest {
            id: lease.as_str().to_owned(),
            resource: Some(Resource {
                id: id.to_owned(),
                r#type: kind,
            }),
        });
        Call::metadata("lease", id)
            .bound(self.leases().add_resource(request))
            .await
    }

    async fn lease_take(&self, name: &LeaseName, labels: LabelMap) -> Result<(), ContainerdError> {
        let request = self.request(CreateRequest {
            id: name.as_str().to_owned(),
            labels,
        });
        Call::metadata("create lease", name.as_str())
            .bound(self.leases().create(request))
            .await
            .map(drop)
    }

    async fn lease_drop(&self, name: &str, sync: bool) -> Result<(), ContainerdError> {
        let request = self.request(DeleteRequest {
            id: name.to_owned(),
            sync,
        });
        gone_is_fine(
            Call::files("delete lease", name)
                .bound(self.leases().delete(request))
                .await,
        )
    }
}

/// The instant `seconds` from now, as containerd's labels want it.
fn rfc3339_in(seconds: u64) -> String {
    prost_types::Timestamp::from(SystemTime::now() + Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_rfc3339_in_utc() {
        let text = rfc3339_in(60);
        assert!(text.ends_with('Z') && text.contains('T'), "{text}");
    }
}
