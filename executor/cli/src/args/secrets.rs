//! Secrets on a command line: where they are, never what they are.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clap::Args;
use davit_rpc::local;
use davit_types::{FieldError, FieldErrors, limits};

use crate::error::CliError;

/// Files with secrets, for a run or a runner.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SecretArgs {
    /// File NAME in /run/secrets with the content of PATH (- is standard input), for the job's user alone; what of it
    /// the job prints is taken out of its log
    #[arg(long = "secret", value_name = "NAME=PATH")]
    secret_files: Vec<String>,
    /// Environment variable with the content of PATH (- is standard input), less newlines at its end; handled like
    /// --secret
    #[arg(long = "secret-env", value_name = "KEY=PATH")]
    secret_env: Vec<String>,
}

/// Their content.
#[derive(Debug, Default)]
pub(crate) struct ReadSecrets {
    pub(crate) files: Vec<local::SecretFile>,
    pub(crate) env: Vec<local::EnvVar>,
}

impl SecretArgs {
    /// Whether there are any.
    pub(crate) fn is_given(&self) -> bool {
        !self.secret_files.is_empty() || !self.secret_env.is_empty()
    }

    /// Reads them; `others_on_stdin` is how many other things come on standard input.
    pub(crate) fn read(&self, others_on_stdin: usize) -> Result<ReadSecrets, CliError> {
        let mut wrong = Vec::new();
        let files = named("--secret", "NAME=PATH", &self.secret_files, &mut wrong);
        let env = named("--secret-env", "KEY=PATH", &self.secret_env, &mut wrong);
        let from_stdin = files.iter().chain(&env).filter(|(_, path)| *path == "-");
        let readers = from_stdin.count();
        // What others exclude among them, they say themselves.
        if readers > 0 && readers + others_on_stdin > 1 {
            let problem = "only one thing can be read from standard input";
            wrong.push(FieldError::new("standard input", "-", problem));
        }
        if !wrong.is_empty() {
            return Err(CliError::Fields(FieldErrors(wrong)));
        }
        if self.is_given() {
            davit_executor::dump_no_core().map_err(CliError::io("do without core dumps"))?;
        }
        let mut read = ReadSecrets::default();
        for (name, path) in files {
            let field = format!("--secret {name}");
            read.files.push(local::SecretFile {
                name: name.to_owned(),
                value: content(&field, path, limits::SECRET_FILES_BYTES_MAX)?,
            });
        }
        for (key, path) in env {
            let field = format!("--secret-env {key}");
            let bytes = content(&field, path, limits::ENV_BYTES_MAX)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| CliError::field(FieldError::new(&field, path, "is not UTF-8 text")))?;
            read.env.push(local::EnvVar {
                key: key.to_owned(),
                value: text.trim_end_matches(['\r', '\n']).to_owned(),
            });
        }
        Ok(read)
    }
}

fn named<'a>(
    flag: &str,
    form: &str,
    given: &'a [String],
    wrong: &mut Vec<FieldError>,
) -> Vec<(&'a str, &'a str)> {
    let mut found = Vec::new();
    for (at, text) in given.iter().enumerate() {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => found.push((name, path)),
            // It may be a value where a path belongs: not shown.
            _ => wrong.push(FieldError::new(
                flag,
                format!("no. {}", at + 1),
                format!("is not {form}"),
            )),
        }
    }
    found
}

fn content(field: &str, path: &str, bytes_max: usize) -> Result<Vec<u8>, CliError> {
    let reading = || CliError::io(format!("read {path} for {field}"));
    let limit = bytes_max as u64 + 1;
    let mut bytes = Vec::new();
    if path == "-" {
        io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(Path::new(path))
            .map_err(reading())?
            .take(limit)
            .read_to_end(&mut bytes)
    }
    .map_err(reading())?;
    if bytes.len() > bytes_max {
        let problem = format!("is larger than {bytes_max} bytes");
        return Err(CliError::field(FieldError::new(field, path, problem)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(files: &[&str], env: &[&str]) -> SecretArgs {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        SecretArgs {
            secret_files: texts(files),
            secret_env: texts(env),
        }
    }

    #[test]
    fn contents_are_read_and_a_variable_ends_before_its_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "hush\n\n").unwrap();
        let at = |name: &str| format!("{name}={}", path.display());
        let read = args(&[&at("a")], &[&at("B")]).read(1).unwrap();
        assert_eq!(
            (&*read.files[0].name, &read.files[0].value[..]),
            ("a", &b"hush\n\n"[..])
        );
        assert_eq!((&*read.env[0].key, &*read.env[0].value), ("B", "hush"));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        std::fs::write(&large, vec![0xff; limits::SECRET_FILES_BYTES_MAX + 1]).unwrap();
        let small = dir.path().join("small");
        std::fs::write(&small, [0xff]).unwrap();
        let at = |path: &Path| format!("A={}", path.display());
        for (files, env, stdin, told) in [
            (vec!["hush-hush"], vec![], false, "is not NAME=PATH"),
            (vec![], vec!["=x"], false, "is not KEY=PATH"),
            (vec!["a=-"], vec!["B=-"], false, "standard input"),
            (vec!["a=-"], vec![], true, "standard input"),
            (vec!["a=/nonexistent/x"], vec![], false, "/nonexistent/x"),
            (vec![&*at(&large)], vec![], false, "is larger than"),
            (vec![], vec![&*at(&small)], false, "is not UTF-8"),
        ] {
            let error = args(&files, &env).read(usize::from(stdin)).unwrap_err();
            let text = format!("{error:?} {error}");
            assert!(text.contains(told), "{text}");
            assert!(!text.contains("hush"), "{text}");
        }
    }
}
