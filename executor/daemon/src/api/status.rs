//! Errors as gRPC statuses: one exhaustive match an enum, so that a new error cannot go out unmapped.

use davit_rundir::ControlErrorCode;
use davit_types::{FieldError, FieldErrors};
use tonic::{Code, Status};

use crate::containerd::ContainerdError;
use crate::images::ImageError;
use crate::runs::{RunError, sentence};
use crate::settings::SecretError;

/// The status of a failed operation on runs.
pub(crate) fn run(error: &RunError) -> Status {
    let code = match error {
        RunError::Invalid(errors) => return davit_rpc::invalid(errors),
        RunError::NotFound { .. } => Code::NotFound,
        RunError::Ambiguous { .. } => Code::InvalidArgument,
        RunError::NameTaken { .. } | RunError::AttemptKnown { .. } => Code::AlreadyExists,
        RunError::TooManyLive { .. } | RunError::Busy { .. } => Code::ResourceExhausted,
        RunError::WrongPhase { .. } | RunError::StillLive { .. } => Code::FailedPrecondition,
        RunError::Refused { source, .. } => match source.code {
            ControlErrorCode::NotRunning => Code::FailedPrecondition,
            ControlErrorCode::OutOfRange => Code::OutOfRange,
            ControlErrorCode::Malformed | ControlErrorCode::Failed => Code::Internal,
            ControlErrorCode::TooMany => Code::ResourceExhausted,
            ControlErrorCode::Unsupported => Code::FailedPrecondition,
        },
        RunError::Shim { .. } => Code::Unavailable,
        RunError::RunDir { .. } | RunError::RunsDir { .. } | RunError::Cgroup { .. } => {
            Code::Internal
        }
        RunError::Log { .. } => Code::DataLoss,
        RunError::Containerd(source) => containerd_code(source),
        RunError::ShuttingDown => Code::Unavailable,
    };
    Status::new(code, sentence(error))
}

/// The status of a failed operation on images.
pub(super) fn image(error: &ImageError) -> Status {
    let code = match error {
        ImageError::Reference(wrong) => return field(wrong.clone()),
        ImageError::NotAllowed { .. }
        | ImageError::Unsigned { .. }
        | ImageError::Unauthorized { .. } => Code::PermissionDenied,
        ImageError::NotFound { .. }
        | ImageError::NoLocalCopy { .. }
        | ImageError::NotHere { .. } => Code::NotFound,
        ImageError::Unreachable { .. }
        | ImageError::RegistryFailed { .. }
        | ImageError::Truncated { .. }
        | ImageError::Stalled { .. }
        | ImageError::Abandoned { .. } => Code::Unavailable,
        ImageError::WrongDigest { .. } => Code::DataLoss,
        ImageError::TooLarge { .. } => Code::ResourceExhausted,
        ImageError::Deadline { .. } => Code::DeadlineExceeded,
        ImageError::Unsupported { .. }
        | ImageError::NoPlatform { .. }
        | ImageError::Malformed { .. }
        | ImageError::InUse { .. } => Code::FailedPrecondition,
        ImageError::Containerd(source) => containerd_code(source),
    };
    Status::new(code, sentence(error))
}

/// The status of a password that cannot be had.
pub(super) fn secret(error: &SecretError) -> Status {
    Status::failed_precondition(sentence(error))
}

/// The status of one wrong field.
pub(super) fn field(error: FieldError) -> Status {
    davit_rpc::invalid(&FieldErrors(vec![error]))
}

const fn containerd_code(error: &ContainerdError) -> Code {
    match error {
        ContainerdError::NoSocket { .. }
        | ContainerdError::Unreachable { .. }
        | ContainerdError::Away { .. }
        | ContainerdError::Unavailable { .. } => Code::Unavailable,
        ContainerdError::Deadline { .. } => Code::DeadlineExceeded,
        ContainerdError::Permission { .. }
        | ContainerdError::TooOld { .. }
        | ContainerdError::Setting { .. } => Code::FailedPrecondition,
        ContainerdError::NotFound { .. }
        | ContainerdError::AlreadyExists { .. }
        | ContainerdError::Refused { .. }
        | ContainerdError::Malformed { .. } => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_and_wrong_fields_travel_as_such() {
        let error = RunError::NotFound {
            reference: "abcd".into(),
        };
        let status = run(&error);
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().contains("abcd"));
        let wrong = FieldErrors(vec![FieldError::new("image", "", "is empty")]);
        let status = run(&RunError::Invalid(wrong.clone()));
        assert_eq!(davit_rpc::field_errors(&status), Some(wrong));
    }
}
