//! Sizes and their prices: the operator's, seen by everybody.
//!
//! A price is what a run pays that is submitted from now on: runs carry theirs.

use davit_types::{Bytes, InstanceType, Resources};
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::catalogue::{self, OPERATOR_ENTRIES_MAX, SLUG_CHARS_MAX};
use super::check::Check;
use super::{Service, ServiceError};
use crate::store::CatalogKind;
use crate::store::limits::PRICE_SECOND_MICROS_MAX;

/// Seconds of a month, for prices: 730 hours.
pub const MONTH_SECONDS: u64 = 2_628_000;

/// A size as the operator offers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// CPU, memory, pids and price.
    #[serde(flatten)]
    pub instance_type: InstanceType,
    /// Disk that is reserved for a run, and that it may fill.
    pub disk_bytes: u64,
}

/// All offers.
///
/// # Errors
/// The store's.
pub async fn list(service: &Service) -> Result<Vec<Offer>, ServiceError> {
    let kind = CatalogKind::InstanceType;
    let found = service
        .store
        .entries(kind, None, None, OPERATOR_ENTRIES_MAX);
    let found = found.await?;
    let bodies = found
        .iter()
        .map(|entry| catalogue::body(entry, "instance type"));
    bodies.collect()
}

/// Makes or changes an offer.
///
/// # Errors
/// Fields that are wrong, the store's.
pub async fn put(service: &Service, actor: &str, offer: &Offer) -> Result<(), ServiceError> {
    let mut check = Check::default();
    let InstanceType {
        slug,
        name,
        resources,
        price_second_micros,
        disk_bytes_max: _,
    } = &offer.instance_type;
    let Resources {
        cpu_millis,
        memory_bytes_max,
        pids_max,
    } = resources;
    check.slug("slug", slug, SLUG_CHARS_MAX);
    check.name("name", name, 1, SLUG_CHARS_MAX);
    check.range("cpu_millis", *cpu_millis, 10, 1_024_000);
    let memory = (Bytes::mib(4), Bytes::gib(16 * 1024));
    check.range("memory_bytes", *memory_bytes_max, memory.0, memory.1);
    check.range("pids", *pids_max, 1, 1_000_000);
    check.range("disk_bytes", offer.disk_bytes, 0, Bytes::gib(1 << 20).0);
    check.range(
        "price_second",
        *price_second_micros,
        0,
        PRICE_SECOND_MICROS_MAX,
    );
    check.done()?;
    catalogue::put_by_name(service, actor, CatalogKind::InstanceType, slug, offer).await
}

/// Withdraws an offer. Runs that have it keep it.
///
/// # Errors
/// It is not there; the store's.
pub async fn remove(service: &Service, caller: &Caller, slug: &str) -> Result<(), ServiceError> {
    catalogue::remove_by_name(service, caller, CatalogKind::InstanceType, slug).await
}
