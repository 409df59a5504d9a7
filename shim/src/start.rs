//! `start`: find or bring up the daemon for a container and tell containerd its address.
//!
//! ```text
//!  containerd ──exec──► start ──bind socket──► spawn self "daemon" (socket is its stdin, a pipe its stdout, new session)
//!      ▲                  │                        │
//!      └──── address ─────┘◄── oom_score_adj, shim cgroup set from here, before the answer
//! ```
//!
//! Invariants: when the address is printed a connect succeeds; nothing but the address is printed (containerd
//! reads stdout and stderr as one); no descriptor of `start` survives in the daemon but the socket.

use std::fs;
use std::io::{self, PipeWriter, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sha2::{Digest, Sha256};

use crate::args::Args;
use crate::bootstrap::{self, INPUT_BYTES_MAX, Input};
use crate::bundle::{BundleError, Config, write_whole};
use crate::{Output, sys};

/// Where sockets are when containerd names no place. The path with 64 hex digits stays below the 107
/// bytes a socket address holds, whatever the container is called.
const SOCKET_DIR: &str = "/run/containerd/s";

/// Times a stale socket is removed before giving up.
const BIND_ATTEMPTS_MAX: usize = 3;

/// The kernel's limit of oom_score_adj.
const OOM_SCORE_ADJ_MAX: i32 = 1000;

/// Why no daemon could be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("cannot encode the answer")]
    Answer(#[source] containerd_shim_protos::protobuf::Error),
    #[error("socket {} is taken again and again", .0.display())]
    SocketContended(PathBuf),
}

fn failed(
    operation: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> StartError {
    let path = path.into();
    move |source| StartError::Io {
        operation,
        path,
        source,
    }
}

/// The way to tell the daemon that its address was printed. Dropped without a word, it tells that nobody has heard
/// of the daemon and nobody will: containerd kills `start` when its own client goes away.
pub(crate) struct Told(PipeWriter);

impl Told {
    /// The address was printed.
    pub(crate) fn tell(mut self) {
        use std::io::Write;
        log_failure(self.0.write_all(&[TOLD]));
    }
}

/// The one byte the daemon is told with.
const TOLD: u8 = b'!';

/// Does it all; on success returns what to print.
pub(crate) fn run(args: &Args) -> Result<Output, StartError> {
    let bundle = std::env::current_dir().map_err(failed("find the working directory", "."))?;
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed("read", "stdin"))?;
    let input = Input::parse(&bytes, &args.id);
    let config = Config::read(&bundle)?;
    let socket = socket_path(
        Path::new(input.socket_dir.as_deref().unwrap_or(SOCKET_DIR)),
        &args.address,
        &args.namespace,
        config.group(&args.id),
    );

    let mut told = None;
    if let Some(listener) = claim(&socket)? {
        let (mut daemon, writer) = spawn_daemon(args, &bundle, &socket, listener)?;
        told = Some(Told(writer));
        if let Err(error) = place(daemon.id(), &input.options.shim_cgroup) {
            // A daemon in the wrong place is worse than none.
            log_failure(daemon.kill());
            log_failure(daemon.wait());
            log_failure(fs::remove_file(&socket));
            return Err(error);
        }
    }
    let socket = socket.to_string_lossy();
    write_whole(
        &bundle.join("address"),
        format!("unix://{socket}").as_bytes(),
    )?;
    let text = bootstrap::answer(input.dialect, &socket).map_err(StartError::Answer)?;
    Ok(Output { text, told })
}

/// The socket of a shim: named after all that makes it unique, at a length that always fits.
fn socket_path(dir: &Path, address: &str, namespace: &str, group: &str) -> PathBuf {
    use std::fmt::Write as _;
    let digest = Sha256::digest(format!("{address}/{namespace}/{group}"));
    let mut name = String::with_capacity(64);
    for byte in digest {
        // Writing to a String cannot fail.
        let _ok = write!(name, "{byte:02x}");
    }
    dir.join(name)
}

/// [`socket_path`] where containerd names no directory.
pub(crate) fn default_socket_path(args: &Args, group: &str) -> PathBuf {
    socket_path(Path::new(SOCKET_DIR), &args.address, &args.namespace, group)
}

/// A listener at `socket`, or `None` if a living shim listens there already.
pub(crate) fn claim(socket: &Path) -> Result<Option<UnixListener>, StartError> {
    if let Some(dir) = socket.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed("create", dir))?;
    }
    for _attempt in 0..BIND_ATTEMPTS_MAX {
        match UnixListener::bind(socket) {
            Ok(listener) => {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(socket, fs::Permissions::from_mode(0o600))
                    .map_err(failed("restrict", socket))?;
                return Ok(Some(listener));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if UnixStream::connect(socket).is_ok() {
                    return Ok(None);
                }
                match fs::remove_file(socket) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("remove the stale socket", socket)(error));
                    }
                    _ => {}
                }
            }
            Err(error) => return Err(failed("listen on", socket)(error)),
        }
    }
    Err(StartError::SocketContended(socket.to_owned()))
}

fn spawn_daemon(
    args: &Args,
    bundle: &Path,
    socket: &Path,
    listener: UnixListener,
) -> Result<(Child, PipeWriter), StartError> {
    let (reader, writer) = io::pipe().map_err(failed("make", "a pipe"))?;
    // The binary's own name, so that `ps` tells what it is; a replaced binary is still reachable.
    let own = std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let mut command = Command::new(&own);
    command
        .args(["-namespace", &args.namespace, "-id", &args.id])
        .args(["-address", &args.address])
        .arg("-bundle")
        .arg(bundle)
        .arg("-socket")
        .arg(socket);
    if args.debug {
        command.arg("-debug");
    }
    command
        .arg("daemon")
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::from(reader))
        .stderr(Stdio::null());
    sys::new_session(&mut command);
    let daemon = command.spawn().map_err(failed("execute", own))?;
    Ok((daemon, writer))
}

/// Gives the daemon its oom_score_adj (one more than containerd's, so that the kernel takes it first) and
/// its cgroup.
fn place(daemon: u32, cgroup: &str) -> Result<(), StartError> {
    follow_in_oom(daemon)?;
    if !cgroup.is_empty() {
        let procs = Path::new("/sys/fs/cgroup")
            .join(cgroup.trim_start_matches('/'))
            .join("cgroup.procs");
        fs::write(&procs, daemon.to_string()).map_err(failed("write", procs))?;
    }
    Ok(())
}

/// Gives process `pid` one more than our parent's oom_score_adj: the kernel is to take it first.
pub(crate) fn follow_in_oom(pid: u32) -> Result<(), StartError> {
    let parent = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
    let from = format!("/proc/{parent}/oom_score_adj");
    let score: i32 = fs::read_to_string(&from)
        .map_err(failed("read", &from))?
        .trim()
        .parse()
        .unwrap_or(0);
    let to = format!("/proc/{pid}/oom_score_adj");
    let score = score.saturating_add(1).min(OOM_SCORE_ADJ_MAX);
    fs::write(&to, score.to_string()).map_err(failed("write", &to))
}

fn log_failure<T>(result: io::Result<T>) {
    if let Err(error) = result {
        log::warn!("clean-up after a failed start: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_paths_fit_and_differ() {
        let path = |ns: &str, id: &str| {
            socket_path(
                Path::new(SOCKET_DIR),
                "/run/containerd/containerd.sock",
                ns,
                id,
            )
        };
        let long = path(&"n".repeat(76), &"i".repeat(76));
        assert!(long.as_os_str().len() <= 107);
        assert_ne!(path("a", "b"), path("a", "c"));
        assert_ne!(path("a", "b"), path("c", "b"));
        // The scheme of containerd's own shim, which tools look for.
        assert_eq!(
            path("default", "web").file_name().unwrap(),
            "2cde4450fa38c74f53603e01d2afd903b315a27a596f12a151414cd59897d883"
        );
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_respected() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        drop(UnixListener::bind(&socket).unwrap());
        let live = claim(&socket)
            .unwrap()
            .expect("stale socket was not replaced");
        assert!(
            claim(&socket).unwrap().is_none(),
            "a living shim was replaced"
        );
        drop(live);
    }
}
