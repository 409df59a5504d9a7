//! Requests to the kernel's rtnetlink(7), each answered before the next is sent. Blocking.
//!
//! Invariant: a socket belongs to the network namespace of the thread that opened it, for ever. One of a container's is
//! opened by a thread of its own, which ends with it: no thread of the runtime ever changes its namespace.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Bytes of one answer's datagram; the kernel makes none larger for a reader that asks for so many.
const DATAGRAM_BYTES: usize = 64 << 10;

/// A request that came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    #[error("cannot speak to rtnetlink")]
    Socket(#[source] io::Error),
    #[error("cannot enter the network namespace")]
    Enter(#[source] io::Error),
    #[error("cannot {operation}")]
    Refused {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("rtnetlink answers what is not understood to: {operation}")]
    Malformed { operation: &'static str },
}

impl NetlinkError {
    /// What the kernel said.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// A socket in one network namespace.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// One in this thread's namespace.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = open().map_err(NetlinkError::Socket)?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends `message` and waits until it is done; what the kernel told beside that it is.
    pub(super) fn call(
        &mut self,
        operation: &'static str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let malformed = || NetlinkError::Malformed { operation };
        self.send(message, flags)?;
        let mut told = Vec::new();
        loop {
            let datagram = self.receive()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|_| malformed())?;
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
                // Messages are aligned to four bytes.
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => told.push(inner),
                    NetlinkPayload::Done(_) => return Ok(told),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(told),
                    NetlinkPayload::Error(error) => {
                        let source = error.to_io();
                        return Err(NetlinkError::Refused { operation, source });
                    }
                    _ => return Err(malformed()),
                }
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let mut request = NetlinkMessage::from(message);
        request.header.sequence_number = self.sequence;
        request.header.flags = NLM_F_REQUEST | flags;
        if flags & NLM_F_DUMP != NLM_F_DUMP {
            request.header.flags |= NLM_F_ACK;
        }
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        let sent = self.socket.send(&bytes, 0);
        sent.map(drop).map_err(NetlinkError::Socket)
    }

    fn receive(&self) -> Result<Vec<u8>, NetlinkError> {
        let mut bytes = Vec::with_capacity(DATAGRAM_BYTES);
        let received = self.socket.recv(&mut bytes, 0);
        received.map_err(NetlinkError::Socket)?;
        Ok(bytes)
    }
}

/// What `work` does with a socket in the network namespace behind `namespace`.
pub(super) fn within<T: Send>(
    namespace: &OwnedFd,
    work: impl FnOnce(&mut Netlink) -> Result<T, NetlinkError> + Send,
) -> Result<T, NetlinkError> {
    let inside = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| NetlinkError::Enter(errno.into()))?;
        work(&mut Netlink::open()?)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned());
        let running = thread
            .spawn_scoped(scope, inside)
            .map_err(NetlinkError::Enter)?;
        running.join().unwrap_or_else(|_| {
            let panicked = io::Error::other("the thread within it panicked");
            Err(NetlinkError::Enter(panicked))
        })
    })
}
