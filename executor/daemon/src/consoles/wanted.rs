//! What a client wants, checked, in the shim's words.

use davit_rpc::console::{Attach, Exec, Open, WindowSize, open::With};
use davit_rundir::{ConsoleAttach, ConsoleExec, ConsoleOpen, ConsoleUser, ConsoleWindow};
use davit_types::{EnvVar, ExecRequest, FieldError, FieldErrors};
use tonic::Status;

use crate::api::run_status;
use crate::oci::{UserError, resolve_user};
use crate::runs::{Host, RunError, View, offload, sentence};

/// Lines and columns of a terminal.
const WINDOW_MAX: u32 = 10_000;

/// `open` for the shim of the run that `view` shows.
pub(super) async fn wanted(open: Open, view: &View, host: &Host) -> Result<ConsoleOpen, Status> {
    let window = open.window_size.map(window).transpose();
    let window = window.map_err(|error| wrong(vec![error]))?;
    match open.with {
        Some(With::Attach(Attach { stdin })) => {
            Ok(ConsoleOpen::Attach(ConsoleAttach { stdin, window }))
        }
        Some(With::Exec(exec)) => {
            let exec = self::exec(exec, window, view, host).await?;
            Ok(ConsoleOpen::Exec(exec))
        }
        None => Err(wrong(vec![FieldError::new(
            "with",
            "",
            "is absent: say attach or exec",
        )])),
    }
}

async fn exec(
    exec: Exec,
    window: Option<ConsoleWindow>,
    view: &View,
    host: &Host,
) -> Result<ConsoleExec, Status> {
    let variable = |(key, value)| EnvVar { key, value };
    let mut env: Vec<EnvVar> = exec.env.into_iter().map(variable).collect();
    // A map has no order of its own; errors name places.
    env.sort_by(|a, b| a.key.cmp(&b.key));
    let request = ExecRequest {
        argv: exec.argv,
        env,
        workdir: exec.workdir,
        user: exec.user,
    };
    let request = request
        .checked()
        .map_err(|errors| davit_rpc::invalid(&errors))?;
    let user = match request.user {
        Some(text) => Some(user(text, view, host).await?),
        None => None,
    };
    Ok(ConsoleExec {
        argv: request.argv,
        env: request
            .env
            .into_iter()
            .map(|var| (var.key, var.value))
            .collect(),
        workdir: request.workdir,
        user,
        tty: exec.tty,
        stdin: exec.stdin,
        window: window.filter(|_| exec.tty),
    })
}

/// Looks `text` up where the job's own user was: in the run's root file system.
async fn user(text: String, view: &View, host: &Host) -> Result<ConsoleUser, Status> {
    let mounts = host
        .containerd
        .snapshot_mounts(&view.container_name())
        .await;
    let mounts = mounts.map_err(|error| run_status(&RunError::Containerd(error)))?;
    let found = offload(move || resolve_user(&mounts, &text)).await;
    let user = found.map_err(|error| match error {
        UserError::Unknown(error) => wrong(vec![error]),
        error @ UserError::Rootfs { .. } => Status::failed_precondition(sentence(&error)),
    })?;
    Ok(ConsoleUser {
        uid: user.uid,
        gid: user.gid,
        additional_gids: user.additional_gids,
        home: user.home,
    })
}

/// The size of a terminal.
pub(super) fn window(size: WindowSize) -> Result<ConsoleWindow, FieldError> {
    let number = |field: &'static str, value: u32| {
        let problem = format!("must be at most {WINDOW_MAX}");
        let fits = u16::try_from(value).ok().filter(|_| value <= WINDOW_MAX);
        fits.ok_or_else(|| FieldError::new(field, value, problem))
    };
    Ok(ConsoleWindow {
        rows: number("window_size.rows", size.rows)?,
        columns: number("window_size.columns", size.columns)?,
    })
}

fn wrong(errors: Vec<FieldError>) -> Status {
    davit_rpc::invalid(&FieldErrors(errors))
}
