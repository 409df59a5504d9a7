//! The link over TLS: an authority that the operator names is believed, any other is not. Certificates are made by
//! openssl, as those of the store's tests are.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;

use davit_executor::link::{LinkError, Registration, register};
use davit_executor::settings::{LinkSettings, Settings};
use davit_rpc::link::link_server::{Link, LinkServer};
use davit_rpc::link::{
    AuthenticateReply, AuthenticateRequest, ConsoleFromHost, ConsoleToHost, FilesPiece,
    FilesRequest, HostMessage, JoinReply, JoinRequest, SchedulerMessage,
};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// Answers registrations and nothing else.
struct Registry;

#[tonic::async_trait]
impl Link for Registry {
    type FetchFilesStream = tokio_stream::Empty<Result<FilesPiece, Status>>;

    async fn fetch_files(
        &self,
        _: Request<FilesRequest>,
    ) -> Result<Response<Self::FetchFilesStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    type SendExtractStream = tokio_stream::Empty<Result<davit_rpc::link::ExtractPlace, Status>>;

    async fn send_extract(
        &self,
        _: Request<Streaming<davit_rpc::link::ExtractFromHost>>,
    ) -> Result<Response<Self::SendExtractStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<SchedulerMessage, Status>> + Send>>;
    type ConsoleStream = Pin<Box<dyn Stream<Item = Result<ConsoleToHost, Status>> + Send>>;

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let request = request.into_inner();
        if request.join_token != "good" {
            return Err(Status::unauthenticated("the join token is not valid"));
        }
        Ok(Response::new(JoinReply {
            host_id: request.host_id,
            region: "here".into(),
            client_secret: "secret".into(),
        }))
    }

    async fn authenticate(
        &self,
        _: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateReply>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn session(
        &self,
        _: Request<Streaming<HostMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn console(
        &self,
        _: Request<Streaming<ConsoleFromHost>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

/// A certificate for localhost that is its own authority, and its key.
fn certificate(dir: &Path) -> (String, String) {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let read = |path| std::fs::read_to_string(path).unwrap();
    (read(cert), read(key))
}

async fn serve(cert: &str, key: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(cert, key));
    let serving = Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(LinkServer::new(Registry))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { serving.await.unwrap() });
    server
}

fn registration(server: &str, join_token: &str) -> Registration {
    Registration {
        server: server.to_owned(),
        join_token: join_token.to_owned(),
        name: "host".into(),
        labels: BTreeMap::new(),
    }
}

#[tokio::test]
async fn only_a_server_of_the_named_authority_is_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path());
    let server = serve(&cert, &key).await;
    let link = |ca_file: Option<&str>| LinkSettings {
        ca_file: ca_file.map(|name| dir.path().join(name)),
        credentials_file: dir.path().join("host.json"),
        ..Settings::default().link
    };
    let unknown = register(registration(&server, "good"), &link(None)).await;
    assert!(
        matches!(unknown, Err(LinkError::Unreachable { .. })),
        "{unknown:?}"
    );
    let missing = register(registration(&server, "good"), &link(Some("none.pem"))).await;
    assert!(
        matches!(missing, Err(LinkError::CaFile { .. })),
        "{missing:?}"
    );
    let trusting = link(Some("cert.pem"));
    let refused = register(registration(&server, "bad"), &trusting)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("join token"), "{refused}");
    let first = register(registration(&server, "good"), &trusting)
        .await
        .unwrap();
    assert!(!first.was_registered);
    // Repeated, it does not even ask.
    let again = register(registration(&server, "used up"), &trusting)
        .await
        .unwrap();
    assert_eq!((again.host_id, again.was_registered), (first.host_id, true));
}
