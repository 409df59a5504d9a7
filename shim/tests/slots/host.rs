//! One container under a shim of its own, as davit's executor has it made: directories, spec, sockets, leftovers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::shim_async::TaskClient;
use davit_rundir::log::LogReader;
use davit_rundir::{
    Assignment, ControlReply, ControlRequest, ExitRecord, FORMAT_VERSION, Granted, RunDir, SlotDir,
    SlotId, SlotRecord, SlotReply, SlotRequest, StateRecord,
};
use davit_types::{Bytes, Resources};
use serde_json::{Value, json};

use crate::line::Line;
use crate::making::{binary, cgroup_of, launch, make_rootfs, new_key, run_dir, spec, start};
use crate::support::{client, patience};

/// One container.
pub struct Host {
    dir: tempfile::TempDir,
    pub id: String,
    pub cgroup: PathBuf,
    pub client: TaskClient,
    socket: PathBuf,
    pub created_pid: u32,
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    u128::from_ne_bytes(bytes)
}

/// A directory for records and bundles.
fn place() -> tempfile::TempDir {
    assert!(
        std::env::var_os("DAVIT_TEST_REAL_HOST").is_some(),
        "it makes cgroups: run it inside scripts/native, with scripts/lib/host-tests"
    );
    tempfile::tempdir_in("/var/lib").unwrap()
}

impl Host {
    /// A waiting slot.
    pub async fn slot() -> Self {
        Self::slot_with(|_| {}).await.unwrap()
    }

    /// The same of a spec that was changed, or why there is none.
    pub async fn slot_with(change: impl FnOnce(&mut Value)) -> ttrpc::Result<Self> {
        let dir = place();
        let slots = dir.path().join("slots");
        fs::create_dir(&slots).unwrap();
        let id = SlotId::from_random(random());
        let slot = SlotDir::create(
            &slots,
            &SlotRecord {
                version: FORMAT_VERSION,
                slot: id.clone(),
                cgroup: cgroup_of(id.as_str()),
                runtime_binary: "/usr/bin/crun".into(),
            },
        )
        .unwrap();
        let mut spec = spec(id.as_str());
        spec["annotations"] = json!({"davit.slot-dir": slot.path()});
        spec["process"]["args"] = json!(["/proc/self/fd/3"]);
        spec["process"]["env"] = json!(["PATH=/nowhere"]);
        change(&mut spec);
        Self::create(dir, id.as_str(), &spec).await
    }

    /// A created container of a run's own; its runtime is `runtime`.
    pub async fn plain(script: &str, runtime: impl FnOnce(&Path) -> PathBuf) -> Self {
        let dir = place();
        let key = new_key();
        let run = run_dir(dir.path(), key);
        let binary = runtime(dir.path());
        run.write_launch(&launch(key, None, &key.to_string(), binary))
            .unwrap();
        let mut spec = spec(&key.to_string());
        spec["annotations"] = json!({"davit.run-dir": run.path()});
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        Self::create(dir, &key.to_string(), &spec).await.unwrap()
    }

    async fn create(dir: tempfile::TempDir, id: &str, spec: &Value) -> ttrpc::Result<Self> {
        let bundle = dir.path().join("bundle");
        make_rootfs(&bundle.join("rootfs"));
        fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        let socket = start(&bundle, dir.path(), id);
        let client = client(&socket).await;
        let options = Options {
            root: dir.path().join("crun").to_str().unwrap().to_owned(),
            ..Options::default()
        };
        let request = api::CreateTaskRequest {
            id: id.to_owned(),
            bundle: bundle.to_str().unwrap().to_owned(),
            options: MessageField::some(Any {
                type_url: "containerd.runc.v1.Options".to_owned(),
                value: options.write_to_bytes().unwrap(),
                ..Any::default()
            }),
            ..api::CreateTaskRequest::default()
        };
        let created = client.create(patience(), &request).await?;
        Ok(Self {
            dir,
            id: id.to_owned(),
            cgroup: PathBuf::from(format!("/sys/fs/cgroup{}", cgroup_of(id))),
            client,
            socket,
            created_pid: created.pid,
        })
    }

    pub fn slot_id(&self) -> SlotId {
        self.id.parse().unwrap()
    }

    pub fn slot_socket(&self) -> PathBuf {
        SlotDir::at(&self.dir.path().join("slots"), self.slot_id()).socket_path()
    }

    /// The run directory of a run that is to have this slot.
    pub fn run_for_slot(&self) -> RunDir {
        self.run_for(Some(self.slot_id()), &self.id)
    }

    pub fn run_for(&self, slot: Option<SlotId>, cgroup: &str) -> RunDir {
        let key = new_key();
        let run = run_dir(self.dir.path(), key);
        run.write_launch(&launch(key, slot, cgroup, "/usr/bin/crun".into()))
            .unwrap();
        run
    }

    /// The run directory of a plain one.
    pub fn own_run(&self) -> RunDir {
        RunDir::at(&self.dir.path().join("runs"), self.id.parse().unwrap())
    }

    /// Gives the slot to `run` and lets it go.
    pub fn begin(&self, run: &RunDir, args: &[&str]) -> StateRecord {
        let mut line = Line::connect(&self.slot_socket());
        let assignment = assignment(run, args);
        let Some(SlotReply::Assigned(_)) = line.ask(&SlotRequest::Assign(Box::new(assignment)))
        else {
            panic!("not assigned");
        };
        match control(run, &ControlRequest::Start) {
            ControlReply::State(state) => *state,
            other => panic!("not started: {other:?}"),
        }
    }

    pub async fn status(&self) -> api::Status {
        let request = api::StateRequest {
            id: self.id.clone(),
            ..api::StateRequest::default()
        };
        let state = self.client.state(patience(), &request).await.unwrap();
        state.status.enum_value().unwrap()
    }

    pub async fn start_by_containerd(&self) -> ttrpc::Result<api::StartResponse> {
        let request = api::StartRequest {
            id: self.id.clone(),
            ..api::StartRequest::default()
        };
        self.client.start(patience(), &request).await
    }

    /// CPU time used in the cgroup so far, microseconds.
    pub fn cpu_us(&self) -> u64 {
        let text = fs::read_to_string(self.cgroup.join("cpu.stat")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        line.unwrap().parse().unwrap()
    }

    pub async fn shim_pid(&self) -> u32 {
        let request = api::ConnectRequest {
            id: self.id.clone(),
            ..api::ConnectRequest::default()
        };
        let answer = self.client.connect(patience(), &request).await.unwrap();
        answer.shim_pid
    }

    /// containerd's last resort.
    pub fn delete_command(&self) {
        let output = Command::new(binary())
            .args(["-namespace", "test", "-id", &self.id, "-address", "/none"])
            .arg("-bundle")
            .arg(self.dir.path().join("bundle"))
            .arg("delete")
            .output()
            .unwrap();
        assert!(output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, "", "delete was not content");
    }

    /// Delete and Shutdown; nothing may be left.
    pub async fn delete(&self) {
        let request = api::DeleteRequest {
            id: self.id.clone(),
            ..api::DeleteRequest::default()
        };
        self.client.delete(patience(), &request).await.unwrap();
        let request = api::ShutdownRequest::default();
        self.client.shutdown(patience(), &request).await.unwrap();
        self.leaves_nothing();
    }

    pub fn leaves_nothing(&self) {
        let state = self.dir.path().join("crun/test").join(&self.id);
        let mut left = vec![state, self.cgroup.clone(), self.socket.clone()];
        if self.id.starts_with("warm-") {
            left.push(self.slot_socket());
        }
        left.retain(|path| path.exists());
        assert!(left.is_empty(), "left behind: {left:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.dir.path().to_str().unwrap();
        assert!(!mounts.contains(own), "a mount is left");
    }
}

/// What the executor sends for a run that executes `args`.
pub fn assignment(run: &RunDir, args: &[&str]) -> Assignment {
    Assignment {
        redacted_env: Vec::new(),
        run_dir: run.path().to_owned(),
        args: args.iter().map(|&text| text.to_owned()).collect(),
        env: ["PATH=/nowhere:/bin", "HOSTNAME=job-7"]
            .map(str::to_owned)
            .to_vec(),
        hostname: "job-7".to_owned(),
        resources: Resources {
            cpu_millis: 1000,
            memory_bytes_max: Bytes::mib(64),
            pids_max: 64,
        },
        granted: Granted {
            cpu: false,
            memory: false,
            pids: false,
        },
    }
}

/// One request on a run's own socket.
pub fn control(run: &RunDir, request: &ControlRequest) -> ControlReply {
    Line::connect(&run.socket_path()).ask(request).unwrap()
}

/// Waits for a run's end.
pub fn end_of(run: &RunDir) -> ExitRecord {
    let ControlReply::Exited(record) = control(run, &ControlRequest::Wait) else {
        panic!("the end was not recorded");
    };
    assert_eq!(run.read_exit().unwrap().as_ref(), Some(&*record));
    *record
}

/// All output of a run.
pub fn output_of(run: &RunDir) -> String {
    let mut reader = LogReader::open(run, 0).unwrap();
    let mut output = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        output.extend_from_slice(&record.line);
        if record.newline {
            output.push(b'\n');
        }
    }
    String::from_utf8(output).unwrap()
}
