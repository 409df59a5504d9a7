//! What goes wrong between this and a scheduler, and what to do then.

use std::path::PathBuf;

use davit_types::FieldError;
use reqwest::StatusCode;
use serde::Deserialize;

/// Why a scheduler did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// No answer came.
    #[error("cannot reach the scheduler at {server}")]
    Unreachable {
        server: String,
        #[source]
        source: reqwest::Error,
    },
    /// It refused.
    #[error("{}", .0.sentence())]
    Problem(Box<Problem>),
    /// Its answer is not what the API promises.
    #[error("the scheduler's answer to {asked} cannot be read")]
    Answer {
        asked: String,
        #[source]
        source: serde_json::Error,
    },
    /// Its answer has no end.
    #[error("the scheduler's answer to {asked} has more than {bytes_max} bytes")]
    TooLong { asked: String, bytes_max: usize },
    /// Nobody said which scheduler.
    #[error("this command asks a scheduler, and none is named")]
    NoServer,
    /// It is for the executor of a host only.
    #[error("{what} is not for a scheduler: {instead}")]
    HostOnly { what: String, instead: &'static str },
    /// It is for a scheduler only.
    #[error("{what} is for a scheduler: name one with --server or --profile")]
    ServerOnly { what: &'static str },
    /// The profiles cannot be used.
    #[error("{}: {problem}", path.display())]
    Profiles { path: PathBuf, problem: String },
    /// A token cannot be used.
    #[error("the token {place} {problem}")]
    Token {
        place: String,
        problem: &'static str,
    },
    /// A name stands for nothing.
    #[error("there is no {what} `{given}`")]
    Unknown { what: &'static str, given: String },
    /// A name stands for several things.
    #[error("`{given}` is the beginning of more than one {what}: write more of the id")]
    Ambiguous { what: &'static str, given: String },
    /// There is none to be had.
    #[error("no console: {0}")]
    NoConsole(&'static str),
    /// It ended before what it was beside.
    #[error("the console through the scheduler is over: {0}")]
    ConsoleBroke(String),
    /// It went away and did not come back.
    #[error("the scheduler went away for {seconds} s; the run goes on: davit attach {run}")]
    Lost {
        seconds: u64,
        run: String,
        #[source]
        source: Option<Box<ServerError>>,
    },
    /// An order was taken and not carried out yet.
    #[error(
        "run {run} was told to {order}, and has not done so for {seconds} s; its host may be away"
    )]
    NotYet {
        run: String,
        order: &'static str,
        seconds: u64,
    },
}

/// A refusal, as RFC 9457 has it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Problem {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    pub(super) status: u16,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    pub(super) errors: Vec<FieldError>,
    /// From the header.
    #[serde(skip)]
    pub(super) retry_after_seconds: Option<u64>,
}

impl Problem {
    /// What a refusal says that is no problem document: a proxy's, say.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or("an unknown status");
        Self {
            status: status.as_u16(),
            detail: format!("the server answered {} ({reason})", status.as_u16()),
            ..Self::default()
        }
    }

    /// Whether it is of this kind.
    pub(super) fn is(&self, slug: &str) -> bool {
        self.kind.strip_prefix("urn:davit:problem:") == Some(slug)
    }

    /// Whether the same request may do better later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.status, 429 | 502 | 503 | 504) || self.is("key-in-flight")
    }

    fn sentence(&self) -> String {
        // What is wrong with a credential is told in words of HTTP.
        let titled = self.status == 401 || self.detail.is_empty() || !self.errors.is_empty();
        let whole = if titled { &self.title } else { &self.detail };
        if whole.is_empty() {
            return format!("the server answered {}", self.status);
        }
        lower(whole)
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self.status {
            401 => {
                "name a valid token with --token-file, DAVIT_TOKEN or `davit profile add`; `davit scheduler token` makes the first"
            }
            402 => "an operator may raise it: davit tenant put NAME --spend-cap AMOUNT",
            403 if self.is("forbidden") => {
                "use a token that has this scope: davit token create NAME --scope SCOPE"
            }
            403 => "an operator opens it: davit tenant put NAME",
            404 => "what belongs to another tenant is not found either: is it the right profile?",
            409 if self.is("name-taken") => "choose another name, or edit what has it",
            409 if self.is("made-before") => {
                "an earlier request made it and its answer was lost: revoke it (davit token list), and make another"
            }
            409 if self.is("contended") => {
                "somebody else changed it: look again, then repeat the command"
            }
            422 if self.names("region") => "`davit region list` shows what is offered",
            422 if self.names("instance_type") => {
                "`davit instance-type list` shows what is offered"
            }
            429 => "this token asks too often: wait, or use one token a client",
            500..=599 => {
                "nothing may have happened: look, then repeat the command; the scheduler's log says more"
            }
            _ => return None,
        })
    }

    fn names(&self, field: &str) -> bool {
        self.errors.iter().any(|error| error.field == field)
    }
}

/// The first letter as in the middle of a sentence: that is where errors stand.
fn lower(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_lowercase);
    first.chain(letters).collect()
}

impl ServerError {
    /// Whether it is a problem of this kind.
    pub(super) fn is(&self, slug: &str) -> bool {
        matches!(self, Self::Problem(problem) if problem.is(slug))
    }

    /// Whether the same request may do better later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.is_passing(),
            Self::Unreachable { .. } => true,
            _ => false,
        }
    }

    /// What is wrong with which field.
    pub(crate) fn fields(&self) -> &[FieldError] {
        match self {
            Self::Problem(problem) => &problem.errors,
            _ => &[],
        }
    }

    /// What to do.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Problem(problem) => problem.hint(),
            Self::Unreachable { .. } => Some(
                "is its address right, and does it run? `davit profile list` shows where commands go",
            ),
            Self::NoServer => Some(
                "name one with --server URL or --profile NAME, or keep one: davit profile add NAME --server URL --use",
            ),
            Self::ConsoleBroke(_) => {
                Some("a process begun by exec ended with it; look, then repeat the command")
            }
            Self::NotYet { .. } => Some("it ends when its host is back: davit wait RUN"),
            _ => None,
        }
    }
}
