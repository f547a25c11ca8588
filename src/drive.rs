//! Carries out what a turn decides.
//!
//! The loop waits for whatever happens first, tells the turn, and does what it
//! says; it decides nothing. Requests run as tasks of their own that report back
//! as events, so that nothing here ever blocks a decision.
//!
//! Dropping the driver's future aborts the turn at the daemon, in the background
//! and within [`Timing::stop`](crate::timing::Timing::stop).

use std::collections::HashMap;
use std::sync::Arc;

use connector_contract::{AskRelay, ProgressSink, chain};
use http::StatusCode;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::hub::{Notice, Subscription};
use crate::ids::{MessageId, SessionId};
use crate::link::{Link, LinkError};
use crate::queue::Place;
use crate::turn::{Effect, Event, Look, ReplyOutcome, Turn, Verdict};
use crate::wire::{Answer, Head, History, Pending, Prompt, Status};

/// How many of a session's newest messages are read at first.
const MESSAGES: usize = 60;
/// Beyond this, all of them are.
const ALL_MESSAGES: usize = 100_000;

/// What the driver works with.
pub(crate) struct Driver {
    pub(crate) link: Link,
    pub(crate) prompt: Arc<Prompt>,
    /// The turn's places in the lines.
    pub(crate) places: Arc<Vec<Place>>,
    pub(crate) events: Subscription,
    pub(crate) progress: ProgressSink,
    pub(crate) asks: Arc<dyn AskRelay>,
    pub(crate) cancel: CancellationToken,
}

/// A turn's end, and the heads of its messages as the events told them.
pub(crate) struct Ended {
    pub(crate) verdict: Verdict,
    pub(crate) steps: Vec<Head>,
}

impl Driver {
    /// Runs `turn` to its end.
    pub(crate) async fn run(mut self, mut turn: Turn) -> Ended {
        let Prompt { session, message, .. } = &*self.prompt;
        let mut owner = Owner::new(&self.link, session, message, Arc::clone(&self.places));
        if turn.resumes() {
            owner.own();
        }
        let mut tasks = Tasks::default();
        let cancel = self.cancel.clone();
        let mut cancelled = false;
        let mut event = Event::Began;
        loop {
            for effect in turn.step(event, Instant::now()) {
                match effect {
                    Effect::Finish(verdict) => {
                        owner.release();
                        return Ended { verdict: *verdict, steps: turn.steps().to_vec() };
                    }
                    other => self.carry_out(other, &mut tasks, &mut owner),
                }
            }
            event = tokio::select! {
                () = cancel.cancelled(), if !cancelled => {
                    cancelled = true;
                    Event::Cancelled
                }
                Some(done) = tasks.running.join_next() => match done {
                    Ok(event) => event,
                    // Withdrawn, or the host's relay panicked: its ask expires.
                    Err(_) => Event::TimePassed,
                },
                notice = self.events.next() => match notice {
                    Notice::Signal { session, signal } => Event::Signalled { session, signal },
                    Notice::Live(live) => Event::Stream { live },
                    Notice::Lost => Event::EventsLost,
                },
                () = sleep_until(turn.next_wake()) => Event::TimePassed,
            };
        }
    }

    fn carry_out(&mut self, effect: Effect, tasks: &mut Tasks, owner: &mut Owner) {
        let link = self.link.clone();
        let session = self.prompt.session.clone();
        match effect {
            Effect::SendPrompt => {
                owner.own();
                let prompt = Arc::clone(&self.prompt);
                tasks.running.spawn(send_prompt(link, prompt));
            }
            Effect::Look { children } => {
                let message = self.prompt.message.clone();
                tasks.running.spawn(look(link, session, message, children));
            }
            Effect::Abort => {
                tasks.running.spawn(async move {
                    Event::AbortSent { delivered: link.fetch(link.dialect.abort(&session)).await.is_ok() }
                });
            }
            Effect::AskPermission(ask) => {
                let (relay, id) = (Arc::clone(&self.asks), ask.id.clone());
                let handle = tasks.running.spawn({
                    let id = id.clone();
                    async move { Event::PermissionDecided { id, reply: relay.permission(ask).await } }
                });
                tasks.asks.insert(id, handle);
            }
            Effect::AskQuestion(ask) => {
                let (relay, id) = (Arc::clone(&self.asks), ask.id.clone());
                let handle = tasks.running.spawn({
                    let id = id.clone();
                    async move { Event::QuestionDecided { id, reply: relay.question(ask).await } }
                });
                tasks.asks.insert(id, handle);
            }
            Effect::Withdraw(id) => {
                if let Some(handle) = tasks.asks.remove(&id) {
                    handle.abort();
                }
            }
            Effect::ReplyPermission { id, reply } => {
                let request = link.dialect.reply_permission(&id, &reply);
                tasks.running.spawn(send_reply(link, id, request));
            }
            Effect::ReplyQuestion { id, reply } => {
                let request = link.dialect.reply_question(&id, &reply);
                tasks.running.spawn(send_reply(link, id, request));
            }
            Effect::Follow(child) => self.events.follow(&child),
            Effect::Report(progress) => self.progress.report(progress),
            Effect::Finish(_) => {}
        }
    }
}

/// What runs beside the loop. Dropping it stops all of it.
#[derive(Default)]
struct Tasks {
    running: JoinSet<Event>,
    asks: HashMap<String, AbortHandle>,
}

async fn send_prompt(link: Link, prompt: Arc<Prompt>) -> Event {
    let sent = link.http.send(link.dialect.prompt(&prompt)).await;
    let response = match sent {
        Ok(response) => response,
        Err(error) => {
            return Event::PromptFailed { nothing_sent: error.nothing_sent(), reason: chain(&error) };
        }
    };
    let status = response.status();
    match response.bytes(link.body_bytes).await {
        Ok(body) => Event::PromptAnswered(link.dialect.read_answer(status, &body)),
        Err(_) if status != StatusCode::OK => {
            Event::PromptAnswered(Answer::Refused { status: status.as_u16(), failure: None })
        }
        Err(error) => Event::PromptFailed { nothing_sent: false, reason: chain(&error) },
    }
}

async fn send_reply(link: Link, id: String, request: Option<http::Request<bytes::Bytes>>) -> Event {
    let Some(request) = request else { return Event::ReplySent { id, outcome: ReplyOutcome::Refused } };
    let outcome = match link.fetch(request).await {
        Ok(_) => ReplyOutcome::Taken,
        Err(LinkError::Status { status: 404, .. }) => ReplyOutcome::Gone,
        Err(LinkError::Status { status: 400..=499, .. }) => ReplyOutcome::Refused,
        Err(_) => ReplyOutcome::Failed,
    };
    Event::ReplySent { id, outcome }
}

async fn look(link: Link, session: SessionId, message: MessageId, children: Vec<String>) -> Event {
    match try_look(&link, &session, &message, children).await {
        Ok(look) => Event::Looked(Box::new(look)),
        Err(error) => Event::LookFailed {
            unauthorized: matches!(error, LinkError::Unauthorized),
            reason: chain(&error),
        },
    }
}

/// Reads the status before the messages: an idle session's messages are its last.
async fn try_look(
    link: &Link,
    session: &SessionId,
    message: &MessageId,
    mut children: Vec<String>,
) -> Result<Look, LinkError> {
    let dialect = &link.dialect;
    let status = dialect.read_status(&link.fetch(dialect.status()).await?, session)?;
    let history = history(link, session, message).await?;
    let mut permissions = Pending { asks: Vec::new(), strange: Vec::new() };
    let mut questions = Pending { asks: Vec::new(), strange: Vec::new() };
    if status != Status::Idle {
        let mut unread = vec![session.to_string()];
        unread.append(&mut children);
        let mut at = 0;
        while at < unread.len() && at < 32 {
            let found = match link.fetch(dialect.children(&unread[at])).await {
                Ok(body) => dialect.read_children(&body)?,
                // Deleted meanwhile: it has none.
                Err(LinkError::Status { status: 404, .. }) => Vec::new(),
                Err(error) => return Err(error),
            };
            for child in found {
                if !unread.contains(&child) {
                    unread.push(child);
                }
            }
            at += 1;
        }
        children = unread;
        permissions = dialect.read_permissions(&link.fetch(dialect.permissions()).await?)?;
        questions = dialect.read_questions(&link.fetch(dialect.questions()).await?)?;
    }
    for ask in permissions.strange.iter().chain(&questions.strange) {
        tracing::warn!(
            id = ask.id,
            session = ask.session,
            "an ask cannot be read; it is rejected if it is ours"
        );
    }
    Ok(Look {
        status,
        history,
        permissions: permissions.asks,
        questions: questions.asks,
        strange_permissions: permissions.strange,
        strange_questions: questions.strange,
        children,
    })
}

/// Reads the session's messages back to the start of the turn.
pub(crate) async fn history(
    link: &Link,
    session: &SessionId,
    message: &MessageId,
) -> Result<History, LinkError> {
    let mut limit = MESSAGES;
    loop {
        let body = link.fetch(link.dialect.messages(session, limit)).await?;
        let mut history = link.dialect.read_messages(&body, message)?;
        history.complete |= history.listed < limit;
        if history.complete || limit >= ALL_MESSAGES {
            if history.unreadable > 0 {
                tracing::warn!(%session, count = history.unreadable, "messages cannot be read and are skipped");
            }
            return Ok(history);
        }
        limit = if limit < 1000 { limit * 4 } else { ALL_MESSAGES };
    }
}

/// Owns a turn at the daemon: dropped before [`Owner::release`], it aborts it.
pub(crate) struct Owner {
    link: Link,
    session: SessionId,
    message: MessageId,
    /// Kept until the abort is confirmed, which must not hit anybody's next turn.
    places: Arc<Vec<Place>>,
    owns: bool,
}

impl Owner {
    pub(crate) fn new(
        link: &Link,
        session: &SessionId,
        message: &MessageId,
        places: Arc<Vec<Place>>,
    ) -> Self {
        Self { link: link.clone(), session: session.clone(), message: message.clone(), places, owns: false }
    }

    pub(crate) fn own(&mut self) {
        self.owns = true;
    }

    pub(crate) fn release(&mut self) {
        self.owns = false;
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.owns {
            return;
        }
        let (link, session, message) = (self.link.clone(), self.session.clone(), self.message.clone());
        let places = Arc::clone(&self.places);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if timeout(link.timing.stop, abort(&link, &session, &message)).await.is_err() {
                    tracing::warn!(%session, "a dropped turn could not be confirmed as stopped");
                }
                drop(places);
            });
        }
    }
}

/// Aborts until the turn is seen ended. An idle session alone proves nothing: the
/// prompt may arrive after the first abort.
pub(crate) async fn abort(link: &Link, session: &SessionId, message: &MessageId) {
    let mut broken = 0;
    let mut pause = link.timing.poll_min;
    loop {
        let status = link.fetch(link.dialect.status()).await.ok();
        let status = status.and_then(|body| link.dialect.read_status(&body, session).ok());
        let idle = status == Some(Status::Idle);
        let record = history(link, session, message).await.ok();
        let last = record.as_ref().and_then(|record| record.steps.last());
        if idle && last.is_some_and(|last| last.head.completed) {
            return;
        }
        // Half a message of an earlier daemon's ends never.
        broken = if idle && last.is_some() { broken + 1 } else { 0 };
        if broken >= 3 {
            return;
        }
        if let Err(error) = link.fetch(link.dialect.abort(session)).await {
            tracing::debug!(%session, %error, "an abort was not delivered");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(link.timing.poll_max);
    }
}
