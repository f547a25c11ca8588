//! One turn, decided: a synchronous core that three sources feed.
//!
//! [`Turn::step`] takes what happened (the prompt was answered, an event came,
//! the daemon's state was read, time passed) and says what to do. It never waits,
//! and the time is an argument.
//!
//! What counts as the end, strongest first: the answer to our own prompt, where the
//! daemon answers at the end; the end that the session's record tells of, where it
//! tells of ends; the turn's last assistant message in the record, when it is
//! complete or carries an error and the session is idle; a session that is idle
//! several times in a row while nothing answers.
//! `session.idle` only asks for a poll. While the prompt's request is open, an
//! idle session proves nothing, since the daemon may be about to begin or about
//! to answer. A lost event only delays, and a repeated one changes nothing.
//!
//! A prompt that may have arrived has arrived until the daemon says otherwise:
//! whether nothing ran is never guessed.
//!
//! | seen | then |
//! |---|---|
//! | an answer that is ours | the end it tells of |
//! | the prompt was taken | watch until the record tells the end |
//! | no answer, and the daemon has no such message | send again, under the same id; at last, unknown |
//! | no answer, and the session works | watch until it ends |
//! | no answer, half a message, idle twice | failed: the daemon lost the turn |
//! | an error without its reason | wait for the reason a little while |
//! | cancel, deadline, no progress | abort until confirmed, or say that it was not |

mod asks;
mod evaluate;
mod outcome;
mod progress;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use connector_contract::{Progress, StopCause};
use tokio::time::Instant;

use crate::config::AskPolicy;
use crate::ids::{MessageId, SessionId};
use crate::timing::Timing;
use crate::wire::{
    Answer, Asked, Ending, Failure, FailureKind, Head, History, Signal, Status, UnparseableAsk,
};
use asks::Asks;
pub(crate) use asks::{HERE, PERSON};
pub(crate) use outcome::{Early, NotStarted, TurnOutcome};
use progress::Display;

/// How often the same prompt is sent when it does not arrive.
const MAX_SENDS: u32 = 3;
/// How often an idle session is seen before its silence means the end.
const IDLE_POLLS: u32 = 3;
/// How often a last word in an idle session is seen before it is the end, where the
/// record should tell of ends and does not.
const SETTLED_POLLS: u32 = 2;

/// What a turn is told at its start.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) session: SessionId,
    pub(crate) message: MessageId,
    pub(crate) deadline: Instant,
    pub(crate) no_progress: Duration,
    pub(crate) asks: AskPolicy,
    pub(crate) ask_timeout: Duration,
    pub(crate) timing: Timing,
    /// An earlier call may have sent the prompt.
    pub(crate) resume: bool,
    /// Whether events arrive.
    pub(crate) live: bool,
    /// Whether the prompt may wait while its session works for somebody else, so that
    /// what the session does is the turn's only once the turn is under way.
    pub(crate) queued: bool,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    Began,
    /// An event of the turn's session or one of its children.
    Signalled {
        session: String,
        signal: Signal,
    },
    /// The event stream opened or broke.
    Stream {
        live: bool,
    },
    /// Events were lost.
    EventsLost,
    PromptAnswered(Answer),
    PromptFailed {
        nothing_sent: bool,
        reason: String,
    },
    /// The daemon's state, as it was some time after [`Effect::Poll`].
    Polled(Box<Snapshot>),
    PollFailed {
        unauthorized: bool,
        /// Whether the daemon answered, with what cannot be used.
        answered: bool,
        reason: String,
    },
    PermissionDecided {
        id: String,
        reply: PermissionReply,
        /// Who decided.
        by: &'static str,
    },
    QuestionDecided {
        id: String,
        reply: QuestionReply,
    },
    ReplySent {
        id: String,
        outcome: ReplyOutcome,
    },
    AbortSent(Abort),
    Cancelled,
    TimePassed,
}

/// The daemon's state.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) status: Status,
    pub(crate) history: History,
    pub(crate) permissions: Vec<PermissionAsk>,
    pub(crate) questions: Vec<QuestionAsk>,
    /// Permission requests that cannot be read.
    pub(crate) unparseable_permissions: Vec<UnparseableAsk>,
    /// Questions that cannot be read.
    pub(crate) unparseable_questions: Vec<UnparseableAsk>,
    pub(crate) children: Vec<String>,
    /// Whether all that waits for an answer is among these.
    pub(crate) whole: bool,
}

/// What became of a reply to an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyOutcome {
    Taken,
    /// The ask is gone: answered elsewhere.
    Gone,
    /// The daemon does not take this reply.
    Refused,
    /// It may not have arrived.
    Failed,
}

/// What became of an abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abort {
    /// The daemon has it, or nothing of the turn is there that it could end.
    Delivered,
    /// The prompt had not begun, and never will.
    TakenBack,
    /// It may not have arrived.
    Failed,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    SendPrompt,
    /// Read the daemon's state; also that of these child sessions.
    Poll {
        children: Vec<String>,
    },
    AskPermission(PermissionAsk),
    AskQuestion(QuestionAsk),
    /// Nobody needs the answer to this ask any more.
    Withdraw(String),
    ReplyPermission {
        ask: Asked,
        reply: PermissionReply,
    },
    ReplyQuestion {
        ask: Asked,
        reply: QuestionReply,
    },
    /// End the turn at the daemon. Beside [`Effect::Finish`], nobody waits for that.
    Abort,
    /// Events of this child session are wanted too.
    Follow(String),
    Report(Progress),
    Finish(Box<TurnOutcome>),
}

#[derive(Debug, Clone, PartialEq)]
enum Sent {
    /// Not yet, or surely not.
    No,
    /// The request is open.
    Open,
    /// The daemon has taken it; the end is told by the session's record.
    Admitted { since: Instant },
    /// It may have arrived; its answer will not come.
    Lost { since: Instant, why: String },
    /// Refused without a reason; the reason may still come.
    Refused { failure: Failure, until: Instant },
    /// Answered with this status and no words. It may be there for all that.
    Unexplained { status: u16, until: Instant },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Running,
    Stopping {
        cause: StopCause,
        until: Instant,
        delivered: bool,
    },
    /// The session failed before it began with the prompt, which is taken out of its inbox.
    TakingBack {
        until: Instant,
    },
    Over,
}

/// Whether the daemon's state is being read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Polling {
    No,
    Once,
    /// Something happened meanwhile: read it once more.
    Again,
}

/// Why the daemon's state could not be read.
struct Unwatched {
    unauthorized: bool,
    answered: bool,
    reason: String,
}

/// One turn.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the turn")]
pub(crate) struct Turn {
    plan: Plan,
    mode: Mode,
    sent: Sent,
    sends: u32,
    /// Whether some sending may have reached the daemon without an answer.
    may_have_arrived: bool,
    stream_live: bool,
    polling: Polling,
    next_poll: Instant,
    pause: Duration,
    idle_polls: u32,
    /// When the first of them was.
    idle_since: Instant,
    /// How many polls in a row found an idle session whose last message is complete.
    settled_looks: u32,
    /// Whether the session is known to work at this turn: events do not tell whose
    /// the messages are everywhere.
    underway: bool,
    /// Whether the session was heard to end the turn and not to be interrupted.
    shut: bool,
    unreachable_since: Option<Instant>,
    last_progress: Instant,
    /// The session's own error event, which explains opaque answers.
    session_failure: Option<Failure>,
    /// Why the session failed while the prompt waited in its inbox.
    failed_before: Option<Failure>,
    last_retry: Option<String>,
    children: HashSet<String>,
    /// Whether the turn had begun when the poll that is under way was.
    worked_at_look: bool,
    asks: Asks,
    display: Display,
    steps: Vec<Head>,
    /// The messages whose answers are the turn's, as the last poll found them.
    prompts: Vec<String>,
    /// How much of the turn the last poll found: steps, and the size of the last.
    seen: (usize, usize),
}

impl Turn {
    pub(crate) fn new(plan: Plan, now: Instant) -> Self {
        Self {
            mode: Mode::Running,
            sent: if plan.resume {
                Sent::Lost { since: now, why: "the host stopped".to_owned() }
            } else {
                Sent::No
            },
            sends: 0,
            may_have_arrived: plan.resume,
            stream_live: plan.live,
            polling: Polling::No,
            next_poll: now + plan.timing.poll_calm,
            pause: plan.timing.poll_min,
            idle_polls: 0,
            idle_since: now,
            settled_looks: 0,
            underway: false,
            shut: false,
            unreachable_since: None,
            last_progress: now,
            session_failure: None,
            failed_before: None,
            last_retry: None,
            children: HashSet::new(),
            worked_at_look: !plan.queued,
            asks: Asks::new(plan.asks, plan.ask_timeout),
            display: Display::default(),
            steps: Vec::new(),
            prompts: Vec::new(),
            seen: (0, 0),
            plan,
        }
    }

    /// Whether an earlier call may have begun it.
    pub(crate) fn resumes(&self) -> bool {
        self.plan.resume
    }

    /// The assistant messages seen in events: what is known of the turn's cost
    /// when its record cannot be read.
    pub(crate) fn steps(&self) -> &[Head] {
        &self.steps
    }

    /// When [`Event::TimePassed`] is wanted at the latest.
    pub(crate) fn next_wake(&self) -> Instant {
        let mut wake = match self.mode {
            Mode::Running => self.plan.deadline.min(self.last_progress + self.plan.no_progress),
            Mode::Stopping { until, .. } | Mode::TakingBack { until } => until,
            Mode::Over => self.plan.deadline,
        };
        if self.polling == Polling::No {
            wake = wake.min(self.next_poll);
        }
        [self.asks.next_deadline(), self.display.due()].into_iter().flatten().fold(wake, Instant::min)
    }

    /// Takes one event; `now` never goes back.
    pub(crate) fn step(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.mode == Mode::Over {
            return out;
        }
        match event {
            Event::Began => self.begin(&mut out),
            Event::Signalled { session, signal } => self.signalled(&session, signal, now, &mut out),
            Event::Stream { live } => self.stream(live, now, &mut out),
            Event::EventsLost => self.poll_now(now, &mut out),
            Event::PromptAnswered(answer) => self.answered(answer, now, &mut out),
            Event::PromptFailed { nothing_sent, reason } => {
                if nothing_sent && !self.may_have_arrived {
                    self.sent = Sent::No;
                    self.poll_now(now, &mut out);
                } else {
                    self.lose(&reason, now, &mut out);
                }
            }
            Event::Polled(snapshot) => self.polled(*snapshot, now, &mut out),
            Event::PollFailed { unauthorized, answered, reason } => {
                let unwatched = Unwatched { unauthorized, answered, reason };
                self.poll_failed(unwatched, now, &mut out);
            }
            Event::PermissionDecided { id, reply, by } => {
                self.asks.permission_decided(&id, reply, by, &mut out);
            }
            Event::QuestionDecided { id, reply } => self.asks.question_decided(&id, reply, &mut out),
            Event::ReplySent { id, outcome } => {
                if matches!(outcome, ReplyOutcome::Taken | ReplyOutcome::Gone) {
                    self.progressed(now);
                }
                self.asks.reply_sent(&id, outcome, &mut out);
            }
            Event::AbortSent(abort) => self.abort_sent(abort, now, &mut out),
            Event::Cancelled => self.stop(StopCause::Cancelled, now, &mut out),
            Event::TimePassed => {}
        }
        self.time_passed(now, &mut out);
        out
    }

    fn begin(&mut self, out: &mut Vec<Effect>) {
        out.push(Effect::Report(Progress::Started { session_id: self.plan.session.to_string() }));
        if self.plan.resume {
            self.poll(out);
        } else {
            self.send(out);
        }
    }

    fn send(&mut self, out: &mut Vec<Effect>) {
        self.sends += 1;
        self.sent = Sent::Open;
        self.idle_polls = 0;
        out.push(Effect::SendPrompt);
    }

    fn stream(&mut self, live: bool, now: Instant, out: &mut Vec<Effect>) {
        if self.stream_live != live {
            self.stream_live = live;
            out.push(Effect::Report(Progress::Connection { live }));
            self.poll_now(now, out);
        }
    }

    fn signalled(&mut self, session: &str, signal: Signal, now: Instant, out: &mut Vec<Effect>) {
        let own = session == self.plan.session.as_str();
        if own && self.is_somebody_elses(&signal) {
            if matches!(signal, Signal::PermissionAsked(_) | Signal::QuestionAsked(_)) {
                // Unless the beginning was not heard: the record knows.
                self.poll_soon(now);
            }
            return;
        }
        match signal {
            Signal::Created { session, parent, title } => {
                let ours = parent.is_some_and(|it| {
                    it == self.plan.session.as_str() && self.works() || self.children.contains(&it)
                });
                if ours && self.children.insert(session.clone()) {
                    self.progressed(now);
                    out.push(Effect::Follow(session.clone()));
                    out.push(Effect::Report(Progress::SubAgentStarted { session_id: session, title }));
                }
                return;
            }
            Signal::AskClosed(id) => return self.asks.closed(&id, out),
            _ if !own && !self.children.contains(session) => return,
            Signal::PermissionAsked(ask) => self.asks.permission(ask, now, out),
            Signal::QuestionAsked(ask) => self.asks.question(ask, now, out),
            Signal::Status(status) if own => return self.status_seen(&status, now, out),
            Signal::Failed(failure) if own => return self.failure_seen(failure, now, out),
            // Another head of a message that is still being written is no work: each time that a
            // provider fails there is one.
            Signal::Head(ref head) if own && !self.head_seen(head, now, out) => return,
            Signal::Taken(message) if own && message == self.plan.message.as_str() => {
                (self.underway, self.failed_before) = (true, None);
            }
            Signal::Taken(_) if own => {}
            Signal::Step(ref head) if own && !self.step_seen(head) => return,
            Signal::Ended(failure) if own => return self.end_seen(failure, now, out),
            Signal::Shut if own => {
                self.shut |= self.underway;
                return self.end_seen(None, now, out);
            }
            Signal::Status(_) | Signal::Failed(_) | Signal::Ended(_) | Signal::Shut => return,
            Signal::Tool(tool) => self.display.tool(tool, |call| self.asks.refuser(call), out),
            other if own => self.display.signal(other, now, out),
            _ => {}
        }
        self.progressed(now);
    }

    /// Whether it is what the session does before it begins with our prompt.
    fn is_somebody_elses(&self, signal: &Signal) -> bool {
        let of_work = !matches!(
            signal,
            Signal::Taken(_)
                | Signal::AskClosed(_)
                | Signal::Ended(_)
                | Signal::Shut
                | Signal::Failed(_)
                | Signal::Status(Status::Idle | Status::Busy)
        );
        of_work && !self.works()
    }

    /// Whether what the session does is the turn's.
    fn works(&self) -> bool {
        self.underway || !self.plan.queued
    }

    /// Work went on: what the provider complained of before is over.
    fn progressed(&mut self, now: Instant) {
        self.last_progress = now;
        self.display.answered();
        if self.mode == Mode::Running {
            self.last_retry = None;
        }
    }

    fn status_seen(&mut self, status: &Status, now: Instant, out: &mut Vec<Effect>) {
        match status {
            Status::Retry { attempt, reason, next_at_ms } => {
                self.idle_polls = 0;
                self.last_retry = Some(reason.clone());
                self.display.retry(*attempt, reason, *next_at_ms, out);
            }
            Status::Busy => {
                self.idle_polls = 0;
                self.failed_before = None;
            }
            // A hint; of this turn or an earlier one.
            Status::Idle => self.poll_soon(now),
        }
    }

    fn failure_seen(&mut self, failure: Failure, now: Instant, out: &mut Vec<Effect>) {
        let hidden = matches!(self.sent, Sent::Refused { .. });
        self.session_failure = Some(failure);
        if hidden {
            self.poll_now(now, out);
        } else {
            self.poll_soon(now);
        }
    }

    /// Whether it tells of work.
    fn head_seen(&mut self, head: &Head, now: Instant, out: &mut Vec<Effect>) -> bool {
        let Some(parent) = head.parent.as_deref() else { return false };
        if !self.is_ours(parent) {
            let later = parent > self.plan.message.as_str();
            if later {
                // Maybe an answer to what the daemon added: the record knows.
                self.poll_soon(now);
            }
            return later;
        }
        let over = head.failure.is_some() || head.completed && head.ending == Some(Ending::Final);
        let news = self.learn_step(head);
        if over && self.sent != Sent::Open {
            self.poll_now(now, out);
        } else if over {
            self.poll_soon(now);
        }
        news
    }

    /// Whether it tells of work.
    fn step_seen(&mut self, head: &Head) -> bool {
        let ours = self.underway || self.steps.iter().any(|step| step.id == head.id);
        ours && self.learn_step(head)
    }

    /// Whether a step has begun or got further: one that begins again, since its provider failed, has
    /// not.
    fn learn_step(&mut self, head: &Head) -> bool {
        self.display.own_message(&head.id);
        let over = head.completed || head.failure.is_some();
        if let Some(step) = self.steps.iter_mut().find(|step| step.id == head.id) {
            let was_over = step.completed || step.failure.is_some();
            *step = head.clone();
            return over || was_over;
        }
        // An error that the daemon went on from is not the turn's.
        self.session_failure = None;
        self.steps.push(head.clone());
        true
    }

    /// The session is done with what it began; the record says with what.
    fn end_seen(&mut self, failure: Option<Failure>, now: Instant, out: &mut Vec<Effect>) {
        if std::mem::take(&mut self.underway) {
            self.session_failure = failure.or(self.session_failure.take());
        } else {
            self.failed_before = failure;
        }
        self.poll_now(now, out);
    }

    /// Whether answers to this message are the turn's.
    fn is_ours(&self, parent: &str) -> bool {
        parent == self.plan.message.as_str() || self.prompts.iter().any(|it| it == parent)
    }

    fn answered(&mut self, answer: Answer, now: Instant, out: &mut Vec<Effect>) {
        match answer {
            Answer::Admitted => self.admitted(now, out),
            Answer::Message(message)
                if message.head.parent.as_deref().is_some_and(|parent| self.is_ours(parent))
                    && !message.head.summary =>
            {
                self.conclude(&message, now, out);
            }
            // Two prompts were merged into one turn, or the daemon added one of its
            // own; the record knows.
            Answer::Message(_) => self.lose("the answer belongs to another message", now, out),
            Answer::Odd(what) => self.lose(&format!("the daemon sent {what}"), now, out),
            Answer::Refused { status, failure } => self.refused(status, failure, now, out),
        }
    }

    /// A stop that was delivered before the prompt has not stopped it.
    fn admitted(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.sent = Sent::Admitted { since: now };
        self.may_have_arrived = true;
        self.idle_polls = 0;
        self.settled_looks = 0;
        if let Mode::Stopping { delivered, .. } = &mut self.mode {
            *delivered = false;
            out.push(Effect::Abort);
        }
    }

    fn lose(&mut self, why: &str, now: Instant, out: &mut Vec<Effect>) {
        self.sent = Sent::Lost { since: now, why: why.to_owned() };
        self.may_have_arrived = true;
        self.idle_polls = 0;
        self.poll_now(now, out);
    }

    fn refused(&mut self, status: u16, failure: Option<Failure>, now: Instant, out: &mut Vec<Effect>) {
        let unexplained =
            || Failure { kind: FailureKind::Other, reason: format!("the daemon answered {status}") };
        // An earlier sending may have started the turn.
        let first = !self.may_have_arrived && self.steps.is_empty();
        match (status, failure) {
            (401, _) | (403, None) if first => {
                self.finish(TurnOutcome::NotStarted(NotStarted::Unauthorized), out);
            }
            (400..=499, failure) if first => {
                let failure = failure.unwrap_or_else(unexplained);
                self.finish(TurnOutcome::NotStarted(NotStarted::Refused(failure)), out);
            }
            // Its own answer, if the inbox has nothing of it: it may be unable to work in the directory.
            (500, None) if self.plan.queued => {
                let until = now + self.plan.timing.reason;
                self.sent = Sent::Unexplained { status, until };
                self.idle_polls = 0;
                self.poll_now(now, out);
            }
            // Not the daemon's words: what stands before it gave up waiting.
            (500..=599, None) => self.lose(&unexplained().reason, now, out),
            (_, failure) => {
                let failure = failure.unwrap_or_else(unexplained);
                self.sent = Sent::Refused { failure, until: now + self.plan.timing.reason };
                self.idle_polls = 0;
                self.poll_now(now, out);
            }
        }
    }

    /// A turn that nobody can watch any more is not left running, unless its daemon is
    /// gone: one that comes back may take it up again, and a later call finds it.
    fn poll_failed(&mut self, unwatched: Unwatched, now: Instant, out: &mut Vec<Effect>) {
        let Unwatched { unauthorized, answered, reason } = unwatched;
        self.polling = Polling::No;
        self.wait(now);
        if let Mode::Stopping { delivered: false, .. } = self.mode {
            out.push(Effect::Abort);
        }
        let since = *self.unreachable_since.get_or_insert(now);
        if self.sent == Sent::Open && !unauthorized || now < since + self.plan.timing.give_up {
            return;
        }
        let outcome = if self.began() {
            if answered {
                out.push(Effect::Abort);
            }
            TurnOutcome::Unknown { reason }
        } else {
            TurnOutcome::NotStarted(NotStarted::Unavailable(reason))
        };
        self.finish(outcome, out);
    }

    /// Whether the agent may have begun.
    fn began(&self) -> bool {
        self.may_have_arrived || self.sent != Sent::No
    }

    /// Begins to stop; a second reason to stop changes nothing.
    fn stop(&mut self, cause: StopCause, now: Instant, out: &mut Vec<Effect>) {
        if self.mode != Mode::Running {
            return;
        }
        self.mode = Mode::Stopping { cause, until: now + self.plan.timing.stop, delivered: false };
        self.idle_polls = 0;
        self.settled_looks = 0;
        self.pause = self.plan.timing.poll_min;
        self.asks.withdraw_all(out);
        if self.began() {
            out.push(Effect::Abort);
        } else {
            self.finish(self.stopped(true), out);
        }
    }

    fn abort_sent(&mut self, abort: Abort, now: Instant, out: &mut Vec<Effect>) {
        let delivered = match &mut self.mode {
            Mode::Stopping { delivered, .. } => delivered,
            Mode::TakingBack { .. } => return self.taken_back(abort, now, out),
            Mode::Running | Mode::Over => return,
        };
        match abort {
            // While it is being sent once more, it may be taken once more.
            Abort::TakenBack if self.sent != Sent::Open || self.sends == 1 => {
                self.finish(self.stopped(true), out);
            }
            Abort::Delivered if !*delivered => {
                *delivered = true;
                self.poll_now(now, out);
            }
            Abort::TakenBack | Abort::Delivered | Abort::Failed => {}
        }
    }

    /// Takes the prompt out of the inbox of a session that has failed and will not begin with it.
    fn take_back(&mut self, failure: Failure, now: Instant, out: &mut Vec<Effect>) {
        self.failed_before = Some(failure);
        self.mode = Mode::TakingBack { until: now + self.plan.timing.stop };
        self.asks.withdraw_all(out);
        out.push(Effect::Abort);
    }

    fn taken_back(&mut self, abort: Abort, now: Instant, out: &mut Vec<Effect>) {
        let Some(failure) = self.failed_before.clone() else { return };
        match abort {
            Abort::TakenBack => self.finish(TurnOutcome::NotStarted(NotStarted::Refused(failure)), out),
            Abort::Delivered => self.finish(TurnOutcome::Failed(failure), out),
            Abort::Failed => self.poll_soon(now),
        }
    }

    fn stopped(&self, confirmed: bool) -> TurnOutcome {
        let cause = match self.mode {
            Mode::Stopping { cause, .. } => cause,
            Mode::Running | Mode::TakingBack { .. } | Mode::Over => StopCause::AbortedElsewhere,
        };
        TurnOutcome::Stopped { cause, confirmed, began: self.began(), note: self.last_retry.clone() }
    }

    fn time_passed(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.asks.expire(now, out);
        if self.asks.waiting() {
            // The agent waits for a person; the ask has a deadline of its own.
            self.last_progress = now;
        }
        self.display.flush(now, out);
        match self.mode {
            Mode::Running if now >= self.plan.deadline => self.stop(StopCause::Deadline, now, out),
            Mode::Running if now >= self.last_progress + self.plan.no_progress => {
                self.stop(StopCause::NoProgress, now, out);
            }
            Mode::Stopping { until, .. } if now >= until => self.finish(self.stopped(false), out),
            Mode::TakingBack { until } if now >= until => {
                let failure = self.failed_before.clone().unwrap_or_else(evaluate::unrecorded);
                self.finish(TurnOutcome::Failed(failure), out);
            }
            _ => {}
        }
        if self.mode != Mode::Over && self.polling == Polling::No && now >= self.next_poll {
            self.poll(out);
        }
    }

    /// When to poll next.
    fn wait(&mut self, now: Instant) {
        let timing = &self.plan.timing;
        let expected = match self.sent {
            Sent::Open => true,
            Sent::Admitted { .. } => self.idle_polls == 0,
            Sent::No | Sent::Lost { .. } | Sent::Refused { .. } | Sent::Unexplained { .. } => false,
        };
        let calm = self.mode == Mode::Running && self.stream_live && expected;
        self.pause = if calm { timing.poll_min } else { (self.pause * 2).min(timing.poll_max) };
        self.next_poll = now + if calm { timing.poll_calm } else { self.pause };
        if let Sent::Refused { until, .. } | Sent::Unexplained { until, .. } = self.sent
            && until > now
        {
            self.next_poll = self.next_poll.min(until);
        }
    }

    fn poll_soon(&mut self, now: Instant) {
        self.next_poll = self.next_poll.min(now + self.plan.timing.poll_min * 5);
    }

    fn poll_now(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.polling == Polling::No {
            self.next_poll = now;
            self.poll(out);
        } else {
            self.polling = Polling::Again;
        }
    }

    fn poll(&mut self, out: &mut Vec<Effect>) {
        self.polling = Polling::Once;
        self.worked_at_look = self.works();
        self.asks.poll_began();
        let mut children: Vec<String> = self.children.iter().cloned().collect();
        children.sort();
        out.push(Effect::Poll { children });
    }

    fn finish(&mut self, outcome: TurnOutcome, out: &mut Vec<Effect>) {
        if self.mode == Mode::Over {
            return;
        }
        self.asks.withdraw_all(out);
        self.display.finish(out);
        self.mode = Mode::Over;
        out.push(Effect::Finish(Box::new(outcome)));
    }
}
