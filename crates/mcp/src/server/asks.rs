//! The agent's asks go to the person at the client, as elicitations.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use connector_contract::{AskRelay, Progress, ToolOutcome};
use rmcp::model::{
    ClientResult, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction, MetaObject,
    RequestMetaObject, ServerRequest,
};
use rmcp::service::{ElicitationMode, Peer, PeerRequestOptions, RequestHandle, RoleServer, ServiceError};

use super::lock;
use crate::extension::{self, Ask, AskMeta, Reply};
use crate::forms::{self, Form};

/// How much of an ask stands in a line about it.
const LINE: usize = 200;
/// How many refused tools are kept for one result.
const KEPT: usize = 50;

/// The asks of one call: which are open, and which nobody at the client allowed.
#[derive(Default)]
pub(super) struct AskLog {
    open: Mutex<Vec<String>>,
    refused: Mutex<Vec<String>>,
    /// The tools that ended refused, whoever refused them.
    tools: Mutex<Vec<String>>,
}

impl AskLog {
    /// The ask that has been open longest, in a line.
    pub(super) fn waiting_for(&self) -> Option<String> {
        lock(&self.open).first().cloned()
    }

    /// One line for each ask that was refused, and why; where none came to the client, for each tool.
    pub(super) fn refused(&self) -> Vec<String> {
        let refused = lock(&self.refused).clone();
        if refused.is_empty() { lock(&self.tools).clone() } else { refused }
    }

    /// Takes note of a tool that was refused.
    pub(super) fn note(&self, update: &Progress) {
        if let Progress::ToolFinished { tool, title, outcome: ToolOutcome::Refused { by }, .. } = update {
            let line = format!("{}: refused by {}", one_line(&format!("{tool} {title}")), one_line(by));
            let mut tools = lock(&self.tools);
            if tools.len() < KEPT {
                tools.push(line);
            }
        }
    }

    /// Counts a permission request as open, until it is settled.
    pub(super) fn permission(&self, ask: &PermissionAsk) -> OpenAsk<'_> {
        self.open(one_line(&format!("{} {}", ask.permission, ask.patterns.join(" "))))
    }

    /// Counts a question as open, until it is settled.
    pub(super) fn question(&self, ask: &QuestionAsk) -> OpenAsk<'_> {
        let words: Vec<_> = ask.questions.iter().map(|question| question.question.as_str()).collect();
        self.open(one_line(&format!("the question “{}”", words.join(" "))))
    }

    fn open(&self, line: String) -> OpenAsk<'_> {
        lock(&self.open).push(line.clone());
        OpenAsk { log: self, line, settled: Cell::new(false) }
    }
}

/// An ask on the list of open ones. Dropping it takes it off, and counts it as refused unless it was settled.
pub(super) struct OpenAsk<'a> {
    log: &'a AskLog,
    line: String,
    settled: Cell<bool>,
}

impl OpenAsk<'_> {
    /// Settles a permission request by what came of it.
    pub(super) fn permitted(self, answer: Result<PermissionReply, Silence>) -> PermissionReply {
        let reply = answer.unwrap_or_else(|silence| forms::reject(silence.as_str()));
        if let PermissionReply::Reject { message } = &reply {
            self.refuse(message);
        }
        self.settle();
        reply
    }

    /// Settles a question by what came of it.
    pub(super) fn answered(self, answer: Result<QuestionReply, Silence>) -> QuestionReply {
        let reply = match answer {
            Ok(QuestionReply::Reject) => {
                self.refuse("it was not answered");
                QuestionReply::Reject
            }
            Ok(reply) => reply,
            Err(silence) => {
                self.refuse(silence.as_str());
                QuestionReply::Reject
            }
        };
        self.settle();
        reply
    }

    fn refuse(&self, why: &str) {
        self.settle();
        lock(&self.log.refused).push(format!("{}: {why}", self.line));
    }

    fn settle(&self) {
        self.settled.set(true);
    }
}

impl Drop for OpenAsk<'_> {
    fn drop(&mut self) {
        let mut open = lock(&self.log.open);
        if let Some(at) = open.iter().position(|line| *line == self.line) {
            open.remove(at);
        }
        drop(open);
        // It was withdrawn: its time was over, or somebody elsewhere answered it.
        if !self.settled.get() {
            self.refuse("nobody at this client answered");
        }
    }
}

/// Asks of one call. A client that cannot elicit, declines, or is gone, rejects.
pub(super) struct PeerAsks {
    peer: Peer<RoleServer>,
    call: Option<String>,
    log: Arc<AskLog>,
}

/// Why nobody answered.
pub(super) enum Silence {
    CannotElicit,
    Declined,
    /// The client answered with an error.
    Failed,
    Gone,
}

impl Silence {
    fn as_str(&self) -> &'static str {
        match self {
            Self::CannotElicit => "nobody can be asked through this client; do without it",
            Self::Declined => "declined",
            Self::Failed | Self::Gone => "nobody answered",
        }
    }
}

impl PeerAsks {
    pub(super) fn new(peer: Peer<RoleServer>, call: Option<String>, log: Arc<AskLog>) -> Self {
        Self { peer, call, log }
    }

    async fn elicit(&self, form: Form, ask: Ask) -> Result<ElicitResult, Silence> {
        if !self.peer.supported_elicitation_modes().contains(&ElicitationMode::Form) {
            return Err(Silence::CannotElicit);
        }
        let schema = serde_json::from_value(form.schema).map_err(|_| Silence::CannotElicit)?;
        let meta = AskMeta { call: self.call.clone(), ask };
        let meta = RequestMetaObject(MetaObject(extension::meta(extension::ASK, &meta)));
        let params = ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: form.message,
            requested_schema: schema,
        };
        let request = ServerRequest::ElicitRequest(ElicitRequest::new(params));
        let options = PeerRequestOptions::no_options().with_meta(meta);
        let handle = self.peer.send_cancellable_request(request, options).await.map_err(|_| Silence::Gone)?;
        let mut asked = Asked(Some(handle));
        match asked.answer().await {
            Ok(ClientResult::ElicitResult(result)) if result.action == ElicitationAction::Accept => {
                Ok(result)
            }
            Ok(ClientResult::ElicitResult(_)) => Err(Silence::Declined),
            Ok(_) | Err(ServiceError::McpError(_)) => Err(Silence::Failed),
            Err(_) => Err(Silence::Gone),
        }
    }

    /// The client's answer, or why there is none.
    pub(super) async fn try_permission(&self, ask: PermissionAsk) -> Result<PermissionReply, Silence> {
        let result = self.elicit(forms::permission(&ask), Ask::Permission(ask)).await?;
        Ok(match exact(&result) {
            Some(Reply::Permission(reply)) => reply,
            _ => forms::permission_reply(result.content.as_ref()),
        })
    }

    /// The client's answer, or why there is none.
    pub(super) async fn try_question(&self, ask: QuestionAsk) -> Result<QuestionReply, Silence> {
        let result = self.elicit(forms::questions(&ask), Ask::Question(ask.clone())).await?;
        Ok(match exact(&result) {
            Some(Reply::Question(reply)) => reply,
            _ => forms::question_reply(&ask, result.content.as_ref()),
        })
    }
}

#[async_trait]
impl AskRelay for PeerAsks {
    async fn permission(&self, ask: PermissionAsk) -> PermissionReply {
        let open = self.log.permission(&ask);
        open.permitted(self.try_permission(ask).await)
    }

    async fn question(&self, ask: QuestionAsk) -> QuestionReply {
        let open = self.log.question(&ask);
        open.answered(self.try_question(ask).await)
    }
}

/// The agent's words in a line of ours: no line of its own, nothing that moves a cursor.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line: String =
        words.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(LINE).collect();
    if line.len() < words.len() {
        line.push('…');
    }
    line
}

/// A host of ours answers exactly, beside what it filled in.
fn exact(result: &ElicitResult) -> Option<Reply> {
    extension::read(&result.meta.as_ref()?.0, extension::REPLY).ok().flatten()
}

/// An elicitation under way. Dropping it withdraws it.
struct Asked(Option<RequestHandle<RoleServer>>);

impl Asked {
    async fn answer(&mut self) -> Result<ClientResult, ServiceError> {
        let Some(handle) = &mut self.0 else { return Err(ServiceError::TransportClosed) };
        let answer = (&mut handle.rx).await;
        self.0 = None;
        answer.unwrap_or(Err(ServiceError::TransportClosed))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            tokio::spawn(handle.cancel(Some("the ask was withdrawn".to_owned())));
        }
    }
}
