//! What a turn needs from a daemon, in words no version of the daemon owns.
//!
//! A [`Dialect`] builds requests and reads answers and events; it holds
//! everything that knows one generation of opencode's API. Requests are values
//! and reading is pure: a dialect opens nothing and waits for nothing. The turn
//! and its driver know only the types of this module.

pub(crate) mod v1;

use bytes::Bytes;
use connector_contract::TodoItem;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use http::{Request, StatusCode};
use serde_json::Value;

use crate::files::Attached;
use crate::ids::{MessageId, SessionId};
use crate::model::ModelRef;
use crate::output::{FileChange, Tokens};
use crate::permissions::WireRule;

/// One generation of the daemon's API.
pub(crate) trait Dialect: Send + Sync + 'static {
    /// Its name in checkpoints.
    fn name(&self) -> &'static str;

    fn create_session(&self, new: &NewSession<'_>) -> Request<Bytes>;
    fn session(&self, session: &SessionId) -> Request<Bytes>;
    fn set_rules(&self, session: &SessionId, rules: &[WireRule]) -> Request<Bytes>;
    fn prompt(&self, prompt: &Prompt) -> Request<Bytes>;
    fn abort(&self, session: &SessionId) -> Request<Bytes>;
    fn status(&self) -> Request<Bytes>;
    /// The session's newest `limit` messages.
    fn messages(&self, session: &SessionId, limit: usize) -> Request<Bytes>;
    /// The daemon's configuration, for its default model.
    fn defaults(&self) -> Request<Bytes>;
    fn changes(&self, session: &SessionId, message: &MessageId) -> Request<Bytes>;
    fn children(&self, session: &str) -> Request<Bytes>;
    fn permissions(&self) -> Request<Bytes>;
    fn questions(&self) -> Request<Bytes>;
    /// `None` if `id` is not one of the daemon's.
    fn reply_permission(&self, id: &str, reply: &PermissionReply) -> Option<Request<Bytes>>;
    /// `None` if `id` is not one of the daemon's.
    fn reply_question(&self, id: &str, reply: &QuestionReply) -> Option<Request<Bytes>>;
    fn events(&self) -> Request<Bytes>;
    fn health(&self) -> Request<Bytes>;
    /// What the other generation answers in JSON, and this one does not.
    fn other_generation(&self) -> Request<Bytes>;

    fn read_health(&self, body: &[u8]) -> Health;
    /// Why a daemon of the other generation is refused, if it is one.
    fn read_other_generation(&self, body: &[u8]) -> Option<String>;
    fn read_session(&self, body: &[u8]) -> Result<SessionFacts, Undecodable>;
    fn read_answer(&self, status: StatusCode, body: &[u8]) -> Answer;
    fn read_status(&self, body: &[u8], session: &SessionId) -> Result<Status, Undecodable>;
    fn read_messages(&self, body: &[u8], message: &MessageId) -> Result<History, Undecodable>;
    /// The model that answered last in a list of messages.
    fn read_last_model(&self, body: &[u8]) -> Option<ModelRef>;
    fn read_default_model(&self, body: &[u8]) -> Option<ModelRef>;
    fn read_changes(&self, body: &[u8]) -> Result<Changes, Undecodable>;
    fn read_children(&self, body: &[u8]) -> Result<Vec<String>, Undecodable>;
    fn read_permissions(&self, body: &[u8]) -> Result<Pending<PermissionAsk>, Undecodable>;
    fn read_questions(&self, body: &[u8]) -> Result<Pending<QuestionAsk>, Undecodable>;
    /// Which session an event is about, without reading the rest of it.
    fn peek_event<'a>(&self, data: &'a [u8]) -> Result<Peek<'a>, Undecodable>;
    /// The error an answer's body carries, in the daemon's words.
    fn read_failure(&self, body: &[u8]) -> Option<Failure>;
}

/// An answer or event that is not what the daemon sends. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be read ({why})")]
pub(crate) struct Undecodable {
    /// Which answer.
    pub(crate) what: &'static str,
    /// Where and how, without its contents.
    pub(crate) why: String,
}

/// Who answers at the origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// A daemon this dialect speaks to.
    Fine(semver::Version),
    /// A daemon, and why not this one.
    Unsupported(String),
    /// A daemon that says of itself that it is not well.
    Unwell,
    /// Something else.
    Stranger,
}

/// A session to make.
pub(crate) struct NewSession<'a> {
    pub(crate) title: Option<&'a str>,
    pub(crate) rules: &'a [WireRule],
}

/// A prompt to send.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    pub(crate) session: SessionId,
    pub(crate) message: MessageId,
    pub(crate) text: String,
    pub(crate) files: Vec<Attached>,
    pub(crate) system: Option<String>,
    pub(crate) model: Option<ModelRef>,
    pub(crate) agent: Option<String>,
}

/// What a session says about itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SessionFacts {
    pub(crate) id: SessionId,
    pub(crate) directory: Option<String>,
    /// When it was made, in milliseconds by the daemon's own clock.
    pub(crate) created: Option<u64>,
    pub(crate) rules: Vec<WireRule>,
    /// The model its last prompt named; kept even when it does not exist.
    pub(crate) model: Option<ModelRef>,
}

/// What a session is doing. The daemon leaves idle sessions out of its list,
/// and also those whose turn died with an earlier daemon: idle is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    Idle,
    Busy,
    Retry { attempt: u64, reason: String, next_at_ms: Option<u64> },
}

/// An error in the daemon's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// One line for people; never empty.
    pub(crate) reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Someone aborted the turn.
    Aborted,
    /// The daemon hides the reason; it is in its event stream.
    Opaque,
    /// The model is not known to the daemon, and its session keeps it.
    UnknownModel,
    Other,
}

/// A message without its parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    pub(crate) id: String,
    /// The user's message that an assistant's answers; `None` for the user's own.
    pub(crate) parent: Option<String>,
    pub(crate) completed: bool,
    pub(crate) ending: Option<Ending>,
    pub(crate) failure: Option<Failure>,
    /// It sums up the session because that became too long; no reply to anybody.
    pub(crate) summary: bool,
    pub(crate) cost: f64,
    pub(crate) tokens: Tokens,
}

/// Why the model stopped writing a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It had said everything, or may say no more: the turn's last message.
    Final,
    /// It wants to use tools; another message follows unless one was refused.
    Tools,
}

/// An assistant's message, whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) text: String,
    /// Files its tools changed, for directories without a history.
    pub(crate) touched: Vec<FileChange>,
    /// Whether a person refused one of its tools, which may end the turn.
    pub(crate) refused: bool,
    /// How much it holds: grows as the work does, and not when it is only retried.
    pub(crate) size: usize,
    /// `{info, parts}`, unchanged.
    pub(crate) raw: Value,
}

/// The part of a session's messages that belongs to one turn.
///
/// A session that becomes too long is summed up in the middle of a turn: the
/// daemon then adds messages in the user's name, which ask for the summary and
/// for the work to go on, and the turn's later answers are answers to those.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History {
    /// Whether the daemon has the message that starts the turn.
    pub(crate) arrived: bool,
    /// Whether the list reaches back to the start of the turn.
    pub(crate) complete: bool,
    /// How many messages were listed.
    pub(crate) listed: usize,
    /// The id of the newest message that has an id of the daemon's form.
    pub(crate) newest: Option<String>,
    /// How many messages could not be read.
    pub(crate) unreadable: usize,
    /// The messages in the user's name that the turn's answers belong to: the one
    /// that began it, and those that the daemon added.
    pub(crate) prompts: Vec<String>,
    /// Whether the newest of them has no answer yet.
    pub(crate) unanswered: bool,
    /// The turn's assistant messages, oldest first.
    pub(crate) steps: Vec<Message>,
}

impl History {
    /// The turn's last answer, summaries aside unless one failed: then it is the
    /// turn's end.
    pub(crate) fn last(&self) -> Option<&Message> {
        self.steps.iter().rfind(|step| !step.head.summary || step.head.failure.is_some())
    }
}

/// What waits for an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pending<Ask> {
    pub(crate) asks: Vec<Ask>,
    /// Asks in a shape that cannot be read, and whose they are.
    pub(crate) strange: Vec<StrangeAsk>,
}

/// An ask of which nothing else can be read: nobody can answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StrangeAsk {
    pub(crate) id: String,
    pub(crate) session: String,
}

/// How a prompt was answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// The turn's last message.
    Message(Box<Message>),
    /// A refusal by status.
    Refused { status: u16, failure: Option<Failure> },
    /// 200, but not an answer: nothing, a web page, something else.
    Odd(&'static str),
}

/// What a turn changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) files: Vec<FileChange>,
    pub(crate) patch: String,
}

impl Changes {
    /// Adds what changed after it.
    pub(crate) fn add(&mut self, later: Self) {
        self.patch.push_str(&later.patch);
        for change in later.files {
            let Some(known) = self.files.iter_mut().find(|it| it.path == change.path) else {
                self.files.push(change);
                continue;
            };
            known.additions = known.additions.zip(change.additions).map(|(a, b)| a + b);
            known.deletions = known.deletions.zip(change.deletions).map(|(a, b)| a + b);
            if change.status == "deleted" || known.status == "deleted" {
                known.status = change.status;
            }
        }
    }
}

/// An event whose session is known and whose rest is not read yet.
#[expect(clippy::large_enum_variant, reason = "lives on the stack for one event; a box would cost more")]
pub(crate) enum Peek<'a> {
    /// About the connection itself, or about nothing that matters.
    Connection,
    /// About a session, or about all.
    Session { session: Option<std::borrow::Cow<'a, str>>, rest: v1::RawEvent<'a> },
}

/// What an event says about a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Signal {
    Created {
        session: String,
        parent: Option<String>,
        title: String,
    },
    Status(Status),
    Failed(Failure),
    Head(Head),
    /// A whole text part.
    Text {
        message: String,
        part: String,
        text: String,
    },
    /// A piece of a text part.
    Delta {
        message: String,
        part: String,
        text: String,
    },
    Tool(ToolSignal),
    Todo(Vec<TodoItem>),
    PermissionAsked(PermissionAsk),
    QuestionAsked(QuestionAsk),
    /// An ask was answered, here or elsewhere.
    AskClosed(String),
    /// Work goes on in a way that shows nothing.
    Activity,
}

/// A tool's state changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ToolSignal {
    pub(crate) call: String,
    pub(crate) tool: String,
    pub(crate) title: String,
    pub(crate) state: ToolState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToolState {
    Pending,
    Running,
    Completed,
    Failed(String),
}
