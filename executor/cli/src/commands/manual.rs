//! Completion scripts and manual pages, made from the command line's own definition.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::CliError;
use crate::output::print_bytes;

/// `davit completions`.
pub(super) fn completions(shell: Shell) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "davit", &mut script);
    print_bytes(&script)?;
    Ok(0)
}

/// `davit man`: one page a command.
pub(super) fn write_pages(dir: &Path) -> Result<u8, CliError> {
    fs::create_dir_all(dir).map_err(CliError::io(format!("create {}", dir.display())))?;
    let mut command = Cli::command();
    command.build();
    write_page(dir, "davit", &command)?;
    Ok(0)
}

fn write_page(dir: &Path, name: &str, command: &Command) -> Result<(), CliError> {
    let path = dir.join(format!("{name}.1"));
    let writing = || CliError::io(format!("write {}", path.display()));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().display_name(name))
        .render(&mut page)
        .map_err(writing())?;
    let mut file = fs::File::create(&path).map_err(writing())?;
    file.write_all(&page).map_err(writing())?;
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        write_page(dir, &format!("{name}-{}", sub.get_name()), sub)?;
    }
    Ok(())
}
