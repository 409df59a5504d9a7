//! What `start` is told on stdin and how it answers on stdout, for every containerd from 1.7 on.
//!
//! ```text
//!  containerd      stdin                      stdout                          task API
//!  1.7 … 2.2       Any(options) or nothing    unix:///…  (plain text)         v2
//!  ≥ 2.3           BootstrapParams            BootstrapResult (protobuf)      v3
//! ```
//!
//! Nothing on the command line or in the environment tells 1.7 (which refuses an answer of version 3)
//! from 2.0–2.2 (which take plain text and JSON alike), so everything before BootstrapParams gets the
//! answer all of them understand; that is why there is no JSON answer here. Both task API versions are
//! served on the one socket in any case.
//!
//! Invariant: an `Any` is never mistaken for BootstrapParams, though the two parse as each other by
//! accident: the params must name the very id of the command line.

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{self, Message};
use containerd_shim_protos::shim::oci::Options;

/// Bytes of stdin looked at; options and extensions are far smaller.
pub(crate) const INPUT_BYTES_MAX: u64 = 4 << 20;

/// Type of the options containerd's clients send for OCI runtimes.
const RUNC_OPTIONS_TYPE: &str = "containerd.runc.v1.Options";

/// Which answer the caller understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `unix:///…`, meaning ttrpc and task API v2.
    Plain,
    /// Protobuf BootstrapResult.
    Protobuf,
}

/// What stdin said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    pub(crate) dialect: Dialect,
    /// Directory for the shim's socket, if containerd named one.
    pub(crate) socket_dir: Option<String>,
    /// Runtime options, if any were given and are runc's.
    pub(crate) options: Options,
}

impl Input {
    /// Understands what containerd wrote for container `id`. Unreadable input counts as none, as it
    /// does in containerd's own shim: options come again with Create.
    pub(crate) fn parse(bytes: &[u8], id: &str) -> Self {
        if let Ok(params) = BootstrapParams::parse_from_bytes(bytes)
            && params.instance_id == id
        {
            return Self {
                dialect: Dialect::Protobuf,
                socket_dir: params.socket_dir.clone().filter(|dir| !dir.is_empty()),
                options: params
                    .extensions
                    .iter()
                    .find_map(|extension| runc_options(&extension.value))
                    .unwrap_or_default(),
            };
        }
        Self {
            dialect: Dialect::Plain,
            socket_dir: None,
            options: Any::parse_from_bytes(bytes)
                .ok()
                .and_then(|any| runc_options(&any))
                .unwrap_or_default(),
        }
    }
}

/// Decodes runc's options; `None` for any other type or broken content.
pub(crate) fn runc_options(any: &Any) -> Option<Options> {
    let name = any.type_url.rsplit('/').next()?;
    if name != RUNC_OPTIONS_TYPE {
        return None;
    }
    Options::parse_from_bytes(&any.value).ok()
}

/// The bytes to print for a daemon listening at `socket` (a path).
pub(crate) fn answer(dialect: Dialect, socket: &str) -> Result<Vec<u8>, protobuf::Error> {
    let address = format!("unix://{socket}");
    match dialect {
        Dialect::Plain => Ok(address.into_bytes()),
        Dialect::Protobuf => BootstrapResult {
            version: containerd_shim_protos::TASK_API_VERSION,
            address,
            protocol: "ttrpc".to_owned(),
            ..BootstrapResult::default()
        }
        .write_to_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::bootstrap_api::Extension;
    use proptest::prelude::*;

    fn options_any() -> Any {
        Any {
            type_url: RUNC_OPTIONS_TYPE.to_owned(),
            value: Options {
                binary_name: "crun".to_owned(),
                shim_cgroup: "/shims".to_owned(),
                ..Options::default()
            }
            .write_to_bytes()
            .unwrap(),
            ..Any::default()
        }
    }

    #[test]
    fn nothing_on_stdin_is_an_old_containerd_without_options() {
        let input = Input::parse(b"", "a");
        assert_eq!(input.dialect, Dialect::Plain);
        assert_eq!(input.options, Options::default());
    }

    #[test]
    fn options_come_as_any_or_as_an_extension() {
        let any = options_any();
        let old = Input::parse(&any.write_to_bytes().unwrap(), "a");
        assert_eq!(old.dialect, Dialect::Plain);
        assert_eq!(old.options.shim_cgroup, "/shims");

        let params = BootstrapParams {
            instance_id: "a".to_owned(),
            namespace: "default".to_owned(),
            socket_dir: Some("/run/s".to_owned()),
            extensions: vec![Extension {
                value: Some(any).into(),
                ..Extension::default()
            }],
            ..BootstrapParams::default()
        };
        let new = Input::parse(&params.write_to_bytes().unwrap(), "a");
        assert_eq!(new.dialect, Dialect::Protobuf);
        assert_eq!(new.socket_dir.as_deref(), Some("/run/s"));
        assert_eq!(new.options.binary_name, "crun");
    }

    #[test]
    fn params_for_somebody_else_are_not_params() {
        let params = BootstrapParams {
            instance_id: "b".to_owned(),
            ..BootstrapParams::default()
        };
        let input = Input::parse(&params.write_to_bytes().unwrap(), "a");
        assert_eq!(input.dialect, Dialect::Plain);
    }

    #[test]
    fn answers_are_what_each_version_reads() {
        let socket = "/run/containerd/s/0f";
        assert_eq!(
            answer(Dialect::Plain, socket).unwrap(),
            b"unix:///run/containerd/s/0f"
        );
        let result =
            BootstrapResult::parse_from_bytes(&answer(Dialect::Protobuf, socket).unwrap()).unwrap();
        assert_eq!(result.version, 3);
        assert_eq!(result.address, "unix:///run/containerd/s/0f");
        assert_eq!(result.protocol, "ttrpc");
    }

    #[test]
    fn the_plain_answer_is_no_protobuf_by_accident() {
        // containerd ≥ 2.3 tries protobuf first and must fall through.
        let bytes = answer(Dialect::Plain, "/run/containerd/s/0f").unwrap();
        assert!(BootstrapResult::parse_from_bytes(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _input = Input::parse(&bytes, "a");
        }
    }
}
