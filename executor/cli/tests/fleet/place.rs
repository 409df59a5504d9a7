//! The processes: schedulers one after the other, executors beside each other, each with directory, socket, namespace and
//! cgroups of its own.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::rest::{Client, WAIT};
use crate::wire::Wire;

/// Everything of one test.
pub(crate) struct Fleet {
    dir: TempDir,
    scheduler: Child,
    link: SocketAddr,
    pub(crate) client: Client,
    pub(crate) executors: Vec<Executor>,
}

/// A host.
pub(crate) struct Executor {
    pub(crate) name: String,
    process: Child,
    pub(crate) wire: Wire,
}

impl Fleet {
    /// A scheduler with so many executors, connected.
    pub(crate) fn start(count: usize) -> Self {
        assert!(
            std::env::var_os("DAVIT_TEST_REAL_HOST").is_some(),
            "it uses this host's containerd: run it inside scripts/native, with scripts/lib/host-tests"
        );
        // Short: a run's socket has its name below it.
        let mut builder = tempfile::Builder::new();
        let dir = builder.prefix("df-").tempdir_in("/var/lib").unwrap();
        let state = format!("state_dir={}", dir.path().join("s").display());
        let made = Command::new(davit())
            .args(["scheduler", "token", "--tenant", "acme", "--set", &state])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let (scheduler, address, link) = scheduler(dir.path());
        let mut fleet = Self {
            dir,
            scheduler,
            link,
            client: Client { address, token },
            executors: Vec::new(),
        };
        fleet.serves();
        let client = &fleet.client;
        let region = json!({"name": "Here"});
        client
            .send("PUT", "/v1/regions/here", Some(&region))
            .expect(200);
        let size = json!({
            "name": "Small", "cpu_millis": 100, "memory_bytes": 64 << 20, "pids": 32, "disk_bytes": 1 << 20,
            "price_second": "0.000007",
        });
        client
            .send("PUT", "/v1/instance-types/small", Some(&size))
            .expect(200);
        for number in 1..=count {
            let executor = fleet.join(&format!("host-{number}"));
            fleet.executors.push(executor);
        }
        fleet.connected(count);
        fleet
    }

    fn join(&self, name: &str) -> Executor {
        let made = self
            .client
            .post("/v1/join-tokens", &json!({"region": "here"}));
        let token = made.expect(201)["secret"].as_str().unwrap().to_owned();
        let file = self.dir.path().join(format!("{name}.join"));
        fs::write(&file, token).unwrap();
        let wire = Wire::to(self.link);
        let registered = Command::new(davit())
            .args(["executor", "register", "--name", name])
            .args(["--server", &format!("http://{}", wire.address)])
            .arg("--join-token-file")
            .arg(&file)
            .args(settings(self.dir.path(), name, &wire))
            .output()
            .unwrap();
        assert!(registered.status.success(), "{registered:?}");
        Executor {
            name: name.to_owned(),
            process: executor(self.dir.path(), name, &wire),
            wire,
        }
    }

    /// kill -9 of an executor, and another on the same files.
    pub(crate) fn replace_executor(&mut self, index: usize) {
        let dir = self.dir.path().to_owned();
        let executor_ = &mut self.executors[index];
        executor_.process.kill().unwrap();
        executor_.process.wait().unwrap();
        executor_.process = executor(&dir, &executor_.name, &executor_.wire);
    }

    /// kill -9 of the scheduler; another one, elsewhere, over the same database, to which all wires lead.
    pub(crate) fn replace_scheduler(&mut self) {
        self.scheduler.kill().unwrap();
        self.scheduler.wait().unwrap();
        let (process, address, link) = scheduler(self.dir.path());
        (self.scheduler, self.client.address, self.link) = (process, address, link);
        self.serves();
        for executor in &self.executors {
            executor.wire.lead(Some(link));
        }
    }

    /// Mends what was cut.
    pub(crate) fn mend(&self, index: usize) {
        self.executors[index].wire.lead(Some(self.link));
    }

    fn serves(&self) {
        let begin = Instant::now();
        loop {
            let seen = self.client.try_send("GET", "/readyz", &[], None);
            if seen.as_ref().is_ok_and(|answer| answer.status == 200) {
                return;
            }
            assert!(begin.elapsed() < WAIT, "it does not serve: {seen:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until so many executors are connected.
    pub(crate) fn connected(&self, count: usize) {
        let what = format!("{count} connected");
        self.client.wait("/v1/executors", &what, |seen| {
            let all = seen["executors"].as_array().unwrap().iter();
            all.filter(|executor| executor["connected"] == true).count() == count
        });
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let all = self.executors.iter_mut().map(|e| &mut e.process);
        for process in all.chain([&mut self.scheduler]) {
            drop(process.kill());
            drop(process.wait());
        }
        if std::thread::panicking() {
            for entry in fs::read_dir(self.dir.path()).unwrap().flatten() {
                if entry.path().extension().is_some_and(|e| e == "log") {
                    let text = fs::read_to_string(entry.path()).unwrap_or_default();
                    eprintln!("{}:\n{text}", entry.path().display());
                }
            }
        }
    }
}

fn log(dir: &Path, name: &str) -> File {
    let path = dir.join(format!("{name}.log"));
    File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn scheduler(dir: &Path) -> (Child, SocketAddr, SocketAddr) {
    let (rest, link) = (free(), free());
    let process = Command::new(davit())
        .args(["scheduler", "serve", "--set"])
        .arg(format!("state_dir={}", dir.join("s").display()))
        .args(["--set", &format!("rest.listen={rest}")])
        .args(["--set", &format!("link.listen={link}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log(dir, "scheduler"))
        .spawn()
        .unwrap();
    (process, rest, link)
}

fn settings(dir: &Path, name: &str, wire: &Wire) -> Vec<String> {
    let own = dir.file_name().unwrap().to_str().unwrap();
    let number = name.rsplit('-').next().unwrap();
    let place = dir.join(number);
    let place = place.display();
    [
        format!("state_dir={place}"),
        format!("socket={place}.sock"),
        format!("cgroup_parent=/{own}-{number}"),
        format!("containerd.namespace={own}-{number}"),
        format!("link.server=http://{}", wire.address),
        format!("link.credentials_file={place}.json"),
        "warm.memory_stall_ms=0".to_owned(),
    ]
    .into_iter()
    .flat_map(|setting| ["--set".to_owned(), setting])
    .chain(["--allow-missing-controllers".to_owned()])
    .collect()
}

fn executor(dir: &Path, name: &str, wire: &Wire) -> Child {
    Command::new(davit())
        .args(["executor", "serve"])
        .args(settings(dir, name, wire))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log(dir, name))
        .spawn()
        .unwrap()
}

/// The built one, beside the directory of the tests or in `DAVIT_BIN_DIR`.
fn davit() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let beside = tests.ancestors().nth(2).unwrap().join("davit");
    let named = std::env::var_os("DAVIT_BIN_DIR").map(|dir| PathBuf::from(dir).join("davit"));
    let places: Vec<PathBuf> = std::iter::once(beside).chain(named).collect();
    let found = places.iter().find(|place| place.is_file());
    found
        .unwrap_or_else(|| panic!("no davit in {places:?}"))
        .clone()
}
