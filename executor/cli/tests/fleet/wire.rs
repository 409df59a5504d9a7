//! What lies between an executor and its scheduler: it can be cut, and led elsewhere.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Default)]
struct Ends {
    /// Where it leads; nowhere, when it is cut.
    to: Option<SocketAddr>,
    open: Vec<TcpStream>,
}

#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    ends: Arc<Mutex<Ends>>,
}

impl Wire {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Self {
            address: listener.local_addr().unwrap(),
            ends: Arc::default(),
        };
        wire.lead(Some(address));
        let ends = Arc::clone(&wire.ends);
        // It ends with the test.
        thread::spawn(move || {
            for here in listener.incoming() {
                // A peer that is not there is refused as one that hangs up.
                drop(join(here.unwrap(), &ends));
            }
        });
        wire
    }

    /// Breaks what is open, and leads what is opened from now on there, or nowhere.
    pub(crate) fn lead(&self, to: Option<SocketAddr>) {
        let mut ends = self.ends.lock().unwrap();
        ends.to = to;
        for stream in ends.open.drain(..) {
            // It may be closed already.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn join(here: TcpStream, ends: &Mutex<Ends>) -> io::Result<()> {
    let mut ends = ends.lock().unwrap();
    let Some(to) = ends.to else { return Ok(()) };
    let there = TcpStream::connect(to)?;
    for (from, to) in [(&here, &there), (&there, &here)] {
        to.set_nodelay(true)?;
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            let copied = io::copy(&mut from, &mut to);
            drop((copied, to.shutdown(Shutdown::Both)));
        });
    }
    ends.open.extend([here, there]);
    Ok(())
}
