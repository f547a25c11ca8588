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
use crate::turn::{Abort, Effect, Event, Look, ReplyOutcome, Turn, Verdict};
use crate::wire::{Answer, End, Head, History, Pending, Prompt, Status};

/// How many sessions of a turn are asked for what they wait for.
const SESSIONS: usize = 32;
/// How many pages of messages are read at most: a turn is far shorter.
const PAGES: usize = 100;

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
                let message = self.prompt.message.clone();
                tasks
                    .running
                    .spawn(async move { Event::AbortSent(send_abort(&link, &session, &message).await) });
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
            Effect::ReplyPermission { ask, reply } => {
                let request = link.dialect.reply_permission(&ask, &reply);
                tasks.running.spawn(send_reply(link, ask.id, request));
            }
            Effect::ReplyQuestion { ask, reply } => {
                let request = link.dialect.reply_question(&ask, &reply);
                tasks.running.spawn(send_reply(link, ask.id, request));
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

/// Sends the prompt. Where its answer comes at the turn's end that may take hours;
/// elsewhere an answer that does not come is lost.
async fn send_prompt(link: Link, prompt: Arc<Prompt>) -> Event {
    if !link.dialect.answers_at_once() {
        return ask_prompt(&link, &prompt).await;
    }
    match timeout(link.timing.request, ask_prompt(&link, &prompt)).await {
        Ok(event) => event,
        Err(_) => Event::PromptFailed { nothing_sent: false, reason: chain(&LinkError::Timeout) },
    }
}

async fn ask_prompt(link: &Link, prompt: &Prompt) -> Event {
    let sent = link.http.send(link.dialect.prompt(prompt)).await;
    let response = match sent {
        Ok(response) => response,
        Err(error) => {
            return Event::PromptFailed { nothing_sent: error.nothing_sent(), reason: chain(&error) };
        }
    };
    let status = response.status();
    match response.bytes(link.body_bytes).await {
        Ok(body) => Event::PromptAnswered(link.dialect.read_answer(status, &body, &prompt.message)),
        Err(_) if status != StatusCode::OK => {
            Event::PromptAnswered(Answer::Refused { status: status.as_u16(), failure: None })
        }
        Err(error) => Event::PromptFailed { nothing_sent: false, reason: chain(&error) },
    }
}

async fn send_abort(link: &Link, session: &SessionId, message: &MessageId) -> Abort {
    try_abort(link, session, message).await.unwrap_or_else(|error| {
        tracing::debug!(%session, %error, "an abort was not delivered");
        Abort::Failed
    })
}

/// What waits in an inbox is taken out of it, and nothing else is touched: what the
/// session works at then is somebody else's.
async fn try_abort(link: &Link, session: &SessionId, message: &MessageId) -> Result<Abort, LinkError> {
    let dialect = &link.dialect;
    if let Some(back) = dialect.take_back(session, message) {
        let waited = is_waiting(link, session, message).await?;
        if waited {
            link.fetch(back).await?;
        }
        let record = history(link, session, message).await?;
        match record.end {
            _ if waited && !record.arrived => {
                let still = is_waiting(link, session, message).await?;
                return Ok(if still { Abort::Failed } else { Abort::TakenBack });
            }
            End::Told(_) => return Ok(Abort::Delivered),
            _ if !record.arrived => return Ok(Abort::Delivered),
            _ => {}
        }
    }
    link.fetch(dialect.abort(session)).await?;
    Ok(Abort::Delivered)
}

async fn is_waiting(link: &Link, session: &SessionId, message: &MessageId) -> Result<bool, LinkError> {
    let Some(request) = link.dialect.inbox(session) else { return Ok(false) };
    Ok(link.dialect.read_inbox(&link.fetch(request).await?, message)?.ours)
}

async fn send_reply(link: Link, id: String, request: Option<http::Request<bytes::Bytes>>) -> Event {
    let Some(request) = request else { return Event::ReplySent { id, outcome: ReplyOutcome::Refused } };
    let outcome = match link.fetch(request).await {
        Ok(_) => ReplyOutcome::Taken,
        Err(LinkError::Status { status, .. }) if link.dialect.is_settled(status) => ReplyOutcome::Gone,
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
    children: Vec<String>,
) -> Result<Look, LinkError> {
    let dialect = &link.dialect;
    let status = dialect.read_status(&link.fetch(dialect.status()).await?, session)?;
    let mut history = history(link, session, message).await?;
    let mut look = Look {
        status,
        history: History::default(),
        permissions: Vec::new(),
        questions: Vec::new(),
        strange_permissions: Vec::new(),
        strange_questions: Vec::new(),
        children,
    };
    // The turn may have ended between the two.
    if look.status == Status::Idle || matches!(history.end, End::Told(_)) {
        explain(link, session, message, &mut history).await?;
    } else {
        look_at_asks(link, session, &mut look).await?;
        look.status = history.retry.take().unwrap_or(look.status);
    }
    look.history = history;
    Ok(look)
}

/// Reads what the messages of a turn that does not run leave open: whether work still
/// waits, and why it failed.
async fn explain(
    link: &Link,
    session: &SessionId,
    message: &MessageId,
    history: &mut History,
) -> Result<(), LinkError> {
    let dialect = &link.dialect;
    if history.end == End::Open
        && let Some(request) = dialect.inbox(session)
    {
        history.inbox = dialect.read_inbox(&link.fetch(request).await?, message)?;
        history.arrived |= history.inbox.ours;
    }
    if history.lacks_reason()
        && let Some(request) = dialect.reasons(session)
    {
        match link.fetch(request).await {
            Ok(body) => history.reason = dialect.read_reason(&body, message),
            Err(error) => tracing::debug!(%session, %error, "the reason of a failure cannot be read"),
        }
    }
    Ok(())
}

/// Reads what the session and its children wait for.
async fn look_at_asks(link: &Link, session: &SessionId, look: &mut Look) -> Result<(), LinkError> {
    let dialect = &link.dialect;
    let mut sessions = vec![session.to_string()];
    sessions.append(&mut look.children);
    let mut at = 0;
    while at < sessions.len() && at < SESSIONS {
        let Some(body) = fetch_of(link, dialect.children(&sessions[at])).await? else {
            at += 1;
            continue;
        };
        for child in dialect.read_children(&body)? {
            if !sessions.contains(&child) {
                sessions.push(child);
            }
        }
        at += 1;
    }
    let asked = &sessions[..sessions.len().min(SESSIONS)];
    for request in dialect.permissions(asked) {
        let Some(body) = fetch_of(link, request).await? else { continue };
        let Pending { asks, strange } = dialect.read_permissions(&body)?;
        look.permissions.extend(asks);
        look.strange_permissions.extend(strange);
    }
    for request in dialect.questions(asked) {
        let Some(body) = fetch_of(link, request).await? else { continue };
        let Pending { asks, strange } = dialect.read_questions(&body)?;
        look.questions.extend(asks);
        look.strange_questions.extend(strange);
    }
    for ask in look.strange_permissions.iter().chain(&look.strange_questions) {
        tracing::warn!(
            id = ask.id,
            session = ask.session,
            "an ask cannot be read; it is rejected if it is ours"
        );
    }
    look.children = sessions;
    Ok(())
}

/// Asks for something of a session; one that was deleted meanwhile has nothing.
async fn fetch_of(
    link: &Link,
    request: http::Request<bytes::Bytes>,
) -> Result<Option<bytes::Bytes>, LinkError> {
    match link.fetch(request).await {
        Ok(body) => Ok(Some(body)),
        Err(LinkError::Status { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the session's messages back to the start of the turn: all pages together are
/// no longer than one answer may be.
pub(crate) async fn history(
    link: &Link,
    session: &SessionId,
    message: &MessageId,
) -> Result<History, LinkError> {
    let mut pages: Vec<bytes::Bytes> = Vec::new();
    let mut left = link.body_bytes;
    while let Some(request) = link.dialect.messages(session, &pages, message).filter(|_| pages.len() < PAGES)
    {
        let page = link.fetch_within(request, left).await?;
        left -= page.len();
        pages.push(page);
    }
    let history = link.dialect.read_messages(&pages, message)?;
    if history.unreadable > 0 {
        tracing::warn!(%session, count = history.unreadable, "messages cannot be read and are skipped");
    }
    Ok(history)
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
        let record = history(link, session, message).await.unwrap_or_default();
        let last = record.steps.last();
        let told = matches!(record.end, End::Told(_));
        if told && record.followed || idle && (told || last.is_some_and(|last| last.head.completed)) {
            return;
        }
        // Half a message of an earlier daemon's ends never.
        broken = if idle && last.is_some() { broken + 1 } else { 0 };
        if broken >= 3 {
            return;
        }
        if send_abort(link, session, message).await == Abort::TakenBack {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(link.timing.poll_max);
    }
}
