//! opencode 2.x from 2.0.6 on, as a running 2.0.14 does it and as public material
//! describes other releases. `docs/opencode-versions.md` says how each statement is
//! known.
//!
//! A prompt is answered when it is taken; how its turn ends is told by a row of the
//! session's record and by an event. Model and agent belong to the session. Asks
//! belong to sessions too, and a question comes as a form. Everything that knows
//! this API is here; unknown fields, events, rows and parts are passed over.

mod answers;
mod asks;
mod events;
mod failure;
mod health;
mod log;
mod messages;
mod names;
mod number;
mod requests;
mod rules;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod written;

use bytes::Bytes;
use connector_contract::Origin;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use http::{Request, StatusCode};
use opencode_api::Generation;
use secrecy::SecretString;
use serde_json::Value;

use super::{
    Answer, Asked, Below, Changes, Dialect, Failure, Health, History, Inbox, NewSession, Pending, Prompt,
    SessionFacts, Status, Told, Undecodable,
};
use crate::ids::{MessageId, SessionId};
use crate::model::ModelRef;
use crate::permissions::WireRule;
pub(super) use names::theirs;
use requests::Requests;

/// The dialect of opencode 2.x.
pub(crate) struct V2 {
    requests: Requests,
}

impl V2 {
    pub(crate) fn new(origin: &Origin, password: Option<&SecretString>, directory: Option<&str>) -> Self {
        Self { requests: Requests::new(origin, password, directory) }
    }
}

impl Dialect for V2 {
    fn name(&self) -> &'static str {
        "v2"
    }
    fn generation(&self) -> &'static str {
        "2.x"
    }
    fn password_variable(&self) -> &'static str {
        Generation::Two.password_variable()
    }
    fn answers_at_once(&self) -> bool {
        true
    }
    /// Its own directory is the home directory where it runs as a service.
    fn wants_directory(&self) -> bool {
        true
    }
    fn rules(&self, rules: Vec<WireRule>) -> Vec<WireRule> {
        super::names::as_known(rules, theirs)
    }
    fn create_session(&self, new: &NewSession<'_>) -> Request<Bytes> {
        self.requests.create_session(new)
    }
    fn session(&self, session: &SessionId) -> Request<Bytes> {
        self.requests.get(&format!("/api/session/{session}"))
    }
    fn set_rules(&self, session: &SessionFacts, rules: &[WireRule]) -> Request<Bytes> {
        self.requests.set_rules(session, rules)
    }
    fn session_settings(&self, session: &SessionFacts, prompt: &Prompt) -> Vec<Request<Bytes>> {
        self.requests.session_settings(session, prompt)
    }
    fn origin_message(&self, prompt: &Prompt, new: bool) -> Vec<Request<Bytes>> {
        self.requests.origin_message(prompt, new)
    }
    fn prompt(&self, prompt: &Prompt) -> Request<Bytes> {
        self.requests.prompt(prompt)
    }
    fn abort(&self, session: &SessionId) -> Request<Bytes> {
        self.requests.abort(session)
    }
    fn take_back(&self, session: &SessionId, message: &MessageId) -> Option<Request<Bytes>> {
        Some(self.requests.take_back(session, message))
    }
    fn status(&self) -> Request<Bytes> {
        self.requests.get("/api/session/active")
    }
    fn pages_hold_earlier(&self) -> bool {
        false
    }
    fn messages(&self, session: &SessionId, read: &[Bytes], message: &MessageId) -> Option<Request<Bytes>> {
        self.requests.messages(session, read, message)
    }
    fn inbox(&self, session: &SessionId) -> Option<Request<Bytes>> {
        Some(self.requests.get(&format!("/api/session/{session}/inbox")))
    }
    fn reasons(&self, session: &SessionId) -> Option<Request<Bytes>> {
        Some(self.requests.log(session))
    }
    fn defaults(&self) -> Request<Bytes> {
        self.requests.config()
    }
    fn below(&self) -> [Request<Bytes>; 2] {
        [self.requests.agents(), self.requests.config()]
    }
    fn loads_late(&self) -> bool {
        true
    }
    fn saved(&self, project: &str) -> Option<Request<Bytes>> {
        Some(self.requests.saved(project))
    }
    fn project(&self) -> Option<Request<Bytes>> {
        Some(self.requests.location())
    }
    /// Code of the agent's own that the server runs by itself: it fetches, and reads files,
    /// without an ask.
    fn never(&self) -> &'static [&'static str] {
        &["execute"]
    }
    fn changes(&self, session: &SessionId, message: &MessageId) -> Request<Bytes> {
        self.requests.changes(session, message)
    }
    fn children(&self, session: &str) -> Request<Bytes> {
        self.requests.children(session)
    }
    fn permissions(&self, sessions: &[String]) -> Vec<Request<Bytes>> {
        self.requests.each(sessions, "permission")
    }
    fn questions(&self, sessions: &[String]) -> Vec<Request<Bytes>> {
        self.requests.each(sessions, "form")
    }
    fn reply_permission(&self, ask: &Asked, reply: &PermissionReply) -> Option<Request<Bytes>> {
        self.requests.reply_permission(ask, reply)
    }
    fn reply_question(&self, ask: &Asked, reply: &QuestionReply) -> Option<Request<Bytes>> {
        self.requests.reply_question(ask, reply)
    }
    fn events(&self) -> Request<Bytes> {
        self.requests.get("/api/event")
    }
    fn health(&self) -> Request<Bytes> {
        self.requests.get(Generation::Two.health_path())
    }
    fn legacy_health(&self) -> Vec<Request<Bytes>> {
        Generation::Two.legacy_health_paths().iter().map(|path| self.requests.get(path)).collect()
    }
    fn read_health(&self, status: StatusCode, body: &[u8]) -> Health {
        health::read(status, body)
    }
    fn read_session(&self, body: &[u8]) -> Result<SessionFacts, Undecodable> {
        answers::session(body)
    }
    fn read_answer(&self, status: StatusCode, body: &[u8], message: &MessageId) -> Answer {
        answers::prompt(status, body, message)
    }
    fn read_status(&self, body: &[u8], session: &SessionId) -> Result<Status, Undecodable> {
        answers::status(body, session)
    }
    fn read_messages(&self, pages: &[Bytes], message: &MessageId) -> Result<History, Undecodable> {
        messages::history(pages, message)
    }
    fn read_inbox(&self, body: &[u8], message: &MessageId) -> Result<Inbox, Undecodable> {
        answers::inbox(body, message)
    }
    fn read_reason(&self, body: &[u8], message: &MessageId) -> Option<Failure> {
        log::reason(body, message)
    }
    fn read_last_model(&self, page: &[u8]) -> Option<ModelRef> {
        messages::last_model(page)
    }
    fn read_default_model(&self, body: &[u8]) -> Option<ModelRef> {
        rules::configured_model(body)
    }
    fn read_below(&self, bodies: &[Bytes; 2], agent: Option<&str>) -> Result<Below, Undecodable> {
        rules::below(&bodies[0], &bodies[1], agent)
    }
    fn read_saved(&self, body: &[u8]) -> Result<Vec<WireRule>, Undecodable> {
        rules::saved(body)
    }
    fn read_project(&self, body: &[u8]) -> Option<String> {
        rules::project(body)
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
        asks::permissions(body)
    }
    fn message(&self, session: &SessionId, message: &MessageId) -> Request<Bytes> {
        self.requests.get(&format!("/api/session/{session}/message/{message}"))
    }
    fn read_tool_input(&self, body: &[u8], call: &str) -> Result<Option<Value>, Undecodable> {
        asks::tool_input(body, call)
    }
    fn read_questions(&self, body: &[u8]) -> Result<Pending<QuestionAsk>, Undecodable> {
        asks::forms(body)
    }
    fn read_event(
        &self,
        data: &[u8],
        wanted: &dyn Fn(&str, bool) -> bool,
    ) -> Result<Option<Told>, Undecodable> {
        events::read(data, wanted)
    }
    fn is_settled(&self, status: u16) -> bool {
        matches!(status, 404 | 409)
    }
    fn read_failure(&self, body: &[u8]) -> Option<Failure> {
        failure::of_answer(body)
    }
}
