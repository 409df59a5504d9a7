//! The command line containerd uses: Go's `flag` syntax, then one action.
//!
//! ```text
//!  containerd-shim-davit-v1 -namespace NS -address SOCK -publish-binary BIN -id ID [-debug] start
//!  containerd-shim-davit-v1 -namespace NS -address SOCK -publish-binary BIN -id ID -bundle DIR [-debug] delete
//!  containerd-shim-davit-v1 -info | -v
//!
//!  containerd-shim-davit-v1 -namespace NS -address SOCK -cgroup DIR zygote      (davit's executor asks for this,
//!  containerd-shim-davit-v1 -layers DIR check-ids                               and for this)
//! ```
//!
//! Absent on purpose: a full option parser. The grammar is fixed by containerd, and clap would cost more
//! memory than the rest of the program.

use std::path::PathBuf;

/// What one invocation is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Bring up (or find) the daemon for a container and print its address.
    Start,
    /// Clean up after a daemon that is gone and print how the task ended.
    Delete,
    /// Be the daemon. Only `start` asks for this.
    Daemon,
    /// Be the process that daemons are forked from.
    Zygote,
    /// Try whether user namespaces can be had for root file systems of layers.
    CheckIds,
    /// Print what runtime this is.
    Info,
    /// Print the version.
    Version,
}

/// One parsed command line. Absent strings are empty, as in Go's shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) action: Action,
    pub(crate) namespace: String,
    pub(crate) id: String,
    /// containerd's gRPC socket; part of the name of ours.
    pub(crate) address: String,
    /// The shim's own socket (daemon only).
    pub(crate) socket: PathBuf,
    /// The container's bundle; the working directory when absent.
    pub(crate) bundle: Option<PathBuf>,
    /// Directory of the cgroup to live in (zygote only).
    pub(crate) cgroup: PathBuf,
    /// Directory below which the snapshotter has its layers (check-ids only).
    pub(crate) layers: PathBuf,
    pub(crate) debug: bool,
}

/// Why a command line was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgsError {
    #[error("unknown flag -{0}")]
    UnknownFlag(String),
    #[error("flag -{0} needs a value")]
    NoValue(String),
    #[error("flag -{flag} has value `{value}`, which is no boolean")]
    NotBoolean { flag: String, value: String },
    #[error("action `{0}` is not known; expected start or delete")]
    UnknownAction(String),
    #[error("no action given; expected start or delete")]
    NoAction,
    #[error("flag -{flag} is required for {action:?}")]
    Missing { flag: &'static str, action: Action },
    #[error("flag -{flag} has value `{value}`: {problem}")]
    BadName {
        flag: &'static str,
        value: String,
        problem: &'static str,
    },
}

/// Longest namespace or container id, bytes; containerd's own identifiers end at 76.
const NAME_BYTES_MAX: usize = 256;

impl Args {
    /// Parses everything after the program's name.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, ArgsError> {
        let mut args = Self {
            action: Action::Start,
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            socket: PathBuf::new(),
            bundle: None,
            cgroup: PathBuf::new(),
            layers: PathBuf::new(),
            debug: false,
        };
        let mut instead = None;
        let mut words = words.into_iter();
        let mut action = None;
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                action = Some(word);
                break;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            if flag.is_empty() {
                action = words.next();
                break;
            }
            let (name, given) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            match name {
                "debug" => args.debug = boolean(name, given)?,
                "info" if boolean(name, given.clone())? => instead = Some(Action::Info),
                "v" | "version" if boolean(name, given.clone())? => instead = Some(Action::Version),
                "info" | "v" | "version" => {}
                _ => {
                    let value = given
                        .or_else(|| words.next())
                        .ok_or_else(|| ArgsError::NoValue(name.to_owned()))?;
                    args.set(name, value)?;
                }
            }
        }
        args.action = match (instead, action.as_deref()) {
            (Some(instead), _) => instead,
            (None, Some("start")) => Action::Start,
            (None, Some("delete")) => Action::Delete,
            (None, Some("daemon")) => Action::Daemon,
            (None, Some("zygote")) => Action::Zygote,
            (None, Some("check-ids")) => Action::CheckIds,
            (None, Some(other)) => return Err(ArgsError::UnknownAction(other.to_owned())),
            (None, None) => return Err(ArgsError::NoAction),
        };
        args.checked()
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), ArgsError> {
        match name {
            "namespace" => self.namespace = value,
            "id" => self.id = value,
            "address" => self.address = value,
            "socket" => self.socket = value.into(),
            "cgroup" => self.cgroup = value.into(),
            "layers" => self.layers = value.into(),
            "bundle" => self.bundle = Some(value.into()).filter(|path: &PathBuf| path != ""),
            // Given by containerd for an older way to publish events; accepted and not needed.
            "publish-binary" => {}
            _ => return Err(ArgsError::UnknownFlag(name.to_owned())),
        }
        Ok(())
    }

    /// The command line of the daemon of container `id`, as a zygote makes one.
    ///
    /// # Errors
    /// When the id cannot be one.
    pub(crate) fn for_daemon(&self, id: String, socket: PathBuf) -> Result<Self, ArgsError> {
        Self {
            action: Action::Daemon,
            id,
            socket,
            ..self.clone()
        }
        .checked()
    }

    fn checked(self) -> Result<Self, ArgsError> {
        match self.action {
            Action::Info | Action::Version => {}
            Action::CheckIds if self.layers.is_absolute() => {}
            Action::CheckIds => {
                let action = self.action;
                return Err(ArgsError::Missing {
                    flag: "layers",
                    action,
                });
            }
            // Nobody's shim yet: ids come with its requests.
            Action::Zygote => self.check_name("namespace", &self.namespace)?,
            Action::Start | Action::Delete | Action::Daemon => {
                self.check_name("namespace", &self.namespace)?;
                self.check_name("id", &self.id)?;
            }
        }
        Ok(self)
    }

    fn check_name(&self, flag: &'static str, value: &str) -> Result<(), ArgsError> {
        let action = self.action;
        let problem = if value.is_empty() {
            return Err(ArgsError::Missing { flag, action });
        } else if value.len() > NAME_BYTES_MAX {
            "longer than 256 bytes"
        } else if value.contains('/') || value == "." || value == ".." {
            "must be usable as a file name"
        } else {
            return Ok(());
        };
        Err(ArgsError::BadName {
            flag,
            value: value.to_owned(),
            problem,
        })
    }
}

fn boolean(flag: &str, given: Option<String>) -> Result<bool, ArgsError> {
    match given.as_deref() {
        None | Some("true" | "TRUE" | "True" | "t" | "T" | "1") => Ok(true),
        Some("false" | "FALSE" | "False" | "f" | "F" | "0") => Ok(false),
        Some(other) => Err(ArgsError::NotBoolean {
            flag: flag.to_owned(),
            value: other.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn start_as_containerd_calls_it() {
        let args = parse(
            "-namespace default -address /run/containerd/containerd.sock \
             -publish-binary /usr/bin/containerd -id web -debug start",
        )
        .unwrap();
        assert_eq!(args.action, Action::Start);
        assert_eq!(args.namespace, "default");
        assert_eq!(args.id, "web");
        assert_eq!(args.address, "/run/containerd/containerd.sock");
        assert!(args.debug);
        assert_eq!(args.bundle, None);
    }

    #[test]
    fn both_dashes_and_equals_signs_are_understood() {
        let args = parse("--namespace=ns --id=a=b -bundle=/b -debug=false delete").unwrap();
        assert_eq!(args.action, Action::Delete);
        assert_eq!(args.id, "a=b");
        assert_eq!(args.bundle, Some("/b".into()));
        assert!(!args.debug);
    }

    #[test]
    fn a_zygote_has_no_id_and_its_daemons_have() {
        let zygote =
            parse("-namespace n -address /a -cgroup /sys/fs/cgroup/d/shims zygote").unwrap();
        assert_eq!(zygote.cgroup, PathBuf::from("/sys/fs/cgroup/d/shims"));
        let daemon = zygote.for_daemon("web".into(), "/s/web".into()).unwrap();
        assert_eq!((daemon.action, daemon.id.as_str()), (Action::Daemon, "web"));
        assert_eq!(daemon.namespace, "n");
        assert!(zygote.for_daemon("../x".into(), "/s/x".into()).is_err());
    }

    #[test]
    fn ids_are_checked_for_layers_that_are_named() {
        let args = parse("-layers /snapshots check-ids").unwrap();
        assert_eq!(args.action, Action::CheckIds);
        assert_eq!(args.layers, PathBuf::from("/snapshots"));
        for wrong in ["check-ids", "-layers snapshots check-ids"] {
            let error = parse(wrong).unwrap_err();
            assert!(matches!(error, ArgsError::Missing { flag: "layers", .. }));
        }
    }

    #[test]
    fn questions_need_no_names() {
        assert_eq!(parse("-info").unwrap().action, Action::Info);
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("-version").unwrap().action, Action::Version);
    }

    #[test]
    fn each_mistake_is_named() {
        for (line, error) in [
            ("-id a -namespace n", ArgsError::NoAction),
            (
                "-id a -namespace n stop",
                ArgsError::UnknownAction("stop".into()),
            ),
            ("-what 1 start", ArgsError::UnknownFlag("what".into())),
            ("-id", ArgsError::NoValue("id".into())),
            (
                "-namespace n start",
                ArgsError::Missing {
                    flag: "id",
                    action: Action::Start,
                },
            ),
            (
                "-id a zygote",
                ArgsError::Missing {
                    flag: "namespace",
                    action: Action::Zygote,
                },
            ),
            (
                "-namespace n -id ../x start",
                ArgsError::BadName {
                    flag: "id",
                    value: "../x".into(),
                    problem: "must be usable as a file name",
                },
            ),
            (
                "-debug=maybe -info",
                ArgsError::NotBoolean {
                    flag: "debug".into(),
                    value: "maybe".into(),
                },
            ),
        ] {
            assert_eq!(parse(line), Err(error), "{line}");
        }
    }
}
