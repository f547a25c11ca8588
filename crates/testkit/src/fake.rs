//! A fake opencode daemon, for what the real one cannot be made to do.
//!
//! It replays recorded turns: a prompt makes it play a [`Fixture`]'s events, and
//! what it answers to every other question (status, messages, pending asks) is
//! folded from the events played so far, so that it never contradicts itself.
//! Like the real one it runs a message id once, waits for answers to its asks,
//! and stops when it is told to. [`Faults`] then break exactly one thing: a
//! connection, an answer, an event, down to the byte.
//!
//! [`Fake::tasks`] counts the distinct tasks it was asked to run: a host that
//! crashes and starts again must not make it two.

mod fault;
mod fixture;
mod generation;
mod play;
mod reply;
mod server;
mod state;
mod v1;
mod v2;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use fault::{Canned, Faults, PromptFault};
pub use fixture::Fixture;
pub use generation::Generation;
use state::Shared;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// A running fake. Dropping it closes its port and every connection.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: AbortHandle,
}

impl Fake {
    /// Starts one that plays `fixture` for every prompt, on a free port.
    pub async fn start(fixture: Fixture, faults: Faults) -> io::Result<Self> {
        Self::start_on(0, fixture, faults).await
    }

    /// The same on `port`.
    pub async fn start_on(port: u16, fixture: Fixture, faults: Faults) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(fixture, faults));
        let server = tokio::spawn(server::serve(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, server })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whose API it speaks.
    pub fn generation(&self) -> Generation {
        self.shared.generation()
    }

    /// The password it wants.
    pub fn password(&self) -> Option<&str> {
        self.shared.password()
    }

    /// How many distinct tasks it was asked to run.
    pub fn tasks(&self) -> usize {
        self.shared.tasks()
    }

    /// How many sessions are busy.
    pub fn running(&self) -> usize {
        self.shared.running()
    }

    /// Whether a turn waits for somebody to abort it.
    pub fn waits_for_abort(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Every request so far, `METHOD /path?query`, without event streams' ends.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests()
    }

    /// The requests whose line starts with `pattern`, where `*` is a part of a path.
    pub fn lines(&self, pattern: &str) -> Vec<String> {
        self.shared.requests().into_iter().filter(|line| generation::matches(pattern, line)).collect()
    }

    /// The bodies of the requests whose line starts with `pattern`, where `*` is a
    /// part of a path.
    pub fn bodies(&self, pattern: &str) -> Vec<serde_json::Value> {
        self.shared.bodies(pattern)
    }

    /// How many event streams are open.
    pub fn streams(&self) -> usize {
        self.shared.streams()
    }

    /// Answers a pending ask as somebody else would, behind the client's back.
    pub fn answer_elsewhere(&self) -> bool {
        self.shared.answer_all()
    }

    /// Aborts a session as somebody else would.
    pub fn abort_elsewhere(&self) {
        self.shared.abort_all();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
        self.shared.close();
    }
}
