//! Noticing that somebody removed the table: a host's own `nft flush ruleset`, as its firewall's service executes when it is
//! started anew, takes every table along.
//!
//! The kernel tells who listens of every change of nf_tables. A table that is gone is made anew, with all that containers
//! have; until then, some milliseconds, packets are forwarded without rules, but not masqueraded either, so that nobody
//! outside answers them.
//!
//! Absent on purpose: single rules that somebody takes out of davit's table. Whoever does that means it.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};

use super::netlink::NetlinkError;
use crate::runs::{Host, sentence};

/// `NFNLGRP_NFTABLES` (linux/netfilter/nfnetlink.h).
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE` (linux/netfilter/nf_tables.h).
const DELETED_TABLE: u16 = (10 << 8) | 2;
/// Bytes of a message's header: `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// Between two looks while changes are missed, milliseconds.
const PAUSE_MS: u64 = 1_000;
/// Bytes read at once: the kernel's datagrams are smaller.
const DATAGRAM_BYTES: usize = 64 << 10;

/// Keeps the table there; ends only where nobody can be told of changes.
pub(crate) async fn keep(host: &Host) {
    if host.network.absent().is_some() {
        return;
    }
    let listening = match listen() {
        Ok(listening) => listening,
        Err(error) => {
            let problem = sentence(&error);
            tracing::warn!(
                problem,
                "nobody notices when the rules of bridges are flushed"
            );
            return;
        }
    };
    loop {
        match deleted(&listening).await {
            Ok(false) => {}
            Ok(true) => host.network.see_to_table().await,
            Err(error) => {
                // More came than was read (ENOBUFS): anything may have.
                tracing::debug!(%error, "changes of nf_tables were missed");
                host.network.see_to_table().await;
                tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
            }
        }
    }
}

fn listen() -> Result<TokioSocket, NetlinkError> {
    let open = || {
        let mut listening = TokioSocket::new(NETLINK_NETFILTER)?;
        let socket = listening.socket_mut();
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(GROUP)?;
        Ok(listening)
    };
    open().map_err(NetlinkError::Socket)
}

/// Waits for the next messages; whether a table was deleted.
async fn deleted(listening: &TokioSocket) -> io::Result<bool> {
    let mut bytes = Vec::with_capacity(DATAGRAM_BYTES);
    listening.recv(&mut bytes).await?;
    Ok(tells_of_deletion(&bytes))
}

fn tells_of_deletion(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    while let Some(header) = rest.get(..HEADER_BYTES) {
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        if kind == DELETED_TABLE {
            return true;
        }
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        // Messages are aligned to four bytes, and have a header at least.
        let next = length.max(HEADER_BYTES).next_multiple_of(4);
        rest = rest.get(next..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: usize) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body).expect("a small number");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize((HEADER_BYTES + body).next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_deletion_is_found_among_others_and_nonsense_ends() {
        let other = message(DELETED_TABLE + 1, 5);
        let deletion = message(DELETED_TABLE, 20);
        assert!(tells_of_deletion(&[other.clone(), deletion].concat()));
        assert!(!tells_of_deletion(&other));
        assert!(!tells_of_deletion(&[0; 40]), "a length of nothing");
        assert!(!tells_of_deletion(&[0xff; 40]), "a length beyond the end");
        assert!(!tells_of_deletion(&[]));
    }
}
