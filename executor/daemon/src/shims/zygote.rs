//! One zygote: started, asked, and gone with this value.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use davit_rundir::{ZYGOTE_MESSAGE_BYTES_MAX, ZygoteReply, ZygoteRequest};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::{ShimProcess, ShimsError};
use crate::settings::Settings;

/// Longest wait for an answer, milliseconds; a fork takes less than one.
const ANSWER_MS_MAX: u64 = 2_000;

/// What a zygote is started with.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) binary: PathBuf,
    cgroup: PathBuf,
    namespace: String,
    containerd: PathBuf,
}

impl Recipe {
    pub(super) fn new(binary: PathBuf, cgroup: PathBuf, settings: &Settings) -> Self {
        Self {
            binary,
            cgroup,
            namespace: settings.containerd.namespace.clone(),
            containerd: settings.containerd.socket.clone(),
        }
    }

    /// containerd's socket for events: what it calls the other one, with an ending, unless it is told otherwise.
    fn events(&self) -> PathBuf {
        let mut events = self.containerd.clone().into_os_string();
        events.push(".ttrpc");
        events.into()
    }
}

/// A running zygote. The end of its socket, at the latest with this value, is its own.
#[derive(Debug)]
pub(super) struct Zygote {
    process: Child,
    /// Of sequenced packets, whatever its type says: only the event loop's side of it is used.
    socket: UnixStream,
}

impl Zygote {
    pub(super) fn start(recipe: &Recipe) -> Result<Self, ShimsError> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(ShimsError::io("make a socket for"))?;
        let ours = StdStream::from(ours);
        ours.set_nonblocking(true)
            .map_err(ShimsError::io("make a socket for"))?;
        let process = Command::new(&recipe.binary)
            .arg("-namespace")
            .arg(&recipe.namespace)
            .arg("-address")
            .arg(&recipe.containerd)
            .arg("-cgroup")
            .arg(&recipe.cgroup)
            .arg("zygote")
            // Nothing of the executor's own: a service manager's variables would reach the OCI runtime.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("TTRPC_ADDRESS", recipe.events())
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ShimsError::Execute {
                binary: recipe.binary.clone(),
                source,
            })?;
        let socket = UnixStream::from_std(ours).map_err(ShimsError::io("watch"))?;
        Ok(Self { process, socket })
    }

    /// Returns once it has ended, with how.
    pub(super) async fn ended(&mut self) -> String {
        match self.process.wait().await {
            Ok(status) => format!("it ended with {status}"),
            Err(error) => format!("it cannot be waited for: {error}"),
        }
    }

    /// A shim by `request`. Any error but a refusal leaves an answer outstanding: this zygote is of no use then.
    pub(super) async fn fork(&self, request: &ZygoteRequest) -> Result<ShimProcess, ShimsError> {
        let deadline = Duration::from_millis(ANSWER_MS_MAX);
        match tokio::time::timeout(deadline, self.exchange(request)).await {
            Ok(forked) => forked,
            Err(_) => Err(ShimsError::Deadline {
                deadline_ms: ANSWER_MS_MAX,
            }),
        }
    }

    async fn exchange(&self, request: &ZygoteRequest) -> Result<ShimProcess, ShimsError> {
        let message = serde_json::to_vec(request).map_err(ShimsError::Malformed)?;
        let send = || {
            Ok(rustix::net::send(
                &self.socket,
                &message,
                SendFlags::NOSIGNAL,
            )?)
        };
        self.socket
            .async_io(Interest::WRITABLE, send)
            .await
            .map_err(ShimsError::io("ask"))?;
        let (bytes, pidfd) = self
            .socket
            .async_io(Interest::READABLE, || receive(self.socket.as_fd()))
            .await
            .map_err(ShimsError::io("hear from"))?;
        if bytes.is_empty() {
            return Err(ShimsError::NoZygote);
        }
        match serde_json::from_slice(&bytes).map_err(ShimsError::Malformed)? {
            ZygoteReply::Failed { problem } => Err(ShimsError::Refused(problem)),
            ZygoteReply::Spawned { pid } => Ok(ShimProcess {
                address: format!("ttrpc+unix://{}", request.socket.display()),
                pid,
                pidfd: pidfd.ok_or(ShimsError::NoPidfd)?,
            }),
        }
    }
}

/// One message and the descriptor that came with it.
fn receive(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut bytes = vec![0; ZYGOTE_MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    bytes.truncate(received.bytes);
    Ok((bytes, fd))
}
