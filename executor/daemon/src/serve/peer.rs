//! Who asks over the local socket: told by the kernel (SO_PEERCRED, unix(7)), not by the caller.
//!
//! ```text
//!  connection ─► its process's ids, as they were when it connected ─► root, or in `socket_group`? ─no─► PERMISSION_DENIED
//!                                                                        │ yes
//!                                              a call that changes something ─► a line in the log ─► the service
//! ```
//!
//! The socket's mode keeps others from connecting at all. That they are refused here too holds where somebody has widened it, or
//! has handed on a connection.
//!
//! Invariants:
//! - a connection whose process is not known is refused;
//! - a call is logged unless it is known to change nothing: a new one is logged until somebody says otherwise.
//!
//! Absent on purpose: rights of single users. Who may ask, may ask anything about any run of this host.

use std::fs;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures::future::Either;
use tokio::net::unix::UCred;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::server::UdsConnectInfo;

use super::ServeError;

/// Bytes of /etc/group looked at.
const GROUPS_BYTES_MAX: usize = 1 << 20;
/// Calls that change nothing, and so are not logged.
const READING: &[&str] = &[
    "/davit.local.v1.Files/Download",
    "/davit.local.v1.Host/Info",
    "/davit.local.v1.Host/Metrics",
    "/davit.local.v1.Images/List",
    "/davit.local.v1.Runs/Follow",
    "/davit.local.v1.Runs/Get",
    "/davit.local.v1.Runs/List",
    "/davit.local.v1.Runs/Wait",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// Lets root's calls through, and those of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peers {
    pub(super) group: Option<u32>,
}

/// A service behind [`Peers`].
#[derive(Clone, Debug)]
pub(super) struct Behind<S> {
    peers: Peers,
    service: S,
}

impl<S> tower::Layer<S> for Peers {
    type Service = Behind<S>;

    fn layer(&self, service: S) -> Self::Service {
        Behind {
            peers: *self,
            service,
        }
    }
}

impl<S> Service<http::Request<Body>> for Behind<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<UdsConnectInfo>();
        let peer = peer.and_then(|connection| connection.peer_cred);
        match self.peers.admit(peer, request.uri().path()) {
            Ok(()) => Either::Left(self.service.call(request)),
            Err(refusal) => Either::Right(ready(Ok(refusal.into_http()))),
        }
    }
}

impl Peers {
    fn admit(self, peer: Option<UCred>, call: &str) -> Result<(), Status> {
        let Some(peer) = peer else {
            return Err(Status::permission_denied(
                "the kernel does not say who asks: connect to the socket itself",
            ));
        };
        let (uid, pid) = (peer.uid(), peer.pid());
        if uid != 0 && !self.group.is_some_and(|group| is_in(peer, group)) {
            tracing::warn!(uid, pid, call, "refused a call of somebody who may not ask");
            let whom = match self.group {
                None => "only root may ask this executor".to_owned(),
                Some(group) => format!(
                    "only root and group {group} (setting socket_group) may ask this executor"
                ),
            };
            let refusal = format!("{whom}, and this is user {uid}: run the command as root");
            return Err(Status::permission_denied(refusal));
        }
        if !READING.contains(&call) {
            tracing::info!(uid, pid, call, "asked");
        }
        Ok(())
    }
}

/// Whether the process at the other end is in `group`. Its other groups are those of the process that has its number now:
/// another one, if it has ended since, but then one that the socket's mode has let in, or root has handed the socket to.
fn is_in(peer: UCred, group: u32) -> bool {
    if peer.gid() == group {
        return true;
    }
    let status = peer
        .pid()
        .map(|pid| fs::read_to_string(format!("/proc/{pid}/status")));
    status.and_then(Result::ok).is_some_and(|status| {
        let mut lines = status.lines();
        let groups = lines.find_map(|line| line.strip_prefix("Groups:"));
        let mut groups = groups.unwrap_or("").split_whitespace();
        groups.any(|id| id.parse() == Ok(group))
    })
}

/// The number of the group that `setting` names, or is.
///
/// # Errors
/// [`ServeError::Setting`] where there is none.
pub(super) fn group_number(setting: &str) -> Result<u32, ServeError> {
    if let Ok(number) = setting.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string("/etc/group").map_err(ServeError::path("read", "/etc/group"))?;
    let text = text.get(..GROUPS_BYTES_MAX).unwrap_or(&text);
    number_in(text, setting).ok_or_else(|| ServeError::Setting {
        setting: "socket_group",
        problem: format!(
            "/etc/group has no group {setting}: make it with groupadd, or give its number"
        ),
    })
}

fn number_in(groups: &str, wanted: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(wanted);
        let number = fields.nth(1)?.parse().ok()?;
        is_it.then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    #[test]
    fn what_is_not_logged_exists_and_the_rest_is() {
        let files = FileDescriptorSet::decode(davit_rpc::local::FILE_DESCRIPTOR_SET).unwrap();
        let mut logged = Vec::new();
        let mut known = 0;
        for file in files.file {
            for service in &file.service {
                for method in &service.method {
                    let call = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    if READING.contains(&call.as_str()) {
                        known += 1;
                    } else {
                        logged.push(call);
                    }
                }
            }
        }
        logged.sort();
        let runs = [
            "Cancel", "Extend", "Pause", "Reap", "Remove", "Resume", "Stop", "Submit",
        ];
        let mut wanted = vec!["/davit.local.v1.Consoles/Open".to_owned()];
        wanted.push("/davit.local.v1.Files/Submit".to_owned());
        wanted.extend(["Pull", "Remove"].map(|method| format!("/davit.local.v1.Images/{method}")));
        wanted.extend(runs.map(|method| format!("/davit.local.v1.Runs/{method}")));
        assert_eq!(
            logged, wanted,
            "a call that changes nothing belongs into READING"
        );
        let ours = READING.iter().filter(|call| call.starts_with("/davit."));
        assert_eq!(ours.count(), known);
    }

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\ndavit-x:x:7:a,b\nbroken\ndavit:x:990:\n";
        assert_eq!(number_in(groups, "davit"), Some(990));
        assert_eq!(number_in(groups, "root"), Some(0));
        assert_eq!(number_in(groups, "davi"), None);
        assert_eq!(number_in(groups, "broken"), None);
        assert_eq!(group_number("4711").unwrap(), 4711);
        let problem = group_number("no such group").unwrap_err().to_string();
        assert!(
            problem.contains("socket_group") && problem.contains("groupadd"),
            "{problem}"
        );
    }

    #[test]
    fn nobody_known_is_nobody_let_in() {
        let refusal = Peers { group: None }.admit(None, "/davit.local.v1.Runs/List");
        assert_eq!(refusal.unwrap_err().code(), tonic::Code::PermissionDenied);
    }
}
