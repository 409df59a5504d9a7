//! Errors as people read them: what failed, why, what to do.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use davit_settings::SettingsError;
use davit_types::{FieldError, FieldErrors};
use tonic::Status;

use crate::exit;
use crate::output::{Paint, harmless, note};
use crate::server::ServerError;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Nobody answers on the socket.
    #[error("cannot reach the executor on {}", socket.display())]
    NoExecutor {
        /// Where it was looked for.
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The executor refused or failed.
    #[error("{}", .0.message())]
    Refused(Box<Status>),
    /// The connection broke in the middle of a call.
    #[error("the executor went away: {}", .0.message())]
    Gone(Box<Status>),
    /// Fields are wrong.
    #[error("the request is not valid")]
    Fields(FieldErrors),
    /// A file or stream of our own failed.
    #[error("cannot {operation}")]
    Io {
        /// What was tried, with its object.
        operation: String,
        #[source]
        source: io::Error,
    },
    /// Keys or values of the settings are wrong.
    #[error("the settings are not valid")]
    SettingsFields {
        /// Whose: `executor` or `scheduler`.
        program: &'static str,
        /// All that is wrong.
        errors: FieldErrors,
    },
    /// The settings cannot be read.
    #[error(transparent)]
    Settings(SettingsError),
    /// The executor does not serve.
    #[error(transparent)]
    Serve(#[from] davit_executor::ServeError),
    /// The scheduler does not serve.
    #[error("the scheduler does not serve")]
    Scheduler(#[from] davit_scheduler::serve::ServeError),
    /// The host cannot be registered.
    #[error("this host is not registered")]
    Register(#[from] davit_executor::link::LinkError),
    /// The executor went away and did not come back.
    #[error("the executor went away for {seconds} s; the run goes on: davit attach {run}")]
    Lost {
        /// How long it was waited for.
        seconds: u64,
        /// The run that was followed.
        run: String,
    },
    /// The user went away from a run that could not be ended.
    #[error("left run {run}: it may still run; davit attach {run}")]
    Left {
        /// The run that was followed.
        run: String,
    },
    /// The user left a job that is typed at, by its keys.
    #[error("detached; the run goes on: davit attach -i {run}")]
    Detached {
        /// Whose job.
        run: String,
    },
    /// The job is somebody else's to type at, or this side was given up.
    #[error("{message}; the run goes on: davit attach -i {run}")]
    Ousted {
        /// Whose job.
        run: String,
        /// Why.
        message: String,
    },
    /// No service without an init system that has services.
    #[error("systemd does not run on this host")]
    NoSystemd,
    /// There is no service yet.
    #[error("this host has no unit davit-executor.service")]
    NoUnit,
    /// systemctl said no; what it said stands above.
    #[error("systemctl {verb} failed ({status})")]
    Systemctl {
        /// What was asked of it.
        verb: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// The service was started, and is not heard of.
    #[error("the service was started, but nobody answers on {} after {seconds} s", socket.display())]
    NotAnswering {
        /// Where it was listened for.
        socket: PathBuf,
        /// How long.
        seconds: u64,
        #[source]
        source: io::Error,
    },
    /// An executor that is not the service's.
    #[error("an executor that is not the service serves here (pid {pid})")]
    ForeignExecutor {
        /// Its process.
        pid: i32,
    },
    /// Nobody said yes.
    #[error("nothing was removed")]
    NotConfirmed,
    /// Runs would be lost.
    #[error("runs are alive ({count}; one is {example}): nothing was removed")]
    LiveRuns {
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// Ended runs left something that does not go.
    #[error(
        "after {seconds} s something of the canceled runs is still there: nothing else was removed"
    )]
    NotEmptied {
        /// How long it was waited for.
        seconds: u64,
    },
    /// A scheduler, or the way to it.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The executor broke its own protocol.
    #[error("the executor's answer lacks {0}")]
    Protocol(&'static str),
}

impl CliError {
    /// One wrong field found on this side.
    pub(crate) fn field(error: FieldError) -> Self {
        Self::Fields(FieldErrors(vec![error]))
    }

    /// Wraps an I/O error.
    pub(crate) fn io(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Io { operation, source }
    }

    /// The exit code of a command that failed so.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Detached { .. } => 0,
            _ if self.is_closed_output() => exit::OUTPUT_CLOSED,
            _ => exit::DAVIT_FAILED,
        }
    }

    /// Whether the reader of our output is gone, as after `davit logs RUN | head`.
    fn is_closed_output(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoExecutor { source, .. } => Some(match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "the socket is root's and setting socket_group's: run as root"
                }
                _ => {
                    "start it with `davit executor serve`, or name its socket with --socket or DAVIT_SOCKET"
                }
            }),
            Self::NoSystemd => Some(
                "let the supervisor that is here run `davit executor serve`; only its own process may be killed with it",
            ),
            Self::NoUnit => Some(
                "davit executor unit > /etc/systemd/system/davit-executor.service && systemctl daemon-reload",
            ),
            Self::Systemctl { .. } | Self::NotAnswering { .. } => {
                Some("`davit executor logs` shows why")
            }
            Self::ForeignExecutor { .. } => Some("end it first: runs go on without it"),
            Self::NotConfirmed => Some("--yes removes without asking"),
            Self::LiveRuns { .. } => Some("wait for them or cancel them; --force cancels them"),
            Self::NotEmptied { .. } => {
                Some("repeat it; the executor's log says what is in the way")
            }
            Self::Gone(_) => Some("its runs go on; start it again, then repeat the command"),
            Self::Fields(FieldErrors(errors))
                if errors.iter().any(|error| error.field == "instance_type") =>
            {
                Some("`davit info` lists the sizes offered")
            }
            Self::Server(error) => error.hint(),
            Self::SettingsFields { program, .. } if *program == "scheduler" => {
                Some("`davit scheduler reference` explains every setting")
            }
            Self::SettingsFields { .. } => {
                Some("`davit executor reference` explains every setting")
            }
            _ => None,
        }
    }

    /// What a scheduler says may hold anything.
    fn sentence(&self) -> String {
        match self {
            Self::Server(error) => harmless(&error.to_string()),
            other => other.to_string(),
        }
    }

    fn fields(&self) -> Vec<String> {
        match self {
            Self::Fields(FieldErrors(errors))
            | Self::SettingsFields {
                errors: FieldErrors(errors),
                ..
            } => errors.iter().map(ToString::to_string).collect(),
            Self::Server(error) => error
                .fields()
                .iter()
                .map(|error| match error.field.as_str() {
                    "" => harmless(&error.problem),
                    _ if error.value.is_empty() => {
                        harmless(&format!("{}: {}", error.field, error.problem))
                    }
                    _ => harmless(&error.to_string()),
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Writes the error, its causes and a hint to standard error.
    pub(crate) fn print(&self) {
        if self.is_closed_output() {
            return;
        }
        if let Self::Detached { .. } = self {
            // What the job showed last may be the middle of a line.
            io::stderr().write_all(b"\n").unwrap_or_default();
            return note(&self.sentence());
        }
        let paint = Paint::of(&io::stderr());
        let mut text = format!("{} {}\n", paint.bad("error:"), self.sentence());
        for error in self.fields() {
            text.push_str(&format!("  {error}\n"));
        }
        let mut said = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let sentence = error.to_string();
            // A source whose text its parent repeats adds nothing.
            if !said.contains(&sentence) {
                text.push_str(&format!("  {sentence}\n"));
            }
            said = sentence;
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("  {} {hint}\n", paint.hint("hint:")));
        }
        // Nobody is left to be told when standard error is closed.
        io::stderr().write_all(text.as_bytes()).unwrap_or_default();
    }
}

impl From<SettingsError> for CliError {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Fields { program, errors } => Self::SettingsFields { program, errors },
            other => Self::Settings(other),
        }
    }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        match davit_rpc::field_errors(&status) {
            Some(errors) => Self::Fields(errors),
            // Only a status made on this side, by the transport, has a source.
            None if status.source().is_some() => Self::Gone(Box::new(status)),
            None => Self::Refused(Box::new(status)),
        }
    }
}
