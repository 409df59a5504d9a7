//! The first process of a slot, from the shim's side: its executable, and the socket it waits at.
//!
//! The executable is carried in this program (`init/`, built by `build.rs`) and reaches the container as a memfd
//! that is sealed against every change and was opened for reading only: a hostile job that opens its own
//! `/proc/1/exe` can write neither it nor anything of the host's (the class of CVE-2019-5736). It is made for one
//! create and closed here after it; the process that executes it keeps it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::protocol::READY;

/// What `init/` was built to.
static EXECUTABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// How long the runtime's init may take from the open gate to ours being in place, seconds.
const READY_SECONDS_MAX: u64 = 10;

/// How long execve(2) may take, seconds: the program may lie on a slow disk. Before its end no deadline runs.
const EXECUTE_SECONDS_MAX: u64 = 30;

/// Why a slot has no init.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("cannot {operation} the init's executable")]
    Executable {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot make the init's socket")]
    Socket(#[source] io::Error),
    #[error("the init ended before it was ready")]
    Ended,
    #[error("the init was not ready within {READY_SECONDS_MAX} s")]
    NotReady,
    #[error("the init said {0:#04x} instead of that it is ready")]
    Strange(u8),
}

/// Why a program does not run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExecuteError {
    #[error("{0}")]
    Refused(Errno),
    #[error("the container's first process is gone")]
    Gone,
    #[error("it did not begin within {EXECUTE_SECONDS_MAX} s")]
    TooSlow,
}

/// The shim's end of the socket to one init.
#[derive(Debug)]
pub(crate) struct Init(UnixStream);

impl Init {
    /// Makes what an init needs: the shim's end, and the descriptors the runtime has to pass as 3 and 4.
    pub(crate) fn prepare() -> Result<(Self, Vec<OwnedFd>), InitError> {
        let executable = executable()?;
        // The init's end blocks: it does nothing but wait.
        let (ours, its) = StdStream::pair().map_err(InitError::Socket)?;
        ours.set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(ours))
            .map(|ours| (Self(ours), vec![executable, its.into()]))
            .map_err(InitError::Socket)
    }

    /// Waits until it is in place: in its container, with its rights given up.
    pub(crate) async fn ready(&mut self) -> Result<(), InitError> {
        let mut byte = [0];
        let bound = Duration::from_secs(READY_SECONDS_MAX);
        match tokio::time::timeout(bound, self.0.read(&mut byte)).await {
            Ok(Ok(1)) if byte[0] == READY => Ok(()),
            Ok(Ok(1)) => Err(InitError::Strange(byte[0])),
            Ok(_) => Err(InitError::Ended),
            Err(_elapsed) => Err(InitError::NotReady),
        }
    }

    /// Has it execute what `message` says; returns once the program runs.
    ///
    /// An init that is killed in the instant before its execve looks like one that has become its program: the
    /// job's time has begun by then, and its end says which signal it was.
    pub(crate) async fn execute(mut self, message: &[u8]) -> Result<(), ExecuteError> {
        let answer = async {
            self.0.write_all(message).await?;
            let mut errno = Vec::new();
            self.0.read_to_end(&mut errno).await?;
            Ok::<_, io::Error>(errno)
        };
        let bound = Duration::from_secs(EXECUTE_SECONDS_MAX);
        let answer = tokio::time::timeout(bound, answer)
            .await
            .map_err(|_elapsed| ExecuteError::TooSlow)?
            .map_err(|_broken| ExecuteError::Gone)?;
        if answer.is_empty() {
            return Ok(());
        }
        let errno = <[u8; 4]>::try_from(answer.as_slice()).map_err(|_| ExecuteError::Gone)?;
        let errno = Errno::from_raw_os_error(i32::from_ne_bytes(errno));
        Err(ExecuteError::Refused(errno))
    }
}

/// The init's file: sealed, and open for reading.
fn executable() -> Result<OwnedFd, InitError> {
    let failed = |operation| move |source| InitError::Executable { operation, source };
    let mut file = File::from(memfd().map_err(|errno| failed("make")(errno.into()))?);
    file.write_all(EXECUTABLE).map_err(failed("write"))?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, seals).map_err(|errno| failed("seal")(errno.into()))?;
    // The first descriptor could still write, had the seals not been; nobody is to have one like it.
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .map(OwnedFd::from)
        .map_err(failed("open"))
}

/// An executable one: where the kernel knows the difference (Linux 6.3) it wants to be told.
fn memfd() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("davit-init", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create("davit-init", flags),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::message::encode;
    use crate::sys::pass_descriptors;
    use std::process::{Child, Command, Output, Stdio};

    fn spawn(configure: impl FnOnce(&mut Command)) -> (Init, Child) {
        let (init, descriptors) = Init::prepare().unwrap();
        let mut command = Command::new("/proc/self/fd/3");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        configure(&mut command);
        pass_descriptors(&mut command, descriptors).unwrap();
        (init, command.spawn().unwrap())
    }

    async fn run(args: &[&str], env: &[&str]) -> (Result<(), ExecuteError>, Output) {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let message = encode(&owned(args), &owned(env)).unwrap();
        let (mut init, child) = spawn(|command| {
            command.env_clear().env("HOME", "/own");
        });
        init.ready().await.unwrap();
        let executed = init.execute(&message).await;
        (executed, child.wait_with_output().unwrap())
    }

    #[tokio::test(flavor = "current_thread")]
    async fn it_becomes_its_program_with_nothing_of_its_own_left() {
        let script = "echo $0 $1 $A; echo $(ls /proc/self/fd); exit 3";
        let args = ["sh", "-c", script, "name", "first"];
        let (executed, output) = run(&args, &["PATH=/nowhere:/usr/bin:/bin", "A=b c"]).await;
        assert_eq!(executed, Ok(()));
        assert_eq!(output.status.code(), Some(3));
        let text = String::from_utf8(output.stdout).unwrap();
        // Whatever this test itself was left by whoever started it, any child of it has.
        let inherited = Command::new("sh")
            .args(["-c", "echo $(ls /proc/self/fd)"])
            .output()
            .unwrap();
        let inherited = String::from_utf8(inherited.stdout).unwrap();
        assert_eq!(text, format!("name first b c\n{inherited}"));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_environment_is_what_was_told_and_a_home() {
        let (_, output) = run(&["/usr/bin/env"], &["B=2", "PATH=/bin"]).await;
        assert_eq!(output.stdout, b"B=2\nPATH=/bin\nHOME=/own\n");
        let (_, output) = run(&["/usr/bin/env"], &["HOME=/told"]).await;
        assert_eq!(output.stdout, b"HOME=/told\n");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn why_a_program_cannot_be_executed_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text");
        std::fs::write(&text, "no program").unwrap();
        let at = dir.path().to_str().unwrap().to_owned();
        let path = format!("PATH=/nowhere:{at}:/usr/bin/env");
        for (program, errno) in [
            ("nope", Errno::NOENT),
            ("/nowhere/nope", Errno::NOENT),
            ("/usr/bin/env/nope", Errno::NOTDIR),
            // Found, though not executable, and nothing better behind it.
            ("text", Errno::ACCESS),
            ("/usr/bin", Errno::ACCESS),
        ] {
            let (executed, output) = run(&[program], &[&path]).await;
            // Of all that may be missing in a directory the program is what is missing.
            let errno = if errno == Errno::NOTDIR {
                Errno::NOENT
            } else {
                errno
            };
            assert_eq!(executed, Err(ExecuteError::Refused(errno)), "{program}");
            assert_eq!(output.status.code(), Some(127), "{program}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn large_arguments_arrive_whole() {
        // The kernel's own bound for one string is 128 KiB.
        let large = "x".repeat(100_000);
        let args = [
            "/bin/sh",
            "-c",
            "echo ${#1} ${#2} ${#3}",
            "sh",
            &large,
            "y",
            &large,
        ];
        let (executed, output) = run(&args, &[&format!("LARGE={large}")]).await;
        assert_eq!(executed, Ok(()));
        assert_eq!(output.stdout, b"100000 1 100000\n");
        let over = "x".repeat(200_000);
        let (executed, _) = run(&["/bin/sh", &over], &[]).await;
        assert_eq!(executed, Err(ExecuteError::Refused(Errno::TOOBIG)));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_init_whose_shim_is_gone_ends() {
        let (mut init, mut child) = spawn(|_| {});
        init.ready().await.unwrap();
        drop(init);
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn nobody_can_change_the_executable() {
        let file = executable().unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let errno = |result: io::Result<_>| result.err().and_then(|e| e.raw_os_error());
        // As root it may be opened for writing, and that is all.
        let opened = std::fs::OpenOptions::new().write(true).open(&path);
        if let Ok(mut opened) = opened {
            assert_eq!(errno(opened.write(b"x").map(|_| ())), Some(libc::EPERM));
            assert_eq!(errno(opened.set_len(1)), Some(libc::EPERM));
            assert_eq!(errno(opened.set_len(1 << 20)), Some(libc::EPERM));
        }
        let unsealed = fcntl_add_seals(&file, SealFlags::empty());
        assert!(unsealed.is_err(), "more seals could be added");
        assert_eq!(std::fs::read(&path).unwrap(), EXECUTABLE);
    }
}
