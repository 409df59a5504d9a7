//! Descriptors on the event loop: reading and writing without blocking the one thread.
//!
//! Callers set descriptors non-blocking; regular files cannot be polled and do not belong here.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::{self, StableFd};

/// Puts a descriptor on the loop.
pub(crate) fn polled<T: StableFd>(fd: T) -> io::Result<AsyncFd<T>> {
    sys::register(fd, Interest::READABLE | Interest::WRITABLE).map_err(io::Error::from)
}

/// Reads what is there, waiting for at least a byte; 0 at the end. Cancel-safe.
pub(crate) async fn read<T: AsFd + AsRawFd>(
    fd: &AsyncFd<T>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    loop {
        let mut ready = fd.readable().await?;
        match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *buffer)?)) {
            Ok(result) => return result,
            Err(_would_block) => {}
        }
    }
}

/// Writes as much as fits, at least a byte. Cancel-safe.
pub(crate) async fn write<T: AsFd + AsRawFd>(fd: &AsyncFd<T>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        let mut ready = fd.writable().await?;
        match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
            Ok(result) => return result,
            Err(_would_block) => {}
        }
    }
}
