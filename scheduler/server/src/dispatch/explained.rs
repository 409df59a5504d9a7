//! The engine's explanations in the service's words.

use std::collections::BTreeMap;

use davit_placement::{Dimension, Explanation, Outlook, Position, Verdict};

use crate::service::{Explained, QueuePosition};

/// An explanation without names of hosts.
pub(super) fn explained(found: &Explanation) -> Explained {
    let (reason, scarce) = outlook(&found.outlook);
    let mut hosts: BTreeMap<String, u64> = BTreeMap::new();
    for (verdict, count) in &found.hosts {
        *hosts.entry(word(*verdict)).or_default() += *count as u64;
    }
    let message = match &found.outlook {
        // The engine would name the host.
        Outlook::Live(_) => "it has a host".to_owned(),
        Outlook::Placeable(_) => "a host has room for it; it waits for its turn".to_owned(),
        other => other.to_string(),
    };
    Explained {
        reason: reason.to_owned(),
        message,
        scarce: scarce.map(|dimension| dimension.as_str().to_owned()),
        position: found.position.map(|position| match position {
            Position::Ahead(ahead) => QueuePosition {
                ahead: ahead as u64,
                or_more: false,
            },
            Position::MoreThan(ahead) => QueuePosition {
                ahead: ahead as u64,
                or_more: true,
            },
        }),
        hosts,
    }
}

/// What is said of a run that placement cannot read.
pub(super) fn unreadable(problem: &str) -> Explained {
    Explained {
        reason: "unreadable".to_owned(),
        message: problem.to_owned(),
        scarce: None,
        position: None,
        hosts: BTreeMap::new(),
    }
}

const fn outlook(outlook: &Outlook) -> (&'static str, Option<Dimension>) {
    match outlook {
        Outlook::Live(_) => ("live", None),
        Outlook::Placeable(_) => ("placeable", None),
        Outlook::RunnerAtCap { .. } => ("runner_at_cap", None),
        Outlook::NoHosts => ("no_hosts", None),
        Outlook::NoneAllowed => ("none_allowed", None),
        Outlook::TooLarge(dimension) => ("too_large", Some(*dimension)),
        Outlook::Elsewhere => ("elsewhere", None),
        Outlook::NoneOpen => ("none_open", None),
        Outlook::Full(dimension) => ("full", Some(*dimension)),
        Outlook::Kept => ("kept", None),
    }
}

fn word(verdict: Verdict) -> String {
    match verdict {
        Verdict::Fits => "fits".to_owned(),
        Verdict::OtherRegion => "other_region".to_owned(),
        Verdict::NotNamed => "not_named".to_owned(),
        Verdict::NoLabel => "no_label".to_owned(),
        Verdict::Excluded => "excluded".to_owned(),
        Verdict::TooSmall(dimension) => format!("too_small_{}", dimension.as_str()),
        Verdict::Remote => "remote".to_owned(),
        Verdict::Offline => "offline".to_owned(),
        Verdict::Draining => "draining".to_owned(),
        Verdict::Quarantined => "quarantined".to_owned(),
        Verdict::Full(dimension) => format!("full_{}", dimension.as_str()),
        Verdict::Kept => "kept".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_host_is_named_to_tenants() {
        let found = Explanation {
            outlook: Outlook::Placeable("secret-host".parse().expect("a name")),
            position: Some(Position::MoreThan(7)),
            hosts: [(Verdict::Fits, 2), (Verdict::Full(Dimension::Memory), 1)].into(),
        };
        let told = explained(&found);
        assert!(!format!("{told:?}").contains("secret-host"));
        assert_eq!(told.reason, "placeable");
        let position = told.position.expect("it waits");
        assert_eq!((position.ahead, position.or_more), (7, true));
        assert_eq!(told.hosts["full_memory"], 1);
    }
}
