//! Checking fields: all of them, so that a user sees every wrong one at once.

use std::fmt::Display;

use davit_types::{FieldError, FieldErrors};

use super::ServiceError;

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Check(Vec<FieldError>);

impl Check {
    pub(super) fn fail(&mut self, field: &str, value: impl Display, problem: impl Into<String>) {
        self.0.push(FieldError::new(field, value, problem));
    }

    /// A name for people: so many characters, none of them a control character.
    pub(super) fn name(&mut self, field: &str, name: &str, chars_min: usize, chars_max: usize) {
        let chars = name.chars().count();
        if !(chars_min..=chars_max).contains(&chars) {
            let problem = format!("has {chars} characters; {chars_min} to {chars_max} are allowed");
            self.fail(field, name, problem);
        }
        if name.chars().any(char::is_control) || name.trim() != name {
            self.fail(
                field,
                name,
                "may hold no control characters, and no space at either end",
            );
        }
    }

    /// A name for machines: letters, digits, `-`, `_`, `.`, beginning with one of the first two.
    pub(super) fn slug(&mut self, field: &str, slug: &str, chars_max: usize) {
        let fits = (1..=chars_max).contains(&slug.len())
            && slug
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && slug.as_bytes()[0].is_ascii_alphanumeric();
        if !fits {
            let problem = format!(
                "must be 1 to {chars_max} letters, digits, - _ . beginning with one of the first two"
            );
            self.fail(field, slug, problem);
        }
    }

    pub(super) fn range<T: PartialOrd + Display>(&mut self, field: &str, value: T, min: T, max: T) {
        if value < min || value > max {
            let problem = format!("must be {min} to {max}");
            self.fail(field, value, problem);
        }
    }

    /// Text without NUL, which no program can be given, of bounded length.
    pub(super) fn text(&mut self, field: &str, value: &str, chars_max: usize) {
        let chars = value.chars().count();
        if value.is_empty() {
            self.fail(field, value, "is empty; leave it out instead");
        } else if chars > chars_max {
            let problem = format!("has {chars} characters, at most {chars_max} allowed");
            self.fail(field, value, problem);
        }
        if value.contains('\0') {
            self.fail(field, value, "contains a NUL byte");
        }
    }

    pub(super) fn add(&mut self, errors: FieldErrors) {
        self.0.extend(errors.0);
    }

    pub(super) fn done(self) -> Result<(), ServiceError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ServiceError::Invalid(FieldErrors(self.0)))
        }
    }
}
