//! TLS on both ports: who is let in, who is told what, and how new certificates come.

use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::certificates::{Authority, Pair};
use crate::place::{Place, Serving, call, curl, davit, write_secret};

/// `davit executor register` at `server`, as the host whose files are in `dir`.
fn register(dir: &Path, server: &str, authority: Option<&str>) -> Output {
    let file = dir.join("host.json").display().to_string();
    let mut command = davit();
    command.args(["executor", "register", "--name", "host", "--server", server]);
    command.arg("--join-token-file").arg(dir.join("join-token"));
    command.args(["--set", &format!("link.credentials_file={file}")]);
    if let Some(authority) = authority {
        command.args(["--set", &format!("link.ca_file={authority}")]);
    }
    command.output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn api(serving: &Serving, path: &str) -> String {
    format!("https://{}{path}", serving.api)
}

#[test]
fn both_ports_speak_tls_and_say_what_is_wrong_otherwise() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let (ours, theirs) = (Authority::new(dir, "ours"), Authority::new(dir, "theirs"));
    let pair = Pair::new(dir);
    ours.sign(&pair);
    let place = Place::new(dir, "one", "", &pair.settings());
    let token = place.token();
    let serving = place.serve();
    let (our_file, their_file) = (ours.file(), theirs.file());

    // The API: our authority, another one, none of TLS.
    let url = api(&serving, "/v1/regions/north");
    call(Some(&our_file), &token, "PUT", &url, r#"{"name": "North"}"#).expect("200");
    let wrong = call(Some(&their_file), &token, "GET", &url, "");
    assert_eq!(wrong.exit, Some(60), "{wrong:?}");
    let plain = curl(&[&format!("http://{}/healthz", serving.api)]);
    assert_eq!(plain.status, "400", "{plain:?}");
    assert!(plain.text.contains("use https"), "{plain:?}");

    // A console's WebSocket goes the same way as every other request.
    write_secret(&dir.join("token"), &token);
    let server = format!("https://{}", serving.api);
    for (authority, told) in [
        (&our_file, "there is no run"),
        (&their_file, "cannot reach"),
    ] {
        let mut exec = davit();
        exec.args(["--server", &server, "--ca-file", authority, "--token-file"]);
        exec.arg(dir.join("token"));
        exec.args(["exec", "01a00000-0000-7000-8000-000000000000", "true"]);
        let refused = exec.output().unwrap();
        assert_eq!(refused.status.code(), Some(125), "{refused:?}");
        assert!(words(&refused).contains(told), "{told}: {refused:?}");
    }

    // The link: the same, by a host that registers.
    let url = api(&serving, "/v1/join-tokens");
    let made = call(
        Some(&our_file),
        &token,
        "POST",
        &url,
        r#"{"region": "north"}"#,
    )
    .expect("201");
    write_secret(&dir.join("join-token"), made["secret"].as_str().unwrap());
    let server = format!("https://{}", serving.link);
    for authority in [Some(their_file.as_str()), None] {
        let refused = register(dir, &server, authority);
        assert_eq!(refused.status.code(), Some(125), "{refused:?}");
        assert!(words(&refused).contains("UnknownIssuer"), "{refused:?}");
    }
    let plain = register(dir, &format!("http://{}", serving.link), None);
    assert_eq!(plain.status.code(), Some(125), "{plain:?}");
    assert!(words(&plain).contains("https"), "{plain:?}");
    let joined = register(dir, &server, Some(&our_file));
    assert!(joined.status.success(), "{joined:?}");
    let said = String::from_utf8_lossy(&joined.stdout).into_owned();
    assert!(said.contains("region north"), "{said}");
    assert!(said.contains("KillMode=process"), "{said}");
    assert!(serving.stop().success());
}

#[test]
fn a_restart_takes_new_certificates_and_an_expired_one_is_told() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let (first, second) = (Authority::new(dir, "first"), Authority::new(dir, "second"));
    let pair = Pair::new(dir);
    first.sign(&pair);
    let place = Place::new(dir, "one", "", &pair.settings());
    let serving = place.serve();
    let health = api(&serving, "/healthz");
    second.sign(&pair);
    // Until the restart the old one is shown.
    assert_eq!(curl(&["--cacert", &first.file(), &health]).status, "200");
    assert!(serving.stop().success());
    let serving = place.serve();
    let health = api(&serving, "/healthz");
    assert_eq!(curl(&["--cacert", &second.file(), &health]).status, "200");
    assert_eq!(curl(&["--cacert", &first.file(), &health]).exit, Some(60));
    assert!(serving.stop().success());

    second.sign_expired(&pair);
    let serving = place.serve();
    let expired = curl(&["--cacert", &second.file(), &api(&serving, "/healthz")]);
    assert_eq!(expired.exit, Some(60), "{expired:?}");
    assert!(expired.words.contains("expired"), "{expired:?}");
    write_secret(&dir.join("join-token"), "davit_join_none");
    let server = format!("https://{}", serving.link);
    let refused = register(dir, &server, Some(&second.file()));
    assert!(words(&refused).contains("expired"), "{refused:?}");
    assert!(serving.stop().success());
}

#[test]
fn files_that_are_no_certificate_and_key_are_named_at_the_start() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let authority = Authority::new(dir, "ours");
    let pair = Pair::new(dir);
    authority.sign(&pair);
    let other_key = std::fs::read_to_string(&pair.key).unwrap();
    authority.sign(&pair);
    let place = Place::new(dir, "one", "", &pair.settings());
    let key = Path::new(&pair.key);
    let own_key = std::fs::read_to_string(key).unwrap();
    let refused = |part: &str| {
        let ended = place.run(&["serve"]);
        assert_eq!(ended.status.code(), Some(125), "{ended:?}");
        assert!(words(&ended).contains(part), "{part}: {ended:?}");
    };
    write_secret(key, &other_key);
    refused("server.pem");
    write_secret(key, "no key");
    refused("not a private key");
    std::fs::remove_file(key).unwrap();
    refused("server.key");
    std::fs::write(key, own_key).unwrap();
    refused("600 is wanted");
}

/// How long a client may take to begin, and what a busy machine adds.
const BEGIN: std::ops::Range<Duration> = Duration::from_secs(8)..Duration::from_secs(25);

#[test]
fn clients_that_do_not_begin_are_given_up_before_and_after_the_handshake() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let authority = Authority::new(dir, "ours");
    let pair = Pair::new(dir);
    authority.sign(&pair);
    let place = Place::new(dir, "one", "", &pair.settings());
    let serving = place.serve();
    let begin = Instant::now();
    let mut clients = Vec::new();
    for address in [serving.api.to_string(), serving.link.to_string()] {
        let mut silent = TcpStream::connect(&address).unwrap();
        silent.set_read_timeout(Some(BEGIN.end)).unwrap();
        clients.push(std::thread::spawn(move || {
            let read = silent.read(&mut [0; 64]);
            let over = match &read {
                Ok(bytes) => *bytes == 0,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            };
            let how = format!("{address}, no handshake: {read:?}");
            (over, begin.elapsed(), how)
        }));
    }
    for address in [serving.api.to_string(), serving.link.to_string()] {
        let mut encrypted = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-alpn", "h2"])
            .args(["-CAfile", &authority.file(), "-connect", &address])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        clients.push(std::thread::spawn(move || {
            while begin.elapsed() < BEGIN.end {
                if let Some(status) = encrypted.try_wait().unwrap() {
                    let how = format!("{address}, encrypted: {status}");
                    return (true, begin.elapsed(), how);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            encrypted.kill().unwrap();
            encrypted.wait().unwrap();
            let how = format!("{address}, encrypted: still there");
            (false, begin.elapsed(), how)
        }));
    }
    for client in clients {
        let (over, after, how) = client.join().unwrap();
        assert!(over && BEGIN.contains(&after), "{how} after {after:?}");
    }
    assert!(serving.stop().success());
}
