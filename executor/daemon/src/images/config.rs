//! The image config: the few fields davit honours, each bounded. It is hostile input (invariant 8):
//! labels, volumes, health checks, exposed ports and everything unknown are not even read.

use davit_types::StopSignal;
use serde::Deserialize;

/// Most variables an image may set.
const ENV_VARIABLES_MAX: usize = 1_000;
/// Bytes of all the image's variables together.
const ENV_BYTES_MAX: usize = 256 * 1024;
/// Most words of ENTRYPOINT, and of CMD.
const ARGV_ELEMENTS_MAX: usize = 1_000;
/// Bytes of ENTRYPOINT, and of CMD, in total.
const ARGV_BYTES_MAX: usize = 128 * 1024;
/// Bytes of USER.
const USER_BYTES_MAX: usize = 256;
/// Bytes of WORKDIR.
const WORKDIR_BYTES_MAX: usize = 4_095;

/// What an image says about how to run it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `user[:group]`; empty means root.
    pub user: String,
    /// Variables in order, as key and value; keys are not empty and hold no `=`.
    pub env: Vec<(String, String)>,
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// WORKDIR; absolute.
    pub workdir: Option<String>,
    /// STOPSIGNAL, if it is one davit knows.
    pub stop_signal: Option<StopSignal>,
}

/// What was read beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ParsedConfig {
    pub(super) config: ImageConfig,
    /// Digests of the unpacked layers, lowest first.
    pub(super) diff_ids: Vec<String>,
    pub(super) os: String,
    pub(super) architecture: String,
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    config: Option<Runtime>,
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Runtime {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Parses the JSON of a config; the error is a sentence.
pub(super) fn parse(bytes: &[u8]) -> Result<ParsedConfig, String> {
    let file: ConfigFile =
        serde_json::from_slice(bytes).map_err(|error| format!("no valid JSON config: {error}"))?;
    let runtime = file.config.unwrap_or_default();
    let user = runtime.user.unwrap_or_default();
    bounded("User", &user, USER_BYTES_MAX)?;
    let workdir = runtime.working_dir.filter(|dir| !dir.is_empty());
    if let Some(dir) = &workdir {
        bounded("WorkingDir", dir, WORKDIR_BYTES_MAX)?;
    }
    let stop_signal = runtime.stop_signal.and_then(|name| name.parse().ok());
    let config = ImageConfig {
        user,
        env: parse_env(runtime.env.unwrap_or_default())?,
        entrypoint: words("Entrypoint", runtime.entrypoint)?,
        cmd: words("Cmd", runtime.cmd)?,
        workdir: workdir.map(absolute),
        stop_signal,
    };
    for diff_id in &file.rootfs.diff_ids {
        if !super::reference::is_sha256(diff_id) {
            return Err("a diff id is no sha256 digest".to_owned());
        }
    }
    Ok(ParsedConfig {
        config,
        diff_ids: file.rootfs.diff_ids,
        os: file.os,
        architecture: file.architecture,
    })
}

/// A relative WORKDIR is relative to the root, as Docker reads it.
fn absolute(dir: String) -> String {
    if dir.starts_with('/') {
        dir
    } else {
        format!("/{dir}")
    }
}

fn bounded(field: &str, value: &str, bytes_max: usize) -> Result<(), String> {
    if value.len() > bytes_max {
        return Err(format!(
            "{field} has {} bytes, at most {bytes_max} allowed",
            value.len()
        ));
    }
    if value.contains('\0') {
        return Err(format!("{field} contains a NUL byte"));
    }
    Ok(())
}

fn words(field: &str, words: Option<Vec<String>>) -> Result<Vec<String>, String> {
    let words = words.unwrap_or_default();
    if words.len() > ARGV_ELEMENTS_MAX {
        return Err(format!("{field} has more than {ARGV_ELEMENTS_MAX} words"));
    }
    let mut rest = ARGV_BYTES_MAX;
    for word in &words {
        bounded(field, word, rest)?;
        rest -= word.len();
    }
    Ok(words)
}

fn parse_env(variables: Vec<String>) -> Result<Vec<(String, String)>, String> {
    if variables.len() > ENV_VARIABLES_MAX {
        return Err(format!("Env has more than {ENV_VARIABLES_MAX} variables"));
    }
    let mut rest = ENV_BYTES_MAX;
    let mut parsed = Vec::with_capacity(variables.len());
    for variable in variables {
        bounded("Env", &variable, rest)?;
        rest -= variable.len();
        // Without `=`, or with an empty key, it cannot be a variable: Docker drops it as well.
        match variable.split_once('=') {
            Some((key, value)) if !key.is_empty() => parsed.push((key.into(), value.into())),
            _ => {}
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIFF: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn with_config(config: &str) -> Result<ParsedConfig, String> {
        parse(
            format!(
                r#"{{"os":"linux","architecture":"amd64","config":{config},
                    "rootfs":{{"type":"layers","diff_ids":["{DIFF}"]}}}}"#
            )
            .as_bytes(),
        )
    }

    #[test]
    fn a_docker_config_with_nulls_is_read() {
        let parsed = with_config(
            r#"{"Entrypoint":null,"Cmd":["sh"],"Env":["A=1","B=x=y","novalue","=z"],
                "WorkingDir":"work","StopSignal":"SIGINT","User":"1000:1000",
                "Labels":{"davit.run-id":"stolen"},"Volumes":{"/v":{}},"Healthcheck":{"Test":["x"]}}"#,
        )
        .unwrap();
        assert_eq!(
            parsed.config,
            ImageConfig {
                user: "1000:1000".into(),
                env: vec![("A".into(), "1".into()), ("B".into(), "x=y".into())],
                entrypoint: vec![],
                cmd: vec!["sh".into()],
                workdir: Some("/work".into()),
                stop_signal: Some("INT".parse().unwrap()),
            }
        );
        assert_eq!(parsed.diff_ids, [DIFF]);
        assert_eq!(with_config("null").unwrap().config, ImageConfig::default());
    }

    #[test]
    fn nul_bytes_and_overlong_values_are_refused() {
        for field in [
            r#"{"User":"a\u0000b"}"#,
            r#"{"Cmd":["a\u0000"]}"#,
            r#"{"Env":["A=\u0000"]}"#,
        ] {
            assert!(with_config(field).unwrap_err().contains("NUL"), "{field}");
        }
        let long = format!(r#"{{"WorkingDir":"/{}"}}"#, "x".repeat(5_000));
        assert!(with_config(&long).unwrap_err().contains("at most 4095"));
        let many = format!(r#"{{"Env":[{}"A=1"]}}"#, r#""A=1","#.repeat(1_000));
        assert!(with_config(&many).unwrap_err().contains("more than 1000"));
        let fat = format!(r#"{{"Cmd":["{0}","{0}"]}}"#, "x".repeat(70_000));
        assert!(with_config(&fat).is_err());
    }

    #[test]
    fn an_unknown_stop_signal_is_no_reason_to_refuse_an_image() {
        assert_eq!(
            with_config(r#"{"StopSignal":"SIGRTMIN+3"}"#)
                .unwrap()
                .config
                .stop_signal,
            None
        );
    }

    proptest! {
        #[test]
        fn parse_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            drop(parse(&bytes));
        }
    }
}
