//! One absolute timer on CLOCK_BOOTTIME: it counts time asleep (suspend), and no clock step moves it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::polled::polled;

const SECOND_NS: u64 = 1_000_000_000;

pub(crate) struct BootTimer {
    fd: AsyncFd<OwnedFd>,
    set_to_ns: Option<u64>,
}

impl BootTimer {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self {
            fd: polled(fd)?,
            set_to_ns: None,
        })
    }

    /// Fires once at `boot_ns`; at once if that has passed; never for `None`.
    pub(crate) fn set(&mut self, boot_ns: Option<u64>) -> io::Result<()> {
        if boot_ns == self.set_to_ns {
            return Ok(());
        }
        let zero = Timespec::default();
        let value = match boot_ns {
            None => zero,
            // All zero would disarm; one nanosecond after boot has passed just as well.
            Some(at) => Timespec {
                tv_sec: i64::try_from(at / SECOND_NS).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(at % SECOND_NS)
                    .unwrap_or(0)
                    .max(i64::from(at == 0)),
            },
        };
        let timer = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &timer)?;
        self.set_to_ns = boot_ns;
        Ok(())
    }

    /// Waits until it has fired; disarmed afterwards. Cancel-safe.
    pub(crate) async fn fired(&mut self) {
        loop {
            let Ok(mut ready) = self.fd.readable().await else {
                return std::future::pending().await;
            };
            let mut expirations = [0; 8];
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?));
            if let Ok(Ok(_)) = read {
                self.set_to_ns = None;
                return;
            }
            // Set anew meanwhile, or not yet.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_rundir::Stamp;
    use std::time::Duration;

    #[tokio::test(flavor = "current_thread")]
    async fn fires_at_the_time_and_not_when_disarmed() {
        let mut timer = BootTimer::new().unwrap();
        let due = Stamp::now().boot_ns + 30_000_000;
        timer.set(Some(due)).unwrap();
        timer.fired().await;
        assert!(Stamp::now().boot_ns >= due);

        timer.set(Some(1)).unwrap();
        timer.fired().await;

        timer.set(Some(Stamp::now().boot_ns + 10_000_000)).unwrap();
        timer.set(None).unwrap();
        let never = tokio::time::timeout(Duration::from_millis(40), timer.fired());
        assert!(never.await.is_err());
    }
}
