//! The program of an assigned slot: begun once, or said in a sentence why not.

use rustix::io::Errno;

use super::init::{ExecuteError, Init};

/// A program that has not been begun.
pub(crate) struct Program {
    init: Init,
    name: String,
    message: Vec<u8>,
}

impl Program {
    /// What `message` tells `init` to become; `name` is its first argument.
    pub(crate) const fn new(init: Init, name: String, message: Vec<u8>) -> Self {
        Self {
            init,
            name,
            message,
        }
    }

    /// Has it begun; returns once it runs.
    pub(crate) async fn begin(self) -> Result<(), ProgramError> {
        let Self {
            init,
            name,
            message,
        } = self;
        init.execute(&message)
            .await
            .map_err(|why| ProgramError { name, why })
    }
}

/// Why a program was not begun. In the words of a shell where it has some.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProgramError {
    name: String,
    why: ExecuteError,
}

impl ProgramError {
    /// Whether the process that was to become it is still there.
    pub(crate) fn is_undecided(&self) -> bool {
        self.why == ExecuteError::TooSlow
    }
}

impl std::error::Error for ProgramError {}

impl std::fmt::Display for ProgramError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.name;
        match self.why {
            ExecuteError::Refused(Errno::NOENT) if name.contains('/') => write!(
                f,
                "executable `{name}` not found, or the interpreter that its first bytes name"
            ),
            ExecuteError::Refused(Errno::NOENT) => {
                write!(f, "executable `{name}` not found in PATH")
            }
            ExecuteError::Refused(Errno::ACCESS) => write!(f, "permission denied: `{name}`"),
            ExecuteError::Refused(Errno::NOEXEC) => write!(
                f,
                "`{name}` is no program of this machine, nor a script with a `#!` line"
            ),
            ExecuteError::Refused(Errno::TOOBIG) => write!(
                f,
                "arguments and environment of `{name}` are more than the kernel takes"
            ),
            ExecuteError::Refused(_) | ExecuteError::Gone | ExecuteError::TooSlow => {
                write!(f, "cannot execute `{name}`: {}", self.why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_its_name() {
        for (name, why, said) in [
            (
                "nope",
                ExecuteError::Refused(Errno::NOENT),
                "executable `nope` not found in PATH",
            ),
            (
                "/data/x",
                ExecuteError::Refused(Errno::ACCESS),
                "permission denied: `/data/x`",
            ),
            (
                "/x",
                ExecuteError::Refused(Errno::NOENT),
                "executable `/x` not found, or the interpreter that its first bytes name",
            ),
            (
                "x",
                ExecuteError::Refused(Errno::LOOP),
                "cannot execute `x`: Too many levels of symbolic links (os error 40)",
            ),
            (
                "x",
                ExecuteError::Gone,
                "cannot execute `x`: the container's first process is gone",
            ),
        ] {
            let error = ProgramError {
                name: name.to_owned(),
                why,
            };
            assert_eq!(error.to_string(), said);
        }
    }
}
