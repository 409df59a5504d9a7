//! A world outside of the host: a network namespace behind a link, with public and private addresses, where servers tell
//! their clients who they are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The host's own addresses.
pub const HOST_V4: &str = "203.0.113.2";
pub const HOST_V6: &str = "2001:db8:1::2";
/// Somebody's in the world, with public addresses.
pub const PUBLIC_V4: &str = "198.51.100.7";
pub const PUBLIC_V6: &str = "2001:db8:2::7";
pub const METADATA: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];
pub const PRIVATE: [&str; 3] = ["10.9.9.9", "192.168.7.7", "fd12::9"];
/// Where each address tells its clients who they are.
pub const TELLS: u16 = 80;
/// Where it sends so many bytes.
pub const SENDS: u16 = 81;
pub const SENT_BYTES: usize = 1 << 20;
/// Where it takes names to be asked for.
pub const NAMES: u16 = 53;

/// Where it hears datagrams.
pub const DATAGRAMS: u16 = 5_353;

const NAME: &str = "world";
const CLIENT_WAIT: Duration = Duration::from_secs(5);

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub struct World;

impl World {
    pub fn make() -> Self {
        // One that a test before this one left when it failed.
        drop(Self);
        ip("netns add world");
        ip("link add up0 type veth peer name w0 netns world");
        ip("addr add 203.0.113.2/24 dev up0");
        ip("-6 addr add 2001:db8:1::2/64 dev up0 nodad");
        ip("link set up0 up");
        ip("-n world link set lo up");
        ip("-n world link set w0 up");
        ip("-n world addr add 203.0.113.1/24 dev w0");
        ip("-n world -6 addr add 2001:db8:1::1/64 dev w0 nodad");
        for address in [PUBLIC_V4, METADATA[0], PRIVATE[0], PRIVATE[1]] {
            ip(&format!("-n world addr add {address}/32 dev lo"));
        }
        for address in [PUBLIC_V6, METADATA[1], PRIVATE[2]] {
            ip(&format!("-n world -6 addr add {address}/128 dev lo nodad"));
        }
        ip("route add default via 203.0.113.1");
        ip("-6 route add default via 2001:db8:1::1");
        for port in [TELLS, SENDS, NAMES] {
            serve(port);
        }
        Self
    }

    /// What a client in the world is told at `address`.
    pub fn asks(&self, address: &str) -> std::io::Result<String> {
        let address: SocketAddr = address.parse().unwrap();
        within(move || {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(CLIENT_WAIT))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Its threads hold the namespace open, but the link goes.
        for arguments in [["link", "del", "up0"], ["netns", "del", NAME]] {
            drop(Command::new("ip").args(arguments).output());
        }
    }
}

/// What `work` comes to in the world.
fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        let namespace = std::fs::File::open(format!("/run/netns/{NAME}")).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    });
    thread.join().unwrap()
}

fn serve(port: u16) {
    let (ready, wait) = mpsc::channel();
    std::thread::spawn(move || {
        within(move || {
            let listener = TcpListener::bind(("::", port)).unwrap();
            ready.send(()).unwrap();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let peer = stream.peer_addr().unwrap().ip().to_canonical();
                // A client that goes away is none of ours, and one that does not read holds up no other.
                std::thread::spawn(move || {
                    if port == SENDS {
                        drop(stream.write_all(&vec![b'x'; SENT_BYTES]));
                    } else {
                        drop(stream.write_all(peer.to_string().as_bytes()));
                    }
                });
            }
        });
    });
    wait.recv().unwrap();
}

/// Senders and texts of the datagrams that come to the world from now on.
pub fn hears_datagrams() -> mpsc::Receiver<(String, String)> {
    let (heard, receiver) = mpsc::channel();
    let (ready, wait) = mpsc::channel();
    std::thread::spawn(move || {
        within(move || {
            let socket = UdpSocket::bind(("0.0.0.0", DATAGRAMS)).unwrap();
            ready.send(()).unwrap();
            let mut bytes = [0; 64];
            while let Ok((count, from)) = socket.recv_from(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                if heard.send((from.ip().to_string(), text)).is_err() {
                    return;
                }
            }
        });
    });
    wait.recv().unwrap();
    receiver
}
