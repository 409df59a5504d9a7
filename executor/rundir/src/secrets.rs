//! How the values of a run's secrets come from the executor to its shim: over a socket, and never in a file.
//!
//! ```text
//!  executor   listens on <run directory>/give.sock while the container is being made
//!  shim       connects, reads to the end, is done
//!
//!  message := length:u32 header[length] value*        header: JSON, names and lengths; the values follow it, in order
//! ```
//!
//! Absent on purpose: serde for the values, which would copy them to where nobody wipes them.

use std::fmt;

use davit_types::limits;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The socket's name: as long as that of `shim.sock`, so that both fit where one does.
pub(crate) const SOCKET: &str = "give.sock";

/// Longest header, bytes: keys count to the environment's bytes, and the rest of an entry is short.
const HEADER_BYTES_MAX: usize = 512 * 1024;

/// Longest message, bytes.
pub const SECRETS_BYTES_MAX: usize =
    HEADER_BYTES_MAX + limits::ENV_BYTES_MAX + limits::SECRET_FILES_BYTES_MAX;

/// A variable whose value is shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretEnv {
    /// Its name.
    pub key: String,
    /// Its value; wiped when dropped.
    pub value: Zeroizing<String>,
    /// Whether the value is taken out of the run's log.
    pub redact: bool,
}

/// A file whose content is shown by nothing, and taken out of the run's log.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Its name in `/run/secrets`.
    pub name: String,
    /// Its content; wiped when dropped.
    pub value: Zeroizing<Vec<u8>>,
}

/// What one run is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Over the container's other variables.
    pub env: Vec<SecretEnv>,
    /// For `/run/secrets`.
    pub files: Vec<SecretFile>,
}

impl fmt::Debug for SecretEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretEnv({})", self.key)
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretFile({})", self.name)
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    env: Vec<EnvHeader>,
    files: Vec<FileHeader>,
}

#[derive(Serialize, Deserialize)]
struct EnvHeader {
    key: String,
    bytes: usize,
    redact: bool,
}

#[derive(Serialize, Deserialize)]
struct FileHeader {
    name: String,
    bytes: usize,
}

/// A message that is none. It tells of no byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// It ends before its time, or goes on after it.
    #[error("the message of secrets has another length than it tells")]
    Length,
    /// Its header is not understood.
    #[error("the header of the message of secrets is not understood")]
    Header,
    /// It is too long.
    #[error("the message of secrets is longer than {SECRETS_BYTES_MAX} bytes")]
    TooLong,
    /// A variable is no text.
    #[error("a secret variable is no UTF-8 text")]
    Text,
}

impl Secrets {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.env.is_empty() && self.files.is_empty()
    }

    /// The message.
    ///
    /// # Errors
    /// [`SecretsError::TooLong`].
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
        let env = self.env.iter().map(|var| EnvHeader {
            key: var.key.clone(),
            bytes: var.value.len(),
            redact: var.redact,
        });
        let files = self.files.iter().map(|file| FileHeader {
            name: file.name.clone(),
            bytes: file.value.len(),
        });
        let header = Header {
            env: env.collect(),
            files: files.collect(),
        };
        let header = serde_json::to_vec(&header).map_err(|_| SecretsError::Header)?;
        let values = || {
            let env = self.env.iter().map(|var| var.value.as_bytes());
            env.chain(self.files.iter().map(|file| file.value.as_slice()))
        };
        let bytes = 4 + header.len() + values().map(<[u8]>::len).sum::<usize>();
        let len = u32::try_from(header.len()).map_err(|_| SecretsError::TooLong)?;
        if bytes > SECRETS_BYTES_MAX {
            return Err(SecretsError::TooLong);
        }
        // Whole at once: what a growing buffer leaves behind is wiped by nobody.
        let mut message = Zeroizing::new(Vec::with_capacity(bytes));
        message.extend_from_slice(&len.to_le_bytes());
        message.extend_from_slice(&header);
        values().for_each(|value| message.extend_from_slice(value));
        Ok(message)
    }

    /// What `message` says.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn decode(message: &[u8]) -> Result<Self, SecretsError> {
        let (len, rest) = message
            .split_first_chunk::<4>()
            .ok_or(SecretsError::Length)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| SecretsError::Length)?;
        let (header, mut values) = rest.split_at_checked(len).ok_or(SecretsError::Length)?;
        let header: Header = serde_json::from_slice(header).map_err(|_| SecretsError::Header)?;
        let mut next = |bytes| {
            let (value, rest) = values.split_at_checked(bytes).ok_or(SecretsError::Length)?;
            values = rest;
            Ok(value)
        };
        let mut secrets = Self::default();
        for EnvHeader { key, bytes, redact } in header.env {
            let text = std::str::from_utf8(next(bytes)?).map_err(|_| SecretsError::Text)?;
            let value = Zeroizing::new(text.to_owned());
            secrets.env.push(SecretEnv { key, value, redact });
        }
        for FileHeader { name, bytes } in header.files {
            let value = Zeroizing::new(next(bytes)?.to_vec());
            secrets.files.push(SecretFile { name, value });
        }
        if values.is_empty() {
            Ok(secrets)
        } else {
            Err(SecretsError::Length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        Secrets {
            env: vec![SecretEnv {
                key: "TOKEN".to_owned(),
                value: "hush".to_owned().into(),
                redact: true,
            }],
            files: vec![
                SecretFile {
                    name: "empty".to_owned(),
                    value: Vec::new().into(),
                },
                SecretFile {
                    name: "key.pem".to_owned(),
                    value: b"\0\xff\n".to_vec().into(),
                },
            ],
        }
    }

    #[test]
    fn what_is_told_is_heard_and_nothing_prints_it() {
        let told = secrets();
        assert_eq!(Secrets::decode(&told.encode().unwrap()), Ok(told.clone()));
        assert!(!format!("{told:?}").contains("hush"));
        assert_eq!(
            Secrets::decode(&Secrets::default().encode().unwrap()),
            Ok(Secrets::default())
        );
    }

    #[test]
    fn a_message_that_was_cut_off_anywhere_or_goes_on_is_none() {
        let message = secrets().encode().unwrap();
        for end in 0..message.len() {
            assert!(Secrets::decode(&message[..end]).is_err(), "{end}");
        }
        let longer = [&message[..], b"x"].concat();
        assert_eq!(Secrets::decode(&longer), Err(SecretsError::Length));
        let unheard = [&3_u32.to_le_bytes()[..], b"{ }"].concat();
        assert_eq!(Secrets::decode(&unheard), Err(SecretsError::Header));
    }

    #[test]
    fn the_largest_that_is_allowed_fits() {
        let secrets = Secrets {
            env: (0..limits::ENV_VARIABLES_MAX)
                .map(|n| SecretEnv {
                    key: format!("{n:0>8}"),
                    value: "x"
                        .repeat(limits::ENV_BYTES_MAX / limits::ENV_VARIABLES_MAX)
                        .into(),
                    redact: false,
                })
                .collect(),
            files: (0..limits::SECRET_FILES_MAX)
                .map(|n| SecretFile {
                    name: format!("{n:0>width$}", width = limits::SECRET_NAME_CHARS_MAX),
                    value: vec![7; limits::SECRET_FILES_BYTES_MAX / limits::SECRET_FILES_MAX]
                        .into(),
                })
                .collect(),
        };
        assert!(secrets.encode().is_ok());
        let over = SecretFile {
            name: "over".to_owned(),
            value: vec![7; SECRETS_BYTES_MAX].into(),
        };
        let secrets = Secrets {
            files: vec![over],
            ..secrets
        };
        assert_eq!(secrets.encode(), Err(SecretsError::TooLong));
    }
}
