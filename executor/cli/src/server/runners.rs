//! `davit runner`: saved jobs.

use serde_json::{Map, Value, json};

use super::Session;
use super::client::Call;
use super::control::Outcome;
use super::files;
use super::one_off::{Variable, secrets};
use super::run::submitted;
use super::words::List;
use crate::args::{JobArgs, RunnerCommand, RunnerRunArgs, from_stdin, labels, variables};
use crate::beside::Attended;
use crate::commands::files::Source;
use crate::error::CliError;
use crate::output::print_line;
use crate::output::tree::{Column, Show};
use davit_types::{FieldError, FieldErrors};

const RUNNERS: List = List {
    what: "runner",
    path: "runners",
    rows: "runners",
};

const COLUMNS: &[Column] = &[
    ("ID", "id", Show::Plain),
    ("NAME", "name", Show::Plain),
    ("STATUS", "status", Show::Plain),
    ("REGISTRY", "container_registry", Show::Plain),
    ("IMAGE", "image_name", Show::Plain),
    ("TAG", "image_tag", Show::Plain),
    ("REGION", "region.slug", Show::Plain),
    ("TYPE", "instance_type.slug", Show::Plain),
    ("WARMED", "warmed_at", Show::Age),
];

/// Does it; the answer is the process's exit code.
pub(super) async fn command(command: RunnerCommand, session: &Session) -> Result<u8, CliError> {
    let client = &session.client;
    match command {
        RunnerCommand::Create { name, job } => create(name, &job, session).await?,
        RunnerCommand::List => RUNNERS.print(COLUMNS, session).await?,
        RunnerCommand::Show { runner, reveal } => {
            let id = RUNNERS.id(client, &runner).await?;
            let call = Call::get(&["runners", &id]).query("reveal", reveal.to_string());
            let shown = client.send(&call).await?.tree("runner")?;
            session.print_whole(&shown)?;
        }
        RunnerCommand::Edit { runner, name, job } => {
            let id = RUNNERS.id(client, &runner).await?;
            let mut body = described(&job)?;
            if let Some(name) = name {
                body.insert("name".to_owned(), name.into());
            }
            let call = Call::new(reqwest::Method::PATCH, &["runners", &id]).body(&body)?;
            let shown = client.send(&call).await?.tree("runner")?;
            session.print_done(&shown, "id")?;
        }
        RunnerCommand::Delete { runners } => RUNNERS.remove(&runners, session).await?,
        RunnerCommand::Run(args) => return run(&args, session).await,
        RunnerCommand::Warmup { runner } => {
            let id = RUNNERS.id(client, &runner).await?;
            let answer = client
                .send(&Call::order(&["runners", &id, "warmup"]))
                .await?;
            session.print_done(&answer.tree("runner")?, "id")?;
        }
    }
    Ok(0)
}

impl List {
    /// Removes each of several things.
    pub(super) async fn remove(self, given: &[String], session: &Session) -> Result<(), CliError> {
        let mut outcome = Outcome::default();
        for name in given {
            let removed = async {
                let id = self.id(&session.client, name).await?;
                let call = Call::new(reqwest::Method::DELETE, &[self.path, &id]);
                session.client.send(&call).await
            };
            match removed.await {
                Ok(_) => print_line(name)?,
                Err(error) => outcome.failed(error),
            }
        }
        outcome.finish()
    }
}

async fn create(name: String, job: &JobArgs, session: &Session) -> Result<(), CliError> {
    let mut body = described(job)?;
    if job.image.is_none() {
        return Err(CliError::field(FieldError::new("--image", "", "is wanted")));
    }
    let size = session
        .size(job.region.clone(), job.instance_type.clone())
        .await?;
    body.insert("name".to_owned(), name.into());
    body.insert("region".to_owned(), size.region.into());
    body.insert("instance_type".to_owned(), size.instance_type.into());
    let call = Call::make(&["runners"]).body(&body)?;
    let made = session.client.send(&call).await?.tree("runner")?;
    session.print_done(&made, "id")
}

/// What is given of a job, as the API has it.
fn described(job: &JobArgs) -> Result<Map<String, Value>, CliError> {
    let mut wrong = Vec::new();
    let env = variables(&job.env, &mut wrong);
    if !wrong.is_empty() {
        return Err(CliError::Fields(FieldErrors(wrong)));
    }
    let (secret_env, secret_files) = secrets(job.secrets.read(0)?)?;
    let env: Vec<Variable> = env
        .into_iter()
        .map(Variable::from)
        .chain(secret_env)
        .collect();
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    let image = job.image.as_deref();
    let image = image.map(|image| Image::parse(image, job.registry.as_deref()));
    if let Some(image) = image {
        put("container_registry", Some(json!(image.registry)));
        put("image_name", Some(image.name.into()));
        put("image_tag", Some(image.tag.into()));
    } else {
        put("container_registry", job.registry.clone().map(Value::from));
    }
    put("region", job.region.clone().map(Value::from));
    put("instance_type", job.instance_type.clone().map(Value::from));
    put("env_variables", (!env.is_empty()).then(|| json!(env)));
    let files = (!secret_files.is_empty()).then(|| json!(secret_files));
    put("secret_files", files);
    put("timeout_seconds", job.timeout.map(Value::from));
    put("entrypoint", job.entrypoint.clone().map(Value::from));
    let inside = &job.inside;
    put("workdir", inside.workdir.clone().map(Value::from));
    put("user", inside.user.clone().map(Value::from));
    put("hostname", inside.hostname.clone().map(Value::from));
    put("read_only_root", job.read_only.map(Value::from));
    put("priority", job.priority.map(Value::from));
    put("live_runs_max", job.live_runs_max.map(Value::from));
    put("network", job.network.map(|mode| json!(mode)));
    put("runtime", job.runtime.map(|runtime| json!(runtime)));
    put(
        "capabilities",
        (!job.cap_add.is_empty()).then(|| json!(job.cap_add)),
    );
    let bridge = &job.bridge;
    put(
        "egress",
        (!bridge.egress.is_empty()).then(|| json!(bridge.egress)),
    );
    let rate = bridge.network_rate.map(|rate| rate.0);
    put("network_bytes_per_second_max", rate.map(Value::from));
    let extracts = (!job.extract.is_empty()).then(|| json!(job.extract));
    put("extracts", extracts);
    put("run_command", job.shell.clone().map(Value::from));
    put("argv", (!job.argv.is_empty()).then(|| json!(job.argv)));
    Ok(body)
}

/// A reference, in the parts that the API has.
#[derive(Debug, PartialEq, Eq)]
struct Image<'a> {
    registry: Option<&'a str>,
    name: &'a str,
    tag: &'a str,
}

impl<'a> Image<'a> {
    fn parse(reference: &'a str, registry: Option<&'a str>) -> Self {
        let (path, tag) = match reference.split_once('@') {
            Some((path, digest)) => (path, digest),
            None => match reference.rsplit_once(':') {
                Some((path, tag)) if !tag.contains('/') => (path, tag),
                _ => (reference, "latest"),
            },
        };
        if registry.is_some() {
            let name = path;
            return Self {
                registry,
                name,
                tag,
            };
        }
        // As docker reads it: what looks like a host is one.
        match path.split_once('/') {
            Some((host, name)) if host == "localhost" || host.contains(['.', ':']) => Self {
                registry: Some(host),
                name,
                tag,
            },
            _ => Self {
                registry: None,
                name: path,
                tag,
            },
        }
    }
}

async fn run(args: &RunnerRunArgs, session: &Session) -> Result<u8, CliError> {
    let (typed, piped) = (
        args.interactive && !args.detach,
        from_stdin(args.dir.as_deref()),
    );
    if typed && piped {
        let problem = "excludes --dir -: standard input is one of the two";
        let wrong = FieldError::new("--interactive", true, problem);
        return Err(CliError::field(wrong));
    }
    if !args.detach {
        args.terminal.check(args.interactive, session.format)?;
    }
    let mut wrong = Vec::new();
    let env = variables(&args.env, &mut wrong);
    let labels = labels(&args.label, &mut wrong);
    if !wrong.is_empty() {
        return Err(CliError::Fields(FieldErrors(wrong)));
    }
    let (secret_env, secret_files) = secrets(args.secrets.read(usize::from(typed || piped))?)?;
    let env: Vec<Variable> = env
        .into_iter()
        .map(Variable::from)
        .chain(secret_env)
        .collect();
    let mut body = json!({
        "command": args.shell, "argv": args.argv, "entrypoint": args.entrypoint, "env_variables": env,
        "secret_files": secret_files, "timeout_seconds": args.timeout, "labels": labels,
        "stdin": args.interactive, "tty": args.terminal.tty,
    });
    // None are the runner's own.
    if !args.extract.is_empty() {
        body["extracts"] = json!(args.extract);
    }
    // What cannot be sent makes no run.
    let source = args.dir.as_deref().map(Source::open).transpose()?;
    let id = RUNNERS.id(&session.client, &args.runner).await?;
    if let Some(source) = source {
        body["files"] = json!({"upload_id": files::upload(source, session).await?});
    }
    let call = Call::make(&["runners", &id, "runs"]).body(&body)?;
    let beside = |run: &str| Attended::of_run(run, args.interactive, &args.terminal);
    submitted(&call, args.detach, &args.extract, beside, session).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_read_as_docker_reads_it() {
        for (text, given, wanted) in [
            ("busybox", None, (None, "busybox", "latest")),
            ("team/app:2", None, (None, "team/app", "2")),
            (
                "docker.io/library/busybox:1.36",
                None,
                (Some("docker.io"), "library/busybox", "1.36"),
            ),
            (
                "127.0.0.1:5000/a/b",
                None,
                (Some("127.0.0.1:5000"), "a/b", "latest"),
            ),
            ("localhost/a:1", None, (Some("localhost"), "a", "1")),
            ("a.b/c:1", Some("mine"), (Some("mine"), "a.b/c", "1")),
            (
                "ghcr.io/a/b@sha256:00",
                None,
                (Some("ghcr.io"), "a/b", "sha256:00"),
            ),
        ] {
            let Image {
                registry,
                name,
                tag,
            } = Image::parse(text, given);
            assert_eq!((registry, name, tag), wanted, "{text}");
        }
    }
}
