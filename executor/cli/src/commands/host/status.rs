//! `davit executor status`: whether an executor serves on this host, and is well.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | it serves, containerd answers, the scheduler is reached or none is set |
//! | 1 | it serves, but not well: what is wrong is told |
//! | 3 | none serves |

use std::path::Path;

use davit_rpc::local::{Empty, HostInfo, ListRequest};
use serde::Serialize;

use super::service;
use crate::args::Format;
use crate::client::Client;
use crate::error::CliError;
use crate::output::{harmless, print_json, print_text};

/// Something is wrong with an executor that serves.
const UNWELL: u8 = 1;
/// As of `systemctl status` for a unit that does not run.
const NOT_SERVING: u8 = 3;

#[derive(Debug, Default, Serialize)]
struct Status {
    serving: bool,
    socket: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    davit_version: Option<String>,
    /// Absent while containerd is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    containerd_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    live_runs: usize,
    /// What keeps it from being well.
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Status {
    fn exit_code(&self) -> u8 {
        match (self.serving, self.problems.is_empty()) {
            (false, _) => NOT_SERVING,
            (true, false) => UNWELL,
            (true, true) => 0,
        }
    }
}

/// Looks, prints what is seen, and answers the exit code.
pub(super) fn show(socket: &Path, format: Format) -> Result<u8, CliError> {
    let status = service::runtime()?.block_on(look(socket))?;
    match format {
        Format::Json => print_json(&status)?,
        Format::Table => print_text(&text(&status))?,
    }
    Ok(status.exit_code())
}

async fn look(socket: &Path) -> Result<Status, CliError> {
    let client = match Client::connect(socket).await {
        Ok(client) => client,
        Err(error @ CliError::NoExecutor { .. }) => {
            return Ok(Status {
                socket: socket.display().to_string(),
                problems: vec![error.to_string()],
                ..Status::default()
            });
        }
        Err(error) => return Err(error),
    };
    let info = client.host().info(Empty {}).await?.into_inner();
    let live = ListRequest { all: false };
    let runs = client.runs().list(live).await?.into_inner().runs;
    Ok(seen(socket, info, runs.len()))
}

fn seen(socket: &Path, info: HostInfo, live_runs: usize) -> Status {
    let mut problems = Vec::new();
    let containerd = Some(info.containerd_version).filter(|version| !version.is_empty());
    if containerd.is_none() {
        problems.push("containerd does not answer: no new runs are begun".to_owned());
    }
    let (mut server, mut state) = (None, None);
    if let Some(link) = info.link {
        if link.state != "connected" {
            let why = link.problem.unwrap_or_else(|| link.state.clone());
            problems.push(format!("no session with {}: {why}", link.server));
        }
        server = Some(link.server);
        state = Some(link.state);
    }
    Status {
        serving: true,
        socket: socket.display().to_string(),
        davit_version: Some(info.davit_version),
        containerd_version: containerd,
        server,
        link: state,
        live_runs,
        problems,
        warnings: info.warnings,
    }
}

fn text(status: &Status) -> String {
    let serving = if status.serving {
        "serving"
    } else {
        "not serving"
    };
    let mut lines = vec![format!("executor     {serving} on {}", status.socket)];
    let mut line = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name:<12} {}", harmless(value)));
        }
    };
    line("davit", &status.davit_version);
    line("containerd", &status.containerd_version);
    line("scheduler", &status.server);
    line("link", &status.link);
    if status.serving {
        lines.push(format!("live runs    {}", status.live_runs));
    }
    for problem in &status.problems {
        lines.push(format!("problem      {}", harmless(problem)));
    }
    for warning in &status.warnings {
        lines.push(format!("warning      {}", harmless(warning)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_rpc::local::LinkState;

    fn info(containerd: &str, link: Option<&str>) -> HostInfo {
        HostInfo {
            davit_version: "1".into(),
            containerd_version: containerd.into(),
            link: link.map(|state| LinkState {
                server: "https://s".into(),
                state: state.into(),
                problem: (state == "waiting").then(|| "refused".to_owned()),
                ..LinkState::default()
            }),
            ..HostInfo::default()
        }
    }

    #[test]
    fn the_exit_code_tells_what_is_wrong() {
        let of = |info| seen(Path::new("/s"), info, 2);
        assert_eq!(of(info("2.1", None)).exit_code(), 0);
        assert_eq!(of(info("2.1", Some("connected"))).exit_code(), 0);
        assert_eq!(of(info("2.1", Some("connecting"))).exit_code(), 1);
        assert_eq!(of(info("", None)).exit_code(), 1);
        let cut_off = of(info("2.1", Some("waiting")));
        assert_eq!(cut_off.problems, ["no session with https://s: refused"]);
        assert!(text(&cut_off).contains("live runs    2"));
        assert_eq!(Status::default().exit_code(), 3);
    }
}
