//! `[network]`: what runs may ask of the network.

use davit_settings::{Field, Kind, field};
use davit_types::limits;

use super::TEXT;

/// CIDRs, name servers or ranges of ports in a list.
const ITEMS_MAX: usize = 64;

const TEXTS: Kind = Kind::List {
    of: &TEXT,
    items_max: ITEMS_MAX,
};

pub(super) const NETWORK: &[Field] = &[
    field(
        "allow_host",
        Kind::Bool,
        "Allow `--network host`: such a run sees every interface of the host.",
    ),
    field(
        "bridge",
        Kind::Bool,
        "Allow `--network bridge` (needs nft, of package nftables): an address of the run's own behind the host's. The first \
         such run has the host forward packets; where it did not before, none goes from one of its own interfaces to another.",
    ),
    field(
        "ipv4_subnet",
        TEXT,
        "Addresses that runs with a bridge are given; nobody this host has a route to may have them. One is the host's.",
    ),
    field("ipv6_subnet", TEXT, "The same for IPv6: a /64 or larger."),
    field(
        "ipv6",
        Kind::Bool,
        "Give runs with a bridge IPv6, where the host has a default route for it.",
    ),
    field(
        "mtu",
        Kind::Integer {
            min: 1_280,
            max: 65_535,
        },
        "Largest packet of a run with a bridge, bytes; absent: what the interface of the default route takes.",
    ),
    field(
        "name_servers",
        TEXTS,
        "Addresses that runs with a bridge ask for names, port 53, whatever else they may reach. Empty: those the host asks, \
         but for those on the host itself.",
    ),
    field(
        "private_allowed",
        TEXTS,
        "Private networks (CIDR) that a run may list in its egress rules; it reaches what it lists, and no others. Empty \
         allows none.",
    ),
    field(
        "publish_ports",
        TEXTS,
        "Ports of this host (`8080`, `30000-32767`) that a run may be reached at. Empty allows none. A published port is the \
         run's even where a program of the host's listens.",
    ),
    field(
        "connections_max",
        Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        "Connections (and exchanges of datagrams) that a run with a bridge may have outward at once: the host keeps each in a \
         table of bounded size (nf_conntrack_max), which all share.",
    ),
    field(
        "bytes_per_second_max",
        Kind::Bytes {
            min: limits::NETWORK_RATE_BYTES_MIN,
            max: limits::NETWORK_RATE_BYTES_MAX,
        },
        "Bytes a second that a run with a bridge sends, and receives, at most; absent: no bound but the run's own.",
    ),
];
