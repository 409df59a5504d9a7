//! Files whose changes the kernel announces: `cgroup.events` and `memory.events`.

use std::fs::File;
use std::io::{self, Seek};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::CgroupError;
use crate::file::{Dir, read_text};
use crate::parse::keyed;

/// `cgroup.events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// A process is in it or below it.
    pub populated: bool,
    /// All of it is frozen.
    pub frozen: bool,
}

/// `memory.events`: how often each happened, in it and below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// An allocation met `memory.max`.
    pub max: u64,
    /// An allocation was about to fail for memory.
    pub oom: u64,
    /// Processes killed for memory.
    pub oom_kill: u64,
    /// Groups killed as a whole (Linux 5.17).
    pub oom_group_kill: u64,
}

mod sealed {
    /// A file that can be watched.
    pub trait Watched: Sized {
        const FILE: &'static str;
        fn parse(text: &str) -> Option<Self>;
    }
}
use sealed::Watched;

impl Watched for Events {
    const FILE: &'static str = "cgroup.events";

    fn parse(text: &str) -> Option<Self> {
        Some(Self {
            populated: keyed(text, "populated")? != 0,
            frozen: keyed(text, "frozen")? != 0,
        })
    }
}

impl Watched for MemoryEvents {
    const FILE: &'static str = "memory.events";

    fn parse(text: &str) -> Option<Self> {
        Some(Self {
            max: keyed(text, "max")?,
            oom: keyed(text, "oom")?,
            oom_kill: keyed(text, "oom_kill")?,
            oom_group_kill: keyed(text, "oom_group_kill").unwrap_or(0),
        })
    }
}

/// An open event file. After a change the descriptor has POLLPRI (and POLLERR) until the next
/// [`Self::read`]; so: read, act, poll, read, …
#[derive(Debug)]
pub struct Watch<T> {
    file: File,
    path: PathBuf,
    kind: PhantomData<T>,
}

impl<T: Watched> Watch<T> {
    pub(crate) fn open(dir: &Dir) -> Result<Self, CgroupError> {
        Ok(Self {
            file: dir.file(T::FILE)?,
            path: dir.path().join(T::FILE),
            kind: PhantomData,
        })
    }

    /// The present values; rearms the descriptor.
    ///
    /// # Errors
    /// When the file cannot be read; [`CgroupError::is_gone`] once the cgroup is removed.
    pub fn read(&mut self) -> Result<T, CgroupError> {
        let text = self
            .file
            .rewind()
            .and_then(|()| read_text(&self.file))
            .map_err(CgroupError::io("read", &self.path))?;
        T::parse(&text).ok_or_else(|| CgroupError::Malformed {
            path: self.path.clone(),
            problem: format!("`{}`", text.escape_debug()),
        })
    }

    /// Waits until `condition` holds; false if it did not within `timeout`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn wait(
        &mut self,
        timeout: Duration,
        condition: impl Fn(&T) -> bool,
    ) -> Result<bool, CgroupError> {
        let begin = Instant::now();
        loop {
            if condition(&self.read()?) {
                return Ok(true);
            }
            let left = timeout.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            // Longer than any timeout is for ever, which the next turn bounds again.
            let left = Timespec::try_from(left).ok();
            match poll(
                &mut [PollFd::new(&self.file, PollFlags::PRI)],
                left.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(CgroupError::io("poll", &self.path)(io::Error::from(error)));
                }
            }
        }
    }
}

impl<T> AsFd for Watch<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl<T> AsRawFd for Watch<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_need_both_words() {
        assert_eq!(
            Events::parse("populated 1\nfrozen 0\n"),
            Some(Events {
                populated: true,
                frozen: false
            })
        );
        assert_eq!(Events::parse("populated 1\n"), None);
    }

    #[test]
    fn group_kills_are_optional() {
        let text = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\n";
        let events = MemoryEvents::parse(text).unwrap();
        assert_eq!((events.max, events.oom, events.oom_kill), (7, 2, 3));
        assert_eq!(events.oom_group_kill, 0);
    }
}
