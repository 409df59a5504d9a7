//! Running a program to its end, within a limit, with all it printed.

use std::fmt;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::wait::wait_for;

/// How a program ended and what it printed.
#[derive(Clone, Debug)]
pub(crate) struct CommandOutput {
    /// Program and arguments, for messages.
    pub(crate) command: String,
    /// The exit status as the kernel told it.
    pub(crate) status: ExitStatus,
    /// All of its standard output.
    pub(crate) stdout: Vec<u8>,
    /// All of its standard error.
    pub(crate) stderr: Vec<u8>,
}

impl CommandOutput {
    /// The exit code; `None` when a signal ended the program.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Standard output as text, without the newline at its end.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout)
            .trim_end_matches('\n')
            .to_owned()
    }

    /// Standard error as text, without the newline at its end.
    pub(crate) fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr)
            .trim_end_matches('\n')
            .to_owned()
    }

    /// Itself when the exit code is 0, else an error with everything printed.
    pub(crate) fn success(self) -> anyhow::Result<Self> {
        self.expect_code(0)
    }

    /// Itself when davit, not the job, failed: 125 of `run`, `attach` and `wait`, 2 of a wrong command
    /// line, 1 of anything else.
    pub(crate) fn refused(self) -> anyhow::Result<Self> {
        if let Some(1 | 2 | 125) = self.code() {
            Ok(self)
        } else {
            bail!("davit should have refused: {self}")
        }
    }

    /// Itself when the exit code is `wanted`, else an error with everything printed.
    pub(crate) fn expect_code(self, wanted: i32) -> anyhow::Result<Self> {
        if self.code() == Some(wanted) {
            Ok(self)
        } else {
            bail!("expected exit code {wanted}: {self}")
        }
    }
}

impl fmt::Display for CommandOutput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "`{}` ended with {}\nstdout: {}\nstderr: {}",
            self.command,
            self.status,
            self.text(),
            self.error_text()
        )
    }
}

/// Runs `command` with empty stdin; kills it and fails after `limit`.
pub(crate) fn run_command(command: &mut Command, limit: Duration) -> anyhow::Result<CommandOutput> {
    let shown = show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let waited = wait_for(&format!("the end of `{shown}`"), limit, || {
        ended(&mut child)
    });
    let status = match waited {
        Ok(status) => status,
        Err(error) => {
            child
                .kill()
                .with_context(|| format!("cannot kill `{shown}`"))?;
            child
                .wait()
                .with_context(|| format!("cannot reap `{shown}`"))?;
            return Err(error);
        }
    };
    Ok(CommandOutput {
        command: shown,
        status,
        stdout: joined(stdout)?,
        stderr: joined(stderr)?,
    })
}

/// The exit status of a child that has ended; "still running" as the error.
pub(super) fn ended(child: &mut Child) -> anyhow::Result<ExitStatus> {
    child
        .try_wait()
        .context("cannot wait for a child")?
        .context("still running")
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<std::io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    })
}

fn joined(reader: JoinHandle<std::io::Result<Vec<u8>>>) -> anyhow::Result<Vec<u8>> {
    match reader.join() {
        Ok(bytes) => bytes.context("cannot read a child's output"),
        Err(_) => bail!("the reader of a child's output panicked"),
    }
}

fn show(command: &Command) -> String {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_apart_and_a_hang_is_ended() {
        let limit = Duration::from_secs(10);
        let mut shell = Command::new("sh");
        let output = run_command(shell.args(["-c", "echo out; echo err >&2; exit 3"]), limit);
        let output = output.unwrap().expect_code(3).unwrap();
        assert_eq!(
            (output.text().as_str(), output.error_text().as_str()),
            ("out", "err")
        );
        assert!(output.success().unwrap_err().to_string().contains("err"));

        let hang = run_command(Command::new("sleep").arg("60"), Duration::from_millis(50));
        assert!(hang.unwrap_err().to_string().contains("still running"));
    }
}
