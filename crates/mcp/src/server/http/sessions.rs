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

/// The sessions there are, and when each was used.
pub(super) struct Sessions {
    manager: Arc<Manager>,
    used: Mutex<HashMap<SessionId, Instant>>,
}

impl Default for Sessions {
    fn default() -> Self {
        let mut manager = Manager::default();
        manager.session_config.keep_alive = Some(UNUSED);
        Self { manager: Arc::new(manager), used: Mutex::default() }
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

    /// Takes note that a session is used; one that is not known, which a client may have made up, is not kept.
    pub(super) fn note(&self, session: Option<SessionId>) {
        let Some(session) = session else { return };
        if let Some(used) = lock(&self.used).get_mut(&session) {
            *used = Instant::now();
        }
    }

    /// Ends the sessions that are too many.
    pub(super) async fn make_room(&self) {
        let open: Vec<SessionId> = self.manager.sessions.read().await.keys().cloned().collect();
        let surplus = {
            let mut used = lock(&self.used);
            used.retain(|session, _| open.contains(session));
            // One that begins right now is in use.
            for session in &open {
                used.entry(session.clone()).or_insert_with(Instant::now);
            }
            least_recent(&open, &used, MOST)
        };
        for session in surplus {
            if let Err(error) = self.manager.close_session(&session).await {
                tracing::warn!(%error, "a session that made room did not end in order");
            }
        }
    }
}

/// Those beyond `most` that were used least recently.
fn least_recent(open: &[SessionId], used: &HashMap<SessionId, Instant>, most: usize) -> Vec<SessionId> {
    let mut open: Vec<&SessionId> = open.iter().collect();
    open.sort_by_key(|session| used.get(*session));
    let surplus = open.len().saturating_sub(most);
    open.into_iter().take(surplus).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_that_was_used_least_recently_makes_room() {
        let begin = Instant::now();
        let open: Vec<SessionId> = ["a", "b", "c", "d"].map(Into::into).into();
        let used = [("a", 3), ("b", 1), ("c", 2), ("d", 4)];
        let used: HashMap<SessionId, Instant> =
            used.map(|(session, at)| (session.into(), begin + Duration::from_secs(at))).into();
        let gone =
            |most| least_recent(&open, &used, most).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(gone(4), Vec::<String>::new());
        assert_eq!(gone(2), ["b", "c"]);
    }
}
