//! The runtime's `config.json` with what containerd was not told: variables, and where the files are. Pure.

use std::path::Path;

use davit_rundir::Secrets;
use serde_json::{Value, json};

/// Where a job finds its secret files.
const MOUNTED_ON: &str = "/run/secrets";

/// A `config.json` that is not as the executor writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config.json has no {0}, and the run has secrets")]
pub(crate) struct NoPlace(&'static str);

/// Puts the variables of `secrets` into `config`, and its files, which are in `files`, in the place of the empty tmpfs
/// that stands for them.
pub(super) fn complete(config: &mut Value, secrets: &Secrets, files: &Path) -> Result<(), NoPlace> {
    if !secrets.env.is_empty() {
        let env = config
            .pointer_mut("/process/env")
            .and_then(Value::as_array_mut);
        let env = env.ok_or(NoPlace("process.env"))?;
        let is_secret = |entry: &Value| {
            let key = entry.as_str().and_then(|entry| entry.split('=').next());
            secrets.env.iter().any(|var| Some(&*var.key) == key)
        };
        env.retain(|entry| !is_secret(entry));
        for var in &secrets.env {
            env.push(Value::String(format!("{}={}", var.key, *var.value)));
        }
    }
    if !secrets.files.is_empty() {
        let mounts = config.pointer_mut("/mounts").and_then(Value::as_array_mut);
        let mount = mounts
            .and_then(|mounts| mounts.iter_mut().find(|m| m["destination"] == MOUNTED_ON))
            .ok_or(NoPlace("mount on /run/secrets"))?;
        *mount = json!({
            "destination": MOUNTED_ON,
            "type": "bind",
            "source": files,
            "options": ["bind", "ro", "nosuid", "noexec", "nodev"],
        });
    }
    Ok(())
}

/// User and group of the job, as the container sees them.
pub(super) fn job_user(config: &Value) -> Result<(u32, u32), NoPlace> {
    let id = |name| {
        let id = config.pointer("/process/user")?.get(name)?.as_u64()?;
        u32::try_from(id).ok()
    };
    id("uid").zip(id("gid")).ok_or(NoPlace("process.user"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_rundir::{SecretEnv, SecretFile};

    fn secrets() -> Secrets {
        Secrets {
            env: vec![SecretEnv {
                key: "TOKEN".to_owned(),
                value: "a=b".to_owned().into(),
                redact: true,
            }],
            files: vec![SecretFile {
                name: "key".to_owned(),
                value: Vec::new().into(),
            }],
        }
    }

    #[test]
    fn a_secret_takes_the_place_of_an_images_variable_and_files_that_of_the_empty_mount() {
        let mut config = json!({
            "process": {"env": ["PATH=/bin", "TOKEN=x", "TOKENS=y"], "user": {"uid": 7, "gid": 8}},
            "mounts": [{"destination": "/proc"}, {"destination": "/run/secrets", "type": "tmpfs"}],
        });
        complete(&mut config, &secrets(), Path::new("/b/secrets/files")).unwrap();
        assert_eq!(
            config["process"]["env"],
            json!(["PATH=/bin", "TOKENS=y", "TOKEN=a=b"])
        );
        assert_eq!(config["mounts"][0], json!({"destination": "/proc"}));
        assert_eq!(config["mounts"][1]["source"], "/b/secrets/files");
        assert_eq!(config["mounts"][1]["type"], "bind");
        assert_eq!(job_user(&config), Ok((7, 8)));
    }

    #[test]
    fn without_a_place_nothing_is_made() {
        let files = Path::new("/f");
        for config in [json!({}), json!({"process": {"env": []}, "mounts": []})] {
            assert!(complete(&mut config.clone(), &secrets(), files).is_err());
        }
        assert!(job_user(&json!({"process": {"user": {"uid": 0}}})).is_err());
    }
}
