//! What the host has of the network: its way out, its name servers, whether it forwards. Blocking.
//!
//! Invariant: what davit changes on the host for runs' sake (forwarding) it changes only when the first run with a bridge
//! comes, and says so; a host that was no router before carries nothing from one of its own interfaces to another (the table
//! drops it). What others forward for their own containers is theirs.
//!
//! Absent on purpose: taking forwarding back. Somebody else may have begun to rely on it.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};

use super::names::{ALL_LINKS, Names};
use super::netlink::{Netlink, NetlinkError};
use super::pool::Subnets;

/// Bytes read of a resolver's settings.
const RESOLVER_BYTES_MAX: usize = 64 << 10;
/// Name servers of a container: resolver libraries ask no more.
const NAME_SERVERS_MAX: usize = 3;
/// Least MTU at which IPv6 works (RFC 8200).
const MTU_MIN: u32 = 1_280;

/// Why the host's network cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UplinkError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(
        "{setting} {ours} overlaps with {theirs}, to which this host has a route by {interface}: choose another"
    )]
    Overlap {
        setting: &'static str,
        ours: IpNet,
        theirs: IpNet,
        interface: String,
    },
    #[error("cannot {operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The host's way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uplink {
    pub(super) mtu: u32,
    /// It has a default route for IPv6.
    pub(super) ipv6: bool,
    /// The interfaces that are the host's own, and no software's.
    pub(super) interfaces: Vec<String>,
}

/// A route of the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    to: IpNet,
    interface: u32,
}

/// Looks for the way out, and whether nobody else has the addresses meant for containers.
pub(super) fn find(subnets: &Subnets, names: &Names) -> Result<Uplink, UplinkError> {
    let mut netlink = Netlink::open()?;
    let links = links(&mut netlink)?;
    let mut routes = routes(&mut netlink, AddressFamily::Inet)?;
    routes.extend(routes_of_ipv6(&mut netlink)?);
    let ours = [
        ("network.ipv4_subnet", IpNet::V4(subnets.ipv4)),
        ("network.ipv6_subnet", IpNet::V6(subnets.ipv6)),
    ];
    for route in routes.iter().filter(|route| route.to.prefix_len() > 0) {
        let link = links.iter().find(|link| link.index == route.interface);
        let interface = link.map_or("", |link| &link.name);
        if names.number_of(interface).is_some() {
            continue;
        }
        for (setting, ours) in ours {
            if ours.contains(&route.to) || route.to.contains(&ours) {
                return Err(UplinkError::Overlap {
                    setting,
                    ours,
                    theirs: route.to,
                    interface: interface.to_owned(),
                });
            }
        }
    }
    let default = |is_v6: bool| {
        let mut routes = routes.iter();
        routes.find(|route| route.to.prefix_len() == 0 && matches!(route.to, IpNet::V6(_)) == is_v6)
    };
    let mtu_of = |route: &Route| {
        let link = links.iter().find(|link| link.index == route.interface);
        link.map(|link| link.mtu)
    };
    let mtus = [default(false), default(true)].into_iter().flatten();
    let mtu = mtus.filter_map(mtu_of).min().unwrap_or(1_500);
    Ok(Uplink {
        mtu: mtu.max(MTU_MIN),
        ipv6: default(true).is_some(),
        interfaces: links
            .iter()
            .filter(|link| link.is_own)
            .map(|link| link.name.clone())
            .collect(),
    })
}

struct Link {
    index: u32,
    name: String,
    mtu: u32,
    /// Neither loopback nor made by software: veth, bridge, tunnel and their like have a kind.
    is_own: bool,
}

fn links(netlink: &mut Netlink) -> Result<Vec<Link>, NetlinkError> {
    let told = netlink.call(
        "list links",
        Message::GetLink(LinkMessage::default()),
        NLM_F_DUMP,
    )?;
    let links = told.into_iter().filter_map(|message| match message {
        Message::NewLink(link) => {
            let mut found = Link {
                index: link.header.index,
                name: String::new(),
                mtu: 1_500,
                is_own: !link.header.flags.contains(LinkFlags::Loopback),
            };
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => found.name = name,
                    LinkAttribute::Mtu(mtu) => found.mtu = mtu,
                    LinkAttribute::LinkInfo(info) => {
                        let has_kind = |one: &LinkInfo| matches!(one, LinkInfo::Kind(_));
                        found.is_own &= !info.iter().any(has_kind);
                    }
                    _ => {}
                }
            }
            Some(found)
        }
        _ => None,
    });
    Ok(links.collect())
}

/// A kernel without IPv6 has none.
fn routes_of_ipv6(netlink: &mut Netlink) -> Result<Vec<Route>, NetlinkError> {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return Ok(Vec::new());
    }
    routes(netlink, AddressFamily::Inet6)
}

fn routes(netlink: &mut Netlink, family: AddressFamily) -> Result<Vec<Route>, NetlinkError> {
    let mut asked = RouteMessage::default();
    asked.header.address_family = family;
    let told = netlink.call("list routes", Message::GetRoute(asked), NLM_F_DUMP)?;
    let routes = told.into_iter().filter_map(|message| match message {
        Message::NewRoute(route) => unicast(route),
        _ => None,
    });
    Ok(routes.collect())
}

fn unicast(message: RouteMessage) -> Option<Route> {
    let header = &message.header;
    if header.kind != RouteType::Unicast || header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let prefix = header.destination_prefix_length;
    let mut to: IpNet = match header.address_family {
        AddressFamily::Inet => Ipv4Net::default().into(),
        _ => Ipv6Net::default().into(),
    };
    let mut interface = 0;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                to = Ipv4Net::new(*address, prefix).ok()?.trunc().into();
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                to = Ipv6Net::new(*address, prefix).ok()?.trunc().into();
            }
            RouteAttribute::Oif(index) => interface = *index,
            _ => {}
        }
    }
    Some(Route { to, interface })
}

/// The name servers of the host that a container can ask: those on the host itself, it cannot reach.
pub(super) fn name_servers() -> Vec<IpAddr> {
    // The second is what systemd-resolved, which the first then names alone, itself asks.
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let found = files.iter().map(|path| {
        let bytes = fs::read(path).unwrap_or_default();
        let text = &bytes[..bytes.len().min(RESOLVER_BYTES_MAX)];
        name_servers_in(&String::from_utf8_lossy(text))
    });
    found
        .into_iter()
        .find(|servers| !servers.is_empty())
        .unwrap_or_default()
}

fn name_servers_in(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    let addresses = lines.filter_map(|word| word.parse::<IpAddr>().ok());
    addresses
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
        .take(NAME_SERVERS_MAX)
        .collect()
}

/// The resolver's settings for containers.
pub(super) fn resolver_settings(name_servers: &[IpAddr]) -> String {
    let lines = name_servers.iter().take(NAME_SERVERS_MAX);
    lines
        .map(|address| format!("nameserver {address}\n"))
        .collect()
}

/// The switch of a family's forwarding.
fn switch(ipv6: bool) -> &'static Path {
    Path::new(if ipv6 {
        "/proc/sys/net/ipv6/conf/all/forwarding"
    } else {
        "/proc/sys/net/ipv4/ip_forward"
    })
}

/// Whether the host forwards packets of this family.
pub(super) fn forwards(ipv6: bool) -> Result<bool, UplinkError> {
    let path = switch(ipv6);
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim() != "0"),
        // A kernel without this family.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(UplinkError::File {
            operation: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Has the host forward packets of this family.
pub(super) fn forward(ipv6: bool) -> Result<(), UplinkError> {
    if ipv6 {
        keep_router_advertisements()?;
    }
    let path = switch(ipv6);
    fs::write(path, "1\n").map_err(|source| UplinkError::File {
        operation: "set",
        path: path.to_owned(),
        source,
    })?;
    tracing::warn!(path = %path.display(), "this host forwards packets from now on, for runs with a bridge only");
    Ok(())
}

/// An interface that learns its routes from advertisements would stop doing so with forwarding on, unless told to go on
/// (`accept_ra`, Documentation/networking/ip-sysctl.rst).
fn keep_router_advertisements() -> Result<(), UplinkError> {
    let root = Path::new("/proc/sys/net/ipv6/conf");
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path().join("accept_ra");
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(ALL_LINKS) {
            continue;
        }
        if fs::read_to_string(&path).is_ok_and(|text| text.trim() == "1") {
            fs::write(&path, "2\n").map_err(|source| UplinkError::File {
                operation: "set",
                path: path.clone(),
                source,
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_that_a_container_cannot_reach_are_left_out() {
        let text = "# by hand\nsearch example.com\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n\
                    nameserver ::1\nnameserver 2001:db8::1\nnameserver x\nnameserver 192.0.2.2\nnameserver 192.0.2.3";
        let found = name_servers_in(text);
        let texts: Vec<String> = found.iter().map(IpAddr::to_string).collect();
        assert_eq!(texts, ["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
        assert_eq!(resolver_settings(&found[..1]), "nameserver 192.0.2.1\n");
        assert!(name_servers_in("options edns0").is_empty());
    }

    #[test]
    fn this_machines_links_are_listed() {
        let mut netlink = Netlink::open().expect("a socket");
        let links = links(&mut netlink).expect("links");
        assert!(links.iter().any(|link| link.name == "lo" && !link.is_own));
    }
}
