//! `[network]`, as written and as read.

use std::net::IpAddr;

use davit_types::{Bytes, Ports, addresses};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Least and greatest prefix of the addresses for runs: 14 of them, and 16 million.
const IPV4_PREFIXES: std::ops::RangeInclusive<u8> = 8..=28;
/// The same of IPv6: a number of 32 bits has room.
const IPV6_PREFIX_MAX: u8 = 64;

/// What runs may ask of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSettings {
    /// Whether `--network host` is allowed.
    pub allow_host: bool,
    /// Whether `--network bridge` is allowed.
    pub bridge: bool,
    /// Addresses of runs with a bridge.
    pub ipv4_subnet: String,
    /// The same of IPv6.
    pub ipv6_subnet: String,
    /// Whether they get one of those too.
    pub ipv6: bool,
    /// Largest packet; as the way out has it when absent.
    pub mtu: Option<u32>,
    /// Whom they ask for names; the host's when empty.
    pub name_servers: Vec<String>,
    /// Private networks that runs may list.
    pub private_allowed: Vec<String>,
    /// Ports of the host that runs may publish.
    pub publish_ports: Vec<String>,
    /// Connections of a run at once.
    pub connections_max: u32,
    /// Bytes a second, each way.
    pub bytes_per_second_max: Option<Bytes>,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            allow_host: false,
            bridge: true,
            ipv4_subnet: "100.96.0.0/16".to_owned(),
            ipv6_subnet: "fd64:6176:6974::/64".to_owned(),
            ipv6: true,
            mtu: None,
            name_servers: Vec::new(),
            private_allowed: Vec::new(),
            publish_ports: Vec::new(),
            connections_max: 4_096,
            bytes_per_second_max: None,
        }
    }
}

/// The texts among them, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParsedNetwork {
    pub(crate) ipv4_subnet: Ipv4Net,
    pub(crate) ipv6_subnet: Ipv6Net,
    pub(crate) name_servers: Vec<IpAddr>,
    pub(crate) private_allowed: Vec<IpNet>,
    pub(crate) publish_ports: Vec<Ports>,
}

/// One text that is not what it is for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("network.{key} = `{value}`: {problem}")]
pub(crate) struct WrongNetwork {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) problem: String,
}

impl NetworkSettings {
    /// Reads the texts.
    ///
    /// # Errors
    /// The first that is wrong.
    pub(crate) fn parsed(&self) -> Result<ParsedNetwork, WrongNetwork> {
        Ok(ParsedNetwork {
            ipv4_subnet: read("ipv4_subnet", &self.ipv4_subnet, ipv4_subnet)?,
            ipv6_subnet: read("ipv6_subnet", &self.ipv6_subnet, ipv6_subnet)?,
            name_servers: read_all("name_servers", &self.name_servers, name_server)?,
            private_allowed: read_all("private_allowed", &self.private_allowed, addresses)?,
            publish_ports: read_all("publish_ports", &self.publish_ports, str::parse)?,
        })
    }
}

fn read<T>(
    key: &str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, WrongNetwork> {
    parse(text).map_err(|problem| WrongNetwork {
        key: key.to_owned(),
        value: text.to_owned(),
        problem,
    })
}

fn read_all<T>(
    key: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, WrongNetwork> {
    let texts = texts.iter().enumerate();
    texts
        .map(|(at, text)| read(&format!("{key}[{at}]"), text, &parse))
        .collect()
}

fn ipv4_subnet(text: &str) -> Result<Ipv4Net, String> {
    match addresses(text)? {
        IpNet::V4(net) if IPV4_PREFIXES.contains(&net.prefix_len()) => Ok(net),
        _ => Err("must be IPv4, with a prefix of 8 to 28 bits".to_owned()),
    }
}

fn ipv6_subnet(text: &str) -> Result<Ipv6Net, String> {
    match addresses(text)? {
        IpNet::V6(net) if net.prefix_len() <= IPV6_PREFIX_MAX => Ok(net),
        _ => Err(format!(
            "must be IPv6, with a prefix of at most {IPV6_PREFIX_MAX} bits"
        )),
    }
}

fn name_server(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "is no address".to_owned())?;
    if address.is_loopback() || address.is_unspecified() {
        return Err("is this host itself, which no run reaches".to_owned());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl FnOnce(&mut NetworkSettings)) -> String {
        let mut settings = NetworkSettings::default();
        change(&mut settings);
        settings.parsed().expect_err("it is wrong").to_string()
    }

    #[test]
    fn what_is_usual_is_right() {
        let parsed = NetworkSettings::default().parsed().expect("the defaults");
        assert_eq!(parsed.ipv4_subnet.prefix_len(), 16);
        assert!(parsed.private_allowed.is_empty() && parsed.publish_ports.is_empty());
    }

    #[test]
    fn each_wrong_text_is_named() {
        let said = wrong(|settings| settings.ipv4_subnet = "10.0.0.0/30".to_owned());
        assert!(
            said.contains("ipv4_subnet = `10.0.0.0/30`: must be IPv4"),
            "{said}"
        );
        let said = wrong(|settings| settings.ipv6_subnet = "fd00::/80".to_owned());
        assert!(said.contains("at most 64 bits"), "{said}");
        let said = wrong(|settings| settings.name_servers = vec!["127.0.0.53".to_owned()]);
        assert!(
            said.contains("name_servers[0]") && said.contains("no run reaches"),
            "{said}"
        );
        let said = wrong(|settings| settings.private_allowed = vec!["10.1.1.1/8".to_owned()]);
        assert!(said.contains("write 10.0.0.0/8"), "{said}");
        let said = wrong(|settings| settings.publish_ports = vec!["80".into(), "90-80".into()]);
        assert!(said.contains("publish_ports[1]"), "{said}");
    }
}
