//! Opening both kinds of client FIFO without ever blocking the one thread.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::io::Errno;
use tokio::time::Instant;

use super::{IoError, failed};

/// How long a client may take to open the reading end of its FIFO.
pub(super) const READER_SECONDS_MAX: u64 = 30;

/// Pauses between two looks for the reader; the kernel has no event for it.
const LOOK_MS_MIN: u64 = 1;
const LOOK_MS_MAX: u64 = 50;

fn open(path: &Path, access: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::open(
        path,
        access | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn blocking(fd: OwnedFd, path: &Path) -> Result<OwnedFd, IoError> {
    // A program that finds its stdout non-blocking loses output.
    fcntl_setfl(&fd, OFlags::empty())
        .map_err(|errno| failed("set up", path.display().to_string())(errno.into()))?;
    Ok(fd)
}

/// The write end for the container and a read end to hold, once the client's reader is there.
pub(super) async fn open_output(path: &Path) -> Result<(OwnedFd, OwnedFd), IoError> {
    let shown = || path.display().to_string();
    let deadline = Instant::now() + Duration::from_secs(READER_SECONDS_MAX);
    let mut pause_ms = LOOK_MS_MIN;
    let write_end = loop {
        match open(path, OFlags::WRONLY) {
            Ok(fd) => break fd,
            // ENXIO: nobody has it open for reading.
            Err(Errno::NXIO) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                pause_ms = (pause_ms * 2).min(LOOK_MS_MAX);
            }
            Err(Errno::NXIO) => return Err(IoError::NoReader(shown())),
            Err(errno) => return Err(failed("open for writing", shown())(errno.into())),
        }
    };
    let hold = open(path, OFlags::RDONLY)
        .map_err(|errno| failed("open for reading", shown())(errno.into()))?;
    Ok((blocking(write_end, path)?, hold))
}

/// A read end to copy from, non-blocking, and a write end to hold until CloseIO.
pub(super) fn open_input(path: &Path) -> Result<(OwnedFd, OwnedFd), IoError> {
    let shown = || path.display().to_string();
    let read_end = open(path, OFlags::RDONLY)
        .map_err(|errno| failed("open for reading", shown())(errno.into()))?;
    let hold = open(path, OFlags::WRONLY)
        .map_err(|errno| failed("open for writing", shown())(errno.into()))?;
    Ok((read_end, hold))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::{Read, Write};

    pub(crate) fn make(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        path
    }

    #[tokio::test(flavor = "current_thread")]
    async fn output_waits_for_the_reader_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = make(dir.path());
        let reader_path = path.clone();
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            let mut text = String::new();
            std::fs::File::open(reader_path)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            text
        });
        let (write_end, hold) = open_output(&path).await.unwrap();
        let mut file = std::fs::File::from(write_end);
        file.write_all(b"hello").unwrap();
        // EOF comes with the last writer although we still hold a read end.
        drop(file);
        let text = tokio::task::spawn_blocking(move || reader.join().unwrap());
        assert_eq!(text.await.unwrap(), "hello");
        drop(hold);
    }
}
