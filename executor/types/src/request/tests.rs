//! What a request may say, and what is said of one that may not.

use super::*;
use crate::Resources;
use proptest::prelude::*;

fn offered() -> Vec<InstanceType> {
    vec![InstanceType {
        slug: "small".into(),
        name: "Small".into(),
        resources: Resources {
            cpu_millis: 500,
            memory_bytes_max: Bytes::mib(256),
            pids_max: 64,
        },
        price_second_micros: 3,
        disk_bytes_max: None,
    }]
}

fn parse(request: RunRequest) -> Result<RunSpec, FieldErrors> {
    request.parse(
        RunId::generate(),
        Tenant::local(),
        &offered(),
        OciRuntime::Crun,
    )
}

fn plain() -> RunRequest {
    RunRequest {
        image: "localhost:5000/busybox:1".into(),
        ..RunRequest::default()
    }
}

/// The fields complained about.
fn wrong(request: RunRequest) -> Vec<String> {
    parse(request)
        .unwrap_err()
        .0
        .into_iter()
        .map(|e| e.field)
        .collect()
}

#[test]
fn a_bare_image_gets_the_defaults() {
    let spec = parse(plain()).unwrap();
    assert_eq!(spec.timeout_seconds, 3600);
    assert_eq!(spec.command, Command::Image);
    assert_eq!(spec.instance_type.slug, "small");
    assert_eq!(spec.network, NetworkMode::None);
}

#[test]
fn every_wrong_field_is_named_at_once() {
    let request = RunRequest {
        command: Some("x".repeat(4001)),
        argv: vec!["a\0b".into()],
        env: vec![EnvVar {
            key: "1A".into(),
            value: String::new(),
        }],
        instance_type: Some("huge".into()),
        timeout_seconds: Some(0),
        workdir: Some("relative".into()),
        ..plain()
    };
    assert_eq!(
        wrong(request),
        [
            "workdir",
            "command",
            "command",
            "argv[0]",
            "env[0].key",
            "instance_type",
            "timeout_seconds"
        ]
    );
}

#[test]
fn limits_are_inclusive() {
    for timeout in [1, 86_400] {
        assert!(
            parse(RunRequest {
                timeout_seconds: Some(timeout),
                ..plain()
            })
            .is_ok()
        );
    }
    assert_eq!(
        wrong(RunRequest {
            timeout_seconds: Some(86_401),
            ..plain()
        }),
        ["timeout_seconds"]
    );
    assert!(
        parse(RunRequest {
            argv: vec!["x".repeat(40); 200],
            ..plain()
        })
        .is_ok()
    );
    assert_eq!(
        wrong(RunRequest {
            argv: vec!["x".into(); 201],
            ..plain()
        }),
        ["argv"]
    );
    assert_eq!(
        wrong(RunRequest {
            argv: vec!["x".repeat(8001)],
            ..plain()
        }),
        ["argv"]
    );
}

#[test]
fn an_env_value_is_never_repeated_in_an_error() {
    let request = RunRequest {
        env: vec![EnvVar {
            key: "K".into(),
            value: "hush\0".into(),
        }],
        ..plain()
    };
    assert!(!parse(request).unwrap_err().to_string().contains("hush"));
}

#[test]
fn own_numbers_make_a_custom_type() {
    let spec = parse(RunRequest {
        cpu_millis: Some(1500),
        ..plain()
    })
    .unwrap();
    assert_eq!(spec.instance_type.slug, "custom");
    assert_eq!(spec.instance_type.resources.cpu_millis, 1500);
    assert_eq!(spec.instance_type.resources.pids_max, 64);
}

proptest! {
    #[test]
    fn parse_never_panics_and_keeps_what_it_accepts(
        argv in proptest::collection::vec(any::<String>(), 0..8),
        env in proptest::collection::vec((any::<String>(), any::<String>()), 0..4),
        timeout: u64,
    ) {
        let env: Vec<EnvVar> = env.into_iter().map(|(key, value)| EnvVar { key, value }).collect();
        let request = RunRequest { argv: argv.clone(), env: env.clone(), timeout_seconds: Some(timeout), ..plain() };
        if let Ok(spec) = parse(request) {
            prop_assert!((1..=86_400).contains(&spec.timeout_seconds));
            prop_assert_eq!(&spec.env, &env);
            prop_assert!(argv.iter().all(|a| !a.contains('\0')));
            if !argv.is_empty() { prop_assert_eq!(spec.command, Command::Argv(argv)); }
        }
    }
}

#[test]
fn a_terminal_is_not_for_a_kernel_of_its_own() {
    let with = |runtime| RunRequest {
        tty: true,
        stdin: true,
        runtime: Some(runtime),
        ..plain()
    };
    let spec = parse(with(OciRuntime::Crun)).unwrap();
    assert!(spec.tty && spec.stdin);
    let errors = parse(with(OciRuntime::Runsc)).unwrap_err();
    assert_eq!(errors.0[0].field, "tty");
}
