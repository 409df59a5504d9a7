//! Which error is told how: one exhaustive match a type.

use axum::http::StatusCode;
use davit_types::{FieldError, FieldErrors};

use super::{Problem, chain};
use crate::consoles::{Bound, ConsoleError};
use crate::files::FilesError;
use crate::logs::LogError;
use crate::service::{ServiceError, WarmRefused};
use crate::store::{Refusal, StoreError};
use tonic::Code;

impl From<&StoreError> for Problem {
    fn from(error: &StoreError) -> Self {
        if error.is_retriable() {
            tracing::warn!(error = chain(error), "the store cannot answer now");
            return Self::busy("the store cannot answer now; the request may be repeated");
        }
        Self::internal(error)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let told = error.to_string();
        let conflict = |slug, title| Self::new(StatusCode::CONFLICT, slug, title, told.clone());
        match error {
            ServiceError::NotFound { what, id } => Self::not_found(what, &id),
            ServiceError::Invalid(errors) => Self::invalid(errors),
            ServiceError::Forbidden { .. } => {
                let title = "The credential does not reach so far";
                Self::new(StatusCode::FORBIDDEN, "forbidden", title, told)
            }
            ServiceError::MadeBefore { .. } => conflict("made-before", "Made before"),
            ServiceError::NoExtract { .. } => conflict("no-extract", "These files are not here"),
            ServiceError::Contended { .. } => conflict("contended", "Changed by others"),
            ServiceError::Refused(refusal) => refusal.into(),
            ServiceError::Warm(refused) => refused.into(),
            ServiceError::Store(error) => error.into(),
            ServiceError::Secret { .. }
            | ServiceError::Credential(_)
            | ServiceError::Corrupt { .. } => Self::internal(&error),
        }
    }
}

impl From<ConsoleError> for Problem {
    fn from(error: ConsoleError) -> Self {
        let told = error.to_string();
        let conflict = |slug, title| Self::new(StatusCode::CONFLICT, slug, title, told.clone());
        let later = |slug, title| {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Self::new(status, slug, title, told.clone()).retry_after(1)
        };
        match error {
            ConsoleError::NotRunning { .. } => conflict("not-running", "The run does not execute"),
            ConsoleError::Full { what, .. } => match what {
                Bound::Run | Bound::Tenant => conflict("consoles", "Too many consoles"),
                Bound::Host | Bound::Replica => Self::busy(&told),
            },
            ConsoleError::Elsewhere { .. } => {
                later("elsewhere", "The host is with another replica")
            }
            ConsoleError::HostGone { .. } => later("host-gone", "The host is not connected"),
            ConsoleError::Late { .. } => later("host-late", "The host does not answer"),
            ConsoleError::OutOfPlace { .. } => later("host-odd", "The host does not make sense"),
            ConsoleError::Refused { code, .. } => match code {
                Code::InvalidArgument | Code::OutOfRange => Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "host-invalid",
                    "The host cannot do it so",
                    told,
                ),
                Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded => {
                    later("host-busy", "The host cannot do it now")
                }
                _ => conflict("host-refused", "The host would not"),
            },
        }
    }
}

impl From<WarmRefused> for Problem {
    fn from(refused: WarmRefused) -> Self {
        let told = refused.to_string();
        match refused {
            WarmRefused::NoHost { .. } => {
                Self::new(StatusCode::CONFLICT, "no-host", "No host for it", told)
            }
            WarmRefused::Busy { .. } => Self::busy(&told),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let told = refusal.to_string();
        let conflict = |slug, title| Self::new(StatusCode::CONFLICT, slug, title, told.clone());
        match refusal {
            Refusal::UnknownRun { run } => Self::not_found("run", &run.to_string()),
            Refusal::KeyInFlight => {
                conflict("key-in-flight", "The first request is under way").retry_after(1)
            }
            Refusal::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key-reused",
                "The key was used for another request",
                told,
            ),
            Refusal::TenantClosed { .. } => {
                let status = StatusCode::FORBIDDEN;
                Self::new(status, "tenant-closed", "The tenant is closed", told)
            }
            Refusal::SpendCap { .. } => {
                let status = StatusCode::PAYMENT_REQUIRED;
                Self::new(status, "spend-cap", "The spend cap is reached", told)
            }
            Refusal::NameTaken { .. } => conflict("name-taken", "The name is taken"),
            Refusal::OutOfRange { what, given } => {
                let field = FieldError::new(what, given, "is out of range");
                Self::invalid(FieldErrors(vec![field]))
            }
            Refusal::Revision { .. } => conflict("contended", "Changed by others"),
            Refusal::UnknownUpload { upload } => Self::not_found("upload", &upload.to_string()),
            Refusal::UploadOffset { .. } => {
                conflict("upload-offset", "The upload goes on elsewhere")
            }
            Refusal::UploadComplete { .. } => conflict("upload-complete", "The upload is complete"),
            Refusal::UploadParts { .. } => conflict("upload-parts", "The pieces are too small"),
            Refusal::UploadsOpen { .. } => conflict("uploads-open", "Too many uploads"),
            Refusal::FilesFull { .. } => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                Self::new(status, "files-full", "The tenant has too many files", told)
            }
            // What hosts and replicas are told; no request of a user leads there.
            Refusal::RunEnded { .. }
            | Refusal::StaleAttempt { .. }
            | Refusal::StaleEpoch { .. }
            | Refusal::WrongHost
            | Refusal::NoSession { .. }
            | Refusal::HostClosed { .. }
            | Refusal::WrongState { .. }
            | Refusal::StepGap { .. }
            | Refusal::LedgerGap { .. }
            | Refusal::LedgerIncomplete { .. }
            | Refusal::LogGap { .. }
            | Refusal::LogIncomplete { .. }
            | Refusal::NotClaimed
            | Refusal::NotFenced
            | Refusal::BadJoinToken => conflict("refused", "Refused"),
        }
    }
}

impl From<FilesError> for Problem {
    fn from(error: FilesError) -> Self {
        let told = error.to_string();
        match error {
            FilesError::Refused(refusal) => refusal.into(),
            FilesError::TooLarge { .. } => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                Self::new(status, "too-large", "The upload is too large", told)
            }
            FilesError::Differs { .. } => {
                let field = FieldError::new("sha256", "", told);
                Self::invalid(FieldErrors(vec![field]))
            }
            FilesError::BrokeOff { .. } => {
                let status = StatusCode::REQUEST_TIMEOUT;
                Self::new(status, "broke-off", "The body broke off", told)
            }
            FilesError::Busy { .. } => Self::busy(&told),
            FilesError::Object(error) if error.is_retriable() => {
                tracing::warn!(error = chain(&error), "the object store cannot answer now");
                Self::busy("the object store cannot answer now; the request may be repeated")
            }
            FilesError::Lost { .. } => Self::internal(&error),
            FilesError::Object(error) => Self::internal(&error),
            FilesError::Store(error) => error.into(),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        let told = error.to_string();
        match error {
            LogError::TooSlow { .. } => {
                let title = "The stream was read too slowly";
                Self::new(StatusCode::CONFLICT, "too-slow", title, told)
            }
            LogError::Busy { .. } => Self::busy(&told),
            LogError::Unknown { key } => Self::not_found("log of attempt", &key.to_string()),
            LogError::Store { source, .. } => (&*source).into(),
            other => Self::internal(&other),
        }
    }
}
