//! Secret files of runners and runs: sealed and stored like variables, under names that no variable has.

use std::fmt;

use davit_types::{EnvVar, check_secret_values};
use serde::Serialize;

use super::check::Check;
use super::plan::VALUE_BYTES_MAX;

/// What the stored name of a file begins with: no variable's has a slash.
const PREFIX: &str = "file/";

/// A file, with its content.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct SecretFile {
    /// Its name in `/run/secrets`.
    pub name: String,
    /// Its content, text.
    pub value: String,
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretFile({})", self.name)
    }
}

/// The file's name, if a stored value is one.
pub(crate) fn name_of(stored: &str) -> Option<&str> {
    stored.strip_prefix(PREFIX)
}

/// The name under which a file is stored.
pub(super) fn stored_name(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Files as they are stored, after variables.
pub(super) fn beside(env: &[EnvVar], files: &[SecretFile]) -> Vec<EnvVar> {
    let files = files.iter().map(|file| EnvVar {
        key: stored_name(&file.name),
        value: file.value.clone(),
    });
    env.iter().cloned().chain(files).collect()
}

/// Variables and files, of what was stored.
pub(super) fn apart(stored: Vec<EnvVar>) -> (Vec<EnvVar>, Vec<SecretFile>) {
    let (files, env): (Vec<_>, Vec<_>) = stored
        .into_iter()
        .partition(|var| name_of(&var.key).is_some());
    let files = files.into_iter().filter_map(|var| {
        let name = name_of(&var.key)?.to_owned();
        let value = var.value;
        Some(SecretFile { name, value })
    });
    (env, files.collect())
}

/// Files of both, the second's over the first's of the same name.
pub(super) fn merge(defaults: &[SecretFile], overrides: &[SecretFile]) -> Vec<SecretFile> {
    let over = |file: &&SecretFile| !overrides.iter().any(|other| other.name == file.name);
    let kept = defaults.iter().filter(over);
    kept.chain(overrides).cloned().collect()
}

/// Their names.
pub(super) fn names(files: &[SecretFile]) -> Vec<String> {
    files.iter().map(|file| file.name.clone()).collect()
}

/// What is wrong with their contents; names are checked as the request's.
pub(super) fn check(check: &mut Check, files: &[SecretFile]) {
    for (at, file) in files.iter().enumerate() {
        let bytes = file.value.len();
        if bytes > VALUE_BYTES_MAX {
            let problem = format!("has {bytes} bytes, at most {VALUE_BYTES_MAX} allowed");
            check.fail(&format!("secret_files[{at}].value"), &file.name, problem);
        }
    }
    let contents = files
        .iter()
        .map(|file| (&*file.name, file.value.as_bytes()));
    if let Err(errors) = check_secret_values(0, [], contents) {
        check.add(errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, value: &str) -> SecretFile {
        SecretFile {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn what_is_stored_together_comes_apart_again() {
        let env = vec![EnvVar {
            key: "TOKEN".to_owned(),
            value: "a".to_owned(),
        }];
        let files = vec![file("TOKEN", "b"), file("key.pem", "c")];
        assert_eq!(apart(beside(&env, &files)), (env, files.clone()));
        assert_eq!(
            merge(&files, &[file("key.pem", "d")]),
            [file("TOKEN", "b"), file("key.pem", "d")]
        );
        assert!(!format!("{:?}", file("a", "hush")).contains("hush"));
    }
}
