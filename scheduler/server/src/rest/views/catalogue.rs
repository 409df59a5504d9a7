//! Regions, instance types, registries, executors.

use davit_types::{Bytes, InstanceType, Resources};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::time;
use crate::service::catalogue::Region;
use crate::service::instance_types::{MONTH_SECONDS, Offer};
use crate::service::registries::{NewRegistry, Registry};
use crate::service::usage::decimal;

/// A place where executors stand.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RegionView {
    pub(in crate::rest) slug: String,
    name: String,
}

impl RegionView {
    /// One that is not there any more.
    pub(super) fn gone(slug: &str) -> Self {
        Self {
            slug: slug.to_owned(),
            name: slug.to_owned(),
        }
    }
}

impl From<Region> for RegionView {
    fn from(region: Region) -> Self {
        Self {
            slug: region.slug,
            name: region.name,
        }
    }
}

/// A region to be made or renamed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct RegionInput {
    /// For people.
    pub(in crate::rest) name: String,
}

/// All regions.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RegionsReply {
    pub(in crate::rest) regions: Vec<RegionView>,
}

/// A size and its price.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct InstanceTypeView {
    pub(in crate::rest) slug: String,
    name: String,
    /// CPUs, decimal: `0.5`.
    cpu: String,
    /// Memory, MiB.
    mem: u64,
    /// Thousandths of a CPU.
    cpu_millis: u32,
    memory_bytes: u64,
    /// Processes and threads.
    pids: u32,
    /// Disk that is reserved, and that a run may fill where its host has quotas; 0: no bound.
    disk_bytes: u64,
    /// Decimal; 730 hours.
    price_month: String,
    /// Decimal.
    price_second: String,
}

impl InstanceTypeView {
    /// One that is not offered any more.
    pub(super) fn gone(slug: &str) -> Self {
        let none = InstanceType {
            slug: slug.to_owned(),
            name: slug.to_owned(),
            resources: Resources {
                cpu_millis: 0,
                memory_bytes_max: Bytes(0),
                pids_max: 0,
            },
            price_second_micros: 0,
            disk_bytes_max: None,
        };
        Self::from(Offer {
            instance_type: none,
            disk_bytes: 0,
        })
    }
}

impl From<Offer> for InstanceTypeView {
    fn from(offer: Offer) -> Self {
        let InstanceType {
            slug,
            name,
            resources,
            price_second_micros,
            disk_bytes_max: _,
        } = offer.instance_type;
        Self {
            slug,
            name,
            cpu: decimal(u64::from(resources.cpu_millis) * 1_000),
            mem: resources.memory_bytes_max.0 >> 20,
            cpu_millis: resources.cpu_millis,
            memory_bytes: resources.memory_bytes_max.0,
            pids: resources.pids_max,
            disk_bytes: offer.disk_bytes,
            price_month: decimal(price_second_micros.saturating_mul(MONTH_SECONDS)),
            price_second: decimal(price_second_micros),
        }
    }
}

/// A size to be offered.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct InstanceTypeInput {
    /// For people.
    pub(in crate::rest) name: String,
    /// Thousandths of a CPU: 10 to 1024000.
    pub(in crate::rest) cpu_millis: u32,
    /// 4 MiB to 16 TiB.
    pub(in crate::rest) memory_bytes: u64,
    /// Processes and threads: 1 to 1000000.
    pub(in crate::rest) pids: u32,
    /// Disk that is reserved, and that a run may fill where its host has quotas; 10 GiB when absent.
    pub(in crate::rest) disk_bytes: Option<u64>,
    /// Decimal string with at most six places.
    #[schema(example = "0.000012")]
    pub(in crate::rest) price_second: String,
}

/// One size.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct InstanceTypeReply {
    pub(in crate::rest) instance_type: InstanceTypeView,
}

/// All sizes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct InstanceTypesReply {
    pub(in crate::rest) instance_types: Vec<InstanceTypeView>,
}

/// A registry; its credentials are never shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RegistryView {
    pub(in crate::rest) id: Uuid,
    name: String,
    server: String,
    created_at: String,
    updated_at: String,
}

impl From<Registry> for RegistryView {
    fn from(registry: Registry) -> Self {
        Self {
            id: registry.id,
            name: registry.name,
            server: registry.server,
            created_at: time(registry.created_ms),
            updated_at: time(registry.updated_ms),
        }
    }
}

/// A registry with credentials.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct RegistryInput {
    /// Unique among the tenant's.
    name: String,
    /// `host[:port]`.
    server: String,
    username: String,
    /// Encrypted at rest; handed to a host for one pull.
    #[schema(write_only)]
    password: String,
}

impl From<RegistryInput> for NewRegistry {
    fn from(input: RegistryInput) -> Self {
        Self {
            name: input.name,
            server: input.server,
            username: input.username,
            password: input.password,
        }
    }
}

/// One registry.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RegistryReply {
    pub(in crate::rest) registry: RegistryView,
}

/// A page of registries.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RegistriesReply {
    pub(in crate::rest) registries: Vec<RegistryView>,
    /// Where the next page begins; `null` after the last.
    pub(in crate::rest) next: Option<String>,
}
