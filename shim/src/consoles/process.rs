//! The OCI process of an exec, made of the job's own: what locks the job in locks it in too. Pure.

use davit_rundir::{ConsoleExec, ConsoleUser};
use serde_json::{Map, Value, json};

/// `config.json` has no process to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config.json has no process")]
pub(crate) struct NoProcess;

/// The job's process of `config`, changed in what `exec` may ask for and nothing else: program, environment, working
/// directory, user, terminal. `late` are the variables that the job has and `config` has not, `KEY=value`.
pub(crate) fn process(
    config: &Value,
    late: &[&str],
    exec: &ConsoleExec,
) -> Result<Map<String, Value>, NoProcess> {
    let job = config.get("process").and_then(Value::as_object);
    let mut process = job.ok_or(NoProcess)?.clone();
    let mut env = Environment::of(&process);
    for variable in late {
        let (key, value) = variable.split_once('=').unwrap_or((variable, ""));
        env.set(key, value);
    }
    if let Some(ConsoleUser {
        home: Some(home), ..
    }) = &exec.user
    {
        env.set("HOME", home);
    }
    if exec.tty && !env.has("TERM") {
        env.set("TERM", "xterm");
    }
    for (key, value) in &exec.env {
        env.set(key, value);
    }
    process.insert("env".to_owned(), env.0.into());
    process.insert("args".to_owned(), exec.argv.clone().into());
    process.insert("terminal".to_owned(), exec.tty.into());
    process.remove("consoleSize");
    if let (true, Some(window)) = (exec.tty, exec.window) {
        let size = json!({"height": window.rows, "width": window.columns});
        process.insert("consoleSize".to_owned(), size);
    }
    if let Some(workdir) = &exec.workdir {
        process.insert("cwd".to_owned(), workdir.clone().into());
    }
    if let Some(user) = &exec.user {
        let user = json!({
            "uid": user.uid,
            "gid": user.gid,
            "additionalGids": user.additional_gids,
        });
        process.insert("user".to_owned(), user);
    }
    Ok(process)
}

struct Environment(Vec<String>);

impl Environment {
    fn of(process: &Map<String, Value>) -> Self {
        let env = process.get("env").and_then(Value::as_array);
        let texts = env.into_iter().flatten().filter_map(Value::as_str);
        Self(texts.map(str::to_owned).collect())
    }

    fn has(&self, key: &str) -> bool {
        let mut keys = self
            .0
            .iter()
            .filter_map(|variable| variable.split('=').next());
        keys.any(|known| known == key)
    }

    fn set(&mut self, key: &str, value: &str) {
        let is_it = |variable: &String| variable.split('=').next() == Some(key);
        self.0.retain(|variable| !is_it(variable));
        self.0.push(format!("{key}={value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_rundir::ConsoleWindow;

    fn config() -> Value {
        json!({"process": {
            "terminal": false,
            "user": {"uid": 7, "gid": 8, "additionalGids": [8, 9]},
            "args": ["job"],
            "env": ["PATH=/bin", "A=1", "TOKEN="],
            "cwd": "/work",
            "capabilities": {"bounding": []},
            "noNewPrivileges": true,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 5, "soft": 5}],
            "oomScoreAdj": 100,
        }})
    }

    fn exec() -> ConsoleExec {
        ConsoleExec {
            argv: vec!["ls".to_owned(), "-l".to_owned()],
            env: Vec::new(),
            workdir: None,
            user: None,
            tty: false,
            stdin: false,
            window: None,
        }
    }

    #[test]
    fn but_for_its_program_it_is_the_job() {
        let made = process(&config(), &[], &exec()).unwrap();
        let mut wanted = config()["process"].clone();
        wanted["args"] = json!(["ls", "-l"]);
        assert_eq!(Value::Object(made), wanted);
        assert_eq!(process(&json!({}), &[], &exec()), Err(NoProcess));
    }

    #[test]
    fn what_is_asked_for_stands_over_what_the_job_has() {
        let asked = ConsoleExec {
            env: vec![
                ("B".to_owned(), "x=y".to_owned()),
                ("A".to_owned(), "3".to_owned()),
            ],
            workdir: Some("/".to_owned()),
            user: Some(ConsoleUser {
                uid: 1,
                gid: 2,
                additional_gids: vec![2],
                home: Some("/home/u".to_owned()),
            }),
            tty: true,
            window: Some(ConsoleWindow {
                rows: 5,
                columns: 6,
            }),
            ..exec()
        };
        let made = process(&config(), &["TOKEN=s=t", "A=2"], &asked).unwrap();
        let env = [
            "PATH=/bin",
            "TOKEN=s=t",
            "HOME=/home/u",
            "TERM=xterm",
            "B=x=y",
            "A=3",
        ];
        let env = json!(env);
        assert_eq!(made["env"], env);
        assert_eq!(
            made["user"],
            json!({"uid": 1, "gid": 2, "additionalGids": [2]})
        );
        assert_eq!(made["consoleSize"], json!({"height": 5, "width": 6}));
        assert_eq!(
            (made["cwd"].as_str(), made["terminal"].as_bool()),
            (Some("/"), Some(true))
        );
        for kept in ["capabilities", "noNewPrivileges", "rlimits", "oomScoreAdj"] {
            assert_eq!(made[kept], config()["process"][kept], "{kept}");
        }
    }
}
