//! The OpenAPI document: made of the routes, so that it tells what is served.
//!
//! The document of this version is kept in `scheduler/openapi.json`; a test tells when the two differ.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder,
    PathItem, Ref, RefOr, Required, Response, ResponseBuilder,
};
use utoipa::{IntoParams, IntoResponses, PartialSchema, ToSchema};

use super::problem::{PROBLEM_JSON, Problem, WrongField};
use super::routes;

/// What any route may answer but what it should.
const PROBLEMS: [(&str, &str); 14] = [
    ("400", "A parameter, a header or the body cannot be read."),
    ("401", "There is no valid token."),
    ("402", "The tenant's spend cap is reached."),
    ("403", "The token lacks the scope, or the tenant is closed."),
    ("404", "It is not there, or is another tenant's."),
    ("405", "The path is not there for this method."),
    ("408", "The body came too slowly."),
    (
        "409",
        "It conflicts with what is there, or the key's first request is under way.",
    ),
    ("413", "The body is too large."),
    ("415", "The body is not JSON."),
    (
        "422",
        "Fields are not valid, or the key was used for another request.",
    ),
    ("429", "The token's rate is exceeded."),
    ("500", "The scheduler's own fault."),
    ("503", "It cannot be answered now; it may be repeated."),
];

/// The problems above.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let problem = RefOr::Ref(Ref::from_schema_name("Problem"));
        let content = ContentBuilder::new().schema(Some(problem)).build();
        let responses = PROBLEMS.iter().map(|(status, description)| {
            let response = ResponseBuilder::new()
                .description(*description)
                .content(PROBLEM_JSON, content.clone())
                .build();
            ((*status).to_owned(), RefOr::T(response))
        });
        responses.collect()
    }
}

/// The header that makes a POST safe to repeat.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(
    dead_code,
    reason = "only its documentation is used; `Key` reads the header"
)]
pub(super) struct KeyHeader {
    /// Visible ASCII, at most 255 characters. The same key within 24 hours makes nothing new: the first answer comes
    /// again, with `Idempotency-Replayed: true`. With another request it is refused (422), while the first is under way
    /// too (409).
    #[param(rename = "Idempotency-Key")]
    idempotency_key: Option<String>,
}

/// Where a client was that lost its stream.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(
    dead_code,
    reason = "only its documentation is used; the route reads the header"
)]
pub(super) struct LastEventHeader {
    /// `id:` of the last event that came.
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<String>,
}

/// The document as text with a line break at its end: what `scheduler/openapi.json` holds.
#[must_use]
pub fn document() -> String {
    let mut text = serde_json::to_string_pretty(served()).unwrap_or_default();
    text.push('\n');
    text
}

/// The document.
pub(super) fn served() -> &'static OpenApi {
    static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(|| {
        let (_, guarded) = routes::guarded().split_for_parts();
        let (_, open) = routes::open().split_for_parts();
        let mut whole = base();
        whole.merge(guarded);
        whole.merge(open);
        for (path, item) in &mut whole.paths.paths {
            if path.starts_with("/v1/runners/{runner_id}/runs/{run_id}") {
                name_runner(item);
            }
        }
        whole
    });
    &DOCUMENT
}

fn base() -> OpenApi {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API token, or an access token of a service principal (`/connect/token`). What follows `token` is its scope.",
        ))
        .build();
    let components = ComponentsBuilder::new()
        .schema(Problem::name(), Problem::schema())
        .schema(WrongField::name(), WrongField::schema())
        .security_scheme("token", SecurityScheme::Http(token))
        .build();
    let info = InfoBuilder::new()
        .title("davit")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Runs container jobs on bare-metal hosts. Lists are paged by opaque cursors; every refusal is a problem \
             document (RFC 9457). Each answer to a token tells `RateLimit-Limit`, `RateLimit-Remaining` and \
             `RateLimit-Reset`.",
        ))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .build()
}

/// A route that is below its runner too has the runner's id as well, and a name of its own.
fn name_runner(item: &mut PathItem) {
    let PathItem {
        get, post, patch, ..
    } = item;
    for operation in [get, post, patch].into_iter().flatten() {
        let Operation {
            operation_id,
            parameters,
            ..
        } = operation;
        if let Some(id) = operation_id {
            id.push_str("_of_runner");
        }
        parameters
            .get_or_insert_default()
            .insert(0, RefOr::T(runner_id()));
    }
}

fn runner_id() -> Parameter {
    let uuid = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    ParameterBuilder::new()
        .name("runner_id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(uuid))
        .build()
}
