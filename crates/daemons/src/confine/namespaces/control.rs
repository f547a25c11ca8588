//! The host's end of what it says to the outer process of a daemon's namespaces before the daemon starts.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use connector_egress::descriptors;
use serde::{Deserialize, Serialize};

/// How long the outer process may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// What is said when the daemon may start.
pub(super) const GO: &[u8] = b"go\n";

/// The host's end. Dropping it before [`go`](Self::go) ends the process.
#[derive(Debug)]
pub(crate) struct Control(UnixStream);

/// What the outer process is told, with the listener of the daemon's port on the host's loopback.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// The ports to listen on within, whose listeners the host gets.
    pub(super) ports: Vec<u16>,
}

impl Control {
    /// This end, and the standard input of the process.
    pub(crate) fn pair() -> io::Result<(Self, Stdio)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(ANSWERS_WITHIN))?;
        ours.set_write_timeout(Some(ANSWERS_WITHIN))?;
        Ok((Self(ours), Stdio::from(OwnedFd::from(theirs))))
    }

    /// Hands over where the daemon is to be reached, and gets listeners on `ports` within. Blocks.
    pub(crate) fn exchange(&self, daemon: &TcpListener, ports: &[u16]) -> io::Result<Vec<TcpListener>> {
        let mut order = serde_json::to_vec(&Order { ports: ports.to_vec() })?;
        order.push(b'\n');
        descriptors::send(&self.0, &order, &[daemon.as_fd()])?;
        let (_, listeners) = descriptors::receive_line(&self.0)?;
        if listeners.len() != ports.len() {
            return Err(io::Error::other("not all listeners came from within"));
        }
        Ok(listeners.into_iter().map(TcpListener::from).collect())
    }

    /// Lets the daemon start.
    pub(crate) fn go(self) -> io::Result<()> {
        descriptors::send(&self.0, GO, &[])
    }
}
