//! The query of a console: as Kubernetes has it, with a parameter for each part of a command.

use davit_rpc::console::open::With;
use davit_rpc::console::{Attach, Exec};
use davit_types::limits;
use url::form_urlencoded;
use utoipa::IntoParams;

use super::Kind;
use crate::rest::console::Wishes;
use crate::rest::problem::Problem;

/// What is to be executed, and which channels there are.
#[derive(Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct ExecParams {
    /// The program and its arguments, one parameter each, in order. There is no shell.
    command: Vec<String>,
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

impl ExecParams {
    pub(super) fn read(query: &str, kind: Kind) -> Result<Self, Problem> {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            params.put(&name, &value, kind)?;
        }
        if kind == Kind::Exec {
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

    fn check(&self) -> Result<(), Problem> {
        let wrong =
            |field, value: &str, what: String| Err(Problem::bad_parameter(field, value, what));
        let (parts, most) = (self.command.len(), limits::ARGV_ELEMENTS_MAX);
        let Some(program) = self.command.first().filter(|program| !program.is_empty()) else {
            return wrong("command", "", "must name a program to execute".to_owned());
        };
        if parts > most {
            return wrong(
                "command",
                program,
                format!("is there {parts} times, at most {most} allowed"),
            );
        }
        let chars: usize = self.command.iter().map(|part| part.chars().count()).sum();
        let most = limits::ARGV_CHARS_MAX;
        if chars > most {
            return wrong(
                "command",
                program,
                format!("has {chars} characters in total, at most {most} allowed"),
            );
        }
        for (field, value, most) in [
            ("user", &self.user, limits::NAME_CHARS_MAX),
            ("workdir", &self.workdir, limits::PATH_CHARS_MAX),
        ] {
            let Some(value) = value else { continue };
            let chars = value.chars().count();
            if !(1..=most).contains(&chars) {
                return wrong(
                    field,
                    value,
                    format!("has {chars} characters, 1 to {most} allowed"),
                );
            }
        }
        if let Some(dir) = self.workdir.as_deref().filter(|dir| !dir.starts_with('/')) {
            return wrong("workdir", dir, "is not an absolute path".to_owned());
        }
        let texts = self.command.iter().chain(&self.user).chain(&self.workdir);
        match texts.into_iter().find(|text| text.contains('\0')) {
            Some(text) => wrong("query", text, "holds a NUL".to_owned()),
            None => Ok(()),
        }
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
                env: Default::default(),
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
