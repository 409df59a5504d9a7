//! Secrets on a command line go to the scheduler, and come back by name only.

use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_read_from_files_and_shown_by_name() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let file = format!("key.pem={}", path("key", b"hush-file\n"));
    let variable = format!("TOKEN={}", path("token", b"hush-variable\n"));
    let secrets = ["--secret", &file, "--secret-env", &variable];
    let image = [
        "--type",
        "small",
        "--image",
        "docker.io/library/busybox:1.36",
    ];
    let create = [&["runner", "create", "nightly"][..], &image, &secrets].concat();
    acme.said(&create).await;
    let shown = acme.json(&["runner", "show", "nightly", "--reveal"]).await;
    assert_eq!(shown["secret_files"], json!(["key.pem"]));
    let revealed = json!([{"env_key": "TOKEN", "env_val": "hush-variable", "secret": true}]);
    assert_eq!(shown["env_variables"], revealed, "who asks for it is told");
    assert!(!shown.to_string().contains("hush-file"));

    let over = format!("other={}", path("other", b"hush-other"));
    let run = ["runner", "run", "-d", "nightly", "--secret", &over];
    let of_runner = acme.said(&run).await;
    let one_off = [
        &["run", "-d", "--type", "small"][..],
        &secrets,
        &["busybox"],
    ]
    .concat();
    let one_off = acme.said(&one_off).await;
    for (run, files) in [
        (of_runner, json!(["key.pem", "other"])),
        (one_off, json!(["key.pem"])),
    ] {
        let shown = &acme.json(&["inspect", run.trim()]).await[0];
        assert_eq!(shown["secret_files"], files);
        assert_eq!(shown["secret_env"], json!(["TOKEN"]));
        assert!(!shown.to_string().contains("hush"), "{shown}");
    }
    let binary = format!("key={}", path("binary", b"\xff"));
    let run = ["run", "--type", "small", "--secret", &binary, "busybox"];
    let refused = acme.refused(&run).await;
    assert!(refused.contains("is not UTF-8 text"), "{refused}");
}
