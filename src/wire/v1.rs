//! opencode 1.x, as measured on 1.18.33 and recorded in `tests/fixtures/wire`.
//!
//! Everything that knows this API is here: [`requests`] builds, [`answers`] and
//! [`events`] read. Unknown fields, unknown event types and unknown parts are
//! passed over; a field that decides something must be there.

mod answers;
mod events;
mod health;
mod messages;
mod requests;
#[cfg(test)]
mod tests;
mod text;

use bytes::Bytes;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use http::{Request, StatusCode};

use super::{
    Answer, Changes, Dialect, Failure, Health, History, NewSession, Peek, Pending, Prompt, SessionFacts,
    Status, Undecodable,
};
use crate::ids::{MessageId, SessionId};
use crate::model::ModelRef;
use crate::permissions::WireRule;
pub(crate) use events::RawEvent;
pub(crate) use requests::Requests;

/// The dialect of opencode 1.x.
pub(crate) struct V1 {
    pub(crate) requests: Requests,
}

impl Dialect for V1 {
    fn name(&self) -> &'static str {
        "v1"
    }
    fn create_session(&self, new: &NewSession<'_>) -> Request<Bytes> {
        self.requests.create_session(new)
    }
    fn session(&self, session: &SessionId) -> Request<Bytes> {
        self.requests.get(&format!("/session/{session}"))
    }
    fn set_rules(&self, session: &SessionId, rules: &[WireRule]) -> Request<Bytes> {
        self.requests.set_rules(session, rules)
    }
    fn prompt(&self, prompt: &Prompt) -> Request<Bytes> {
        self.requests.prompt(prompt)
    }
    fn abort(&self, session: &SessionId) -> Request<Bytes> {
        self.requests.post(&format!("/session/{session}/abort"), None)
    }
    fn status(&self) -> Request<Bytes> {
        self.requests.get("/session/status")
    }
    fn messages(&self, session: &SessionId, limit: usize) -> Request<Bytes> {
        self.requests.get_with(&format!("/session/{session}/message"), &[("limit", &limit.to_string())])
    }
    fn defaults(&self) -> Request<Bytes> {
        self.requests.get("/config")
    }
    fn changes(&self, session: &SessionId, message: &MessageId) -> Request<Bytes> {
        self.requests.get_with(&format!("/session/{session}/diff"), &[("messageID", message.as_str())])
    }
    fn children(&self, session: &str) -> Request<Bytes> {
        self.requests.children(session)
    }
    fn permissions(&self) -> Request<Bytes> {
        self.requests.get("/permission")
    }
    fn questions(&self) -> Request<Bytes> {
        self.requests.get("/question")
    }
    fn reply_permission(&self, id: &str, reply: &PermissionReply) -> Option<Request<Bytes>> {
        self.requests.reply_permission(id, reply)
    }
    fn reply_question(&self, id: &str, reply: &QuestionReply) -> Option<Request<Bytes>> {
        self.requests.reply_question(id, reply)
    }
    fn events(&self) -> Request<Bytes> {
        self.requests.get("/event")
    }
    fn health(&self) -> Request<Bytes> {
        self.requests.get("/global/health")
    }
    fn other_generation(&self) -> Request<Bytes> {
        self.requests.get("/api/info")
    }
    fn read_health(&self, body: &[u8]) -> Health {
        health::read(body)
    }
    fn read_other_generation(&self, body: &[u8]) -> Option<String> {
        health::read_other_generation(body)
    }
    fn read_session(&self, body: &[u8]) -> Result<SessionFacts, Undecodable> {
        answers::session(body)
    }
    fn read_answer(&self, status: StatusCode, body: &[u8]) -> Answer {
        answers::prompt(status, body)
    }
    fn read_status(&self, body: &[u8], session: &SessionId) -> Result<Status, Undecodable> {
        answers::status(body, session)
    }
    fn read_messages(&self, body: &[u8], message: &MessageId) -> Result<History, Undecodable> {
        messages::history(body, message)
    }
    fn read_last_model(&self, body: &[u8]) -> Option<ModelRef> {
        messages::last_model(body)
    }
    fn read_default_model(&self, body: &[u8]) -> Option<ModelRef> {
        answers::default_model(body)
    }
    fn read_changes(&self, body: &[u8]) -> Result<Changes, Undecodable> {
        answers::changes(body)
    }
    fn read_children(&self, body: &[u8]) -> Result<Vec<String>, Undecodable> {
        answers::children(body)
    }
    fn read_permissions(&self, body: &[u8]) -> Result<Pending<PermissionAsk>, Undecodable> {
        answers::permissions(body)
    }
    fn read_questions(&self, body: &[u8]) -> Result<Pending<QuestionAsk>, Undecodable> {
        answers::questions(body)
    }
    fn peek_event<'a>(&self, data: &'a [u8]) -> Result<Peek<'a>, Undecodable> {
        events::peek(data)
    }
    fn read_failure(&self, body: &[u8]) -> Option<Failure> {
        answers::failure(body)
    }
}
