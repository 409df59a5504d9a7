//! A process more in a run's container, as asked for: held to what a run is held to.

use super::{Check, RunRequest};
use crate::{EnvVar, FieldErrors};

/// What `exec` begins. Nothing in it has been checked; absent means "the job's".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Over those that the job has.
    pub env: Vec<EnvVar>,
    /// Working directory.
    pub workdir: Option<String>,
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
}

impl ExecRequest {
    /// The same, if nothing is wrong with it.
    ///
    /// # Errors
    /// Every field that is wrong, in one list.
    pub fn checked(self) -> Result<Self, FieldErrors> {
        let mut check = Check::default();
        let as_run = RunRequest {
            image: "the run's".to_owned(),
            argv: self.argv,
            env: self.env,
            workdir: self.workdir,
            user: self.user,
            ..RunRequest::default()
        };
        as_run.check_texts(&mut check);
        as_run.check_command(&mut check);
        as_run.check_env(&mut check);
        if as_run.argv.is_empty() {
            check.fail("argv", "", "is empty: there is no program to run");
        }
        if !check.0.is_empty() {
            return Err(FieldErrors(check.0));
        }
        Ok(Self {
            argv: as_run.argv,
            env: as_run.env,
            workdir: as_run.workdir,
            user: as_run.user,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    fn wrong(request: ExecRequest) -> Vec<String> {
        let errors = request.checked().unwrap_err();
        errors.0.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn it_is_held_to_a_runs_limits() {
        let right = ExecRequest {
            argv: vec!["ls".to_owned(), String::new()],
            env: vec![EnvVar {
                key: "A".to_owned(),
                value: String::new(),
            }],
            workdir: Some("/".to_owned()),
            user: Some("7:8".to_owned()),
        };
        assert_eq!(right.clone().checked(), Ok(right));
        assert_eq!(wrong(ExecRequest::default()), ["argv"]);
        let all = ExecRequest {
            argv: vec!["x".repeat(limits::ARGV_CHARS_MAX + 1)],
            env: vec![EnvVar {
                key: "A=".to_owned(),
                value: String::new(),
            }],
            workdir: Some("here".to_owned()),
            user: Some(String::new()),
        };
        assert_eq!(wrong(all), ["user", "workdir", "argv", "env[0].key"]);
        let nul = ExecRequest {
            argv: vec!["ls".to_owned(), "\0".to_owned()],
            ..ExecRequest::default()
        };
        assert_eq!(wrong(nul), ["argv[1]"]);
        let nameless = ExecRequest {
            argv: vec![String::new()],
            ..ExecRequest::default()
        };
        assert_eq!(wrong(nameless), ["argv[0]"]);
    }
}
