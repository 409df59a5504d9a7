//! Instance types, regions, registries.

use std::sync::Arc;

use axum::extract::State;
use davit_types::{Bytes, InstanceType, Resources};

use crate::rest::answer::{Answer, created_json, done, ok};
use crate::rest::auth::Asking;
use crate::rest::body::Body;
use crate::rest::openapi::{KeyHeader, Problems};
use crate::rest::params::{IdPath, Key, NamePath, PageParams, Params, limit};
use crate::rest::problem::Problem;
use crate::rest::views::catalogue::{
    InstanceTypeInput, InstanceTypeReply, InstanceTypeView, InstanceTypesReply, RegionInput,
    RegionView, RegionsReply, RegistriesReply, RegistryInput, RegistryReply, RegistryView,
};
use crate::rest::{Api, cursor};
use crate::service::access::Scope;
use crate::service::catalogue::{self, Region};
use crate::service::instance_types::{self, Offer};
use crate::service::planned::DISK_BYTES_DEFAULT;
use crate::service::registries;
use crate::service::runners::Made;
use crate::service::usage::micros;

/// Lists what is offered.
#[utoipa::path(get, path = "/v1/instance-types", tag = "catalogue",
    security(("token" = ["runners:read"])), operation_id = "list_instance_types",
    responses((status = 200, description = "All of them.", body = InstanceTypesReply), Problems))]
pub(in crate::rest) async fn list_types(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
) -> Answer {
    caller.may(Scope::RunnersRead)?;
    let found = instance_types::list(&api.service).await?;
    let instance_types = found.into_iter().map(InstanceTypeView::from).collect();
    Ok(ok(&InstanceTypesReply { instance_types }))
}

/// Offers a size, or changes it. Runs that were submitted keep their price.
#[utoipa::path(put, path = "/v1/instance-types/{slug}", tag = "catalogue",
    params(("slug" = String, Path)), request_body = InstanceTypeInput,
    security(("token" = ["operator"])), operation_id = "put_instance_type",
    responses((status = 200, description = "As it is offered now.", body = InstanceTypeReply), Problems))]
pub(in crate::rest) async fn put_type(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    NamePath(slug): NamePath,
    Body(input): Body<InstanceTypeInput>,
) -> Answer {
    caller.may(Scope::Operator)?;
    let wrong = || Problem::bad_field("price_second", "must be a decimal with at most six places");
    let offer = Offer {
        instance_type: InstanceType {
            slug,
            name: input.name,
            resources: Resources {
                cpu_millis: input.cpu_millis,
                memory_bytes_max: Bytes(input.memory_bytes),
                pids_max: input.pids,
            },
            price_second_micros: micros(&input.price_second).ok_or_else(wrong)?,
            disk_bytes_max: None,
        },
        disk_bytes: input.disk_bytes.unwrap_or(DISK_BYTES_DEFAULT),
    };
    instance_types::put(&api.service, &caller.actor(), &offer).await?;
    let instance_type = InstanceTypeView::from(offer);
    Ok(ok(&InstanceTypeReply { instance_type }))
}

/// Withdraws a size. Runs that have it keep it.
#[utoipa::path(delete, path = "/v1/instance-types/{slug}", tag = "catalogue",
    params(("slug" = String, Path)), security(("token" = ["operator"])),
    operation_id = "remove_instance_type",
    responses((status = 204, description = "It is offered no more."), Problems))]
pub(in crate::rest) async fn remove_type(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    NamePath(slug): NamePath,
) -> Answer {
    caller.may(Scope::Operator)?;
    instance_types::remove(&api.service, &caller, &slug).await?;
    Ok(done())
}

/// Lists regions.
#[utoipa::path(get, path = "/v1/regions", tag = "catalogue",
    security(("token" = ["runners:read"])), operation_id = "list_regions",
    responses((status = 200, description = "All of them.", body = RegionsReply), Problems))]
pub(in crate::rest) async fn list_regions(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
) -> Answer {
    caller.may(Scope::RunnersRead)?;
    let found = catalogue::regions(&api.service).await?;
    let regions = found.into_iter().map(RegionView::from).collect();
    Ok(ok(&RegionsReply { regions }))
}

/// Makes or renames a region.
#[utoipa::path(put, path = "/v1/regions/{slug}", tag = "catalogue",
    params(("slug" = String, Path)), request_body = RegionInput,
    security(("token" = ["operator"])), operation_id = "put_region",
    responses((status = 200, description = "As it is now.", body = RegionView), Problems))]
pub(in crate::rest) async fn put_region(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    NamePath(slug): NamePath,
    Body(input): Body<RegionInput>,
) -> Answer {
    caller.may(Scope::Operator)?;
    let region = Region {
        slug,
        name: input.name,
    };
    catalogue::put_region(&api.service, &caller.actor(), &region).await?;
    Ok(ok(&RegionView::from(region)))
}

/// Removes a region. Runs that wait for it go on waiting.
#[utoipa::path(delete, path = "/v1/regions/{slug}", tag = "catalogue",
    params(("slug" = String, Path)), security(("token" = ["operator"])),
    operation_id = "remove_region",
    responses((status = 204, description = "It is gone."), Problems))]
pub(in crate::rest) async fn remove_region(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    NamePath(slug): NamePath,
) -> Answer {
    caller.may(Scope::Operator)?;
    catalogue::remove_region(&api.service, &caller, &slug).await?;
    Ok(done())
}

/// Adds a registry with credentials.
#[utoipa::path(post, path = "/v1/registries", tag = "catalogue", params(KeyHeader),
    request_body = RegistryInput, security(("token" = ["runners:write"])),
    operation_id = "create_registry",
    responses((status = 201, description = "It is kept.", body = RegistryReply), Problems))]
pub(in crate::rest) async fn create_registry(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Key(key): Key,
    Body(input): Body<RegistryInput>,
) -> Answer {
    caller.may(Scope::RunnersWrite)?;
    let made = registries::create(&api.service, &caller, input.into(), key.as_deref()).await?;
    let (registry, replayed) = match made {
        Made::New(registry) => (registry, false),
        Made::Before(registry) => (registry, true),
    };
    let path = format!("/v1/registries/{}", registry.id);
    let registry = RegistryView::from(registry);
    Ok(created_json(&RegistryReply { registry }, &path, replayed))
}

/// Lists registries.
#[utoipa::path(get, path = "/v1/registries", tag = "catalogue", params(PageParams),
    security(("token" = ["runners:read"])), operation_id = "list_registries",
    responses((status = 200, description = "A page.", body = RegistriesReply), Problems))]
pub(in crate::rest) async fn list_registries(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Params(page): Params<PageParams>,
) -> Answer {
    caller.may(Scope::RunnersRead)?;
    let rows = limit(page.limit)?;
    let after = cursor::id(page.after.as_deref())?;
    let found = registries::list(&api.service, &caller.tenant, after, rows).await?;
    let next = cursor::next(&found, rows, |registry| registry.id);
    let registries = found.into_iter().map(RegistryView::from).collect();
    Ok(ok(&RegistriesReply { registries, next }))
}

/// Removes a registry with its credentials.
#[utoipa::path(delete, path = "/v1/registries/{registry_id}", tag = "catalogue",
    params(("registry_id" = uuid::Uuid, Path)), security(("token" = ["runners:write"])),
    operation_id = "remove_registry",
    responses((status = 204, description = "It is gone."), Problems))]
pub(in crate::rest) async fn remove_registry(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
) -> Answer {
    caller.may(Scope::RunnersWrite)?;
    registries::remove(&api.service, &caller, id).await?;
    Ok(done())
}
