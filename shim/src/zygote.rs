//! `zygote`: the process that davit's executor has its shims forked from, so that none is exec'd for a run.
//!
//! ```text
//!  executor ──exec──► zygote ──fork──► daemon A ◄──ttrpc── containerd   (by the address the executor gives it)
//!     │  SOCK_SEQPACKET  │    ──fork──► daemon B
//!     └──── stdin ───────┘
//!       request: id, socket          bind, fork, pidfd
//!       answer: pid + pidfd
//! ```
//!
//! Why fork: a program that has been loaded and relocated once is shared by all who come of it; each shim has only
//! the pages it writes to. And no exec, no dynamic loading, no `start` process.
//!
//! Invariants:
//! - there is one thread and no event loop here, so that a forked child may do anything (`sys::fork` checks);
//! - the socket listens before the answer is sent: who has the answer can connect;
//! - a daemon has its socket, stderr and /dev/null: nothing of the zygote's, nothing of its siblings';
//! - the end of stdin ends the zygote and no daemon; daemons are in sessions of their own, and in the cgroup of
//!   davit's that was named, not in the executor's: restarting the executor's service touches none.
//!
//! Absent on purpose: a pool (the executor asks when it needs one), knowledge of containers, any answer to signals.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use davit_rundir::{ZYGOTE_MESSAGE_BYTES_MAX, ZygoteReply, ZygoteRequest};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::args::{Args, ArgsError};
use crate::daemon::{self, DaemonError, Lifetime};
use crate::error::chain;
use crate::logger::{self, Sink};
use crate::start::{self, StartError};
use crate::sys::{self, Forked, Which};

/// Connections waiting to be accepted, as of a listener of std's.
const BACKLOG: i32 = 128;

/// Why there is no zygote, or no shim.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZygoteError {
    #[error("stdin is no sequenced-packet socket: only davit's executor starts a zygote")]
    NotAsked,
    #[error("cannot {operation}")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot move to cgroup {}", path.display())]
    Cgroup {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("a request of {0} bytes is longer than {ZYGOTE_MESSAGE_BYTES_MAX}")]
    TooLong(usize),
    #[error("a request is not understood")]
    Malformed(#[source] serde_json::Error),
    #[error("socket {} is no absolute path", .0.display())]
    Relative(PathBuf),
    #[error("a living shim listens on {}", .0.display())]
    Taken(PathBuf),
    #[error(transparent)]
    Args(#[from] ArgsError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
}

fn failed<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> ZygoteError {
    move |source| ZygoteError::Io {
        operation,
        source: source.into(),
    }
}

/// What a forked child is to be.
struct Newborn {
    args: Args,
    listener: UnixListener,
}

/// Serves the executor until it is gone. In a forked child: is a daemon until its end.
pub(crate) fn run(args: &Args) -> Result<(), ZygoteError> {
    sys::close_inherited();
    let control = take_stdin()?;
    settle(args)?;
    let children = sys::signal_fd(&[libc::SIGCHLD]).map_err(failed("receive signals"))?;
    match serve(args, &control, &children)? {
        None => Ok(()),
        Some(newborn) => {
            drop((control, children));
            be_daemon(&newborn.args, newborn.listener)
        }
    }
}

/// The executor's socket; stdin becomes /dev/null.
fn take_stdin() -> Result<OwnedFd, ZygoteError> {
    let control = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(failed("take over stdin"))?;
    if rustix::net::sockopt::socket_type(&control) != Ok(SocketType::SEQPACKET) {
        return Err(ZygoteError::NotAsked);
    }
    let null = File::open("/dev/null").map_err(failed("open /dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(failed("give stdin away"))?;
    Ok(control)
}

/// To where no restart of a service and no Ctrl-C reaches.
fn settle(args: &Args) -> Result<(), ZygoteError> {
    match rustix::process::setsid() {
        // It leads a process group already: somebody has seen to it.
        Ok(_) | Err(Errno::PERM) => {}
        Err(error) => return Err(failed("begin a session")(error)),
    }
    std::env::set_current_dir("/").map_err(failed("leave the working directory"))?;
    start::follow_in_oom(std::process::id())?;
    if args.cgroup != Path::new("") {
        let path = args.cgroup.join("cgroup.procs");
        std::fs::write(&path, "0").map_err(|source| ZygoteError::Cgroup { path, source })?;
    }
    Ok(())
}

/// Answers requests until the executor is gone (`None`), or this is a child (`Some`).
fn serve(
    args: &Args,
    control: &OwnedFd,
    children: &OwnedFd,
) -> Result<Option<Newborn>, ZygoteError> {
    loop {
        let mut fds = [
            PollFd::new(control, PollFlags::IN),
            PollFd::new(children, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            polled => polled.map_err(failed("wait for requests"))?,
        };
        let asked = !fds[0].revents().is_empty();
        if !fds[1].revents().is_empty() {
            reap(children);
        }
        if !asked {
            continue;
        }
        let mut buffer = [0; ZYGOTE_MESSAGE_BYTES_MAX];
        let (_, bytes) = rustix::net::recv(control, &mut buffer, RecvFlags::TRUNC)
            .map_err(failed("read a request"))?;
        if bytes == 0 {
            return Ok(None);
        }
        let born = match buffer.get(..bytes) {
            Some(message) => bear(args, message),
            None => Err(ZygoteError::TooLong(bytes)),
        };
        let sent = match born {
            Ok(Birth::Child(newborn)) => return Ok(Some(newborn)),
            Ok(Birth::Parent { pid, pidfd }) => {
                let pid = pid.as_raw_nonzero().get().cast_unsigned();
                answer(control, &ZygoteReply::Spawned { pid }, Some(pidfd.as_fd()))
            }
            Err(error) => {
                let problem = chain(&error);
                answer(control, &ZygoteReply::Failed { problem }, None)
            }
        };
        match sent {
            // The executor went away meanwhile: a shim that is not used ends by itself.
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(None),
            sent => sent.map_err(failed("answer"))?,
        }
    }
}

enum Birth {
    Parent { pid: Pid, pidfd: OwnedFd },
    Child(Newborn),
}

fn bear(args: &Args, message: &[u8]) -> Result<Birth, ZygoteError> {
    let request: ZygoteRequest = serde_json::from_slice(message).map_err(ZygoteError::Malformed)?;
    if !request.socket.is_absolute() {
        return Err(ZygoteError::Relative(request.socket));
    }
    let args = args.for_daemon(request.id, request.socket)?;
    let listener =
        start::claim(&args.socket)?.ok_or_else(|| ZygoteError::Taken(args.socket.clone()))?;
    match sys::fork().map_err(failed("fork"))? {
        Forked::Child => Ok(Birth::Child(Newborn { args, listener })),
        Forked::Parent(pid) => {
            // Not reaped yet, whatever has become of it: the pid is its own.
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|error| {
                // Nobody could watch it.
                let _gone = rustix::process::kill_process(pid, Signal::KILL);
                failed("open a pidfd of the shim")(error)
            })?;
            Ok(Birth::Parent { pid, pidfd })
        }
    }
}

fn answer(control: &OwnedFd, reply: &ZygoteReply, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut bytes = serde_json::to_vec(reply).map_err(|_| Errno::INVAL)?;
    if bytes.len() > ZYGOTE_MESSAGE_BYTES_MAX {
        let problem = "for a reason too long to be told".to_owned();
        bytes = serde_json::to_vec(&ZygoteReply::Failed { problem }).map_err(|_| Errno::INVAL)?;
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fd.into_iter().collect();
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let parts = [io::IoSlice::new(&bytes)];
    rustix::net::sendmsg(control, &parts, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// Lets ended daemons go. How they ended is for those to judge who hold their sockets and pidfds.
fn reap(children: &OwnedFd) {
    while sys::next_signal(children).is_some() {}
    while let Ok(Some(ended)) = sys::wait_ended(Which::PeekAny) {
        if sys::wait_ended(Which::Pid(ended.pid)).is_err() {
            return;
        }
    }
}

/// The life of a forked child.
fn be_daemon(args: &Args, listener: UnixListener) -> Result<(), ZygoteError> {
    if let Some(sink) = Sink::stderr() {
        logger::write_to(sink, &args.id, args.debug);
    }
    rustix::process::setsid().map_err(failed("begin a session"))?;
    // So that `ps` tells whose it is, and the executor, which kills none whose command line is another.
    let name = env!("CARGO_PKG_NAME");
    // What is needed first: the end may not fit.
    let words = [
        name,
        "-id",
        &args.id,
        "daemon",
        "-namespace",
        &args.namespace,
    ];
    if let Err(error) = sys::show_command_line(&words) {
        log::debug!("cannot show the command line: {error}");
    }
    // The socket bears the name of whoever said so last: the executor asks it for the pid of the shim.
    rustix::net::listen(&listener, BACKLOG).map_err(failed("listen"))?;
    let served = daemon::run_on(args, listener, Lifetime::OneTask);
    if let Err(error) = &served {
        log::error!("{}", chain(error));
    }
    Ok(served?)
}
