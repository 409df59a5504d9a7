//! A PostgreSQL server of the test's own: made with initdb, on a free port, gone with the test.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const START_MS_MAX: u64 = 60_000;
const STOP_SECONDS_MAX: u64 = 30;
/// Who runs the server when the test is root, which PostgreSQL refuses to be.
const USER: &str = "postgres";

/// A running server. Dropping it stops it; it dies with the test in any case.
pub(crate) struct Cluster {
    bin: PathBuf,
    dir: TempDir,
    port: u16,
    server: Option<Child>,
    /// Of the server's processes, beside the usual ones.
    environment: Vec<(&'static str, String)>,
}

impl Cluster {
    /// Makes and starts one.
    pub(crate) fn start() -> Self {
        Self::start_with(Vec::new())
    }

    /// The same, with an environment for the server.
    pub(crate) fn start_with(environment: Vec<(&'static str, String)>) -> Self {
        let mut cluster = Self::nowhere(environment);
        let made = cluster
            .unprivileged("initdb")
            .args(["--auth=trust", "--username=davit", "--encoding=UTF8"])
            .args(["--no-sync", "--locale=C", "-D"])
            .arg(cluster.data())
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "initdb: {made:?}");
        cluster.up();
        cluster
    }

    /// A place and a port, and nothing there.
    fn nowhere(environment: Vec<(&'static str, String)>) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        own(dir.path());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its number").port();
        Self {
            bin: binaries(),
            dir,
            port,
            server: None,
            environment,
        }
    }

    /// Makes and starts a standby of this server that follows it, and lets this one commit only what that one has.
    #[allow(dead_code, reason = "only the tests of faults fail over")]
    pub(crate) fn standby(&self) -> Self {
        let mut standby = Self::nowhere(Vec::new());
        let from = [
            "-h",
            "127.0.0.1",
            "-U",
            "davit",
            "-p",
            &self.port.to_string(),
        ];
        let copied = standby
            .unprivileged("pg_basebackup")
            .args(from)
            .args([
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                "-D",
            ])
            .arg(standby.data())
            .output()
            .expect("pg_basebackup starts");
        assert!(copied.status.success(), "pg_basebackup: {copied:?}");
        standby.up();
        self.sql(
            "postgres",
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
        );
        self.sql("postgres", "SELECT pg_reload_conf()");
        standby
    }

    /// Makes a standby the primary.
    #[allow(dead_code, reason = "only the tests of faults fail over")]
    pub(crate) fn promote(&self) {
        let promoted = self
            .unprivileged("pg_ctl")
            .args(["promote", "-D"])
            .arg(self.data())
            .output()
            .expect("pg_ctl starts");
        assert!(promoted.status.success(), "pg_ctl promote: {promoted:?}");
    }

    /// Lets no process of the server run on; its connections stay.
    #[allow(dead_code, reason = "only the tests of faults stop servers so")]
    pub(crate) fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// To the postmaster, and to what it forked.
    fn signal(&self, signal: rustix::process::Signal) {
        let postmaster = self.server.as_ref().expect("it runs").id();
        let path = format!("/proc/{postmaster}/task/{postmaster}/children");
        let children = fs::read_to_string(path).expect("its children");
        let pids = children
            .split_whitespace()
            .map(|pid| pid.parse().expect("a pid"));
        for pid in std::iter::once(postmaster.cast_signed()).chain(pids) {
            let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
            // One that ended meanwhile needs no signal.
            let _gone = rustix::process::kill_process(pid, signal);
        }
    }

    /// The address, for a URL of several.
    #[allow(dead_code, reason = "only the tests of faults have several")]
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its files are.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The URL of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgresql://davit@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database.
    pub(crate) fn create(&self, database: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {database}"));
        self.url(database)
    }

    /// Runs a statement beside the store and returns what psql prints.
    pub(crate) fn sql(&self, database: &str, statement: &str) -> String {
        let done = Command::new(self.bin.join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
            ])
            .arg(self.url(database))
            .output()
            .expect("psql starts");
        assert!(done.status.success(), "{statement}: {done:?}");
        String::from_utf8(done.stdout)
            .expect("psql prints text")
            .trim()
            .to_owned()
    }

    /// Starts the server and waits until it answers.
    pub(crate) fn up(&mut self) {
        let log = fs::File::create(self.dir.path().join("log")).expect("a log file");
        let port = self.port.to_string();
        let server = self
            .unprivileged_in(&self.environment, "postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-p", &port, "-c", "listen_addresses=127.0.0.1", "-c"])
            .arg(format!(
                "unix_socket_directories={}",
                self.dir.path().display()
            ))
            .args(["-c", "max_connections=60", "-c", "shared_buffers=64MB"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        self.server = Some(server);
        let begin = Instant::now();
        while !self.answers() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let waited = begin.elapsed() < Duration::from_millis(START_MS_MAX);
            assert!(waited, "the server does not answer:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        Command::new(self.bin.join("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Stops the server: `fast` rolls back what is under way, `immediate` is a crash.
    pub(crate) fn down(&mut self, mode: &str) {
        // In case it is frozen.
        self.signal(rustix::process::Signal::CONT);
        let stopped = self
            .unprivileged("pg_ctl")
            .args([
                "stop",
                "-m",
                mode,
                "-t",
                &STOP_SECONDS_MAX.to_string(),
                "-D",
            ])
            .arg(self.data())
            .output()
            .expect("pg_ctl starts");
        assert!(stopped.status.success(), "pg_ctl: {stopped:?}");
        if let Some(mut server) = self.server.take() {
            server.wait().expect("the server was our child");
        }
    }

    fn unprivileged(&self, program: &str) -> Command {
        self.unprivileged_in(&[], program)
    }

    /// A program of the server as the unprivileged user, which dies with this thread. It alone gets the environment.
    fn unprivileged_in(&self, environment: &[(&str, String)], program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT"]);
        if rustix::process::geteuid().is_root() {
            command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
        }
        let variables = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        command.args(["--", "env"]).args(variables);
        command.arg(self.bin.join(program));
        command.current_dir("/");
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.down("immediate");
        }
    }
}

/// The newest of Debian's versioned directories.
fn binaries() -> PathBuf {
    let found = fs::read_dir("/usr/lib/postgresql").map(|versions| {
        versions
            .filter_map(|version| Some(version.ok()?.path().join("bin")))
            .filter(|bin| bin.join("initdb").exists())
            .max()
    });
    found
        .ok()
        .flatten()
        .expect("PostgreSQL is not installed: apt-get install postgresql (scripts/test does it)")
}

/// Gives a path to the unprivileged user.
pub(crate) fn own(path: &Path) {
    if rustix::process::geteuid().is_root() {
        let id = |option| -> u32 {
            let found = Command::new("id")
                .args([option, USER])
                .output()
                .expect("id starts");
            let text = String::from_utf8_lossy(&found.stdout).trim().to_owned();
            text.parse()
                .expect("the postgresql package makes the user postgres")
        };
        chown(path, Some(id("-u")), Some(id("-g"))).expect("root may give files away");
    }
}
