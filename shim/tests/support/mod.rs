//! A bundle, a stand-in for the OCI runtime (a shell script with the same command line), and a client as containerd
//! is one. The script makes real processes; only their isolation is missing, so no privilege is needed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use containerd_shim_protos::api;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::shim_async::{Client, TaskClient};
use ttrpc::context::Context;

/// Longest any call or wait of a test may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

const RUNTIME: &str = r#"#!/bin/sh
# --root R --log L --log-format json COMMAND …
log=$4; shift 6; command=$1; shift
while [ $# -gt 1 ]; do
  case $1 in
    --bundle|--pid-file|--process|--resources) eval "$(echo "${1#--}" | tr - _)=\$2"; shift 2;;
    *) shift;;
  esac
done
case $command in
create)
  [ -e fail-create ] && { echo '{"level":"error","msg":"no such thing"}' >>"$log"; exit 1; }
  mkfifo gate
  exec 8<&0
  sh -c 'read go <gate; exec sh ./job.sh' <&8 & echo $! >"$pid_file";;
start) echo go >gate;;
exec) sh ./exec.sh & echo $! >"$pid_file";;
delete) kill -9 "$(cat init.pid)" 2>/dev/null; exit 0;;
update) cp "$resources" updated;;
*) exit 1;;
esac
"#;

pub struct Fixture {
    dir: tempfile::TempDir,
    pub id: String,
}

impl Fixture {
    /// A bundle whose init executes `job`, a shell script.
    pub fn new(job: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fixture = Self {
            dir,
            id: "job".to_owned(),
        };
        let runtime = fixture.runtime();
        fs::write(&runtime, RUNTIME).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(fixture.bundle().join("rootfs")).unwrap();
        fs::write(fixture.bundle().join("job.sh"), job).unwrap();
        // A pid namespace of its own, so that the end of the init is the end of all: nothing to kill.
        let config = r#"{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"pid"}]}}"#;
        fs::write(fixture.bundle().join("config.json"), config).unwrap();
        fixture
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    fn runtime(&self) -> PathBuf {
        self.dir.path().join("oci")
    }

    pub fn output(&self) -> PathBuf {
        self.dir.path().join("output")
    }

    /// Runs `start` as containerd ≥ 2.3 does (an older one cannot name a directory for the socket); returns the socket.
    pub fn start(&self) -> PathBuf {
        let output = self.run_start(Stdio::piped());
        assert!(output.status.success(), "start failed");
        let answer = BootstrapResult::parse_from_bytes(&output.stdout).unwrap();
        assert_eq!((answer.version, answer.protocol.as_str()), (3, "ttrpc"));
        PathBuf::from(answer.address.strip_prefix("unix://").unwrap())
    }

    /// Runs `start` with its answer going to `stdout`.
    pub fn run_start(&self, stdout: Stdio) -> Output {
        let params = BootstrapParams {
            instance_id: self.id.clone(),
            namespace: "test".to_owned(),
            socket_dir: Some(self.dir.path().to_str().unwrap().to_owned()),
            ..BootstrapParams::default()
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_containerd-shim-davit-v1"))
            .args([
                "-namespace",
                "test",
                "-id",
                &self.id,
                "-address",
                "/none",
                "start",
            ])
            .current_dir(self.bundle())
            .env_remove("TTRPC_ADDRESS")
            .stdin(Stdio::piped())
            .stdout(stdout)
            .spawn()
            .unwrap();
        let bytes = params.write_to_bytes().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        child.wait_with_output().unwrap()
    }

    pub fn create_request(&self) -> api::CreateTaskRequest {
        let options = Options {
            binary_name: self.runtime().to_str().unwrap().to_owned(),
            root: self.dir.path().join("root").to_str().unwrap().to_owned(),
            ..Options::default()
        };
        api::CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle().to_str().unwrap().to_owned(),
            stdout: format!("file://{}", self.output().display()),
            options: MessageField::some(Any {
                type_url: "containerd.runc.v1.Options".to_owned(),
                value: options.write_to_bytes().unwrap(),
                ..Any::default()
            }),
            ..api::CreateTaskRequest::default()
        }
    }
}

/// A connection as containerd makes one.
pub async fn client(socket: &Path) -> TaskClient {
    let address = format!("unix://{}", socket.display());
    TaskClient::new(Client::connect(&address).await.unwrap())
}

/// A call's context with a bound.
pub fn patience() -> Context {
    ttrpc::context::with_duration(PATIENCE)
}

/// Waits until `condition` holds.
pub async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    wait_for_or_say(what, || condition().then_some(()).ok_or("")).await;
}

/// Waits until `condition` holds; tells its last word when it never does.
pub async fn wait_for_or_say<E: std::fmt::Debug>(
    what: &str,
    condition: impl Fn() -> Result<(), E>,
) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(word) = condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what} did not come: {word:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The status code of a refusal.
pub fn code<T: std::fmt::Debug>(result: ttrpc::Result<T>) -> ttrpc::Code {
    match result {
        Err(ttrpc::Error::RpcStatus(status)) => status.code(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}
