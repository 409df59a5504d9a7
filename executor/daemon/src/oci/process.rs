//! What is executed: arguments, environment, working directory.
//!
//! | run            | arguments                                                        |
//! |----------------|------------------------------------------------------------------|
//! | nothing        | ENTRYPOINT of the image, then its CMD                            |
//! | argv           | ENTRYPOINT of the image, then argv; its CMD is not used          |
//! | command        | `/bin/sh -c command`; ENTRYPOINT and CMD are not used            |
//!
//! An entrypoint of the run, split at white space, stands before argv or `/bin/sh -c command` in the
//! image's stead; given alone it is all, for the image's CMD was written for the image's ENTRYPOINT
//! (Docker's rule). A command ignores the image's ENTRYPOINT because a line for a shell has to reach
//! a shell: `python /bin/sh -c …` would help nobody.

use davit_types::{Command, RunSpec};

use crate::images::ImageConfig;

use super::{ResolvedUser, SpecError};

/// PATH of an image that sets none.
pub(super) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where files are put, and the job begins, if neither run nor image says: not among those of the image.
const FILES_WORKDIR: &str = "/work";

pub(super) fn arguments(run: &RunSpec, image: &ImageConfig) -> Result<Vec<String>, SpecError> {
    let own: Option<Vec<String>> = run
        .entrypoint
        .as_deref()
        .map(|line| line.split_whitespace().map(str::to_owned).collect());
    let overridden = own.is_some();
    let entrypoint = own.unwrap_or_else(|| image.entrypoint.clone());
    let arguments: Vec<String> = match &run.command {
        Command::Image if overridden => entrypoint,
        Command::Image => [entrypoint, image.cmd.clone()].concat(),
        Command::Argv(argv) => [entrypoint, argv.clone()].concat(),
        Command::Shell(line) => {
            let before = if overridden { entrypoint } else { Vec::new() };
            let shell = ["/bin/sh", "-c", line].map(str::to_owned);
            [before, shell.to_vec()].concat()
        }
    };
    // An empty first word names no program; the runtimes' own words for it help nobody.
    if arguments.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand {
            image: run.image.clone(),
        });
    }
    Ok(arguments)
}

/// The image's variables, overridden by the run's; PATH, HOSTNAME, HOME and a terminal's TERM unless one of them says so.
pub(super) fn environment(
    run: &RunSpec,
    image: &ImageConfig,
    user: &ResolvedUser,
    hostname: &str,
) -> Vec<String> {
    let mut variables: Vec<(&str, &str)> = vec![("PATH", DEFAULT_PATH), ("HOSTNAME", hostname)];
    if run.tty {
        // As Docker has it: programs ask what the terminal can do.
        variables.push(("TERM", "xterm"));
    }
    if let Some(home) = &user.home {
        variables.push(("HOME", home));
    }
    let image_variables = image.env.iter().map(|(key, value)| (&**key, &**value));
    let run_variables = run.env.iter().map(|var| (&*var.key, &*var.value));
    for (key, value) in image_variables.chain(run_variables) {
        match variables.iter_mut().find(|(known, _)| *known == key) {
            Some(variable) => variable.1 = value,
            None => variables.push((key, value)),
        }
    }
    variables
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

/// Where it starts; the runtimes make it if it does not exist.
pub(crate) fn working_directory(run: &RunSpec, image: &ImageConfig) -> String {
    let default = if run.files_in { FILES_WORKDIR } else { "/" };
    run.workdir
        .as_ref()
        .or(image.workdir.as_ref())
        .cloned()
        .unwrap_or_else(|| default.to_owned())
}
