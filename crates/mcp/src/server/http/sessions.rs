//! Sessions: many clients never say that they leave, so the least recently used makes room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{SessionId, SessionManager as _};
use tokio::time::Instant;

use super::super::lock;

/// The SDK's own.
pub(super) type Manager = LocalSessionManager;

/// How many there are at most.
const MOST: usize = 64;

/// How long one is kept that nobody uses. A person may leave a client open over night.
const UNUSED: Duration = Duration::from_hours(24);

/// The header that names a session.
const HEADER: &str = "mcp-session-id";

/// The sessions there are, and what is known of their use.
pub(super) struct Sessions {
    manager: Arc<Manager>,
    used: Arc<Mutex<HashMap<SessionId, Use>>>,
}

/// How a session is used.
#[derive(Debug, Clone, Copy)]
struct Use {
    /// When it was last.
    last: Instant,
    /// How many of its answers are still being written: calls that run, and the stream that a client holds.
    open: usize,
}

impl Use {
    fn now() -> Self {
        Self { last: Instant::now(), open: 0 }
    }
}

/// An answer of a session is being written for as long as this is there.
pub(super) struct InUse {
    used: Arc<Mutex<HashMap<SessionId, Use>>>,
    session: SessionId,
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(used) = lock(&self.used).get_mut(&self.session) {
            *used = Use { last: Instant::now(), open: used.open.saturating_sub(1) };
        }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        let mut manager = Manager::default();
        manager.session_config.keep_alive = Some(UNUSED);
        Self { manager: Arc::new(manager), used: Arc::default() }
    }
}

/// The session that a request or an answer names.
pub(super) fn named(headers: &HeaderMap) -> Option<SessionId> {
    headers.get(HEADER).and_then(|value| value.to_str().ok()).map(Into::into)
}

impl Sessions {
    pub(super) fn manager(&self) -> Arc<Manager> {
        Arc::clone(&self.manager)
    }

    /// Takes note that a session is used, for as long as what is returned is kept. One that is not known, which a
    /// client may have made up, is not kept.
    pub(super) fn note(&self, session: Option<SessionId>) -> Option<InUse> {
        let session = session?;
        let mut used = lock(&self.used);
        let known = used.get_mut(&session)?;
        *known = Use { last: Instant::now(), open: known.open + 1 };
        Some(InUse { used: Arc::clone(&self.used), session })
    }

    /// Whether there is room for another, or will be: a session makes room that is not being answered.
    pub(super) async fn has_room(&self) -> bool {
        let open = self.known().await;
        open.len() < MOST || open.iter().any(|(_, used)| used.open == 0)
    }

    /// Ends the sessions that are too many.
    pub(super) async fn make_room(&self) {
        for session in least_recent(self.known().await, MOST) {
            if let Err(error) = self.manager.close_session(&session).await {
                tracing::warn!(%error, "a session that made room did not end in order");
            }
        }
    }

    /// The sessions there are. One that begins right now is in use.
    async fn known(&self) -> Vec<(SessionId, Use)> {
        let open: Vec<SessionId> = self.manager.sessions.read().await.keys().cloned().collect();
        let mut used = lock(&self.used);
        used.retain(|session, _| open.contains(session));
        let of = |session: SessionId| {
            let known = *used.entry(session.clone()).or_insert_with(Use::now);
            (session, known)
        };
        open.into_iter().map(of).collect()
    }
}

/// Those beyond `most` that were used least recently, of those that are not being answered.
fn least_recent(mut open: Vec<(SessionId, Use)>, most: usize) -> Vec<SessionId> {
    let surplus = open.len().saturating_sub(most);
    open.retain(|(_, used)| used.open == 0);
    open.sort_by_key(|(_, used)| used.last);
    open.into_iter().take(surplus).map(|(session, _)| session).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_that_was_used_least_recently_and_is_not_being_answered_makes_room() {
        let begin = Instant::now();
        let open = || {
            [("a", 3, 0), ("b", 1, 1), ("c", 2, 0), ("d", 4, 0)]
                .map(|(session, at, open)| {
                    (session.into(), Use { last: begin + Duration::from_secs(at), open })
                })
                .to_vec()
        };
        let gone = |most| least_recent(open(), most).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(gone(4), Vec::<String>::new());
        assert_eq!(gone(2), ["c", "a"]);
        assert_eq!(gone(0), ["c", "a", "d"], "a call that runs is not ended");
    }
}
