//! Secrets of a run: what they may be called, and how much of them there may be.
//!
//! A request and a specification have their names. Values travel beside them, and are shown by no error.

use std::collections::BTreeSet;

use super::{Check, RunRequest};
use crate::spec::limits as max;
use crate::{FieldError, FieldErrors};

/// One secret as it is checked: its name and its value.
pub type NamedSecret<'a> = (&'a str, &'a [u8]);

impl RunRequest {
    pub(super) fn check_secrets(&self, check: &mut Check) {
        let env = self.secret_env.len();
        if env > max::ENV_VARIABLES_MAX {
            let problem = format!("at most {} variables allowed", max::ENV_VARIABLES_MAX);
            check.fail("secret_env", env, problem);
        }
        let files = self.secret_files.len();
        if files > max::SECRET_FILES_MAX {
            let problem = format!("at most {} files allowed", max::SECRET_FILES_MAX);
            check.fail("secret_files", files, problem);
        }
        let mut known = BTreeSet::new();
        for (at, key) in self.secret_env.iter().enumerate() {
            let field = format!("secret_env[{at}].key");
            if !is_variable(key) {
                check.fail(&field, key, "must match [a-zA-Z_][a-zA-Z0-9_]*");
            }
            if !known.insert(key) {
                check.fail(&field, key, "is given twice");
            }
        }
        known.clear();
        for (at, name) in self.secret_files.iter().enumerate() {
            let field = format!("secret_files[{at}].name");
            if !is_file_name(name) {
                let chars = max::SECRET_NAME_CHARS_MAX;
                let problem = format!("must match [a-zA-Z0-9._-]{{1,{chars}}} and not be . or ..");
                check.fail(&field, name, problem);
            }
            if !known.insert(name) {
                check.fail(&field, name, "is given twice");
            }
        }
    }
}

fn is_variable(key: &str) -> bool {
    let mut letters = key.bytes();
    letters
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_file_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=max::SECRET_NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(fits)
        && name != "."
        && name != ".."
}

/// Checks the values of secrets; their names are a request's to check. `env_bytes` is what its plain variables take.
///
/// # Errors
/// Every value that is too long or cannot be one, by its place and name.
pub fn check_secret_values<'a>(
    env_bytes: usize,
    env: impl IntoIterator<Item = NamedSecret<'a>>,
    files: impl IntoIterator<Item = NamedSecret<'a>>,
) -> Result<(), FieldErrors> {
    let mut wrong = Vec::new();
    let mut bytes = env_bytes;
    for (at, (key, value)) in env.into_iter().enumerate() {
        bytes += key.len() + value.len();
        if value.contains(&0) {
            let field = format!("secret_env[{at}].value");
            wrong.push(FieldError::new(field, key, "contains a NUL byte"));
        }
    }
    if bytes > max::ENV_BYTES_MAX && bytes > env_bytes {
        wrong.push(FieldError::new(
            "secret_env",
            format!("{bytes} bytes with the plain variables"),
            format!("at most {} bytes allowed", max::ENV_BYTES_MAX),
        ));
    }
    let bytes: usize = files.into_iter().map(|(_, value)| value.len()).sum();
    if bytes > max::SECRET_FILES_BYTES_MAX {
        wrong.push(FieldError::new(
            "secret_files",
            format!("{bytes} bytes"),
            format!(
                "at most {} bytes allowed together",
                max::SECRET_FILES_BYTES_MAX
            ),
        ));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(FieldErrors(wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(env: &[&str], files: &[&str]) -> Vec<String> {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        let request = RunRequest {
            secret_env: texts(env),
            secret_files: texts(files),
            ..RunRequest::default()
        };
        let mut check = Check::default();
        request.check_secrets(&mut check);
        check.0.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn names_are_those_of_variables_and_of_files_in_one_directory() {
        let long = "x".repeat(max::SECRET_NAME_CHARS_MAX);
        assert_eq!(
            wrong(&["A", "_b1"], &["a", "..a", "A.b_c-1", &long]),
            [""; 0]
        );
        let longer = format!("{long}x");
        for name in ["", ".", "..", "a/b", "a b", "ä", &longer] {
            assert_eq!(
                wrong(&[], &["fine", name]),
                ["secret_files[1].name"],
                "{name}"
            );
        }
        for key in ["", "1A", "A-B", "A=B"] {
            assert_eq!(wrong(&[key], &[]), ["secret_env[0].key"], "{key}");
        }
        assert_eq!(
            wrong(&["A", "A"], &["b", "b"]),
            ["secret_env[1].key", "secret_files[1].name"]
        );
        let many: Vec<String> = (0..=max::SECRET_FILES_MAX).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(wrong(&[], &many[1..]), [""; 0]);
        assert_eq!(wrong(&[], &many), ["secret_files"]);
    }

    #[test]
    fn values_are_bounded_and_never_shown() {
        let fits = vec![b'x'; max::SECRET_FILES_BYTES_MAX];
        assert_eq!(check_secret_values(0, [], [("a", &fits[..])]), Ok(()));
        let files = [("a", &fits[..]), ("b", &b"x"[..])];
        let errors = check_secret_values(0, [], files).unwrap_err();
        assert_eq!(errors.0[0].field, "secret_files");
        let errors = check_secret_values(0, [("A", &b"hush\0"[..])], []).unwrap_err();
        assert_eq!(errors.0[0].field, "secret_env[0].value");
        assert!(!errors.to_string().contains("hush"), "{errors}");
        let room = max::ENV_BYTES_MAX - 3;
        assert_eq!(check_secret_values(room, [("A", &b"bc"[..])], []), Ok(()));
        let errors = check_secret_values(room, [("A", &b"bcd"[..])], []).unwrap_err();
        assert_eq!(errors.0[0].field, "secret_env");
    }
}
