//! Every route, once: its handler, its documentation, its scope.

#![allow(
    unused_qualifications,
    reason = "the macros of utoipa qualify what stands in params(…)"
)]

mod accounts;
mod catalogue;
mod connect;
mod consoles;
mod executors;
mod extracts;
mod logs;
mod orders;
mod principals;
mod runners;
mod runs;
mod system;
mod uploads;
mod usage;

use std::sync::Arc;

pub(super) use logs::LineView;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;

/// Routes for those who show a token.
pub(super) fn guarded() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(runners::create, runners::list))
        .routes(routes!(runners::show, runners::change, runners::remove))
        .routes(routes!(runners::warm))
        .routes(routes!(runs::create_of_runner, runs::list_of_runner))
        .routes(routes!(runs::create_batch_of_runner))
        .routes(routes!(runs::create, runs::list))
        .routes(routes!(runs::create_batch))
        .routes(routes!(runs::explain))
        .nest("/v1/runs/{run_id}", one_run())
        .nest("/v1/runners/{runner_id}/runs/{run_id}", one_run())
        .routes(routes!(uploads::create))
        .routes(routes!(uploads::show, uploads::append))
        .routes(routes!(uploads::complete))
        .routes(routes!(usage::page))
        .routes(routes!(usage::reconciliation))
        .routes(routes!(accounts::create_token, accounts::list_tokens))
        .routes(routes!(accounts::revoke_token))
        .routes(routes!(principals::create, principals::list))
        .routes(routes!(principals::show, principals::remove))
        .routes(routes!(principals::rotate))
        .routes(routes!(accounts::own_tenant))
        .routes(routes!(accounts::list_tenants))
        .routes(routes!(accounts::show_tenant, accounts::put_tenant))
        .routes(routes!(accounts::create_tenant_token))
        .routes(routes!(accounts::audit))
        .routes(routes!(catalogue::list_types))
        .routes(routes!(catalogue::put_type, catalogue::remove_type))
        .routes(routes!(catalogue::list_regions))
        .routes(routes!(catalogue::put_region, catalogue::remove_region))
        .routes(routes!(
            catalogue::create_registry,
            catalogue::list_registries
        ))
        .routes(routes!(catalogue::remove_registry))
        .routes(routes!(executors::list))
        .routes(routes!(executors::drain))
        .routes(routes!(executors::resume))
        .routes(routes!(executors::show, executors::remove))
        .routes(routes!(executors::join_token))
}

/// What may be done with one run: below `/v1/runs` and below its runner alike.
fn one_run() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(orders::show, orders::change))
        .routes(routes!(orders::stop))
        .routes(routes!(orders::cancel))
        .routes(routes!(orders::pause))
        .routes(routes!(orders::resume))
        .routes(routes!(consoles::exec))
        .routes(routes!(consoles::attach))
        .routes(routes!(extracts::read))
        .routes(routes!(logs::page))
        .routes(routes!(logs::stream))
}

/// Routes for everybody.
pub(super) fn open() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(system::healthz))
        .routes(routes!(system::readyz))
        .routes(routes!(system::metrics))
        .routes(routes!(system::openapi))
        .routes(routes!(system::explorer))
        .routes(routes!(connect::token))
        .routes(routes!(connect::keys))
}
