//! The packet filter of all runs with a bridge, as nft(8) reads it. Pure.
//!
//! ```text
//!  from a run ─► guard: its own address, or none ─► forward ─► not another run ─► known connection: through
//!                   │                                            │
//!                   └─► input: nothing reaches the host          ├─► name servers, port 53
//!                                                                ├─► never: link-local, metadata, multicast…
//!                                                                ├─► its own rules, if it has any: these, and nothing else
//!                                                                └─► no private address; the rest is public ─► masqueraded
//! ```
//!
//! A run's rules are those of its link's group: 0 for those without, else a number that follows from the rules. So a
//! launch changes nothing here, unless it brings rules or ports that nobody has.
//!
//! Invariants:
//! - what is denied to all (`NEVER`) is denied before any rule of a run's;
//! - a link of a group that is not in the map has no rules and reaches no private address: a rule that is lost locks in.

use std::fmt::Write as _;
use std::net::IpAddr;

use davit_types::{EgressRule, PublishedPort};
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::names::{ALL_LINKS, Names};
use super::pool::{Place, Subnets};

/// Nobody's to reach: this host and what is on its link alone, what clouds tell a machine about itself, and what embeds
/// IPv4 addresses in others and would lead around the rules.
const NEVER_V4: &[&str] = &[
    "0.0.0.0/8",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "100.100.100.200/32",
];
const NEVER_V6: &[&str] = &[
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2001::/32",
    "2002::/16",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// Reached by those only who ask for it.
const PRIVATE_V4: &[&str] = &[
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
];
const PRIVATE_V6: &[&str] = &["fc00::/7"];

/// Whether all of `net` is private. Networks nest, so one that is not has public addresses alone, or all private ones of a kind.
pub(super) fn is_private(net: IpNet) -> bool {
    let within = |others: &[&str]| {
        let mut others = others.iter().filter_map(|text| text.parse::<IpNet>().ok());
        others.any(|other| other.contains(&net))
    };
    within(PRIVATE_V4) || within(PRIVATE_V6)
}

/// What the table is made from, beside what runs bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ground {
    pub(super) names: Names,
    pub(super) subnets: Subnets,
    pub(super) ipv6: bool,
    pub(super) name_servers: Vec<IpAddr>,
    /// Of a run, at once.
    pub(super) connections_max: u32,
    /// The host's own interfaces.
    pub(super) interfaces: Vec<String>,
    /// The host forwarded no packets of IPv4, of IPv6, before davit came.
    pub(super) forwarding_is_ours: [bool; 2],
}

/// The group of links with these rules.
pub(super) fn group(egress: &[EgressRule]) -> u32 {
    if egress.is_empty() {
        return 0;
    }
    let text: Vec<String> = egress.iter().map(EgressRule::to_string).collect();
    let digest = Sha256::digest(text.join(" "));
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    // 0 is that of every link in the world.
    number.max(1)
}

/// The whole table, in place of what is there.
pub(super) fn whole<'a>(
    ground: &Ground,
    policies: impl Iterator<Item = &'a [EgressRule]>,
    published: impl Iterator<Item = (Place, &'a [PublishedPort])>,
) -> String {
    let mut text = base(ground);
    let mut known = std::collections::BTreeSet::new();
    for egress in policies.filter(|egress| !egress.is_empty()) {
        if known.insert(group(egress)) {
            text.push_str(&add_policy(&ground.names, egress));
        }
    }
    for (place, ports) in published {
        text.push_str(&publish(&ground.names, &place, ports, ground.ipv6));
    }
    text
}

fn list(items: &[&str]) -> String {
    items.join(", ")
}

/// The table without what runs bring: `table.nft`, and what differs from host to host.
fn base(ground: &Ground) -> String {
    let mut text = String::new();
    for (name, addresses) in [
        ("never_v4", list(NEVER_V4)),
        ("never_v6", list(NEVER_V6)),
        ("private_v4", list(PRIVATE_V4)),
        ("private_v6", list(PRIVATE_V6)),
        ("ours_v4", ground.subnets.ipv4.to_string()),
        ("ours_v6", ground.subnets.ipv6.to_string()),
    ] {
        writeln!(text, "define {name} = {{ {addresses} }}").expect("a String");
    }
    let table = ground.names.table();
    let file = include_str!("table.nft");
    text.push_str(
        &file
            .replace("@TABLE@", table)
            .replace("@OUR_LINKS@", ground.names.links())
            .replace("@ALL_LINKS@", ALL_LINKS)
            .replace("@CONNECTIONS_MAX@", &ground.connections_max.to_string()),
    );
    for server in &ground.name_servers {
        let set = if server.is_ipv4() { "v4" } else { "v6" };
        writeln!(
            text,
            "add element inet {table} servers_{set} {{ {server} }}"
        )
        .expect("a String");
    }
    // A host that was no router is none between its own interfaces.
    let names: Vec<String> = ground
        .interfaces
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    let own = names.join(", ");
    for (family, ours) in ["ipv4", "ipv6"].iter().zip(ground.forwarding_is_ours) {
        if ours && !own.is_empty() {
            writeln!(
                text,
                "add rule inet {table} forward meta nfproto {family} iifname {{ {own} }} oifname {{ {own} }} drop"
            )
            .expect("a String");
        }
    }
    text
}

/// Takes the table away, whether it is there or not.
pub(super) fn remove_all(names: &Names) -> String {
    let table = names.table();
    let commands = ["inet", "arp"]
        .map(|family| format!("add table {family} {table}\ndelete table {family} {table}\n"));
    commands.concat()
}

/// Rules that links of their group have from now on.
pub(super) fn add_policy(names: &Names, egress: &[EgressRule]) -> String {
    let table = names.table();
    let group = group(egress);
    let chain = format!("egress_{group:08x}");
    let mut text = format!("add chain inet {table} {chain}\nflush chain inet {table} {chain}\n");
    // A rule for more than private addresses is one for the public among them.
    let (private, public): (Vec<_>, Vec<_>) = egress.iter().partition(|rule| is_private(rule.to));
    for rule in private {
        accept(&mut text, table, &chain, rule);
    }
    let (private_v4, private_v6) = (list(PRIVATE_V4), list(PRIVATE_V6));
    for denied in [
        format!("ip daddr {{ {private_v4} }}"),
        format!("ip6 daddr {{ {private_v6} }}"),
    ] {
        writeln!(text, "add rule inet {table} {chain} {denied} drop").expect("a String");
    }
    for rule in public {
        accept(&mut text, table, &chain, rule);
    }
    writeln!(text, "add rule inet {table} {chain} drop").expect("a String");
    writeln!(
        text,
        "add element inet {table} egress {{ {group} : goto {chain} }}"
    )
    .expect("a String");
    text
}

fn accept(text: &mut String, table: &str, chain: &str, rule: &EgressRule) {
    let family = match rule.to {
        IpNet::V4(_) => "ip",
        IpNet::V6(_) => "ip6",
    };
    let mut matches = format!("{family} daddr {}", rule.to);
    match (rule.protocol, rule.ports) {
        (Some(protocol), Some(ports)) => {
            write!(matches, " {} dport {ports}", protocol.as_str()).expect("a String");
        }
        (Some(protocol), None) => {
            write!(matches, " meta l4proto {}", protocol.as_str()).expect("a String");
        }
        (None, _) => {}
    }
    writeln!(text, "add rule inet {table} {chain} {matches} accept").expect("a String");
}

/// Takes back [`add_policy`]; no link of the group may be left.
pub(super) fn remove_policy(names: &Names, group: u32) -> String {
    let table = names.table();
    let chain = format!("egress_{group:08x}");
    format!(
        "delete element inet {table} egress {{ {group} }}\nflush chain inet {table} {chain}\ndelete chain inet {table} {chain}\n"
    )
}

/// The ports at which a run is reached.
pub(super) fn publish(names: &Names, place: &Place, ports: &[PublishedPort], ipv6: bool) -> String {
    published("add", names, place, ports, ipv6)
}

/// Takes back [`publish`].
pub(super) fn unpublish(
    names: &Names,
    place: &Place,
    ports: &[PublishedPort],
    ipv6: bool,
) -> String {
    published("delete", names, place, ports, ipv6)
}

fn published(
    verb: &str,
    names: &Names,
    place: &Place,
    ports: &[PublishedPort],
    ipv6: bool,
) -> String {
    let table = names.table();
    let mut text = String::new();
    let mut addresses = vec![("published_v4", IpAddr::V4(place.ipv4))];
    if ipv6 {
        addresses.push(("published_v6", IpAddr::V6(place.ipv6)));
    }
    for port in ports {
        for (map, address) in &addresses {
            let protocol = port.protocol.as_str();
            let (from, to) = (port.host_port, port.port);
            writeln!(
                text,
                "{verb} element inet {table} {map} {{ {protocol} . {from} : {address} . {to} }}"
            )
            .expect("a String");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::pool::Subnets;

    fn ground() -> Ground {
        Ground {
            names: Names::of(std::path::Path::new("/var/lib/davit")),
            subnets: Subnets {
                ipv4: "100.96.0.0/16".parse().expect("a network"),
                ipv6: "fd64:6176:6974::/64".parse().expect("a network"),
            },
            ipv6: true,
            name_servers: vec![
                "10.0.0.2".parse().expect("an address"),
                "2001:db8::53".parse().expect("an address"),
            ],
            connections_max: 4_096,
            interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
            forwarding_is_ours: [true, false],
        }
    }

    fn rules(texts: &[&str]) -> Vec<EgressRule> {
        let parsed = texts.iter().map(|text| text.parse().expect("a rule"));
        parsed.collect()
    }

    #[test]
    fn the_whole_table() {
        let egress = rules(&[
            "0.0.0.0/0,tcp,443",
            "10.1.0.0/16,udp",
            "2001:db8::/32,tcp,1-9",
        ]);
        let place = ground().subnets.place(5);
        let ports = ["8080:80/tcp".parse().expect("ports")];
        // Twice the same rules are once in the table.
        let policies = [egress.as_slice(), &[], &egress];
        let text = whole(
            &ground(),
            policies.into_iter(),
            [(place, &ports[..])].into_iter(),
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn two_executors_have_tables_of_their_own() {
        let other = Ground {
            names: Names::of(std::path::Path::new("/var/lib/other")),
            ..ground()
        };
        let (own, other) = (base(&ground()), base(&other));
        // What stands for something is written so; sets are called by small letters.
        let stand_in = own
            .split('@')
            .skip(1)
            .find(|rest| rest.starts_with(char::is_uppercase));
        assert_eq!(stand_in, None);
        let tables = |text: &str| {
            let lines = text.lines().filter(|line| line.starts_with("table "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(
            tables(&own)
                .iter()
                .all(|table| !tables(&other).contains(table))
        );
    }

    #[test]
    fn equal_rules_have_one_group_and_others_another() {
        let one = rules(&["192.0.2.0/24"]);
        assert_eq!(group(&one), group(&one.clone()));
        assert_ne!(group(&one), group(&rules(&["192.0.2.0/24,tcp"])));
        assert_eq!(group(&[]), 0);
    }

    #[test]
    fn what_is_partly_public_is_not_private() {
        let private = |text: &str| is_private(text.parse().expect("a network"));
        for text in [
            "10.0.0.0/8",
            "10.1.2.3/32",
            "192.168.4.0/24",
            "100.64.0.0/10",
            "fd00::/8",
        ] {
            assert!(private(text), "{text}");
        }
        for text in [
            "0.0.0.0/0",
            "8.0.0.0/6",
            "::/0",
            "192.0.2.1/32",
            "2001:db8::/32",
        ] {
            assert!(!private(text), "{text}");
        }
    }
}
