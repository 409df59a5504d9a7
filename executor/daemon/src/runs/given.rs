//! What a run is given beside its specification: secret variables and files, and the credentials of a registry.
//!
//! They live here, in memory, until the run's container is made; its shim has them from then on, and no disk ever. An
//! executor that finds a scheduler's run which came with some waits for the scheduler to give them again. Nobody gives
//! those of a run that was submitted here a second time: without its container it fails.

use std::borrow::Cow;
use std::collections::HashMap;

use davit_rundir::Secrets;
use davit_types::{EnvVar, FieldErrors, RunKey, RunRequest, RunSpec, check_secret_values};
use tokio::sync::watch;

use crate::images::Credentials;

/// What one run was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) secrets: Secrets,
    pub(crate) credentials: Option<Credentials>,
}

impl Given {
    pub(crate) fn is_nothing(&self) -> bool {
        self.secrets.is_empty() && self.credentials.is_none()
    }

    /// `env` with the secret variables in the place of equal keys.
    pub(crate) fn over(&self, env: &[EnvVar]) -> Vec<EnvVar> {
        let secrets = &self.secrets.env;
        let secret = |key: &str| secrets.iter().any(|var| var.key == key);
        let plain = env.iter().filter(|var| !secret(&var.key)).cloned();
        let secrets = secrets.iter().map(|var| EnvVar {
            key: var.key.clone(),
            value: var.value.as_str().to_owned(),
        });
        plain.chain(secrets).collect()
    }

    /// Has `request` name the secrets, and nothing but them.
    pub(crate) fn name_in(&self, request: &mut RunRequest) {
        let Secrets { env, files } = &self.secrets;
        request.secret_env = env.iter().map(|var| var.key.clone()).collect();
        request.secret_files = files.iter().map(|file| file.name.clone()).collect();
    }

    /// Checks the values; the names are checked as the request's.
    pub(crate) fn check(&self, request: &RunRequest) -> Result<(), FieldErrors> {
        let Secrets { env, files } = &self.secrets;
        let plain = request.env.iter();
        check_secret_values(
            plain.map(|var| var.key.len() + var.value.len()).sum(),
            env.iter().map(|var| (&*var.key, var.value.as_bytes())),
            files.iter().map(|file| (&*file.name, &**file.value)),
        )
    }
}

/// What live runs were given: as many entries at most as runs may be live.
#[derive(Debug, Default)]
pub(crate) struct GivenSecrets {
    /// `None`: the scheduler does not give it again.
    runs: watch::Sender<HashMap<RunKey, Option<Given>>>,
}

impl GivenSecrets {
    /// A run is given something, or again what it had been given.
    pub(crate) fn give(&self, key: RunKey, given: Given) {
        self.runs.send_modify(|runs| {
            runs.insert(key, Some(given));
        });
    }

    /// Nobody will give the run anything; what it has it keeps.
    pub(crate) fn withhold(&self, key: RunKey) {
        self.runs.send_modify(|runs| {
            runs.entry(key).or_default();
        });
    }

    /// The run needs nothing of it any more.
    pub(crate) fn forget(&self, key: RunKey) {
        self.runs
            .send_if_modified(|runs| runs.remove(&key).is_some());
    }

    /// What the run was given, once it was; `None` if it will not be.
    pub(crate) async fn when_given(&self, key: RunKey) -> Option<Given> {
        let mut runs = self.runs.subscribe();
        let given = runs.wait_for(|runs| runs.contains_key(&key)).await;
        // The sender is our own.
        given
            .ok()
            .and_then(|runs| runs.get(&key).cloned().flatten())
    }

    /// The secrets that the run was given, if anybody has.
    pub(crate) fn secrets(&self, key: RunKey) -> Option<Secrets> {
        let runs = self.runs.borrow();
        let given = runs.get(&key).and_then(Option::as_ref);
        given.map(|given| given.secrets.clone())
    }

    /// Names of the variables whose values its log is not to show.
    pub(crate) fn redacted(&self, key: RunKey) -> Vec<String> {
        let secrets = self.secrets(key).unwrap_or_default();
        let hidden = secrets.env.into_iter().filter(|var| var.redact);
        hidden.map(|var| var.key).collect()
    }

    /// `run` with its secret variables.
    pub(crate) fn complete<'r>(&self, run: &'r RunSpec) -> Cow<'r, RunSpec> {
        let runs = self.runs.borrow();
        match runs.get(&run.key()).and_then(Option::as_ref) {
            Some(given) => Cow::Owned(RunSpec {
                env: given.over(&run.env),
                ..run.clone()
            }),
            None => Cow::Borrowed(run),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::samples::spec;
    use davit_rundir::SecretEnv;

    fn given(env: &[(&str, &str)]) -> Given {
        let env = env.iter().map(|(key, value)| SecretEnv {
            key: (*key).to_owned(),
            value: (*value).to_owned().into(),
            redact: true,
        });
        Given {
            secrets: Secrets {
                env: env.collect(),
                files: Vec::new(),
            },
            credentials: None,
        }
    }

    #[tokio::test]
    async fn a_run_waits_for_what_it_was_given_and_nothing_prints_it() {
        let (secrets, run) = (GivenSecrets::default(), spec());
        let given = given(&[("TOKEN", "hush")]);
        let (found, ()) = tokio::join!(secrets.when_given(run.key()), async {
            tokio::task::yield_now().await;
            secrets.give(run.key(), given.clone());
        });
        assert_eq!(found, Some(given));
        secrets.withhold(run.key());
        assert!(
            secrets.when_given(run.key()).await.is_some(),
            "it was given"
        );
        assert!(!format!("{secrets:?}").contains("hush"));
        secrets.forget(run.key());
        secrets.withhold(run.key());
        assert_eq!(secrets.when_given(run.key()).await, None);
    }

    #[test]
    fn a_secret_takes_the_place_of_a_plain_variable() {
        let secrets = GivenSecrets::default();
        let plain = |key: &str| EnvVar {
            key: key.into(),
            value: "plain".into(),
        };
        let run = RunSpec {
            env: vec![plain("A"), plain("TOKEN")],
            ..spec()
        };
        assert_eq!(*secrets.complete(&run), run);
        let given = given(&[("TOKEN", "hush"), ("OTHER", "x")]);
        secrets.give(run.key(), given);
        let env = secrets.complete(&run).into_owned().env;
        let words: Vec<_> = env.iter().map(|v| (&v.key[..], &v.value[..])).collect();
        assert_eq!(words, [("A", "plain"), ("TOKEN", "hush"), ("OTHER", "x")]);
    }
}
