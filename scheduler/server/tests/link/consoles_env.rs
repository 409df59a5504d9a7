//! Variables of what is executed: in the query, or named there with their values beside it.

use davit_rpc::console::open::With;

use crate::console::{Client, Refused, Stage, V5, dial_with};
use crate::world::Tweak;

impl Stage {
    fn dial_env(
        &self,
        query: &str,
        env: &[&'static str],
    ) -> impl Future<Output = Result<Client, Refused>> + Send + use<> {
        let path = self.path(&format!("exec?command=env{query}"));
        let (rest, token, env) = (self.replica.rest, self.token.clone(), env.to_vec());
        async move { dial_with(rest, &token, &path, V5, &env).await }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_reach_the_host_from_the_query_and_from_beside_it() {
    let mut stage = Stage::set(Tweak::default()).await;
    for (query, env, wanted) in [
        ("", &[][..], &[][..]),
        (
            "&env=A=b=c%26%C3%BC%0A&env=B=",
            &[],
            &[("A", "b=c&\u{fc}\n"), ("B", "")],
        ),
        (
            "&env=T&env=A=b&env=_U2",
            &["T=s%20p%2Be+ll%0A&_U2="],
            &[("T", "s p+e ll\n"), ("A", "b"), ("_U2", "")],
        ),
        ("&env=T&env=U", &["T=1", "U=2"], &[("T", "1"), ("U", "2")]),
    ] {
        let dialled = stage.dial_env(query, env);
        let (_client, _call, open) = stage.both(dialled, false).await;
        let Some(With::Exec(exec)) = open.with else {
            panic!("{open:?}");
        };
        let pair = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        assert_eq!(exec.env, wanted.iter().map(pair).collect(), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_executed_without_a_variable_that_was_given() {
    let stage = Stage::set(Tweak::default()).await;
    for (query, env, words) in [
        ("&env=T", &[][..], "has no value here"),
        ("&env=", &[], "has no value here"),
        ("", &["T=hush"], "is not named in the query"),
        ("&env=A=b", &["T=hush"], "is not named in the query"),
        ("&env=T", &["T=hush&T=hush"], "has two values"),
        ("&env=T", &["T=hush", "T=hush"], "has two values"),
        ("&env=T=hush", &["T=hush"], "has two values"),
        ("&env=T&env=T=hush", &["T=hush"], "is there twice"),
        ("&env=1A=hush", &[], "must match"),
        ("&env=%C3%BC", &["%C3%BC=hush"], "must match"),
        ("&env==hush", &[], "must match"),
        ("&env=A=hu%00sh", &[], "NUL"),
        ("&env=T", &["T=hu%00sh"], "NUL"),
    ] {
        let answer = stage.dial_env(query, env).await;
        let refused = answer.expect_err("a refusal");
        let told = format!("{query} {env:?}: {refused:?}");
        assert_eq!(refused.status, 400, "{told}");
        assert_eq!(refused.kind, "bad-parameter", "{told}");
        assert!(refused.detail.contains(words), "{told}");
        assert!(!refused.detail.contains("hu"), "{told}");
    }
    let many: String = (0..501).map(|n| format!("&env=A{n}=")).collect();
    let refused = stage.dial_env(&many, &[]).await.expect_err("a refusal");
    assert!(refused.detail.contains("at most 500"), "{refused:?}");
    let attach = stage.dial("attach?env=A=b").await.expect_err("a refusal");
    assert!(attach.detail.contains("is no parameter here"), "{attach:?}");
    let several = stage.dial("exec?env=1A=x&workdir=tmp").await;
    let several = several.expect_err("a refusal");
    assert_eq!(several.detail, "3 parameters are not valid");
}
