//! Wrong fields on the wire: status INVALID_ARGUMENT, the list of them in the status's details.

use davit_types::{FieldError, FieldErrors};
use prost::Message;
use tonic::{Code, Status};

use crate::local;

/// Most wrong fields told in one status: details travel in an HTTP/2 header of bounded size.
const TOLD_ERRORS_MAX: usize = 20;

/// The status that tells `errors`; its message is the list as text, its details hold it for programs.
#[must_use]
pub fn invalid(errors: &FieldErrors) -> Status {
    let told = FieldErrors(errors.0.iter().take(TOLD_ERRORS_MAX).cloned().collect());
    let details = local::BadRequest {
        errors: told
            .0
            .iter()
            .map(|error| local::FieldError {
                field: error.field.clone(),
                value: error.value.clone(),
                problem: error.problem.clone(),
            })
            .collect(),
    };
    let message = match errors.0.len().saturating_sub(TOLD_ERRORS_MAX) {
        0 => told.to_string(),
        more => format!("{told}; and {more} more"),
    };
    Status::with_details(
        Code::InvalidArgument,
        message,
        details.encode_to_vec().into(),
    )
}

/// The wrong fields a status tells of; `None` if it is about something else.
#[must_use]
pub fn field_errors(status: &Status) -> Option<FieldErrors> {
    if status.code() != Code::InvalidArgument || status.details().is_empty() {
        return None;
    }
    let details = local::BadRequest::decode(status.details()).ok()?;
    let errors = details.errors.into_iter().map(|error| FieldError {
        field: error.field,
        value: error.value,
        problem: error.problem,
    });
    Some(FieldErrors(errors.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(count: usize) -> FieldErrors {
        FieldErrors(
            (0..count)
                .map(|at| FieldError::new(format!("argv[{at}]"), "x\n", "is wrong"))
                .collect(),
        )
    }

    #[test]
    fn field_errors_survive_the_wire() {
        let status = invalid(&errors(3));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(field_errors(&status), Some(errors(3)));
    }

    #[test]
    fn a_flood_of_errors_is_bounded_and_says_so() {
        let status = invalid(&errors(500));
        assert!(status.message().ends_with("and 480 more"));
        assert_eq!(field_errors(&status), Some(errors(TOLD_ERRORS_MAX)));
    }

    #[test]
    fn other_statuses_have_no_field_errors() {
        assert_eq!(field_errors(&Status::not_found("no such run")), None);
        assert_eq!(field_errors(&Status::invalid_argument("plain")), None);
    }
}
