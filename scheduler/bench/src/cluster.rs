//! A PostgreSQL server of the bench's own: made with initdb, on a free port, gone with the figure.
//!
//! Its settings are Debian's, with `fsync` and `synchronous_commit` on as they are, and 256 MB of shared buffers.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::process::{output, spawn};

const START_SECONDS_MAX: u64 = 60;
const LOOK_MS: u64 = 20;
/// Who runs the server when the bench is root, which PostgreSQL refuses to be.
const USER: &str = "postgres";
const DATABASE: &str = "davit";

/// A running server. Dropping it stops it.
pub(crate) struct Cluster {
    bin: PathBuf,
    dir: TempDir,
    port: u16,
    server: Option<Child>,
}

impl Cluster {
    /// Makes and starts one with an empty database.
    pub(crate) fn start(port: u16) -> anyhow::Result<Self> {
        let dir = TempDir::new().context("make a directory")?;
        if rustix::process::geteuid().is_root() {
            let id = |option| -> anyhow::Result<u32> {
                Ok(output(Command::new("id").args([option, USER]))?.parse()?)
            };
            chown(dir.path(), Some(id("-u")?), Some(id("-g")?))
                .context("give the directory away")?;
        }
        let mut cluster = Self {
            bin: binaries()?,
            dir,
            port,
            server: None,
        };
        let mut made = cluster.unprivileged("initdb");
        made.args(["--auth=trust", "--username=davit", "--encoding=UTF8"])
            .args(["--no-sync", "--locale=C", "-D"])
            .arg(cluster.data());
        output(&mut made)?;
        cluster.up()?;
        let mut create = cluster.psql("postgres");
        output(create.args(["-c", &format!("CREATE DATABASE {DATABASE}")]))?;
        Ok(cluster)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The URL of the database.
    pub(crate) fn url(&self) -> String {
        format!("postgresql://davit@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// CPU milliseconds of the server with all its processes.
    pub(crate) fn cpu_ms(&self) -> u64 {
        let id = self.server.as_ref().map_or(0, Child::id);
        crate::process::family_cpu_ms(id)
    }

    /// psql beside the scheduler.
    pub(crate) fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(self.bin.join("psql"));
        let url = format!("postgresql://davit@127.0.0.1:{}/{database}", self.port);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &url]);
        command
    }

    /// Begins a transaction that sees everything as it is now, and holds it.
    pub(crate) fn old_transaction(&self) -> anyhow::Result<Child> {
        let held = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM runs; SELECT pg_current_xact_id(); \
                    SELECT pg_sleep(86400)";
        spawn(self.psql(DATABASE).args(["-c", held]).stdout(Stdio::null()))
    }

    /// Ends it: killing psql would leave the server asleep.
    pub(crate) fn end_old_transaction(&self, mut held: Child) -> anyhow::Result<()> {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE query LIKE '%pg_sleep(86400)%' AND pid <> pg_backend_pid()";
        output(self.psql(DATABASE).args(["-c", end]))?;
        held.wait().context("wait for psql")?;
        Ok(())
    }

    fn up(&mut self) -> anyhow::Result<()> {
        let log_path = self.dir.path().join("log");
        let log = fs::File::create(&log_path).context("make the server's log")?;
        let sockets = format!("unix_socket_directories={}", self.dir.path().display());
        let mut server = self.unprivileged("postgres");
        server
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", &sockets])
            .args(["-c", "max_connections=100", "-c", "shared_buffers=256MB"])
            .stdout(Stdio::null())
            .stderr(log);
        self.server = Some(spawn(&mut server)?);
        let begin = Instant::now();
        while !self.answers() {
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            let in_time = begin.elapsed() < Duration::from_secs(START_SECONDS_MAX);
            ensure!(in_time, "the server does not answer:\n{log}");
            std::thread::sleep(Duration::from_millis(LOOK_MS));
        }
        Ok(())
    }

    fn answers(&self) -> bool {
        let port = self.port.to_string();
        let mut ready = Command::new(self.bin.join("pg_isready"));
        let ready = ready.args(["-q", "-h", "127.0.0.1", "-p", &port]).status();
        ready.is_ok_and(|status| status.success())
    }

    /// A program of the server as the unprivileged user; it dies with this process.
    fn unprivileged(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT"]);
        if rustix::process::geteuid().is_root() {
            command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
        }
        command.arg("--").arg(self.bin.join(program));
        command.current_dir("/");
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let mut stop = self.unprivileged("pg_ctl");
        stop.args(["stop", "-m", "immediate", "-D"])
            .arg(self.data());
        if let Err(error) = output(&mut stop) {
            eprintln!("the PostgreSQL server could not be stopped: {error:#}");
        }
        drop(server.wait());
    }
}

/// The newest of Debian's versioned directories.
fn binaries() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("look for PostgreSQL")?;
    let found = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .max();
    found.context("PostgreSQL is not installed: apt-get install postgresql")
}
