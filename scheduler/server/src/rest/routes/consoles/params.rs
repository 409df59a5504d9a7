//! The query of a console: as Kubernetes has it, with a parameter for each part of a command and for each variable.
//!
//! ```text
//!  ?command=sh&env=A=b&env=TOKEN ──┐
//!                                  ├─► Exec, held to what its host will hold it to
//!  Davit-Env: TOKEN=…  ────────────┘
//! ```
//!
//! Invariant: a variable is named in the query. So a scheduler that knows of none refuses it, and does not execute without it.

use axum::http::HeaderMap;
use davit_rpc::console::open::With;
use davit_rpc::console::{Attach, Exec};
use davit_types::{EnvVar, ExecRequest, FieldError, FieldErrors};
use url::form_urlencoded;
use utoipa::IntoParams;

use super::Kind;
use crate::rest::console::Wishes;
use crate::rest::problem::Problem;

/// Has the values of variables that are not to be in a URL, which proxies log: `KEY=VALUE&…`, encoded as a query.
pub(super) const ENV_HEADER: &str = "davit-env";

/// A variable, whose value may be yet to come.
#[derive(Debug, PartialEq, Eq)]
struct Variable {
    key: String,
    value: Option<String>,
}

/// What is to be executed, and which channels there are.
#[derive(Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct ExecParams {
    /// The program and its arguments, one parameter each, in order. There is no shell.
    command: Vec<String>,
    /// Variables over the job's, one parameter each: `KEY=VALUE`, or `KEY`, whose value is then in the header `Davit-Env`.
    #[param(value_type = Vec<String>)]
    env: Vec<Variable>,
    /// Whether channel 0 is its input; it has none, when absent.
    stdin: Option<bool>,
    /// Whether channel 1 carries its output; it does, when absent.
    stdout: Option<bool>,
    /// Whether channel 2 carries its errors; it does, when absent. Those of a terminal are output.
    stderr: Option<bool>,
    /// Whether it has a terminal, whose size channel 4 tells; it has none, when absent.
    tty: Option<bool>,
    /// As which user; the job's, when absent.
    user: Option<String>,
    /// In which directory; the job's, when absent.
    workdir: Option<String>,
}

/// Values of variables.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(
    dead_code,
    reason = "only its documentation is used; `ExecParams` reads the header"
)]
pub(in crate::rest) struct EnvHeader {
    /// Values of variables that `env` only names, encoded as a query: proxies log URLs. The head of the request, with its path
    /// and query, has 64 KiB.
    #[param(rename = "Davit-Env", example = "TOKEN=a%20b&LANG=C")]
    davit_env: Option<String>,
}

/// Which channels there are.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "only its documentation is used; the query is read as that of a command"
)]
pub(in crate::rest) struct AttachParams {
    /// Whether channel 0 is the job's input, which one client at a time may have; it is not, when absent.
    stdin: Option<bool>,
    /// Whether channel 1 carries the job's output; it does, when absent.
    stdout: Option<bool>,
    /// Whether channel 2 carries the job's errors; it does, when absent.
    stderr: Option<bool>,
}

impl Variable {
    fn pair(self) -> (String, String) {
        (self.key, self.value.unwrap_or_default())
    }
}

impl ExecParams {
    pub(super) fn read(query: &str, headers: &HeaderMap, kind: Kind) -> Result<Self, Problem> {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            params.put(&name, &value, kind)?;
        }
        if kind == Kind::Exec {
            params.fill(headers)?;
            params.check()?;
        }
        Ok(params)
    }

    fn put(&mut self, name: &str, value: &str, kind: Kind) -> Result<(), Problem> {
        let switch = match (name, kind) {
            ("stdin", _) => &mut self.stdin,
            ("stdout", _) => &mut self.stdout,
            ("stderr", _) => &mut self.stderr,
            ("tty", Kind::Exec) => &mut self.tty,
            ("command", Kind::Exec) => {
                self.command.push(value.to_owned());
                return Ok(());
            }
            ("env", Kind::Exec) => return self.name(value),
            ("user", Kind::Exec) => return text(&mut self.user, name, value),
            ("workdir", Kind::Exec) => return text(&mut self.workdir, name, value),
            _ => return Err(Problem::bad_parameter(name, value, "is no parameter here")),
        };
        let given = match value {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(Problem::bad_parameter(name, value, "must be true or false")),
        };
        match switch.replace(given) {
            None => Ok(()),
            Some(_) => Err(twice(name, value)),
        }
    }

    fn name(&mut self, given: &str) -> Result<(), Problem> {
        let (key, value) = match given.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (given, None),
        };
        if self.env.iter().any(|var| var.key == key) {
            return Err(twice("env", key));
        }
        let key = key.to_owned();
        self.env.push(Variable { key, value });
        Ok(())
    }

    /// The values of those variables that are only named, from the header; one that nobody named is refused, too.
    fn fill(&mut self, headers: &HeaderMap) -> Result<(), Problem> {
        let wrong = |name: &str, what| Err(Problem::bad_parameter(ENV_HEADER, name, what));
        for line in headers.get_all(ENV_HEADER) {
            for (name, value) in form_urlencoded::parse(line.as_bytes()) {
                let named = |var: &&mut Variable| var.key == *name;
                match self.env.iter_mut().find(named).map(|var| &mut var.value) {
                    Some(empty @ None) => *empty = Some(value.into_owned()),
                    Some(Some(_)) => return wrong(&name, "has two values"),
                    None => return wrong(&name, "is not named in the query: env=KEY"),
                }
            }
        }
        match self.env.iter().find(|var| var.value.is_none()) {
            Some(var) => wrong(&var.key, "is named in the query, and has no value here"),
            None => Ok(()),
        }
    }

    /// As the host will.
    fn check(&self) -> Result<(), Problem> {
        let variable = |var: &Variable| EnvVar {
            key: var.key.clone(),
            value: var.value.clone().unwrap_or_default(),
        };
        let request = ExecRequest {
            argv: self.command.clone(),
            env: self.env.iter().map(variable).collect(),
            workdir: self.workdir.clone(),
            user: self.user.clone(),
        };
        let renamed = |error: FieldError| FieldError {
            field: match error.field.split(['[', '.']).next() {
                Some("argv") => "command".to_owned(),
                Some("env") => "env".to_owned(),
                _ => error.field,
            },
            ..error
        };
        let Err(FieldErrors(wrong)) = request.checked() else {
            return Ok(());
        };
        let wrong = wrong.into_iter().map(renamed).collect();
        Err(Problem::bad_parameters(FieldErrors(wrong)))
    }

    pub(super) fn wishes(&self) -> Wishes {
        Wishes {
            stdin: self.stdin.unwrap_or(false),
            stdout: self.stdout.unwrap_or(true),
            stderr: self.stderr.unwrap_or(true),
        }
    }

    /// What the host is asked for.
    pub(super) fn with(self, kind: Kind) -> With {
        let stdin = self.stdin.unwrap_or(false);
        match kind {
            Kind::Attach => With::Attach(Attach { stdin }),
            Kind::Exec => With::Exec(Exec {
                argv: self.command,
                env: self.env.into_iter().map(Variable::pair).collect(),
                workdir: self.workdir,
                user: self.user,
                tty: self.tty.unwrap_or(false),
                stdin,
            }),
        }
    }
}

fn text(field: &mut Option<String>, name: &str, value: &str) -> Result<(), Problem> {
    match field.replace(value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(twice(name, value)),
    }
}

fn twice(name: &str, value: &str) -> Problem {
    Problem::bad_parameter(name, value, "is there twice")
}
