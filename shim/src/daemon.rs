//! The daemon: one thread, one event loop, until its last container is deleted and containerd says Shutdown.
//!
//! ```text
//!  listening socket (stdin from `start`, or the zygote's) ─► ttrpc server
//!  signalfd: SIGCHLD ─► Reaper::sweep      SIGTERM, SIGINT ─► end, unless a container is held
//! ```
//!
//! A daemon that `start` did not live to tell of (containerd kills it when its client goes away) ends at once.
//! containerd says Shutdown only to a daemon it has started itself. One forked from the zygote serves one task:
//! it ends with it, or when none has come for long ([`Lifetime::OneTask`]).
//!
//! Memory: everything here is sized for a process that waits for days. No thread pool, no timer wheel of its own,
//! heap trimmed after start-up.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use ttrpc::asynchronous::Server;
use ttrpc::asynchronous::transport::Listener;

use crate::args::Args;
use crate::events::Publisher;
use crate::idle::{self, Idle};
use crate::polled::polled;
use crate::reaper::Reaper;
use crate::service::{Shim, rpc};
use crate::{logger, sys};

/// Turns of the event loop the answer to Shutdown gets to leave before the process ends; it needs three.
const LAST_ANSWER_TURNS: usize = 32;

/// How long a daemon for one task waits for it, seconds: longer than the executor waits for a create.
const UNUSED_SECONDS_MAX: u64 = 120;

/// When a daemon is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// At Shutdown, if no container is held.
    Group,
    /// Then, and also as soon as its one task is gone or could not be made.
    OneTask,
}

/// Why the daemon could not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    #[error("cannot {operation}")]
    Setup {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot serve the task API")]
    Serve(#[source] ttrpc::Error),
}

fn failed<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> DaemonError {
    move |source| DaemonError::Setup {
        operation,
        source: source.into(),
    }
}

/// Serves on the socket that `start` has put on stdin until the end.
pub(crate) fn run(args: &Args) -> Result<(), DaemonError> {
    if let Some(bundle) = &args.bundle {
        logger::init(bundle, &args.id, args.debug);
    }
    let listener = inherited_listener().map_err(failed("take over the socket"))?;
    let start = inherited_pipe().map_err(failed("take over the pipe of `start`"))?;
    serve_on(args, listener, Lifetime::Group, start)
}

/// Serves on `listener` until the end. Starts the event loop: nothing may fork afterwards.
pub(crate) fn run_on(
    args: &Args,
    listener: UnixListener,
    lifetime: Lifetime,
) -> Result<(), DaemonError> {
    serve_on(args, listener, lifetime, None)
}

fn serve_on(
    args: &Args,
    listener: UnixListener,
    lifetime: Lifetime,
    start: Option<OwnedFd>,
) -> Result<(), DaemonError> {
    sys::ignore_sigpipe();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(failed("become a subreaper"))?;
    // Anything but a listening socket is a mistake of whoever started us.
    listener
        .local_addr()
        .and_then(|_| listener.set_nonblocking(true))
        .map_err(failed("use the socket"))?;
    // Before any thread or child: SIGCHLD must never be lost.
    let signals = sys::signal_fd(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT])
        .map_err(failed("receive signals"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(idle::before_sleep)
        .build()
        .map_err(failed("make the event loop"))?;
    runtime.block_on(serve(args, listener, signals, lifetime, start))
}

/// The socket `start` has put on stdin; stdin becomes /dev/null.
fn inherited_listener() -> io::Result<UnixListener> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(UnixListener::from(socket))
}

/// The pipe from `start` that is stdout, if it is one; stdout becomes /dev/null.
fn inherited_pipe() -> io::Result<Option<OwnedFd>> {
    use rustix::fs::{FileType, fstat};
    let pipe = io::stdout().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    if FileType::from_raw_mode(fstat(&pipe)?.st_mode) != FileType::Fifo {
        return Ok(None);
    }
    rustix::io::ioctl_fionbio(&pipe, true)?;
    Ok(Some(pipe))
}

/// Returns if `start` has died before it could tell containerd of this daemon: then nobody ever will.
async fn unheard_of(start: Option<OwnedFd>) {
    let watched = start.map(polled).transpose();
    let Ok(Some(pipe)) = watched else {
        return std::future::pending().await;
    };
    let told = pipe.async_io(Interest::READABLE, |pipe| {
        let mut byte = [0];
        Ok(rustix::io::read(pipe, &mut byte)? > 0)
    });
    // What cannot be read tells nothing.
    if told.await.unwrap_or(true) {
        drop(pipe);
        std::future::pending().await
    }
}

async fn serve(
    args: &Args,
    listener: UnixListener,
    signals: OwnedFd,
    lifetime: Lifetime,
    start: Option<OwnedFd>,
) -> Result<(), DaemonError> {
    let reaper = Reaper::default();
    let publisher = Publisher::start(&args.namespace, std::env::var("TTRPC_ADDRESS").ok());
    let idle = Idle::start();
    let shim = Shim::new(
        &args.namespace,
        args.socket.clone(),
        lifetime,
        reaper.clone(),
        publisher.clone(),
        idle.clone(),
    );
    let listener =
        tokio::net::UnixListener::from_std(listener).map_err(failed("watch the socket"))?;
    let mut server = Server::new()
        .add_listener(Listener::from(listener))
        .register_service(rpc::services(&shim));
    server.start().await.map_err(DaemonError::Serve)?;
    log::debug!("serving {}", args.socket.display());
    idle.touch();

    let signals = polled(signals).map_err(failed("watch signals"))?;
    tokio::select! {
        () = shim.shut_down() => {}
        () = handle_signals(&signals, &reaper, &shim) => log::info!("ended by a signal"),
        () = unused(&shim), if lifetime == Lifetime::OneTask => {
            log::warn!("no task came within {UNUSED_SECONDS_MAX} s: ending");
        }
        () = unheard_of(start) => log::warn!("containerd was not told of this shim: ending"),
    }
    shim.remove_socket();
    publisher.flush().await;
    // The answer to Shutdown is on its way: handler, connection, socket.
    for _turn in 0..LAST_ANSWER_TURNS {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Returns if no task has come in time: whoever wanted this daemon has died.
async fn unused(shim: &Shim) {
    tokio::time::sleep(Duration::from_secs(UNUSED_SECONDS_MAX)).await;
    if !shim.is_empty() {
        std::future::pending().await
    }
}

/// Returns on SIGTERM or SIGINT, if no container would be left without its holder.
async fn handle_signals(signals: &AsyncFd<OwnedFd>, reaper: &Reaper, shim: &Shim) {
    loop {
        let Ok(mut ready) = signals.readable().await else {
            return std::future::pending().await;
        };
        while let Some(signal) = sys::next_signal(ready.get_inner()) {
            if signal == libc::SIGCHLD {
                reaper.sweep();
            } else if shim.is_empty() {
                return;
            } else {
                log::warn!("signal {signal} ignored: containers are running");
            }
        }
        ready.clear_ready();
    }
}
