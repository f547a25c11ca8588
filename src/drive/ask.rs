//! Puts an ask to a person: whole, or not at all.
//!
//! A daemon asks with what its rules were matched with, which is often a piece of
//! what it is about to do. What the tool was called with is looked up first. What
//! a person then allows for the session is kept here, for the turn, and holds for
//! exactly that.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connector_contract::AskRelay;
use connector_contract::ask::{
    AskPart, PermissionAsk, PermissionReply, QuestionAsk, QuestionReply, ToolCall,
};
use serde_json::Value;
use tokio::time::sleep;

use crate::ids::{MessageId, SessionId};
use crate::link::{Link, LinkError};
use crate::turn::{HERE, PERSON};

/// How often the call that asks is looked for: the daemon may ask before it has it on record.
const TRIES: u32 = 6;
/// The first wait between two tries; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks a person for one turn.
pub(crate) struct Asker {
    link: Link,
    relay: Arc<dyn AskRelay>,
    granted: Mutex<HashSet<Grant>>,
}

/// The session, the kind, and everything that was shown.
type Grant = (String, String, Vec<AskPart>);

impl Asker {
    pub(crate) fn new(link: Link, relay: Arc<dyn AskRelay>) -> Self {
        Self { link, relay, granted: Mutex::default() }
    }

    /// The answer to a request, and who gave it.
    pub(super) async fn permission(&self, mut ask: PermissionAsk) -> (PermissionReply, &'static str) {
        let wanted = wants_input(&ask);
        if let Some(call) = ask.call.as_mut().filter(|_| wanted) {
            match self.input(&ask.session_id, call).await {
                Ok(input) => call.input = input,
                Err(error) => tracing::warn!(ask = ask.id, %error, "the call that asks cannot be looked up"),
            }
        }
        if !is_whole(&ask) {
            let message = "what this asks for could not be shown to a person whole; find another way";
            return (PermissionReply::Reject { message: message.to_owned() }, HERE);
        }
        let grant = (ask.session_id.clone(), ask.permission.clone(), ask.parts());
        if self.granted().contains(&grant) {
            return (PermissionReply::Once, PERSON);
        }
        let reply = match self.relay.permission(ask).await {
            PermissionReply::Always => {
                self.granted().insert(grant);
                PermissionReply::Once
            }
            reply => reply,
        };
        (reply, PERSON)
    }

    pub(super) async fn question(&self, ask: QuestionAsk) -> QuestionReply {
        self.relay.question(ask).await
    }

    async fn input(&self, session: &str, call: &ToolCall) -> Result<Value, LinkError> {
        let (Ok(session), Ok(message)) = (SessionId::parse(session), MessageId::parse(&call.message_id))
        else {
            return Ok(Value::Null);
        };
        let dialect = &self.link.dialect;
        let mut pause = PAUSE;
        let mut tries = 1;
        loop {
            let read = match self.link.fetch(dialect.message(&session, &message)).await {
                Ok(body) => dialect.read_tool_input(&body, &call.call_id).map_err(LinkError::from),
                Err(error) => Err(error),
            };
            match read {
                Ok(Some(input)) => return Ok(input),
                Ok(None) if tries >= TRIES => return Ok(Value::Null),
                Err(error) if tries >= TRIES => return Err(error),
                _ => {}
            }
            sleep(pause).await;
            pause *= 2;
            tries += 1;
        }
    }

    fn granted(&self) -> std::sync::MutexGuard<'_, HashSet<Grant>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the ask itself leaves something out: all do, but an edit that comes with its change.
fn wants_input(ask: &PermissionAsk) -> bool {
    !ask.shows_change()
}

/// Whether a person sees all of what is asked for, where it is known what that is.
fn is_whole(ask: &PermissionAsk) -> bool {
    // What a tool was called with is told by its call alone.
    let known = ask.call.is_none() || !ask.input().is_null();
    match ask.permission.as_str() {
        "bash" => known && (ask.shows("command") || ask.shows("code")),
        "edit" => ask.shows_change() || (known && ask.call.is_some()),
        _ => known,
    }
}
