//! What a turn needs from a daemon, in words no version of the daemon owns.
//!
//! A [`Dialect`] builds requests and reads answers and events; it holds
//! everything that knows one generation of opencode's API. Requests are values
//! and reading is pure: a dialect opens nothing and waits for nothing. The turn
//! and its driver know only the types of this module.

mod base;
mod names;
mod read;
mod text;
pub(crate) mod v1;
pub(crate) mod v2;
mod words;

use std::sync::Arc;

use bytes::Bytes;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use connector_contract::{Origin, TodoItem};
use http::{Request, StatusCode};
use secrecy::SecretString;
use serde_json::Value;

pub(crate) use base::Base;
pub(crate) use read::call_id;

use crate::files::Attached;
use crate::ids::{MessageId, SessionId};
use crate::model::ModelRef;
use crate::output::{FileChange, Tokens};
use crate::permissions::WireRule;

/// One generation of the daemon's API.
///
/// Where one generation needs more requests than the other, a method gives a list
/// or an option; what is empty is not needed there.
pub(crate) trait Dialect: Send + Sync + 'static {
    /// Its name in checkpoints.
    fn name(&self) -> &'static str;
    /// The generation, in words for people.
    fn generation(&self) -> &'static str;
    /// The variable that a daemon's password comes from.
    fn password_variable(&self) -> &'static str;
    /// Whether a prompt is answered when it is taken, and not when its turn is over. It
    /// may wait then, while its session works for somebody else.
    fn answers_at_once(&self) -> bool;
    /// Whether work must not be left to the daemon's own directory.
    fn wants_directory(&self) -> bool;
    /// `rules` in the daemon's own names, as its sessions tell them.
    fn rules(&self, rules: Vec<WireRule>) -> Vec<WireRule>;

    fn create_session(&self, new: &NewSession<'_>) -> Request<Bytes>;
    fn session(&self, session: &SessionId) -> Request<Bytes>;
    /// Puts `rules` behind those that the session has.
    fn set_rules(&self, session: &SessionFacts, rules: &[WireRule]) -> Request<Bytes>;
    /// What must be changed in the session before `prompt` is sent: nothing once
    /// it has been done, so what is still left then was not taken.
    fn session_settings(&self, session: &SessionFacts, prompt: &Prompt) -> Vec<Request<Bytes>>;
    /// Tells the agent what the prompt itself does not carry, or, in a session that is
    /// not new, to forget what it was told; each where the one before is not taken.
    fn origin_message(&self, prompt: &Prompt, new: bool) -> Vec<Request<Bytes>>;
    fn prompt(&self, prompt: &Prompt) -> Request<Bytes>;
    /// Ends what the session works at, whoever began it.
    fn abort(&self, session: &SessionId) -> Request<Bytes>;
    /// Takes `message` out of the session's inbox, where there is one. What was begun
    /// stays.
    fn take_back(&self, session: &SessionId, message: &MessageId) -> Option<Request<Bytes>>;
    fn status(&self) -> Request<Bytes>;
    /// Whether a page of messages holds all that the pages before it do, of which only
    /// their number matters then.
    fn pages_hold_earlier(&self) -> bool;
    /// The next page of a session's messages, newest first, after those that were
    /// read; `None` if there is no more, or they reach back to `message`.
    fn messages(&self, session: &SessionId, read: &[Bytes], message: &MessageId) -> Option<Request<Bytes>>;
    /// What the session has taken and not begun.
    fn inbox(&self, session: &SessionId) -> Option<Request<Bytes>>;
    /// Where the reason of a failure is kept that no message tells.
    fn reasons(&self, session: &SessionId) -> Option<Request<Bytes>>;
    /// Where the configuration names its model.
    fn defaults(&self) -> Request<Bytes>;
    /// Where the rules are told that hold without a session's own.
    fn below(&self) -> [Request<Bytes>; 2];
    /// Whether an agent that is not there yet may come.
    fn loads_late(&self) -> bool;
    /// What somebody granted for good in a project, where it wins over rules that ask.
    fn saved(&self, project: &str) -> Option<Request<Bytes>>;
    /// Where the project of the directory is told, where grants are kept by it.
    fn project(&self) -> Option<Request<Bytes>>;
    /// What every session is denied.
    fn never(&self) -> &'static [&'static str];
    fn changes(&self, session: &SessionId, message: &MessageId) -> Request<Bytes>;
    fn children(&self, session: &str) -> Request<Bytes>;
    /// What waits for an answer in these sessions; other sessions' asks may come too.
    fn permissions(&self, sessions: &[String]) -> Vec<Request<Bytes>>;
    fn questions(&self, sessions: &[String]) -> Vec<Request<Bytes>>;
    /// One message of a session.
    fn message(&self, session: &SessionId, message: &MessageId) -> Request<Bytes>;
    /// `None` if the ask is not one of the daemon's.
    fn reply_permission(&self, ask: &Asked, reply: &PermissionReply) -> Option<Request<Bytes>>;
    /// `None` if the ask is not one of the daemon's.
    fn reply_question(&self, ask: &Asked, reply: &QuestionReply) -> Option<Request<Bytes>>;
    fn events(&self) -> Request<Bytes>;
    /// Answered by a daemon of this generation alone.
    fn health(&self) -> Request<Bytes>;
    /// Answered by daemons of this generation that are too old for anything else.
    fn legacy_health(&self) -> Vec<Request<Bytes>>;

    fn read_health(&self, status: StatusCode, body: &[u8]) -> Health;
    fn read_session(&self, body: &[u8]) -> Result<SessionFacts, Undecodable>;
    fn read_answer(&self, status: StatusCode, body: &[u8], message: &MessageId) -> Answer;
    fn read_status(&self, body: &[u8], session: &SessionId) -> Result<Status, Undecodable>;
    /// Reads all pages that there are.
    fn read_messages(&self, pages: &[Bytes], message: &MessageId) -> Result<History, Undecodable>;
    fn read_inbox(&self, body: &[u8], message: &MessageId) -> Result<Inbox, Undecodable>;
    /// Why the turn that `message` began has failed.
    fn read_reason(&self, body: &[u8], message: &MessageId) -> Option<Failure>;
    /// The model that answered last in a page of messages.
    fn read_last_model(&self, page: &[u8]) -> Option<ModelRef>;
    /// The model that the configuration names.
    fn read_default_model(&self, body: &[u8]) -> Option<ModelRef>;
    /// The rules that hold for `agent`, or for the one that is used when none is named.
    fn read_below(&self, bodies: &[Bytes; 2], agent: Option<&str>) -> Result<Below, Undecodable>;
    fn read_saved(&self, body: &[u8]) -> Result<Vec<WireRule>, Undecodable>;
    fn read_project(&self, body: &[u8]) -> Option<String>;
    /// The model that `agent`, or the one that is used when none is named, has of its own.
    fn read_agent_model(&self, bodies: &[Bytes; 2], agent: Option<&str>) -> Option<ModelRef>;
    fn read_changes(&self, body: &[u8]) -> Result<Changes, Undecodable>;
    fn read_children(&self, body: &[u8]) -> Result<Vec<String>, Undecodable>;
    fn read_permissions(&self, body: &[u8]) -> Result<Pending<PermissionAsk>, Undecodable>;
    fn read_questions(&self, body: &[u8]) -> Result<Pending<QuestionAsk>, Undecodable>;
    /// What the tool of `call` was called with, in its message; `None` while that is not
    /// on record.
    fn read_tool_input(&self, body: &[u8], call: &str) -> Result<Option<Value>, Undecodable>;
    /// Reads an event if it is `wanted`, which is told the session it is about and
    /// whether it tells of a new one; `None` if nothing of it is.
    fn read_event(
        &self,
        data: &[u8],
        wanted: &dyn Fn(&str, bool) -> bool,
    ) -> Result<Option<Told>, Undecodable>;
    /// Whether an ask that is answered so was answered before, or is gone.
    fn is_settled(&self, status: u16) -> bool;
    /// The error an answer's body carries, in the daemon's words.
    fn read_failure(&self, body: &[u8]) -> Option<Failure>;
}

/// Every dialect there is.
pub(crate) fn dialects(
    origin: &Origin,
    password: Option<&SecretString>,
    directory: Option<&str>,
) -> Vec<Arc<dyn Dialect>> {
    vec![
        Arc::new(v2::V2::new(origin, password, directory)),
        Arc::new(v1::V1 { requests: v1::Requests::new(origin, password, directory) }),
    ]
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
    Fine(Process),
    /// A daemon, and why not this one.
    Unsupported(String),
    /// A daemon that says of itself that it is not well, in words that follow "it".
    Unwell(&'static str),
    /// A daemon that has not begun to serve.
    Starting,
    /// A daemon that wants another password.
    Locked,
    /// Something else.
    Stranger,
}

/// One daemon's process, as far as it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) version: semver::Version,
    pub(crate) pid: Option<u64>,
    /// Whether nothing is known of this version.
    pub(crate) untested: bool,
}

/// A session to make.
pub(crate) struct NewSession<'a> {
    pub(crate) title: Option<&'a str>,
    /// In the daemon's own names.
    pub(crate) rules: &'a [WireRule],
    pub(crate) model: Option<&'a ModelRef>,
    pub(crate) agent: Option<&'a str>,
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
    /// In the daemon's own names.
    pub(crate) rules: Vec<HeldRule>,
    /// The model its last prompt named; kept even when it does not exist.
    pub(crate) model: Option<ModelRef>,
    /// The agent that its prompts go to, where the session keeps it.
    pub(crate) agent: Option<String>,
    /// The project that it belongs to.
    pub(crate) project: Option<String>,
}

impl SessionFacts {
    /// Whether `rules` are its last, and so win. One that cannot be read is none of
    /// them.
    pub(crate) fn is_under(&self, rules: &[WireRule]) -> bool {
        let from = self.rules.len().checked_sub(rules.len());
        from.is_some_and(|from| {
            self.rules[from..].iter().map(|held| held.rule.as_ref()).eq(rules.iter().map(Some))
        })
    }
}

/// The rules that hold without a session's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Below {
    /// These, in the daemon's own names.
    Rules(Vec<WireRule>),
    /// The daemon has not loaded the directory's configuration.
    NotYet,
    /// There is no such agent, or the daemon has not loaded it.
    NoAgent,
}

/// A rule of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeldRule {
    /// `None` if it cannot be read.
    pub(crate) rule: Option<WireRule>,
    /// As the daemon has it.
    pub(crate) raw: Value,
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

/// What ended a message other than the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The longest answer that it may give.
    Length,
    /// The provider, which did not let it be said.
    Filter,
}

impl Cut {
    /// Reads the reason that the daemon has for the end of a message.
    pub(crate) fn read(finish: &str) -> Option<Self> {
        match finish {
            "length" | "max-tokens" | "max_tokens" => Some(Self::Length),
            "content-filter" | "content_filter" | "refusal" => Some(Self::Filter),
            _ => None,
        }
    }
}

/// An assistant's message, whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) text: String,
    /// What ended it, if not the model.
    pub(crate) cut: Option<Cut>,
    /// Whether it thinks, which is not shown to anybody.
    pub(crate) reasoned: bool,
    /// Whether it answers a prompt that the daemon added, to go on after a summary.
    pub(crate) added: bool,
    /// Files its tools changed, for directories without a history.
    pub(crate) touched: Vec<FileChange>,
    /// Whether a person refused one of its tools, which may end the turn.
    pub(crate) refused: bool,
    /// How much it holds: grows as the work does, and not when it is only retried.
    pub(crate) size: usize,
    /// `{info, parts}`, unchanged; of a record that may be long, the turn's last answer
    /// alone has it.
    pub(crate) raw: Value,
}

/// The part of a session's messages that belongs to one turn.
///
/// A session that becomes too long is summed up in the middle of a turn: the
/// daemon then adds messages in the user's name, which ask for the summary and
/// for the work to go on, and the turn's later answers are answers to those.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that a page of the record shows"
)]
pub(crate) struct History {
    /// Whether the daemon has the message that starts the turn.
    pub(crate) arrived: bool,
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
    /// What the record itself says of the turn's end.
    pub(crate) end: End,
    /// Whether the session has begun with something else since that end.
    pub(crate) followed: bool,
    /// What the session has not begun, where that was asked for.
    pub(crate) inbox: Inbox,
    /// Whether the session has failed after the message that starts the turn was sent and before
    /// it began with it. It will not begin with it then.
    pub(crate) failed_before: bool,
    /// Why the turn failed, where no message says so.
    pub(crate) reason: Option<Failure>,
    /// What the last message waits for, where the session's status does not tell.
    pub(crate) retry: Option<Status>,
}

/// What a session's record says of a turn's end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing, ever: a last word in an idle session is the end.
    #[default]
    Untold,
    /// Nothing yet.
    Open,
    /// This.
    Told(Outcome),
}

/// How a session's record says that a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    Failed,
    Interrupted,
}

/// What a session has taken and not begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Inbox {
    /// Whether our message is there.
    pub(crate) ours: bool,
    /// Whether anything is.
    pub(crate) any: bool,
}

impl History {
    /// The turn's last answer, summaries aside unless one failed: then it is the
    /// turn's end.
    pub(crate) fn last(&self) -> Option<&Message> {
        self.steps.get(self.last_at()?)
    }

    /// Where it is among the steps.
    pub(crate) fn last_at(&self) -> Option<usize> {
        self.steps.iter().rposition(|step| !step.head.summary || step.head.failure.is_some())
    }

    /// The turn's messages that the person who asked is to read, oldest first: neither
    /// summaries nor, once the agent had said its last word, what it said when the daemon
    /// told it to go on.
    pub(crate) fn spoken(&self) -> impl Iterator<Item = &Message> {
        let mut answered = false;
        self.steps.iter().filter(move |step| {
            let shown = !(step.head.summary || step.added && answered);
            answered |= shown && !step.text.is_empty() && step.head.ending == Some(Ending::Final);
            shown
        })
    }

    /// Whether the turn may have failed without a word in its messages.
    pub(crate) fn lacks_reason(&self) -> bool {
        let silent = self.steps.iter().all(|step| step.head.failure.is_none());
        match self.end {
            End::Untold | End::Told(Outcome::Succeeded | Outcome::Interrupted) => false,
            _ if self.reason.is_some() => false,
            End::Open if self.failed_before => true,
            End::Open => {
                self.arrived && !self.inbox.any && self.steps.iter().all(|step| !step.head.completed)
            }
            End::Told(Outcome::Failed) => silent,
        }
    }
}

/// What waits for an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pending<Ask> {
    pub(crate) asks: Vec<Ask>,
    /// Asks in a shape that cannot be read, and whose they are.
    pub(crate) unparseable: Vec<UnparseableAsk>,
}

impl<Ask> Default for Pending<Ask> {
    fn default() -> Self {
        Self { asks: Vec::new(), unparseable: Vec::new() }
    }
}

/// An ask of which nothing else can be read: nobody can answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnparseableAsk {
    pub(crate) id: String,
    pub(crate) session: String,
}

/// An ask, as far as a reply to it must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) session: String,
    pub(crate) id: String,
    /// For each question, whether several answers may be given.
    pub(crate) multiple: Vec<bool>,
}

/// How a prompt was answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// It was taken. The turn's end is told elsewhere.
    Admitted,
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

/// What was told of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) session: String,
    pub(crate) signal: Signal,
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
    /// The session begins with this message.
    Taken(String),
    /// An assistant's message, where events do not tell whose: it belongs to what
    /// the session began with last.
    Step(Head),
    /// The session is done with what it began, and why it failed.
    Ended(Option<Failure>),
    /// The session ended what it began, and not because anybody interrupted it: a
    /// rejection did, or the daemon stops.
    Shut,
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
    /// Its name, in the events that tell it.
    pub(crate) tool: Option<String>,
    /// What it does, in the events that tell it.
    pub(crate) title: Option<String>,
    pub(crate) state: ToolState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToolState {
    Pending,
    Running,
    Completed,
    Failed(String),
}
