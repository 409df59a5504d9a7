//! A run request on the wire. Credentials and secrets travel beside it, never in it.

use std::collections::BTreeSet;

use davit_types::{
    Bytes, Capability, EnvVar, ExtractPath, FieldError, FieldErrors, NetworkMode, OciRuntime,
    PullPolicy, RunRequest,
};

use crate::local::{self, RegistryCredentials, SubmitRequest};

const NETWORKS: [(&str, NetworkMode); 3] = [
    ("none", NetworkMode::None),
    ("bridge", NetworkMode::Bridge),
    ("host", NetworkMode::Host),
];
const POLICIES: [(&str, PullPolicy); 3] = [
    ("always", PullPolicy::Always),
    ("missing", PullPolicy::Missing),
    ("never", PullPolicy::Never),
];
const RUNTIMES: [(&str, OciRuntime); 3] = [
    ("crun", OciRuntime::Crun),
    ("runc", OciRuntime::Runc),
    ("runsc", OciRuntime::Runsc),
];

/// The value `text` stands for; `None` when it is empty.
fn word<T: Copy>(
    field: &str,
    text: &str,
    words: &[(&str, T)],
    wrong: &mut Vec<FieldError>,
) -> Option<T> {
    let found = words.iter().find(|(known, _)| *known == text);
    if found.is_none() && !text.is_empty() {
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        wrong.push(FieldError::new(
            field,
            text,
            format!("must be one of {}", known.join(", ")),
        ));
    }
    found.map(|(_, value)| *value)
}

fn capabilities(texts: &[String], wrong: &mut Vec<FieldError>) -> BTreeSet<Capability> {
    let mut capabilities = BTreeSet::new();
    for (at, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(capability) => _ = capabilities.insert(capability),
            Err(problem) => {
                let field = format!("capabilities[{at}]");
                wrong.push(FieldError::new(&field, text, problem));
            }
        }
    }
    capabilities
}

fn spelling<T: Copy + PartialEq>(value: T, words: &[(&'static str, T)]) -> &'static str {
    words
        .iter()
        .find(|(_, known)| *known == value)
        .map_or("", |(word, _)| word)
}

/// What a submit asks for, and the credentials for its pull. Fields are not checked further: that is
/// [`RunRequest::parse`].
///
/// # Errors
/// Every enumerated field whose word is unknown.
pub fn run_request(
    submit: SubmitRequest,
) -> Result<(RunRequest, Option<RegistryCredentials>), FieldErrors> {
    let mut wrong = Vec::new();
    let network = word("network", &submit.network, &NETWORKS, &mut wrong);
    let pull_policy = word("pull_policy", &submit.pull_policy, &POLICIES, &mut wrong);
    let runtime = word("runtime", &submit.runtime, &RUNTIMES, &mut wrong);
    let capabilities = capabilities(&submit.capabilities, &mut wrong);
    if !wrong.is_empty() {
        return Err(FieldErrors(wrong));
    }
    let env = submit
        .env
        .into_iter()
        .map(|local::EnvVar { key, value }| EnvVar { key, value });
    let extracts = submit
        .extracts
        .into_iter()
        .map(|local::ExtractPath { from, to }| ExtractPath { from, to });
    let request = RunRequest {
        image: submit.image,
        command: submit.command,
        argv: submit.argv,
        entrypoint: submit.entrypoint,
        env: env.collect(),
        name: submit.name,
        labels: submit.labels.into_iter().collect(),
        instance_type: submit.instance_type,
        cpu_millis: submit.cpu_millis,
        memory_bytes_max: submit.memory_bytes_max.map(Bytes),
        pids_max: submit.pids_max,
        disk_bytes_max: submit.disk_bytes_max.map(Bytes),
        timeout_seconds: submit.timeout_seconds,
        max_pause_seconds: submit.max_pause_seconds,
        log_bytes_max: submit.log_bytes_max.map(Bytes),
        workdir: submit.workdir,
        user: submit.user,
        hostname: submit.hostname,
        network: network.unwrap_or_default(),
        pull_policy: pull_policy.unwrap_or_default(),
        runtime,
        read_only_root: submit.read_only_root,
        capabilities,
        egress: submit.egress,
        publish: submit.publish,
        network_bytes_per_second_max: submit.network_bytes_per_second_max,
        extracts: extracts.collect(),
        stdin: submit.stdin,
        tty: submit.tty,
        // They travel beside it, values and names.
        secret_env: Vec::new(),
        secret_files: Vec::new(),
    };
    Ok((request, submit.credentials))
}

/// The message that submits `request`.
#[must_use]
pub fn submit_request(
    request: RunRequest,
    credentials: Option<RegistryCredentials>,
) -> SubmitRequest {
    let env = request
        .env
        .into_iter()
        .map(|EnvVar { key, value }| local::EnvVar { key, value });
    let extracts = request
        .extracts
        .into_iter()
        .map(|ExtractPath { from, to }| local::ExtractPath { from, to });
    SubmitRequest {
        image: request.image,
        command: request.command,
        argv: request.argv,
        entrypoint: request.entrypoint,
        env: env.collect(),
        name: request.name,
        labels: request.labels.into_iter().collect(),
        instance_type: request.instance_type,
        cpu_millis: request.cpu_millis,
        memory_bytes_max: request.memory_bytes_max.map(|bytes| bytes.0),
        pids_max: request.pids_max,
        disk_bytes_max: request.disk_bytes_max.map(|bytes| bytes.0),
        timeout_seconds: request.timeout_seconds,
        max_pause_seconds: request.max_pause_seconds,
        log_bytes_max: request.log_bytes_max.map(|bytes| bytes.0),
        workdir: request.workdir,
        user: request.user,
        hostname: request.hostname,
        network: spelling(request.network, &NETWORKS).to_owned(),
        pull_policy: spelling(request.pull_policy, &POLICIES).to_owned(),
        runtime: request
            .runtime
            .map_or("", |runtime| spelling(runtime, &RUNTIMES))
            .to_owned(),
        read_only_root: request.read_only_root,
        egress: request.egress,
        publish: request.publish,
        network_bytes_per_second_max: request.network_bytes_per_second_max,
        credentials,
        capabilities: request
            .capabilities
            .into_iter()
            .map(|capability| capability.as_str().to_owned())
            .collect(),
        extracts: extracts.collect(),
        stdin: request.stdin,
        tty: request.tty,
        secret_env: Vec::new(),
        secret_files: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_survives_the_wire() {
        let request = RunRequest {
            image: "registry.example.com/a:1".into(),
            command: Some("echo hi".into()),
            argv: vec!["a".into(), String::new()],
            entrypoint: Some("/bin/e".into()),
            env: vec![EnvVar {
                key: "K".into(),
                value: "v".into(),
            }],
            name: Some("n".into()),
            labels: [("l".to_owned(), "m".to_owned())].into(),
            instance_type: Some("small".into()),
            cpu_millis: Some(1),
            memory_bytes_max: Some(Bytes(2)),
            pids_max: Some(3),
            disk_bytes_max: Some(Bytes::gib(5)),
            timeout_seconds: Some(4),
            max_pause_seconds: Some(5),
            log_bytes_max: Some(Bytes(6)),
            workdir: Some("/w".into()),
            user: Some("u:g".into()),
            hostname: Some("h".into()),
            network: NetworkMode::Host,
            pull_policy: PullPolicy::Never,
            runtime: Some(OciRuntime::Runsc),
            read_only_root: true,
            capabilities: [Capability::Chown, Capability::NetRaw].into(),
            egress: vec!["192.0.2.0/24".into()],
            publish: vec!["80:81".into()],
            network_bytes_per_second_max: Some(7),
            stdin: true,
            tty: true,
            extracts: vec![ExtractPath {
                from: "out".into(),
                to: "here".into(),
            }],
            secret_env: Vec::new(),
            secret_files: Vec::new(),
        };
        let (back, credentials) = run_request(submit_request(request.clone(), None)).unwrap();
        assert_eq!(back, request);
        assert_eq!(credentials, None);
        let (back, _) = run_request(submit_request(RunRequest::default(), None)).unwrap();
        assert_eq!(back, RunRequest::default());
    }

    #[test]
    fn unknown_words_are_errors_all_at_once() {
        let submit = SubmitRequest {
            network: "bridged".into(),
            pull_policy: "sometimes".into(),
            runtime: "kata".into(),
            capabilities: vec!["chown".into(), "CAP_SYS_ADMIN".into()],
            ..SubmitRequest::default()
        };
        let fields: Vec<String> = run_request(submit)
            .unwrap_err()
            .0
            .into_iter()
            .map(|e| e.field)
            .collect();
        assert_eq!(
            fields,
            ["network", "pull_policy", "runtime", "capabilities[1]"]
        );
    }
}
