//! Carries out what a turn decides.
//!
//! The loop waits for whatever happens first, tells the turn, and does what it
//! says; it decides nothing. Requests run as tasks of their own that report back
//! as events, so that nothing here ever blocks a decision.
//!
//! Dropping the driver's future aborts the turn at the daemon, in the background
//! and within [`Timing::stop`](crate::timing::Timing::stop).

mod abort;
mod ask;
mod poll;

use std::collections::HashMap;
use std::sync::Arc;

use connector_contract::{ProgressSink, chain};
use http::StatusCode;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::event_stream::{StreamEvent, Subscription};
use crate::link::{Link, LinkError};
use crate::queue::Place;
use crate::turn::{Effect, Event, ReplyOutcome, Turn, TurnOutcome};
use crate::wire::{Answer, Head, Prompt};
use abort::send_abort;
pub(crate) use abort::{AbortGuard, abort};
pub(crate) use ask::Asker;
pub(crate) use poll::history;
use poll::poll;

/// What the driver works with.
pub(crate) struct Driver {
    pub(crate) link: Link,
    pub(crate) prompt: Arc<Prompt>,
    /// The turn's places in the lines.
    pub(crate) places: Arc<Vec<Place>>,
    pub(crate) events: Subscription,
    pub(crate) progress: ProgressSink,
    pub(crate) asks: Arc<Asker>,
    pub(crate) cancel: CancellationToken,
}

/// A turn's end, and the heads of its messages as the events told them.
pub(crate) struct Ended {
    pub(crate) outcome: TurnOutcome,
    pub(crate) steps: Vec<Head>,
}

impl Driver {
    /// Runs `turn` to its end.
    pub(crate) async fn run(mut self, mut turn: Turn) -> Ended {
        let Prompt { session, message, .. } = &*self.prompt;
        let mut guard = AbortGuard::new(&self.link, session, message, Arc::clone(&self.places));
        if turn.resumes() {
            guard.own();
        }
        let mut tasks = Tasks::default();
        let cancel = self.cancel.clone();
        let mut cancelled = false;
        let mut event = Event::Began;
        loop {
            let effects = turn.step(event, Instant::now());
            let ends = effects.contains(&Effect::Abort);
            for effect in effects {
                match effect {
                    Effect::Finish(outcome) => {
                        if !ends {
                            guard.release();
                        }
                        return Ended { outcome: *outcome, steps: turn.steps().to_vec() };
                    }
                    other => self.carry_out(other, &mut tasks, &mut guard),
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
                    StreamEvent::Signal { session, signal } => Event::Signalled { session, signal },
                    StreamEvent::Live(live) => Event::Stream { live },
                    StreamEvent::Lost => Event::EventsLost,
                },
                () = sleep_until(turn.next_wake()) => Event::TimePassed,
            };
        }
    }

    fn carry_out(&mut self, effect: Effect, tasks: &mut Tasks, guard: &mut AbortGuard) {
        let link = self.link.clone();
        let session = self.prompt.session.clone();
        match effect {
            Effect::SendPrompt => {
                guard.own();
                let prompt = Arc::clone(&self.prompt);
                tasks.running.spawn(send_prompt(link, prompt));
            }
            Effect::Poll { children } => {
                let message = self.prompt.message.clone();
                tasks.running.spawn(poll(link, session, message, children));
            }
            Effect::Abort => {
                let message = self.prompt.message.clone();
                tasks
                    .running
                    .spawn(async move { Event::AbortSent(send_abort(&link, &session, &message).await) });
            }
            Effect::AskPermission(ask) => {
                let (asker, id) = (Arc::clone(&self.asks), ask.id.clone());
                let handle = tasks.running.spawn({
                    let id = id.clone();
                    async move {
                        let (reply, by) = asker.permission(ask).await;
                        Event::PermissionDecided { id, reply, by }
                    }
                });
                tasks.asks.insert(id, handle);
            }
            Effect::AskQuestion(ask) => {
                let (asker, id) = (Arc::clone(&self.asks), ask.id.clone());
                let handle = tasks.running.spawn({
                    let id = id.clone();
                    async move { Event::QuestionDecided { id, reply: asker.question(ask).await } }
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
