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
mod rules;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use http::{Request, StatusCode};
use opencode_api::Generation;
use serde_json::Value;

use super::{
    Answer, Asked, Below, Changes, Dialect, Failure, Health, History, Inbox, NewSession, Pending, Prompt,
    SessionFacts, Status, Told, Undecodable, names,
};
use crate::ids::{MessageId, SessionId};
use crate::model::ModelRef;
use crate::permissions::WireRule;
pub(crate) use requests::Requests;

/// How many of a session's newest messages are read: first few, then more.
const LIMITS: [usize; 4] = [60, 240, 960, 100_000];

/// The dialect of opencode 1.x.
pub(crate) struct V1 {
    pub(crate) requests: Requests,
}

/// `name` as 1.x asks about it.
fn theirs(name: &str) -> &str {
    match name {
        "write" | "patch" | "multiedit" | "apply_patch" => "edit",
        "shell" => "bash",
        "subagent" => "task",
        other => other,
    }
}

impl Dialect for V1 {
    fn name(&self) -> &'static str {
        "v1"
    }
    fn generation(&self) -> &'static str {
        "1.x"
    }
    fn password_variable(&self) -> &'static str {
        Generation::One.password_variable()
    }
    fn answers_at_once(&self) -> bool {
        false
    }
    fn wants_directory(&self) -> bool {
        false
    }
    fn rules(&self, rules: Vec<WireRule>) -> Vec<WireRule> {
        names::as_known(rules, theirs)
    }
    fn create_session(&self, new: &NewSession<'_>) -> Request<Bytes> {
        self.requests.create_session(new)
    }
    fn session(&self, session: &SessionId) -> Request<Bytes> {
        self.requests.get(&format!("/session/{session}"))
    }
    fn set_rules(&self, session: &SessionFacts, rules: &[WireRule]) -> Request<Bytes> {
        self.requests.set_rules(&session.id, rules)
    }
    fn session_settings(&self, _session: &SessionFacts, _prompt: &Prompt) -> Vec<Request<Bytes>> {
        Vec::new()
    }
    fn origin_message(&self, _prompt: &Prompt, _new: bool) -> Vec<Request<Bytes>> {
        Vec::new()
    }
    fn prompt(&self, prompt: &Prompt) -> Request<Bytes> {
        self.requests.prompt(prompt)
    }
    fn abort(&self, session: &SessionId) -> Request<Bytes> {
        self.requests.post(&format!("/session/{session}/abort"), None)
    }
    fn take_back(&self, _session: &SessionId, _message: &MessageId) -> Option<Request<Bytes>> {
        None
    }
    fn status(&self) -> Request<Bytes> {
        self.requests.get("/session/status")
    }
    fn pages_hold_earlier(&self) -> bool {
        true
    }
    fn messages(&self, session: &SessionId, read: &[Bytes], message: &MessageId) -> Option<Request<Bytes>> {
        if let Some((page, earlier)) = read.split_last()
            && messages::reaches(page, message, LIMITS.get(earlier.len()).copied().unwrap_or(usize::MAX))
        {
            return None;
        }
        let limit = LIMITS.get(read.len())?.to_string();
        Some(self.requests.get_with(&format!("/session/{session}/message"), &[("limit", &limit)]))
    }
    fn inbox(&self, _session: &SessionId) -> Option<Request<Bytes>> {
        None
    }
    fn reasons(&self, _session: &SessionId) -> Option<Request<Bytes>> {
        None
    }
    fn defaults(&self) -> Request<Bytes> {
        self.requests.get("/config")
    }
    fn below(&self) -> [Request<Bytes>; 2] {
        [self.requests.get("/agent"), self.requests.get("/config")]
    }
    fn loads_late(&self) -> bool {
        false
    }
    /// Nothing is told of them.
    fn saved(&self, _project: &str) -> Option<Request<Bytes>> {
        None
    }
    fn project(&self) -> Option<Request<Bytes>> {
        None
    }
    fn never(&self) -> &'static [&'static str] {
        &[]
    }
    fn changes(&self, session: &SessionId, message: &MessageId) -> Request<Bytes> {
        self.requests.get_with(&format!("/session/{session}/diff"), &[("messageID", message.as_str())])
    }
    fn children(&self, session: &str) -> Request<Bytes> {
        self.requests.children(session)
    }
    fn permissions(&self, _sessions: &[String]) -> Vec<Request<Bytes>> {
        vec![self.requests.get("/permission")]
    }
    fn questions(&self, _sessions: &[String]) -> Vec<Request<Bytes>> {
        vec![self.requests.get("/question")]
    }
    fn reply_permission(&self, ask: &Asked, reply: &PermissionReply) -> Option<Request<Bytes>> {
        self.requests.reply_permission(&ask.id, reply)
    }
    fn reply_question(&self, ask: &Asked, reply: &QuestionReply) -> Option<Request<Bytes>> {
        self.requests.reply_question(&ask.id, reply)
    }
    fn events(&self) -> Request<Bytes> {
        self.requests.get("/event")
    }
    fn health(&self) -> Request<Bytes> {
        self.requests.get(Generation::One.health_path())
    }
    fn legacy_health(&self) -> Vec<Request<Bytes>> {
        Generation::One.legacy_health_paths().iter().map(|path| self.requests.get(path)).collect()
    }
    fn read_health(&self, status: StatusCode, body: &[u8]) -> Health {
        health::read(status, body)
    }
    fn read_session(&self, body: &[u8]) -> Result<SessionFacts, Undecodable> {
        answers::session(body)
    }
    fn read_answer(&self, status: StatusCode, body: &[u8], _message: &MessageId) -> Answer {
        answers::prompt(status, body)
    }
    fn read_status(&self, body: &[u8], session: &SessionId) -> Result<Status, Undecodable> {
        answers::status(body, session)
    }
    fn read_messages(&self, pages: &[Bytes], message: &MessageId) -> Result<History, Undecodable> {
        pages.last().map_or_else(|| Ok(History::default()), |page| messages::history(page, message))
    }
    fn read_inbox(&self, _body: &[u8], _message: &MessageId) -> Result<Inbox, Undecodable> {
        Ok(Inbox::default())
    }
    fn read_reason(&self, _body: &[u8], _message: &MessageId) -> Option<Failure> {
        None
    }
    fn read_last_model(&self, page: &[u8]) -> Option<ModelRef> {
        messages::last_model(page)
    }
    fn read_default_model(&self, body: &[u8]) -> Option<ModelRef> {
        answers::default_model(body)
    }
    fn read_below(&self, bodies: &[Bytes; 2], agent: Option<&str>) -> Result<Below, Undecodable> {
        rules::below(&bodies[0], &bodies[1], agent)
    }
    fn read_saved(&self, _body: &[u8]) -> Result<Vec<WireRule>, Undecodable> {
        Ok(Vec::new())
    }
    fn read_project(&self, _body: &[u8]) -> Option<String> {
        None
    }
    fn read_agent_model(&self, bodies: &[Bytes; 2], agent: Option<&str>) -> Option<ModelRef> {
        rules::agent_model(&bodies[0], &bodies[1], agent)
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
    fn message(&self, session: &SessionId, message: &MessageId) -> Request<Bytes> {
        self.requests.get(&format!("/session/{session}/message/{message}"))
    }
    fn read_tool_input(&self, body: &[u8], call: &str) -> Result<Option<Value>, Undecodable> {
        answers::tool_input(body, call)
    }
    fn read_questions(&self, body: &[u8]) -> Result<Pending<QuestionAsk>, Undecodable> {
        answers::questions(body)
    }
    fn read_event(
        &self,
        data: &[u8],
        wanted: &dyn Fn(&str, bool) -> bool,
    ) -> Result<Option<Told>, Undecodable> {
        events::read(data, wanted)
    }
    fn is_settled(&self, status: u16) -> bool {
        status == 404
    }
    fn read_failure(&self, body: &[u8]) -> Option<Failure> {
        answers::failure(body)
    }
}
