//! `davit dev`: a scheduler over SQLite and this host's executor, together in one process.
//!
//! ```text
//!  signals heeded ─► scheduler, its own threads ─► region, sizes, token, join token ─► register (once) ─► executor, here
//!                        ▲ stopped when the executor has ended, by SIGTERM or Ctrl-C; runs outlive both
//! ```
//!
//! Invariant: whoever has read the address may send SIGTERM, and both end in order.
//!
//! Absent on purpose: TLS (both listen on the loopback address alone), more than one host.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use davit_executor::link::{self, Registration};
use davit_executor::settings::Settings as ExecutorSettings;
use davit_scheduler::serve::Scheduler;
use davit_scheduler::settings::Settings as SchedulerSettings;
use davit_types::{FieldError, Tenant};
use tokio::sync::{oneshot, watch};

use super::{executor, scheduler};
use crate::args::{DevArgs, SettingsArgs};
use crate::error::CliError;
use crate::output::print_text;

const TENANT: &str = "dev";
/// The one host's name.
const HOST_NAME: &str = "this-host";

/// Serves until SIGTERM or Ctrl-C.
pub(super) fn serve(args: &DevArgs) -> Result<u8, CliError> {
    davit_executor::dump_no_core().map_err(CliError::io("do without core dumps"))?;
    let mut settings = executor_settings(args)?;
    executor::start_logging(&settings.log)?;
    let runtime = scheduler::runtime()?;
    let (told, told_to_stop) = watch::channel(false);
    let token_file = args.dir.join("token");
    let tenant: Tenant = TENANT
        .parse()
        .map_err(|error| CliError::field(FieldError::new("tenant", TENANT, format!("{error}"))))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = runtime.block_on(async {
        let signals = scheduler::told_to_stop().map_err(CliError::io("listen for signals"))?;
        tokio::spawn(async move {
            signals.await;
            told.send_replace(true);
        });
        let scheduler = Scheduler::open(&scheduler_settings(args)).await?;
        let join_token = scheduler
            .prepare_development(settings.offered_instance_types())
            .await?;
        if !token_file.exists() {
            let text = scheduler.operator_token(&tenant, "davit dev").await?;
            keep(&token_file, &text)?;
        }
        let address = scheduler.rest_address()?;
        let server = format!("http://{}", scheduler.link_address()?);
        // The same scheduler, whatever port it has today.
        link::moved(&server, &settings.link)?;
        settings.link.server = Some(server.clone());
        let serving = tokio::spawn(scheduler.serve(async {
            // Gone without a word is a stop, too.
            drop(stopped.await);
        }));
        let registration = Registration {
            server,
            join_token,
            name: HOST_NAME.to_owned(),
            labels: settings.link.label_pairs(),
        };
        link::register(registration, &settings.link).await?;
        print_text(&usage(&address.to_string(), &token_file, &settings.socket))?;
        Ok::<_, CliError>(serving)
    })?;
    let served = davit_executor::serve_until(&settings, told_to_stop);
    drop(stop);
    let ended = runtime.block_on(serving);
    served?;
    match ended {
        Ok(ended) => ended?,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
    Ok(0)
}

fn scheduler_settings(args: &DevArgs) -> SchedulerSettings {
    let mut settings = SchedulerSettings {
        state_dir: args.dir.join("scheduler"),
        ..SchedulerSettings::default()
    };
    settings.rest.listener.listen.clone_from(&args.listen);
    settings.link.listen.clone_from(&args.link_listen);
    settings
}

/// The operator's own, but for what belongs to this place; what is said on the command line wins.
fn executor_settings(args: &DevArgs) -> Result<ExecutorSettings, CliError> {
    let dir = args.dir.display();
    let own = [
        format!("state_dir={dir}/executor"),
        format!("socket={dir}/executor.sock"),
        "cgroup_parent=/davit-dev".to_owned(),
        format!("link.credentials_file={dir}/executor-identity.json"),
    ];
    let given = &args.executor;
    let all = SettingsArgs {
        config: given.config.clone(),
        set: own.into_iter().chain(given.set.iter().cloned()).collect(),
        state_dir: given.state_dir.clone(),
        allow_missing_controllers: given.allow_missing_controllers,
    };
    Ok(executor::load(&all, None)?.settings)
}

fn keep(path: &Path, token: &str) -> Result<(), CliError> {
    let draft = PathBuf::from(format!("{}.new", path.display()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(token.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, path));
    written.map_err(CliError::io(format!("write {}", path.display())))
}

fn usage(address: &str, token_file: &Path, socket: &Path) -> String {
    let (token, socket) = (token_file.display(), socket.display());
    let curl = format!("curl -s -H \"authorization: Bearer $(cat {token})\"");
    let run = r#"{"image": "docker.io/library/busybox:stable", "region": "local", "instance_type": "small", "command": "echo hello"}"#;
    format!(
        "davit dev serves on http://{address} (documentation: http://{address}/docs)\n\n\
         # A run, by the command line:\n\
         davit --server http://{address} --token-file {token} run --type small docker.io/library/busybox:stable -- echo hello\n\n\
         # A run, by the API:\n{curl} -H 'content-type: application/json' -d '{run}' http://{address}/v1/runs\n\n\
         # All runs, and one's log as it is written:\n{curl} http://{address}/v1/runs\n\
         {curl} -N http://{address}/v1/runs/ID/logs/stream\n\n\
         # The host itself:\ndavit --socket {socket} ps\n\n\
         Ctrl-C ends both; runs go on, and are found again by the next davit dev.\n"
    )
}
