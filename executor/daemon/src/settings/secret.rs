//! Registry passwords: read from their file or command when a pull needs them, never kept.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::RegistrySettings;

/// Longest password read.
pub const PASSWORD_BYTES_MAX: u64 = 64 * 1024;

/// Longest a password file or command may take.
pub const PASSWORD_SECONDS_MAX: u64 = 10;

/// A value that does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a password could not be had. Holds no part of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read password_file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The command cannot be started or read.
    #[error("cannot run password_command `{program}`")]
    Run {
        /// The program; arguments may be confidential.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The command failed.
    #[error("password_command `{program}` ended with {status}")]
    Status {
        /// The program.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// It took too long.
    #[error("{what} gave no password within {PASSWORD_SECONDS_MAX} s")]
    Slow {
        /// File or program.
        what: String,
    },
    /// What came is no password.
    #[error("{what} gave {problem}")]
    Content {
        /// File or program.
        what: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl RegistrySettings {
    /// The password as it is now; `None` where none is configured.
    ///
    /// # Errors
    /// The file or command fails, takes longer than [`PASSWORD_SECONDS_MAX`], or gives nothing, more
    /// than [`PASSWORD_BYTES_MAX`], or something that is not text.
    pub async fn password(&self) -> Result<Option<Secret>, SecretError> {
        if let Some(path) = &self.password_file {
            let what = path.display().to_string();
            let bytes = within(&what, read_file(path.clone())).await?;
            return secret(what, bytes).map(Some);
        }
        if let Some((program, arguments)) = self
            .password_command
            .as_ref()
            .and_then(|command| command.split_first())
        {
            let what = format!("password_command `{program}`");
            let bytes = within(&what, run(program, arguments)).await?;
            return secret(what, bytes).map(Some);
        }
        Ok(None)
    }
}

async fn within<T>(
    what: &str,
    work: impl Future<Output = Result<T, SecretError>>,
) -> Result<T, SecretError> {
    tokio::time::timeout(Duration::from_secs(PASSWORD_SECONDS_MAX), work)
        .await
        .unwrap_or_else(|_| {
            Err(SecretError::Slow {
                what: what.to_owned(),
            })
        })
}

async fn read_file(path: PathBuf) -> Result<Vec<u8>, SecretError> {
    let read = async {
        let mut bytes = Vec::new();
        let file = tokio::fs::File::open(&path).await?;
        file.take(PASSWORD_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .await?;
        Ok(bytes)
    };
    read.await.map_err(|source| SecretError::File {
        path: path.clone(),
        source,
    })
}

async fn run(program: &str, arguments: &[String]) -> Result<Vec<u8>, SecretError> {
    let failed = |source| SecretError::Run {
        program: program.to_owned(),
        source,
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut bytes = Vec::new();
    if let Some(output) = child.stdout.take() {
        output
            .take(PASSWORD_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .await
            .map_err(failed)?;
    }
    // Reading stopped at the limit: the program may still be writing, and is killed on drop.
    if bytes.len() as u64 > PASSWORD_BYTES_MAX {
        return Ok(bytes);
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        Ok(bytes)
    } else {
        Err(SecretError::Status {
            program: program.to_owned(),
            status,
        })
    }
}

fn secret(what: String, mut bytes: Vec<u8>) -> Result<Secret, SecretError> {
    if bytes.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(SecretError::Content {
            what,
            problem: "more than 64 KiB",
        });
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.is_empty() => Err(SecretError::Content {
            what,
            problem: "nothing",
        }),
        Ok(text) => Ok(Secret(text)),
        Err(_) => Err(SecretError::Content {
            what,
            problem: "something that is not UTF-8 text",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_command(script: &str) -> RegistrySettings {
        RegistrySettings {
            password_command: Some(vec!["sh".into(), "-c".into(), script.into()]),
            ..RegistrySettings::default()
        }
    }

    #[tokio::test]
    async fn a_file_or_command_gives_the_password_without_its_newline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush hush\n").unwrap();
        let access = RegistrySettings {
            password_file: Some(file.path().to_owned()),
            ..RegistrySettings::default()
        };
        assert_eq!(
            access.password().await.unwrap().unwrap().expose(),
            "hush hush"
        );
        let access = from_command("printf 'a\\nb'");
        assert_eq!(access.password().await.unwrap().unwrap().expose(), "a\nb");
        assert_eq!(RegistrySettings::default().password().await.unwrap(), None);
    }

    #[tokio::test]
    async fn each_failure_says_what_failed_and_shows_no_secret() {
        let cases = [
            (from_command("echo hush; exit 3"), "exit status: 3"),
            (from_command("true"), "gave nothing"),
            (from_command("printf '\\377'"), "not UTF-8"),
            (from_command("yes hush"), "more than 64 KiB"),
            (
                RegistrySettings {
                    password_file: Some("/does/not/exist".into()),
                    ..RegistrySettings::default()
                },
                "cannot read password_file /does/not/exist",
            ),
        ];
        for (access, wanted) in cases {
            let error = access.password().await.unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_hangs_is_given_up() {
        let error = from_command("sleep 600").password().await.unwrap_err();
        assert!(matches!(error, SecretError::Slow { .. }), "{error}");
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", Secret("hush".into())), "Secret(…)");
    }
}
