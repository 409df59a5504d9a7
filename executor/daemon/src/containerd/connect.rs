//! Connecting: the socket, the version floor, the namespace and the snapshotter are checked once, so
//! that a wrong host is refused at start with a sentence and not at the first run with a code.

use std::io;
use std::path::Path;
use std::sync::Arc;

use containerd_client::services::v1::snapshots::StatSnapshotRequest;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::transport::{Channel, Endpoint};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::{Call, Containerd, ContainerdError, Inner};

/// Oldest containerd davit works with: 1.7, for task API v2 and the sandbox-aware shim manager.
const OLDEST: (u32, u32) = (1, 7);
const OLDEST_TEXT: &str = "1.7";
/// Longest namespace containerd accepts, characters.
const NAMESPACE_CHARS_MAX: usize = 76;

impl Containerd {
    /// Connects to the containerd at `socket`; all calls go to `namespace` and `snapshotter`.
    /// Later losses of the connection are repaired by the next call.
    ///
    /// # Errors
    /// Says whether the socket is absent, forbidden or silent, containerd too old (with the version
    /// found), or namespace or snapshotter not usable.
    pub async fn connect(
        socket: &Path,
        namespace: &str,
        snapshotter: &str,
    ) -> Result<Self, ContainerdError> {
        let namespace = parse_namespace(namespace)?;
        // The transport's own error says only "transport error": ask the kernel first.
        drop(
            UnixStream::connect(socket)
                .await
                .map_err(|error| socket_error(socket, error))?,
        );
        let channel = channel(socket);
        let version = Call::metadata("ask the version of", "containerd")
            .bound(VersionClient::new(channel.clone()).version(()))
            .await?
            .version;
        check_version(&version)?;
        let this = Self {
            inner: Arc::new(Inner {
                channel,
                socket: socket.to_owned(),
                namespace,
                snapshotter: snapshotter.to_owned(),
                version,
                preparing: Mutex::default(),
            }),
        };
        this.check_snapshotter().await?;
        Ok(this)
    }

    /// The first two numbers of containerd's version, if it has them.
    pub(crate) fn major_minor(&self) -> Option<(u32, u32)> {
        major_minor(self.version())
    }

    /// A handle on a containerd that does not answer, and of which nothing is known therefore: what
    /// is there can be looked after, nothing is begun.
    ///
    /// # Errors
    /// When the namespace cannot be one.
    pub fn away(
        socket: &Path,
        namespace: &str,
        snapshotter: &str,
    ) -> Result<Self, ContainerdError> {
        Ok(Self {
            inner: Arc::new(Inner {
                channel: channel(socket),
                socket: socket.to_owned(),
                namespace: parse_namespace(namespace)?,
                snapshotter: snapshotter.to_owned(),
                version: String::new(),
                preparing: Mutex::default(),
            }),
        })
    }

    /// Whether it answered, and was found fit, when this handle was made.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.inner.version.is_empty()
    }

    /// Refuses what should not be begun with a containerd of which nothing is known.
    ///
    /// # Errors
    /// [`ContainerdError::Away`].
    pub fn known(&self) -> Result<(), ContainerdError> {
        if self.is_known() {
            return Ok(());
        }
        Err(ContainerdError::Away {
            path: self.inner.socket.clone(),
        })
    }

    /// Goes on if containerd is known, else never: whoever waits here is taken over by the executor
    /// that begins when it answers.
    pub(crate) async fn when_known(&self) {
        if !self.is_known() {
            std::future::pending().await
        }
    }

    /// Asks whether containerd answers by now.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub(crate) async fn look_again(&self) -> Result<(), ContainerdError> {
        let Inner {
            socket,
            namespace,
            snapshotter,
            ..
        } = &*self.inner;
        // It was text once.
        let namespace = namespace.to_str().unwrap_or_default();
        Self::connect(socket, namespace, snapshotter)
            .await
            .map(drop)
    }

    /// A snapshotter that is not loaded answers "invalid argument", a loaded one "not found".
    async fn check_snapshotter(&self) -> Result<(), ContainerdError> {
        let snapshotter = &self.inner.snapshotter;
        let probe = self.request(StatSnapshotRequest {
            snapshotter: snapshotter.clone(),
            key: "davit-probe".to_owned(),
        });
        let answer = Call::metadata("ask the snapshotter", snapshotter)
            .bound(self.snapshots().stat(probe))
            .await;
        match answer {
            Err(ContainerdError::Refused { status, .. }) => Err(ContainerdError::Setting {
                setting: "snapshotter",
                value: snapshotter.clone(),
                problem: status.message().to_owned(),
            }),
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

fn channel(socket: &Path) -> Channel {
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    // The address is a formality: the connector ignores it.
    Endpoint::from_static("http://containerd").connect_with_connector_lazy(connector)
}

fn parse_namespace(namespace: &str) -> Result<MetadataValue<Ascii>, ContainerdError> {
    let fits = !namespace.is_empty()
        && namespace.len() <= NAMESPACE_CHARS_MAX
        && namespace
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let wrong = || ContainerdError::Setting {
        setting: "namespace",
        value: namespace.to_owned(),
        problem: format!("it must be 1 to {NAMESPACE_CHARS_MAX} letters, digits, - _ ."),
    };
    if !fits {
        return Err(wrong());
    }
    namespace.parse().map_err(|_| wrong())
}

fn socket_error(socket: &Path, error: io::Error) -> ContainerdError {
    let path = socket.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => ContainerdError::NoSocket { path },
        io::ErrorKind::PermissionDenied => ContainerdError::Permission { path },
        _ => ContainerdError::Unreachable {
            path,
            source: error,
        },
    }
}

/// The first two numbers of a version such as `v2.1.9` or `1.7.24~ds1`.
fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v').unwrap_or(version).split('.');
    let major = parts.next()?.parse().ok()?;
    let digits: String = parts
        .next()?
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    Some((major, digits.parse().ok()?))
}

fn check_version(version: &str) -> Result<(), ContainerdError> {
    match major_minor(version) {
        Some(found) if found < OLDEST => Err(ContainerdError::TooOld {
            found: version.to_owned(),
            oldest: OLDEST_TEXT,
        }),
        Some(_) => Ok(()),
        None => {
            tracing::warn!(
                version,
                "containerd's version is not a number; assuming it is new"
            );
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_below_the_floor_are_refused_by_name() {
        for fine in ["1.7.24~ds1", "v2.1.9", "2.3.0-rc.1", "2.0", "unknown"] {
            assert!(check_version(fine).is_ok(), "{fine}");
        }
        for old in ["1.6.20~ds1-1+b1", "v1.5.9", "0.2.0"] {
            let error = check_version(old).unwrap_err().to_string();
            assert!(error.contains(old) && error.contains("1.7"), "{error}");
        }
    }

    #[test]
    fn a_namespace_that_is_no_header_is_an_error_not_a_panic() {
        assert!(parse_namespace("davit").is_ok());
        for wrong in ["", "a b", "ä", "a\nb", &"x".repeat(77)] {
            assert!(parse_namespace(wrong).is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn an_absent_and_a_silent_socket_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let absent = Containerd::connect(&dir.path().join("no.sock"), "davit", "overlayfs").await;
        assert!(matches!(absent, Err(ContainerdError::NoSocket { .. })));
        let path = dir.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let dead = Containerd::connect(&path, "davit", "overlayfs").await;
        assert!(matches!(dead, Err(ContainerdError::Unreachable { .. })));
        for error in [absent.unwrap_err(), dead.unwrap_err()] {
            assert!(error.is_absence(), "{error}");
        }
    }

    #[tokio::test]
    async fn nothing_is_begun_with_a_containerd_that_is_away() {
        let away = Containerd::away(Path::new("/no/such.sock"), "davit", "overlayfs").unwrap();
        assert!(!away.is_known());
        let refusal = away.known().unwrap_err().to_string();
        assert!(refusal.contains("/no/such.sock"), "{refusal}");
        let waited = tokio::time::timeout(std::time::Duration::ZERO, away.when_known()).await;
        assert!(waited.is_err());
        assert!(away.look_again().await.unwrap_err().is_absence());
    }
}
