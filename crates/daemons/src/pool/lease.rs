//! The ticket that keeps a daemon.

use std::fmt;
use std::path::Path;

use secrecy::SecretString;
use tokio::sync::{mpsc, watch};

use super::actor::Control;
use crate::version;

/// Where a daemon listens.
#[derive(Clone)]
pub struct Address {
    /// `http://127.0.0.1:PORT`.
    pub base_url: String,
    /// For the user `opencode`.
    pub password: SecretString,
    /// Its process.
    pub pid: Option<u32>,
    /// Its version, as it said itself.
    pub version: String,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("base_url", &self.base_url)
            .field("pid", &self.pid)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.base_url == other.base_url && self.pid == other.pid
    }
}

impl Eq for Address {}

/// A daemon that is not ended for being idle while this lives. Dropping it returns the daemon.
///
/// If the daemon dies it is started again, on the same port while that is free, and always with a
/// new password: whoever took the port meanwhile may have been told the old one.
#[derive(Debug)]
pub struct Lease {
    workspace: String,
    address: watch::Receiver<Option<Address>>,
    last: Address,
    control: mpsc::UnboundedSender<Control>,
    again: bool,
}

impl Lease {
    pub(super) fn new(
        workspace: String,
        (last, address): (Address, watch::Receiver<Option<Address>>),
        control: mpsc::UnboundedSender<Control>,
    ) -> Self {
        Self { workspace, address, last, control, again: false }
    }

    /// The workspace.
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// Where the daemon listens now; while it is being restarted, where it last did.
    pub fn address(&self) -> Address {
        self.address.borrow().clone().unwrap_or_else(|| self.last.clone())
    }

    /// Lets the daemon forget what it holds in memory for a directory in which nothing runs any more.
    /// That it cannot costs memory only. One of 2.x is not asked: it has no such order.
    pub async fn leave_directory(&self, directory: &Path) {
        let address = self.address.borrow().clone().filter(|address| version::is_of_1(&address.version));
        let Some(address) = address else { return };
        let port = address.base_url.rsplit(':').next().and_then(|port| port.parse().ok());
        if let Some(port) = port
            && let Err(error) = crate::health::dispose(port, &address.password, directory).await
        {
            tracing::debug!(%error, "a daemon keeps a directory in memory");
        }
    }

    /// Returns the daemon for a short while only: what was begun on it is looked up again, so until then
    /// it is not ended for others, nor for being outdated.
    pub fn return_for_now(mut self) {
        self.again = true;
    }

    /// Waits until the daemon at `from` is known to be gone. What is said to its port from then on
    /// may be heard by a stranger.
    pub async fn lost(&mut self, from: &Address) {
        // The pool's end counts as a loss, since nobody watches the daemon any more.
        let _ = self.address.wait_for(|now| now.as_ref() != Some(from)).await;
    }

    /// Waits until the daemon runs, which it does unless it has just died. Nothing when the pool has ended.
    pub async fn running(&mut self) -> Option<Address> {
        let address = self.address.wait_for(Option::is_some).await.ok()?.clone()?;
        self.last = address.clone();
        Some(address)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let workspace = std::mem::take(&mut self.workspace);
        let _ = self.control.send(Control::Return { workspace, again: self.again });
    }
}
