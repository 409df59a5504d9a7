//! The host's containerd, to be killed and started by tests that are alone with it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use davit_executor::containerd::Containerd;

use super::support::{CONTAINERD, WAIT};

/// The host's containerd, which this host says how to restart (as `scripts/native` does).
pub struct ContainerdProcess;

impl ContainerdProcess {
    const PID_FILE: &str = "/run/containerd.pid";

    pub fn here() -> Self {
        assert!(
            Path::new(Self::PID_FILE).exists(),
            "whose pid is containerd's?"
        );
        Self
    }

    fn pid() -> rustix::process::Pid {
        let pid = std::fs::read_to_string(Self::PID_FILE).unwrap();
        rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
    }

    /// SIGKILL.
    pub fn kill(&self) {
        rustix::process::kill_process(Self::pid(), rustix::process::Signal::KILL).unwrap();
    }

    /// SIGTERM; returns once it has ended.
    pub async fn terminate(&self) {
        let pid = Self::pid();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let begin = Instant::now();
        while rustix::process::test_kill_process(pid).is_ok() {
            assert!(begin.elapsed() < WAIT, "containerd does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn start(&self) {
        self.start_soon();
        let begin = Instant::now();
        while Containerd::connect(Path::new(CONTAINERD), "davit", "overlayfs")
            .await
            .is_err()
        {
            assert!(begin.elapsed() < WAIT, "containerd does not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Without waiting until it answers.
    pub fn start_soon(&self) {
        let log = std::fs::File::options()
            .append(true)
            .open("/run/containerd.log")
            .unwrap();
        let mut process = Command::new("containerd")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        std::fs::write(Self::PID_FILE, process.id().to_string()).unwrap();
        // Reaped whenever it ends, by whoever kills it.
        std::thread::spawn(move || process.wait());
    }
}
