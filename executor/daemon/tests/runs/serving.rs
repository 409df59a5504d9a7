//! The executor process that the tests start: this very binary, told by files in its directory how to serve.

use std::path::Path;
use std::process::Command;

use davit_executor::settings::{
    DiskQuotaMode, DiskQuotaSettings, ImageSignatureSettings, Settings, UserNamespaceMode,
};
use davit_types::Bytes;

/// Tells the test binary to be an executor, and where its files are.
const SERVE_IN: &str = "DAVIT_TEST_SERVE_IN";
/// A file in the executor's directory that has containerd execute the shims.
pub const PLAIN_SHIMS: &str = "plain-shims";
/// A file beside the executor's: its runs may have the host's network.
/// The capabilities that its runs may be given, by name.
pub const CAPABILITIES: &str = "capabilities";
pub const HOST_NETWORK: &str = "host-network";
/// A file beside the executor's: it makes no slots.
pub const NO_SLOTS: &str = "no-slots";
/// A file beside the executor's: what is not the default of `user_namespaces`, `mode` and `ranges`.
pub const USER_NAMESPACES: &str = "user-namespaces";
/// A file beside the executor's: what is set of its network, JSON.
pub const NETWORK: &str = "network.json";
/// A file beside the executor's: what may run (`images.allow`), a line each.
pub const IMAGES_ALLOWED: &str = "images-allowed";
/// A file beside the executor's: a public key, and after a space the repository whose images it must have signed.
pub const IMAGES_SIGNED: &str = "images-signed";
/// A file beside the executor's: the three bounds of `files`, in the order of the reference.
pub const FILE_BOUNDS: &str = "file-bounds";
/// A file beside the executor's: the mode of `disk_quota`, and after a space its `bytes_max`.
pub const DISK_QUOTA: &str = "disk-quota";
/// A file beside the executor's that names the scheduler it is linked to.
pub const SCHEDULER: &str = "scheduler";

/// This very binary, as an executor.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("serving::not_a_test_but_the_executor")
        .env(SERVE_IN, dir);
    command
}

/// The executor process that the tests start.
#[test]
#[ignore = "no test"]
fn not_a_test_but_the_executor() {
    let dir = std::env::var_os(SERVE_IN).expect("a directory to serve in");
    tracing_subscriber::fmt()
        .with_env_filter("davit_executor=debug,info")
        .with_writer(std::io::stderr)
        .init();
    if let Err(error) = davit_executor::serve(&settings(Path::new(&dir))) {
        eprintln!("{error}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

pub fn settings(dir: &Path) -> Settings {
    let name = dir.file_name().unwrap().to_string_lossy();
    let mut settings = Settings {
        state_dir: dir.join("state"),
        socket: dir.join("run/executor.sock"),
        cgroup_parent: format!("/{name}"),
        allow_missing_controllers: true,
        ..Settings::default()
    };
    settings.containerd.namespace = name.into_owned();
    settings.containerd.prestarted_shims = !dir.join(PLAIN_SHIMS).exists();
    if dir.join(NO_SLOTS).exists() {
        settings.warm.slots_max = 0;
    }
    if let Ok(told) = std::fs::read_to_string(dir.join(USER_NAMESPACES)) {
        let (mode, ranges) = told.split_once(' ').expect("mode and ranges");
        settings.user_namespaces.mode = match mode {
            "required" => UserNamespaceMode::Required,
            "off" => UserNamespaceMode::Off,
            other => panic!("{other}"),
        };
        settings.user_namespaces.ranges = ranges.parse().unwrap();
    }
    if let Ok(bounds) = std::fs::read_to_string(dir.join(FILE_BOUNDS)) {
        let bounds: Vec<u64> = bounds.split(' ').map(|n| n.parse().unwrap()).collect();
        settings.files.upload_bytes_max = Bytes(bounds[0]);
        settings.files.upload_files_max = bounds[1];
        settings.files.extract_bytes_max = Bytes(bounds[2]);
    }
    if let Ok(told) = std::fs::read_to_string(dir.join(DISK_QUOTA)) {
        settings.disk_quota = disk_quota(&told);
    }
    settings.link.server = std::fs::read_to_string(dir.join(SCHEDULER)).ok();
    settings.link.credentials_file = dir.join("host.json");
    settings.link.labels = vec!["rack=7".into()];
    if let Ok(names) = std::fs::read_to_string(dir.join(CAPABILITIES)) {
        let names = names.split_whitespace();
        settings.capabilities_allowed = names.map(|name| name.parse().unwrap()).collect();
    }
    if let Ok(text) = std::fs::read(dir.join(NETWORK)) {
        settings.network = serde_json::from_slice(&text).unwrap();
    }
    if let Ok(allowed) = std::fs::read_to_string(dir.join(IMAGES_ALLOWED)) {
        settings.images.allow = allowed.lines().map(str::to_owned).collect();
    }
    if let Ok(told) = std::fs::read_to_string(dir.join(IMAGES_SIGNED)) {
        let (key, repository) = told.split_once(' ').expect("a key and a repository");
        settings.image_signatures.push(ImageSignatureSettings {
            repositories: vec![repository.to_owned()],
            public_key_files: vec![key.into()],
        });
    }
    // Each is another executor of the same host: what the last one's slots have is theirs.
    let digits = &dir.to_string_lossy()[dir.to_string_lossy().len() - 4..];
    let number = u16::from_str_radix(digits, 16).unwrap() & 0x1fff;
    settings.network.ipv4_subnet = format!("100.{}.{}.0/24", 64 + (number >> 8), number & 0xff);
    settings.network.ipv6_subnet = format!("fd64:6176:{number:x}::/64");
    settings.network.allow_host = dir.join(HOST_NETWORK).exists();
    // What else the machine has in hand, a build say, is no part of a test.
    settings.warm.memory_stall_ms = 0;
    settings
}

fn disk_quota(told: &str) -> DiskQuotaSettings {
    let (mode, bytes_max) = told.split_once(' ').expect("mode and bytes");
    DiskQuotaSettings {
        mode: match mode {
            "auto" => DiskQuotaMode::Auto,
            "required" => DiskQuotaMode::Required,
            "off" => DiskQuotaMode::Off,
            other => panic!("{other}"),
        },
        bytes_max: Some(bytes_max.parse().unwrap()),
    }
}
