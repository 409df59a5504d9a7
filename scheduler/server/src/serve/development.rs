//! What `davit dev` finds ready: one region, the sizes of the host, a tenant with a token, and a way in for the host.

use davit_types::{Bytes, InstanceType, Tenant};

use super::admin::operator_token;
use super::{Scheduler, ServeError};
use crate::service::catalogue::{Region, put_region};
use crate::service::executors;
use crate::service::instance_types::{self, Offer};

/// The region of the one host.
const REGION: &str = "local";
/// Disk that is reserved for a run.
const DISK_BYTES: u64 = Bytes::gib(1).0;
/// How long the host has to register: it does so at once.
const JOIN_SECONDS: u64 = 300;
const ACTOR: &str = "davit dev";

impl Scheduler {
    /// Makes region and sizes, again at each start: a repeat changes nothing. Answers a token to join with.
    ///
    /// # Errors
    /// The store's, or a size that is wrong.
    pub async fn prepare_development(
        &self,
        sizes: Vec<InstanceType>,
    ) -> Result<String, ServeError> {
        let service = self.service();
        let region = Region {
            slug: REGION.to_owned(),
            name: "This machine".to_owned(),
        };
        put_region(service, ACTOR, &region).await?;
        for instance_type in sizes {
            let offer = Offer {
                instance_type,
                disk_bytes: DISK_BYTES,
            };
            instance_types::put(service, ACTOR, &offer).await?;
        }
        let join = executors::add_join_token(service, ACTOR, REGION, JOIN_SECONDS).await?;
        Ok(join.text)
    }

    /// A new API token with every scope, for a tenant that is made if it is not there.
    ///
    /// # Errors
    /// The store's.
    pub async fn operator_token(&self, tenant: &Tenant, name: &str) -> Result<String, ServeError> {
        operator_token(self.service(), tenant, name).await
    }
}
