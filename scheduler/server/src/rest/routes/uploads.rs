//! `/v1/uploads`: files that runs come with, sent in pieces that may break off anywhere.

use std::sync::Arc;

use axum::body::Body as RawBody;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::files::FilesError;
use crate::rest::Api;
use crate::rest::answer::{Answer, created_json, ok};
use crate::rest::auth::Asking;
use crate::rest::body::Body;
use crate::rest::openapi::{KeyHeader, Problems};
use crate::rest::params::{IdPath, Key};
use crate::rest::problem::Problem;
use crate::rest::views::uploads::{CompleteInput, UploadReply};
use crate::service::access::Scope;
use crate::service::uploads;
use crate::store::{Refusal, Upload};

const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// What a body may be called.
const BODY_TYPES: [&str; 2] = [
    "application/offset+octet-stream",
    "application/octet-stream",
];

/// Where a piece of an upload belongs.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(
    dead_code,
    reason = "only its documentation is used; the route reads the header"
)]
pub(in crate::rest) struct OffsetHeader {
    /// How many bytes of the upload are stored: the piece begins there.
    #[param(rename = "Upload-Offset")]
    upload_offset: u64,
}

/// `response` with the offset at which an upload goes on.
fn at(mut response: Response, bytes: u64) -> Response {
    let value = HeaderValue::from(bytes);
    response.headers_mut().insert(UPLOAD_OFFSET, value);
    response
}

fn shown(upload: Upload) -> Response {
    let bytes = upload.bytes;
    let upload = upload.into();
    at(ok(&UploadReply { upload }), bytes)
}

/// A refusal, with the offset at which the upload goes on, where that is what is refused.
fn refused(error: FilesError) -> Response {
    let bytes = match &error {
        FilesError::Refused(Refusal::UploadOffset { expected }) => Some(*expected),
        FilesError::BrokeOff { bytes, .. } => Some(*bytes),
        _ => None,
    };
    let response = Problem::from(error).into_response();
    match bytes {
        Some(bytes) => at(response, bytes),
        None => response,
    }
}

/// Begins an upload: a tar stream for the working directory of one or several runs.
#[utoipa::path(post, path = "/v1/uploads", tag = "uploads", params(KeyHeader), operation_id = "create_upload",
    security(("token" = ["runs:write"])),
    responses((status = 201, description = "It takes pieces.", body = UploadReply), Problems))]
pub(in crate::rest) async fn create(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Key(key): Key,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    let id = uploads::new_id(&caller.tenant, key.as_deref());
    let upload = api.files.begin(&caller.tenant, id).await?;
    let path = format!("/v1/uploads/{id}");
    let upload = upload.into();
    Ok(created_json(&UploadReply { upload }, &path, false))
}

/// Shows an upload; `Upload-Offset` says where it goes on, also of a HEAD.
#[utoipa::path(get, path = "/v1/uploads/{upload_id}", tag = "uploads", params(("upload_id" = uuid::Uuid, Path)),
    security(("token" = ["runs:write"])), operation_id = "show_upload",
    responses((status = 200, description = "The upload.", body = UploadReply), Problems))]
pub(in crate::rest) async fn show(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    Ok(shown(api.files.show(&caller.tenant, id).await?))
}

/// Adds a piece at the end of an upload. What came of a piece that broke off is stored: `Upload-Offset` of the upload says
/// where to go on.
#[utoipa::path(patch, path = "/v1/uploads/{upload_id}", tag = "uploads", operation_id = "append_upload",
    params(("upload_id" = uuid::Uuid, Path), OffsetHeader),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"),
    security(("token" = ["runs:write"])),
    responses(
        (status = 200, description = "It is stored.", body = UploadReply),
        (status = 507, description = "The tenant's files are as many bytes as they may be.", body = Problem,
            content_type = "application/problem+json"),
        Problems,
    ))]
pub(in crate::rest) async fn append(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
    headers: HeaderMap,
    body: RawBody,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    let offset = offset(&headers)?;
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !BODY_TYPES.contains(&kind) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-octets",
            "Not a piece of an upload",
            format!("send the body as `Content-Type: {}`", BODY_TYPES[0]),
        ));
    }
    let body = body.into_data_stream();
    match api.files.append(&caller.tenant, id, offset, body).await {
        Ok(upload) => Ok(shown(upload)),
        Err(error) => Ok(refused(error)),
    }
}

fn offset(headers: &HeaderMap) -> Result<u64, Problem> {
    let value = headers.get(UPLOAD_OFFSET);
    let text = value.and_then(|value| value.to_str().ok());
    let text = text.unwrap_or_default();
    text.parse().map_err(|_| {
        let problem = "must be the number of bytes that are stored";
        Problem::bad_parameter("Upload-Offset", text, problem)
    })
}

/// Makes an upload whole, if what is stored has this length and SHA-256. It may be repeated.
#[utoipa::path(post, path = "/v1/uploads/{upload_id}/complete", tag = "uploads", operation_id = "complete_upload",
    params(("upload_id" = uuid::Uuid, Path)), request_body = CompleteInput, security(("token" = ["runs:write"])),
    responses((status = 200, description = "Runs may come with it.", body = UploadReply), Problems))]
pub(in crate::rest) async fn complete(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
    Body(input): Body<CompleteInput>,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    let sha256 = input.sha256.to_ascii_lowercase();
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Problem::bad_field(
            "sha256",
            "must be 64 hexadecimal digits",
        ));
    }
    let files = &api.files;
    match files
        .complete(&caller.tenant, id, input.bytes, &sha256)
        .await
    {
        Ok(upload) => Ok(shown(upload)),
        Err(error) => Ok(refused(error)),
    }
}
