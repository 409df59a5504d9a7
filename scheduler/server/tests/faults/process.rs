//! A replica as a process: this executable, executed again, which serves until it is killed.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use davit_scheduler::serve::Scheduler;
use davit_scheduler::settings::Settings;

/// Set for the process itself: file of its settings, as JSON.
const SETTINGS_FILE: &str = "DAVIT_TEST_REPLICA_SETTINGS";
/// What it says once it serves, before its two addresses.
const SERVING: &str = "serving at ";

/// Serves for ever; for [`Replica::start`], and for nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica() {
    let Some(path) = std::env::var_os(SETTINGS_FILE) else {
        return;
    };
    // It dies with whoever started it.
    std::thread::spawn(|| {
        let read = std::io::stdin().read(&mut [0]);
        eprintln!("a replica ends with its test: {read:?}");
        std::process::exit(0);
    });
    let text = std::fs::read_to_string(PathBuf::from(path)).unwrap();
    let settings: Settings = serde_json::from_str(&text).unwrap();
    let scheduler = Scheduler::open(&settings).await.unwrap();
    let rest = scheduler.rest_address().unwrap();
    let link = scheduler.link_address().unwrap();
    println!("{SERVING}{rest} {link}");
    scheduler.serve(std::future::pending()).await.unwrap();
}

/// A running replica. Dropped, it is killed.
pub(crate) struct Replica {
    child: Child,
    /// Where hosts connect.
    pub(crate) address: SocketAddr,
    pub(crate) rest: SocketAddr,
}

impl Replica {
    /// Starts one and waits until it serves.
    pub(crate) fn start(settings: &Path, environment: &[(&str, String)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::replica", "--nocapture"])
            .env(SETTINGS_FILE, settings)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, addresses) = line.split_once(SERVING)?;
            let (rest, link) = addresses.split_once(' ')?;
            Some((rest.parse().unwrap(), link.parse().unwrap()))
        });
        let (rest, address) = said.expect("the replica serves");
        Self {
            child,
            address,
            rest,
        }
    }

    /// The most memory that it ever had, KiB.
    pub(crate) fn memory_peak_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.end();
    }
}
