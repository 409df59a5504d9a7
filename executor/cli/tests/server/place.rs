//! Where commands go: flags, variables, profiles; and that a token is kept to oneself.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::client::{davit, text};
use crate::world::World;

async fn at(home: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut command = davit(home);
    command.args(arguments).stdin(Stdio::piped());
    let stdin = stdin.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        // It may end without reading.
        drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_in_use_is_where_commands_go() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let token = acme.token.clone().unwrap();
    let home = tempfile::tempdir().unwrap();
    let server = format!("http://{}", world.address);
    let add = [
        "profile",
        "add",
        "test",
        "--server",
        &server,
        "--token-stdin",
        "--use",
    ];
    let add = [&add[..], &["--region", "here", "--instance-type", "small"]].concat();
    let added = at(home.path(), &add, &format!("{token}\n")).await;
    assert_eq!(added.status.code(), Some(0), "{}", text(&added.stderr));
    let files = home.path().join("davit");
    assert_eq!(mode(&files), 0o700);
    assert_eq!(mode(&files.join("profiles.toml")), 0o600);
    assert_eq!(mode(&files.join("test.token")), 0o600);
    let kept = fs::read_to_string(files.join("profiles.toml")).unwrap();
    assert!(!kept.contains(&token), "{kept}");

    let made = at(home.path(), &["run", "-d", "busybox:1"], "").await;
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let listed = at(home.path(), &["ps", "-q"], "").await;
    assert_eq!(listed.stdout, made.stdout);
    let shown = text(&at(home.path(), &["profile", "list"], "").await.stdout);
    assert!(shown.contains("test  true  http://"), "{shown}");

    // This host, named; and again for all commands.
    let here = at(home.path(), &["--socket", "/nowhere/s", "ps"], "").await;
    assert!(text(&here.stderr).contains("/nowhere/s"));
    at(home.path(), &["profile", "use", "--none"], "").await;
    let here = at(home.path(), &["ps"], "").await;
    assert!(text(&here.stderr).contains("cannot reach the executor"));
    let there = at(home.path(), &["--profile", "test", "ps", "-q"], "").await;
    assert_eq!(there.stdout, made.stdout);
    at(home.path(), &["profile", "remove", "test"], "").await;
    let gone = at(home.path(), &["--profile", "test", "ps"], "").await;
    assert!(text(&gone.stderr).contains("there is no profile `test`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_others_may_read_is_not_used() {
    let world = World::begin().await;
    let token = world.acme().await.token.unwrap();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("token");
    fs::write(&file, &token).unwrap();
    let server = format!("http://{}", world.address);
    let ps = [
        "--server",
        &server,
        "--token-file",
        file.to_str().unwrap(),
        "ps",
        "-q",
    ];
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let refused = at(home.path(), &ps, "").await;
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(125));
    assert!(
        said.contains("chmod 600") && !said.contains(&token),
        "{said}"
    );
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let listed = at(home.path(), &ps, "").await;
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));
}

#[tokio::test]
async fn what_goes_nowhere_is_told_before_anything_is_sent() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, parts) in [
        (
            &["--server", "http://127.0.0.1:1", "ps"][..],
            &["token", "--token-file", "DAVIT_TOKEN"][..],
        ),
        (&["runner", "list"], &["none is named", "davit profile add"]),
        (&["executor", "drain", "x"], &["none is named"]),
        (&["usage", "export"], &["none is named"]),
        (
            &["run", "--region", "x", "image"],
            &["--region", "--server"],
        ),
        (
            &["profile", "add", "x", "--server", "http://example.com"],
            &["clear", "https"],
        ),
        (
            &["profile", "add", "a/b", "--server", "https://example.com"],
            &["letters"],
        ),
        (&["profile", "use", "x"], &["there is no profile `x`"]),
    ] {
        let refused = at(home.path(), arguments, "").await;
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(125), "{arguments:?}");
        for part in parts {
            assert!(said.contains(part), "{arguments:?}: {said}");
        }
    }
    let files = home.path().join("davit");
    fs::create_dir_all(&files).unwrap();
    fs::write(
        files.join("profiles.toml"),
        "[profiles.x]\nserver = \"y\"\npassword = 1\n",
    )
    .unwrap();
    let refused = at(home.path(), &["ps"], "").await;
    let said = text(&refused.stderr);
    assert!(
        said.contains("profiles.toml") && said.contains("password"),
        "{said}"
    );
}
