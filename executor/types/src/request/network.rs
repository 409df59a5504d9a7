//! What a request says of the network, beyond which one it has.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use super::{Check, EgressRule, NetworkMode, PublishedPort, RunRequest, max};

impl RunRequest {
    /// Whom the run may reach, sorted, and where it is reached.
    pub(super) fn parse_network(&self, check: &mut Check) -> (Vec<EgressRule>, Vec<PublishedPort>) {
        let egress = rules("egress", &self.egress, max::EGRESS_RULES_MAX, check);
        let publish = rules("publish", &self.publish, max::PUBLISHED_PORTS_MAX, check);
        for (at, text) in self.publish.iter().enumerate() {
            let Ok(port) = text.parse::<PublishedPort>() else {
                continue;
            };
            let twice = self.publish[..at].iter().any(|before| {
                before.parse().is_ok_and(|other: PublishedPort| {
                    (other.host_port, other.protocol) == (port.host_port, port.protocol)
                })
            });
            if twice {
                let field = format!("publish[{at}]");
                check.fail(&field, text, "names a port of the host's again");
            }
        }
        if let Some(rate) = self.network_bytes_per_second_max {
            let (min, max) = (max::NETWORK_RATE_BYTES_MIN, max::NETWORK_RATE_BYTES_MAX);
            check.range("network_bytes_per_second_max", rate, min, max);
        }
        if self.network != NetworkMode::Bridge {
            let given = [
                ("egress", self.egress.first().cloned()),
                ("publish", self.publish.first().cloned()),
                (
                    "network_bytes_per_second_max",
                    self.network_bytes_per_second_max
                        .map(|rate| rate.to_string()),
                ),
            ];
            for (field, value) in given {
                if let Some(value) = value {
                    let network = self.network.as_str();
                    let problem = format!("is for network bridge, and this is {network}");
                    check.fail(field, value, problem);
                }
            }
        }
        let egress: BTreeSet<EgressRule> = egress.into_iter().collect();
        (egress.into_iter().collect(), publish)
    }
}

fn rules<T: FromStr<Err: Display>>(
    field: &str,
    texts: &[String],
    rules_max: usize,
    check: &mut Check,
) -> Vec<T> {
    if texts.len() > rules_max {
        check.fail(field, texts.len(), format!("at most {rules_max} allowed"));
        return Vec::new();
    }
    let mut parsed = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(rule) => parsed.push(rule),
            Err(problem) => {
                let field = format!("{field}[{at}]");
                check.fail(&field, text, T::Err::to_string(&problem));
            }
        }
    }
    parsed
}
