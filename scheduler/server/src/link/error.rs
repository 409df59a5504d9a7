//! What is wrong with a call of a host, and how it is told: one match makes a gRPC status of each.

use tonic::Status;
use uuid::Uuid;

use crate::files::FilesError;
use crate::store::{Refusal, StoreError};

/// A call, or a session, that ends here.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A field that cannot be read.
    #[error("{field} = `{given}` is not {wanted}")]
    Malformed {
        /// Which field.
        field: &'static str,
        /// Its text, shortened.
        given: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A list or text above its bound.
    #[error("{what}: {given} given, at most {max} allowed")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much.
        given: usize,
        /// The bound.
        max: usize,
    },
    /// A message that has no place there.
    #[error("{given} came where {wanted} was wanted")]
    OutOfPlace {
        /// What came.
        given: &'static str,
        /// What may come.
        wanted: &'static str,
    },
    /// Nobody, or somebody else. What exactly is wrong is not told.
    #[error("the credentials open nothing")]
    Unauthenticated,
    /// Nobody waits for the console that the host dials for: given up, dialled for before, or another host's.
    #[error("host {host}: no console waits under this id")]
    NoConsole {
        /// Which host.
        host: Uuid,
    },
    /// The store refused it.
    #[error("host {host}")]
    Refused {
        /// Which host.
        host: Uuid,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// The store failed.
    #[error("host {host}: the store failed")]
    Store {
        /// Which host.
        host: Uuid,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Files could not be read.
    #[error("host {host}: the files cannot be read")]
    Files {
        /// Which host.
        host: Uuid,
        /// Why.
        #[source]
        source: FilesError,
    },
    /// A token could not be signed.
    #[error("host {host}: no access token could be made")]
    Signing {
        /// Which host.
        host: Uuid,
        /// Why.
        #[source]
        source: crate::credentials::CredentialError,
    },
    /// As many hosts as there may be.
    #[error("{hosts_max} hosts are connected here already")]
    Full {
        /// How many may be.
        hosts_max: usize,
    },
    /// Nothing was said for too long.
    #[error("no {wanted} within {waited_ms} ms")]
    Silent {
        /// What was waited for.
        wanted: &'static str,
        /// How long.
        waited_ms: u64,
    },
    /// The address cannot be listened on, or TLS cannot be set up.
    #[error("cannot serve hosts")]
    Serve {
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Characters of a wrong text that are repeated to whom sent it.
const GIVEN_CHARS_MAX: usize = 64;

impl LinkError {
    /// A field whose text is something else.
    pub(super) fn malformed(field: &'static str, given: &str, wanted: &'static str) -> Self {
        Self::Malformed {
            field,
            given: given.chars().take(GIVEN_CHARS_MAX).collect(),
            wanted,
        }
    }
}

impl From<LinkError> for Status {
    fn from(error: LinkError) -> Self {
        let text = error.to_string();
        match error {
            LinkError::Malformed { .. }
            | LinkError::TooMuch { .. }
            | LinkError::OutOfPlace { .. } => Self::invalid_argument(text),
            LinkError::Unauthenticated => Self::unauthenticated(text),
            LinkError::NoConsole { .. } => Self::not_found(text),
            LinkError::Refused { refusal, .. } => match refusal {
                Refusal::BadJoinToken => Self::permission_denied(refusal.to_string()),
                Refusal::NameTaken { .. } => Self::already_exists(refusal.to_string()),
                refusal => Self::failed_precondition(format!("{text}: {refusal}")),
            },
            LinkError::Store { .. } | LinkError::Full { .. } | LinkError::Serve { .. } => {
                Self::unavailable(text)
            }
            LinkError::Files { source, .. } => match source {
                FilesError::Lost { .. } => Self::data_loss(source.to_string()),
                FilesError::TooLarge { .. } | FilesError::Refused(Refusal::FilesFull { .. }) => {
                    Self::out_of_range(source.to_string())
                }
                FilesError::Differs { .. } | FilesError::BrokeOff { .. } => {
                    Self::aborted(source.to_string())
                }
                FilesError::Refused(refusal @ Refusal::StaleAttempt { .. }) => {
                    Self::failed_precondition(refusal.to_string())
                }
                // Another call of the host's was faster, or the upload has expired: to be begun again.
                FilesError::Refused(refusal) => Self::aborted(refusal.to_string()),
                other => {
                    tracing::warn!(problem = %other, "files of a host's run cannot be read or stored");
                    Self::unavailable(text)
                }
            },
            LinkError::Signing { .. } => Self::internal(text),
            LinkError::Silent { .. } => Self::deadline_exceeded(text),
        }
    }
}
