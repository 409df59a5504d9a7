//! Commands of peers: their output, or an error that shows what they said.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Runs `command` to its end and returns its stdout.
///
/// # Errors
/// When it cannot be started or does not exit 0; the error holds the command line and its stderr.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(output.stdout)
}

/// A command of `program` with `arguments`.
pub(crate) fn of(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_an_error_that_shows_its_words() {
        let error = output(&mut of("sh", &["-c", "echo broken >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("broken") && text.contains('3'), "{text}");
    }

    #[test]
    fn stdout_is_returned_whole() {
        assert_eq!(output(&mut of("printf", &["a\nb"])).unwrap(), b"a\nb");
    }
}
