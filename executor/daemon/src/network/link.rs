//! A container's link: a pair of virtual Ethernet devices, one end on the host, the other in the container. Blocking.
//!
//! ```text
//!  container                          host
//!  eth0  10.x.0.5/32, fd…::5/128 ═══ davit5  10.x.0.1/32, fd…::1/128
//!        default via 10.x.0.1              route 10.x.0.5 dev davit5
//! ```
//!
//! Each end knows the other's hardware address and asks for none: there is no segment that two containers share, and
//! nothing to be spoofed in it. IPv6 addresses are not derived, routers not looked for: what goes over the link, but for
//! the kernel's few reports of multicast, is the job's.
//!
//! Invariant: the link is made in the container's namespace at once, and ends with that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use super::names::Names;
use super::netlink::{Netlink, NetlinkError, within};
use super::pool::Place;

/// The container's end, as the job sees it.
const INSIDE: &str = "eth0";
/// What may be sent at once beyond the rate, bytes: a few of the largest segments.
const BURST_BYTES: u32 = 256 << 10;
/// What may wait for the rate, milliseconds' worth of it.
const QUEUE_MS: u64 = 50;

/// All that a link is made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) place: Place,
    /// The host's end.
    pub(super) name: String,
    pub(super) gateway: (Ipv4Addr, Ipv6Addr),
    pub(super) ipv6: bool,
    pub(super) group: u32,
    pub(super) mtu: u32,
    pub(super) bytes_per_second_max: Option<u64>,
}

/// Links the container of `namespace` with the host, as planned.
pub(super) fn make(plan: &Plan, namespace: &OwnedFd) -> Result<(), NetlinkError> {
    let mut host = Netlink::open()?;
    let name = &plan.name;
    // One of that name is a dead container's, which the kernel is slow to take down.
    remove(&mut host, name)?;
    create(&mut host, plan, namespace)?;
    let made =
        outside(&mut host, plan).and_then(|()| within(namespace, |inner| inside(inner, plan)));
    if let Err(error) = made {
        if let Err(left) = remove(&mut host, name) {
            tracing::warn!(name, problem = %left, "a link that came to nothing is left");
        }
        return Err(error);
    }
    Ok(())
}

/// Removes the host's end of a link, and with it the other; fine when there is none.
pub(super) fn remove(netlink: &mut Netlink, name: &str) -> Result<(), NetlinkError> {
    let removed = netlink.call("remove a link", Message::DelLink(named(name)), 0);
    match removed {
        Err(error) if error.errno() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(()),
        other => other.map(drop),
    }
}

/// The numbers of all links that are there and have one of `names`.
pub(super) fn numbers(netlink: &mut Netlink, names: &Names) -> Result<Vec<u32>, NetlinkError> {
    let links = netlink.call(
        "list links",
        Message::GetLink(LinkMessage::default()),
        NLM_F_DUMP,
    )?;
    let numbers = links.into_iter().filter_map(|message| match message {
        Message::NewLink(link) => link.attributes.into_iter().find_map(|found| match found {
            LinkAttribute::IfName(name) => names.number_of(&name),
            _ => None,
        }),
        _ => None,
    });
    Ok(numbers.collect())
}

fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link
}

fn create(host: &mut Netlink, plan: &Plan, namespace: &OwnedFd) -> Result<(), NetlinkError> {
    let mut peer = named(INSIDE);
    peer.attributes.extend([
        LinkAttribute::Mtu(plan.mtu),
        LinkAttribute::Address(plan.place.container_mac().to_vec()),
        LinkAttribute::NetNsFd(namespace.as_raw_fd()),
    ]);
    let mut link = named(&plan.name);
    link.attributes.extend([
        LinkAttribute::Mtu(plan.mtu),
        LinkAttribute::Group(plan.group),
        LinkAttribute::Address(plan.place.host_mac().to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ]);
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    host.call("make a link", Message::NewLink(link), flags)
        .map(drop)
}

fn outside(host: &mut Netlink, plan: &Plan) -> Result<(), NetlinkError> {
    let index = index(host, &plan.name)?;
    up(host, index)?;
    let (gateway_v4, gateway_v6) = plan.gateway;
    let mac = plan.place.container_mac();
    let mut ends = vec![(IpAddr::V4(gateway_v4), IpAddr::V4(plan.place.ipv4))];
    if plan.ipv6 {
        ends.push((gateway_v6.into(), plan.place.ipv6.into()));
    }
    for (own, other) in ends {
        add_address(host, index, own)?;
        add_neighbour(host, index, other, mac)?;
        let mut route = route(other, index);
        route.header.destination_prefix_length = bits(other);
        let destination = RouteAttribute::Destination(other.into());
        route.attributes.push(destination);
        add_route(host, route)?;
    }
    limit(host, index, plan.bytes_per_second_max)
}

fn inside(inner: &mut Netlink, plan: &Plan) -> Result<(), NetlinkError> {
    let index = index(inner, INSIDE)?;
    up(inner, index)?;
    let (gateway_v4, gateway_v6) = plan.gateway;
    let mac = plan.place.host_mac();
    let mut ends = vec![(IpAddr::V4(plan.place.ipv4), IpAddr::V4(gateway_v4))];
    if plan.ipv6 {
        ends.push((plan.place.ipv6.into(), gateway_v6.into()));
    }
    for (own, gateway) in ends {
        add_address(inner, index, own)?;
        add_neighbour(inner, index, gateway, mac)?;
        let mut route = route(gateway, index);
        // The gateway is in no network of the container's.
        route.header.flags = RouteFlags::Onlink;
        route.header.scope = RouteScope::Universe;
        let gateway = RouteAttribute::Gateway(gateway.into());
        route.attributes.push(gateway);
        add_route(inner, route)?;
    }
    limit(inner, index, plan.bytes_per_second_max)
}

fn index(netlink: &mut Netlink, name: &str) -> Result<u32, NetlinkError> {
    let operation = "find a link";
    let told = netlink.call(operation, Message::GetLink(named(name)), 0)?;
    let mut links = told.into_iter().filter_map(|message| match message {
        Message::NewLink(link) => Some(link.header.index),
        _ => None,
    });
    links.next().ok_or(NetlinkError::Malformed { operation })
}

fn up(netlink: &mut Netlink, index: u32) -> Result<(), NetlinkError> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    // Without a derived address no router is asked for one.
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    let inet6 = AfSpecUnspec::Inet6(vec![mode]);
    link.attributes
        .push(LinkAttribute::AfSpecUnspec(vec![inet6]));
    let quiet = netlink.call("quiet a link", Message::SetLink(link.clone()), 0);
    match quiet {
        // A host without IPv6.
        Err(error) if error.errno() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {}
        other => drop(other?),
    }
    link.attributes.clear();
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    let set = Message::SetLink(link);
    netlink.call("bring a link up", set, 0).map(drop)
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

const fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn add_address(netlink: &mut Netlink, index: u32, address: IpAddr) -> Result<(), NetlinkError> {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.family = family(address);
    message.header.prefix_len = bits(address);
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
        // It is nobody else's: usable at once, without asking around for a second.
        AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
    ];
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    netlink
        .call(
            "give a link its address",
            Message::NewAddress(message),
            flags,
        )
        .map(drop)
}

fn add_neighbour(
    netlink: &mut Netlink,
    index: u32,
    address: IpAddr,
    mac: [u8; 6],
) -> Result<(), NetlinkError> {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    let destination = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(destination),
        NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
    ];
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    netlink
        .call("name a neighbour", Message::NewNeighbour(message), flags)
        .map(drop)
}

fn route(to: IpAddr, index: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

fn add_route(netlink: &mut Netlink, route: RouteMessage) -> Result<(), NetlinkError> {
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    netlink
        .call("add a route", Message::NewRoute(route), flags)
        .map(drop)
}

/// Holds what leaves by a link to a rate: a token bucket (tc-tbf(8)) in place of no queue at all.
fn limit(netlink: &mut Netlink, index: u32, rate: Option<u64>) -> Result<(), NetlinkError> {
    let Some(rate) = rate else { return Ok(()) };
    let mut message = TcMessage::default();
    message.header.index = i32::try_from(index).unwrap_or(i32::MAX);
    message.header.parent = TcHandle::ROOT;
    message.attributes = vec![
        TcAttribute::Kind("tbf".to_owned()),
        TcAttribute::Options(tbf::options(rate)),
    ];
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    netlink
        .call(
            "limit the rate of a link",
            Message::NewQueueDiscipline(message),
            flags,
        )
        .map(drop)
}

/// The options of a token bucket, which the library does not know: `linux/pkt_sched.h`.
mod tbf {
    use super::{BURST_BYTES, DefaultNla, QUEUE_MS, TcOption};

    const TCA_TBF_PARMS: u16 = 1;
    const TCA_TBF_RATE64: u16 = 4;
    const TCA_TBF_BURST: u16 = 6;
    /// Bytes of `struct tc_ratespec`.
    const RATESPEC: usize = 12;
    /// `TC_LINKLAYER_ETHERNET`: the kernel needs no table of ours.
    const ETHERNET: u8 = 1;

    pub(super) fn options(rate: u64) -> Vec<TcOption> {
        let rate_32 = u32::try_from(rate).unwrap_or(u32::MAX);
        let queue = u32::try_from(rate.saturating_mul(QUEUE_MS) / 1_000).unwrap_or(u32::MAX);
        // struct tc_tbf_qopt: rate, peak rate, limit, buffer, mtu.
        let mut parameters = vec![0; 2 * RATESPEC];
        parameters[1] = ETHERNET;
        parameters[RATESPEC - 4..RATESPEC].copy_from_slice(&rate_32.to_ne_bytes());
        parameters.extend(queue.saturating_add(BURST_BYTES).to_ne_bytes());
        parameters.extend([0; 8]);
        let mut options = vec![
            TcOption::Other(DefaultNla::new(TCA_TBF_PARMS, parameters)),
            TcOption::Other(DefaultNla::new(
                TCA_TBF_BURST,
                BURST_BYTES.to_ne_bytes().to_vec(),
            )),
        ];
        if rate > u64::from(u32::MAX) {
            let rate = rate.to_ne_bytes().to_vec();
            options.push(TcOption::Other(DefaultNla::new(TCA_TBF_RATE64, rate)));
        }
        options
    }
}
