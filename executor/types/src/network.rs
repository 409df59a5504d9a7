//! A run's network: which one it has, whom it may reach, how fast, and who may reach it (A12).
//!
//! Rules are written the same way wherever they stand: `CIDR[,PROTOCOL[,PORT[-PORT]]]`, e.g. `192.0.2.0/24,tcp,443`, and
//! `HOST-PORT:PORT[/PROTOCOL]`, e.g. `8080:80/tcp`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The run's network (A12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// A network namespace with a loopback device and nothing else.
    #[default]
    None,
    /// A network namespace with a link to the outside: through the host's addresses, and to nobody on the host.
    Bridge,
    /// The host's network: only where the operator's settings allow it.
    Host,
}

impl NetworkMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Bridge, Self::Host];

    /// The word for people and interfaces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bridge => "bridge",
            Self::Host => "host",
        }
    }
}

impl FromStr for NetworkMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        found.ok_or_else(|| "must be none, bridge or host".to_owned())
    }
}

/// What ports belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Tcp, Self::Udp];
        let found = all.into_iter().find(|protocol| protocol.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is neither tcp nor udp"))
    }
}

/// Ports from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// The lowest, at least 1.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl Ports {
    /// Whether `port` is among them.
    #[must_use]
    pub const fn contain(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(format!("ports {text} end before they begin"));
        }
        Ok(Self { first, last })
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`{text}` is no port: 1 to 65535")),
    }
}

/// Whom a run may reach: addresses, and of these all or only one protocol, all or only some ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EgressRule {
    /// The addresses; no bit is set beyond the prefix.
    pub to: IpNet,
    /// All when absent.
    pub protocol: Option<Protocol>,
    /// All when absent, and when there is no protocol.
    pub ports: Option<Ports>,
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to)?;
        if let Some(protocol) = self.protocol {
            write!(f, ",{}", protocol.as_str())?;
        }
        match self.ports {
            Some(ports) => write!(f, ",{ports}"),
            None => Ok(()),
        }
    }
}

impl FromStr for EgressRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(',');
        let to = addresses(parts.next().unwrap_or_default())?;
        let protocol = parts.next().map(str::parse).transpose()?;
        let ports = parts.next().map(str::parse).transpose()?;
        if parts.next().is_some() {
            return Err("has more than CIDR,PROTOCOL,PORTS".to_owned());
        }
        Ok(Self {
            to,
            protocol,
            ports,
        })
    }
}

/// One address, or a network that is written with its first one.
///
/// # Errors
/// What is wrong with the text.
pub fn addresses(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let net: IpNet = text
        .parse()
        .map_err(|_| format!("`{text}` is neither an address nor a CIDR such as 192.0.2.0/24"))?;
    if net != net.trunc() {
        let meant = net.trunc();
        return Err(format!("{net} has bits beyond its prefix: write {meant}"));
    }
    Ok(net)
}

/// A port of the host's at which a run is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublishedPort {
    /// The host's.
    pub host_port: u16,
    /// The run's.
    pub port: u16,
    /// Of both.
    pub protocol: Protocol,
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol.as_str();
        write!(f, "{}:{}/{protocol}", self.host_port, self.port)
    }
}

impl FromStr for PublishedPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let Some((host_port, own)) = ports.split_once(':') else {
            return Err("is not HOST-PORT:PORT, e.g. 8080:80 or 5353:53/udp".to_owned());
        };
        Ok(Self {
            host_port: port(host_port)?,
            port: port(own)?,
            protocol: protocol.parse()?,
        })
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    )*};
}

as_text!(EgressRule PublishedPort);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wrong(text: &str) -> String {
        text.parse::<EgressRule>().expect_err(text)
    }

    #[test]
    fn a_rule_is_addresses_and_may_be_a_protocol_and_ports() {
        for text in [
            "192.0.2.0/24",
            "192.0.2.1/32,tcp",
            "::/0,udp,53",
            "2001:db8::/32,tcp,8000-8100",
        ] {
            assert_eq!(text.parse::<EgressRule>().expect(text).to_string(), text);
        }
        let one: EgressRule = "192.0.2.7,udp".parse().expect("an address");
        assert_eq!(one.to_string(), "192.0.2.7/32,udp");
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        for (text, said) in [
            ("", "neither an address nor a CIDR"),
            ("example.com", "neither an address nor a CIDR"),
            ("10.0.0.0/33", "neither an address nor a CIDR"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("10.0.0.0/8,sctp", "neither tcp nor udp"),
            ("10.0.0.0/8,tcp,0", "no port"),
            ("10.0.0.0/8,tcp,70000", "no port"),
            ("10.0.0.0/8,tcp,9-8", "end before they begin"),
            ("10.0.0.0/8,tcp,80,x", "more than"),
        ] {
            let problem = wrong(text);
            assert!(problem.contains(said), "{text}: {problem}");
        }
    }

    #[test]
    fn a_published_port_is_tcp_unless_said_otherwise() {
        let plain: PublishedPort = "8080:80".parse().expect("two ports");
        assert_eq!(plain.to_string(), "8080:80/tcp");
        for text in ["80", "0:80", "80:", "80:81/icmp", "1:2:3"] {
            assert!(text.parse::<PublishedPort>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_again(
            address: std::net::Ipv6Addr, prefix in 0u8..=128, tcp: bool, first in 1u16.., more: u16,
        ) {
            let to = IpNet::new(address.into(), prefix).expect("a prefix").trunc();
            let ports = Ports { first, last: first.saturating_add(more) };
            let protocol = Some(if tcp { Protocol::Tcp } else { Protocol::Udp });
            let rule = EgressRule { to, protocol, ports: Some(ports) };
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }

        #[test]
        fn nothing_read_panics(text: String) {
            drop(text.parse::<EgressRule>());
            drop(text.parse::<PublishedPort>());
        }
    }
}
