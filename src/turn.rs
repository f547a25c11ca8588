//! One turn, decided: a synchronous core that three sources feed.
//!
//! [`Turn::step`] takes what happened (the prompt was answered, an event came,
//! the daemon's state was read, time passed) and says what to do. It never waits,
//! and the time is an argument.
//!
//! What counts as the end, strongest first: the answer to our own prompt; the
//! turn's last assistant message in the daemon's record, when it is complete or
//! carries an error; a session that is idle twice in a row while nothing answers.
//! `session.idle` only asks for a look. While the prompt's request is open, an
//! idle session proves nothing, since the daemon may be about to begin or about
//! to answer. A lost event only delays, and a repeated one changes nothing.
//!
//! | seen | then |
//! |---|---|
//! | an answer that is ours | the end it tells of |
//! | no answer, and the daemon has no such message | send again, under the same id |
//! | no answer, and the session works | watch until it ends |
//! | no answer, half a message, idle twice | failed: the daemon lost the turn |
//! | an error without its reason | wait for the reason a little while |
//! | cancel, deadline, no progress | abort until confirmed, or say that it was not |

mod asks;
mod progress;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::HashSet;
use std::time::Duration;

use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use connector_contract::{Progress, StopCause};
use tokio::time::Instant;

use crate::config::AskPolicy;
use crate::ids::{MessageId, SessionId};
use crate::timing::Timing;
use crate::wire::{Answer, Ending, Failure, FailureKind, Head, History, Message, Signal, Status};
use asks::Asks;
use progress::Display;
pub(crate) use verdict::{NotStarted, Verdict};

/// How often the same prompt is sent when it does not arrive.
const MAX_SENDS: u32 = 3;
/// How often an idle session is seen before its silence means the end.
const IDLE_LOOKS: u32 = 3;

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
    /// The daemon's state, as it was some time after [`Effect::Look`].
    Looked(Box<Look>),
    LookFailed {
        unauthorized: bool,
        reason: String,
    },
    PermissionDecided {
        id: String,
        reply: PermissionReply,
    },
    QuestionDecided {
        id: String,
        reply: QuestionReply,
    },
    ReplySent {
        id: String,
        outcome: ReplyOutcome,
    },
    AbortSent {
        delivered: bool,
    },
    Cancelled,
    TimePassed,
}

/// The daemon's state.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) status: Status,
    pub(crate) history: History,
    pub(crate) permissions: Vec<PermissionAsk>,
    pub(crate) questions: Vec<QuestionAsk>,
    pub(crate) children: Vec<String>,
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

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    SendPrompt,
    /// Read the daemon's state; also that of these child sessions.
    Look {
        children: Vec<String>,
    },
    AskPermission(PermissionAsk),
    AskQuestion(QuestionAsk),
    /// Nobody needs the answer to this ask any more.
    Withdraw(String),
    ReplyPermission {
        id: String,
        reply: PermissionReply,
    },
    ReplyQuestion {
        id: String,
        reply: QuestionReply,
    },
    Abort,
    /// Events of this child session are wanted too.
    Follow(String),
    Report(Progress),
    Finish(Box<Verdict>),
}

#[derive(Debug, Clone, PartialEq)]
enum Sent {
    /// Not yet, or surely not.
    No,
    /// The request is open.
    Open,
    /// It may have arrived; its answer will not come.
    Lost { why: String },
    /// Refused without a reason; the reason may still come.
    Refused { failure: Failure, until: Instant },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Running,
    Stopping { cause: StopCause, until: Instant, delivered: bool },
    Over,
}

/// One turn.
#[derive(Debug)]
pub(crate) struct Turn {
    plan: Plan,
    mode: Mode,
    sent: Sent,
    sends: u32,
    stream_live: bool,
    looking: bool,
    look_again: bool,
    next_look: Instant,
    pause: Duration,
    idle_looks: u32,
    unreachable_since: Option<Instant>,
    last_progress: Instant,
    /// The session's own error event, which explains opaque answers.
    session_failure: Option<Failure>,
    last_retry: Option<String>,
    children: HashSet<String>,
    asks: Asks,
    display: Display,
    steps: Vec<Head>,
}

impl Turn {
    pub(crate) fn new(plan: Plan, now: Instant) -> Self {
        Self {
            mode: Mode::Running,
            sent: if plan.resume { Sent::Lost { why: "the host stopped".to_owned() } } else { Sent::No },
            sends: 0,
            stream_live: plan.live,
            looking: false,
            look_again: false,
            next_look: now + plan.timing.poll_calm,
            pause: plan.timing.poll_min,
            idle_looks: 0,
            unreachable_since: None,
            last_progress: now,
            session_failure: None,
            last_retry: None,
            children: HashSet::new(),
            asks: Asks::new(plan.asks, plan.ask_timeout),
            display: Display::default(),
            steps: Vec::new(),
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
            Mode::Stopping { until, .. } => until,
            Mode::Over => self.plan.deadline,
        };
        if !self.looking {
            wake = wake.min(self.next_look);
        }
        if let Sent::Refused { until, .. } = self.sent {
            wake = wake.min(until);
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
            Event::EventsLost => self.look_now(now, &mut out),
            Event::PromptAnswered(answer) => self.answered(answer, now, &mut out),
            Event::PromptFailed { nothing_sent, reason } => {
                let arrived = self.sends > 1 || !nothing_sent;
                self.sent = if arrived { Sent::Lost { why: reason } } else { Sent::No };
                self.look_now(now, &mut out);
            }
            Event::Looked(look) => self.looked(*look, now, &mut out),
            Event::LookFailed { unauthorized, reason } => {
                self.look_failed(unauthorized, reason, now, &mut out);
            }
            Event::PermissionDecided { id, reply } => self.asks.permission_decided(&id, reply, &mut out),
            Event::QuestionDecided { id, reply } => self.asks.question_decided(&id, reply, &mut out),
            Event::ReplySent { id, outcome } => {
                self.last_progress = now;
                self.asks.reply_sent(&id, outcome, &mut out);
            }
            Event::AbortSent { delivered } => self.abort_sent(delivered, now, &mut out),
            Event::Cancelled => self.stop(StopCause::Cancelled, now, &mut out),
            Event::TimePassed => {}
        }
        self.time_passed(now, &mut out);
        out
    }

    fn begin(&mut self, out: &mut Vec<Effect>) {
        out.push(Effect::Report(Progress::Started { session_id: self.plan.session.to_string() }));
        if self.plan.resume {
            self.look(out);
        } else {
            self.send(out);
        }
    }

    fn send(&mut self, out: &mut Vec<Effect>) {
        self.sends += 1;
        self.sent = Sent::Open;
        self.idle_looks = 0;
        out.push(Effect::SendPrompt);
    }

    fn stream(&mut self, live: bool, now: Instant, out: &mut Vec<Effect>) {
        if self.stream_live != live {
            self.stream_live = live;
            out.push(Effect::Report(Progress::Connection { live }));
            self.look_now(now, out);
        }
    }

    fn signalled(&mut self, session: &str, signal: Signal, now: Instant, out: &mut Vec<Effect>) {
        let own = session == self.plan.session.as_str();
        match signal {
            Signal::Created { session, parent, title } => {
                let ours =
                    parent.is_some_and(|it| it == self.plan.session.as_str() || self.children.contains(&it));
                if ours && self.children.insert(session.clone()) {
                    self.last_progress = now;
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
            Signal::Head(head) if own => self.head_seen(head, now, out),
            Signal::Status(_) | Signal::Failed(_) => return,
            other if own => self.display.signal(other, now, out),
            Signal::Tool(tool) => self.display.signal(Signal::Tool(tool), now, out),
            _ => {}
        }
        self.last_progress = now;
    }

    fn status_seen(&mut self, status: &Status, now: Instant, out: &mut Vec<Effect>) {
        match status {
            Status::Retry { attempt, reason, next_at_ms } => {
                self.idle_looks = 0;
                self.last_retry = Some(reason.clone());
                self.display.retry(*attempt, reason, *next_at_ms, out);
            }
            Status::Busy => self.idle_looks = 0,
            // A hint; of this turn or an earlier one.
            Status::Idle => self.look_soon(now),
        }
    }

    fn failure_seen(&mut self, failure: Failure, now: Instant, out: &mut Vec<Effect>) {
        let hidden = matches!(self.sent, Sent::Refused { .. });
        self.session_failure = Some(failure);
        if hidden {
            self.look_now(now, out);
        } else {
            self.look_soon(now);
        }
    }

    fn head_seen(&mut self, head: Head, now: Instant, out: &mut Vec<Effect>) {
        if head.parent.as_deref() != Some(self.plan.message.as_str()) {
            return;
        }
        self.display.own_message(&head.id);
        let over = head.failure.is_some() || head.completed && head.ending == Some(Ending::Final);
        match self.steps.iter_mut().find(|step| step.id == head.id) {
            Some(step) => *step = head,
            None => self.steps.push(head),
        }
        if over && self.sent != Sent::Open {
            self.look_now(now, out);
        } else if over {
            self.look_soon(now);
        }
    }

    fn answered(&mut self, answer: Answer, now: Instant, out: &mut Vec<Effect>) {
        match answer {
            Answer::Message(message)
                if message.head.parent.as_deref() == Some(self.plan.message.as_str()) =>
            {
                self.conclude(&message, now, out);
            }
            // Two prompts were merged into one turn; the record knows which.
            Answer::Message(_) => self.lose("the answer belongs to another message", now, out),
            Answer::Odd(what) => self.lose(&format!("the daemon sent {what}"), now, out),
            Answer::Refused { status, failure } => self.refused(status, failure, now, out),
        }
    }

    fn lose(&mut self, why: &str, now: Instant, out: &mut Vec<Effect>) {
        self.sent = Sent::Lost { why: why.to_owned() };
        self.look_now(now, out);
    }

    fn refused(&mut self, status: u16, failure: Option<Failure>, now: Instant, out: &mut Vec<Effect>) {
        let failure = failure.unwrap_or_else(|| Failure {
            kind: FailureKind::Other,
            reason: format!("the daemon answered {status}"),
        });
        if self.sends > 1 || self.plan.resume || !self.steps.is_empty() {
            // An earlier sending may have started the turn.
            self.sent = Sent::Refused { failure, until: now + self.plan.timing.reason };
            return self.look_now(now, out);
        }
        match status {
            401 | 403 => self.finish(Verdict::NotStarted(NotStarted::Unauthorized), out),
            400..=499 => self.finish(Verdict::NotStarted(NotStarted::Refused(failure)), out),
            _ => {
                self.sent = Sent::Refused { failure, until: now + self.plan.timing.reason };
                self.look_now(now, out);
            }
        }
    }

    fn looked(&mut self, look: Look, now: Instant, out: &mut Vec<Effect>) {
        self.looking = false;
        self.unreachable_since = None;
        for child in look.children {
            if child != self.plan.session.as_str() && self.children.insert(child.clone()) {
                out.push(Effect::Follow(child));
            }
        }
        let ours = |session: &str| session == self.plan.session.as_str() || self.children.contains(session);
        let permissions = look.permissions.into_iter().filter(|ask| ours(&ask.session_id)).collect();
        let questions = look.questions.into_iter().filter(|ask| ours(&ask.session_id)).collect();
        if self.asks.pending(permissions, questions, now, out) {
            self.last_progress = now;
        }
        for step in &look.history.steps {
            self.display.own_message(&step.head.id);
        }
        if look.history.steps.len() > self.steps.len() {
            self.last_progress = now;
        }
        self.judge(&look.status, &look.history, now, out);
        if self.look_again {
            self.look_again = false;
            self.next_look = now;
        }
    }

    /// Decides from the daemon's record.
    fn judge(&mut self, status: &Status, history: &History, now: Instant, out: &mut Vec<Effect>) {
        let idle = *status == Status::Idle;
        if idle {
            self.idle_looks += 1;
        } else {
            self.status_seen(status, now, out);
        }
        let last = history.steps.last();
        self.wait(now);
        if let Some(last) = last
            && (last.head.failure.is_some() || last.head.completed && last.head.ending == Some(Ending::Final))
            && (idle || self.sent != Sent::Open)
        {
            return self.conclude(last, now, out);
        }
        if matches!(self.mode, Mode::Stopping { .. }) {
            return self.judge_stop(idle, last, now, out);
        }
        if !idle {
            return;
        }
        match self.sent.clone() {
            Sent::Open => {}
            Sent::No => self.send_or_give_up("the daemon was not there", out),
            Sent::Refused { failure, until } => self.judge_refusal(failure, until, last, now, out),
            Sent::Lost { why } => match last {
                None if !history.complete && history.arrived => {}
                None => self.send_or_give_up(&why, out),
                Some(last) if self.idle_looks >= IDLE_LOOKS => self.conclude_broken(last, out),
                Some(_) => {}
            },
        }
    }

    fn judge_refusal(
        &mut self,
        failure: Failure,
        until: Instant,
        last: Option<&Message>,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let known = self.session_failure.clone();
        if known.is_none() && failure.kind == FailureKind::Opaque && now < until {
            return;
        }
        let failure = known.unwrap_or(failure);
        match last {
            None if !self.plan.resume => self.finish(Verdict::NotStarted(NotStarted::Refused(failure)), out),
            _ => self.finish(Verdict::Failed(failure), out),
        }
    }

    fn send_or_give_up(&mut self, why: &str, out: &mut Vec<Effect>) {
        if self.sends < MAX_SENDS {
            return self.send(out);
        }
        let reason = format!("the prompt was sent {MAX_SENDS} times and never taken: {why}");
        self.finish(Verdict::NotStarted(NotStarted::Unavailable(reason)), out);
    }

    /// The daemon's record of a message that ended, by an answer or a look.
    fn conclude(&mut self, last: &Message, now: Instant, out: &mut Vec<Effect>) {
        let head = &last.head;
        let verdict = match (&head.failure, head.ending) {
            (Some(failure), _) if failure.kind == FailureKind::Aborted => self.stopped(true),
            (Some(failure), _) => match self.mode {
                Mode::Stopping { .. } => self.stopped(true),
                _ => Verdict::Failed(failure.clone()),
            },
            (None, Some(Ending::Final)) => Verdict::Completed(Box::new(last.clone())),
            (None, Some(Ending::Tools)) if head.completed => match self.mode {
                Mode::Stopping { .. } => self.stopped(true),
                _ => Verdict::EndedEarly(Box::new(last.clone())),
            },
            // Complete, no error, nothing said: an abort while the provider failed.
            (None, _) => match self.session_failure.clone() {
                Some(failure) if failure.kind != FailureKind::Aborted && head.completed => {
                    Verdict::Failed(failure)
                }
                _ if head.completed => self.stopped(true),
                _ => return self.lose("the answer is half a message", now, out),
            },
        };
        self.finish(verdict, out);
    }

    /// Nothing runs, and the last message has no proper end.
    fn conclude_broken(&mut self, last: &Message, out: &mut Vec<Effect>) {
        let verdict = if last.head.completed && last.refused {
            Verdict::EndedEarly(Box::new(last.clone()))
        } else if last.head.completed && last.head.ending != Some(Ending::Tools) {
            self.session_failure.clone().map_or_else(|| self.stopped(true), Verdict::Failed)
        } else {
            Verdict::Failed(Failure {
                kind: FailureKind::Other,
                reason: "the daemon stopped or restarted during the turn, and nothing runs any more"
                    .to_owned(),
            })
        };
        self.finish(verdict, out);
    }

    fn look_failed(&mut self, unauthorized: bool, reason: String, now: Instant, out: &mut Vec<Effect>) {
        self.looking = false;
        self.wait(now);
        let since = *self.unreachable_since.get_or_insert(now);
        if self.sent == Sent::Open && !unauthorized || now < since + self.plan.timing.give_up {
            return;
        }
        self.finish(
            if self.sends == 0 && !self.plan.resume {
                Verdict::NotStarted(NotStarted::Unavailable(reason))
            } else {
                Verdict::Unknown { reason }
            },
            out,
        );
    }

    /// Begins to stop; a second reason to stop changes nothing.
    fn stop(&mut self, cause: StopCause, now: Instant, out: &mut Vec<Effect>) {
        if self.mode != Mode::Running {
            return;
        }
        self.mode = Mode::Stopping { cause, until: now + self.plan.timing.stop, delivered: false };
        self.idle_looks = 0;
        self.asks.withdraw_all(out);
        if self.sends == 0 && !self.plan.resume {
            return self.finish(self.stopped(true), out);
        }
        out.push(Effect::Abort);
    }

    fn abort_sent(&mut self, arrived: bool, now: Instant, out: &mut Vec<Effect>) {
        if let Mode::Stopping { delivered, .. } = &mut self.mode {
            *delivered |= arrived;
            self.pause = self.plan.timing.poll_min;
            self.look_now(now, out);
        }
    }

    fn judge_stop(&mut self, idle: bool, last: Option<&Message>, now: Instant, out: &mut Vec<Effect>) {
        let Mode::Stopping { delivered, .. } = self.mode else { return };
        if !idle || !delivered {
            // It may have begun only after the abort arrived.
            out.push(Effect::Abort);
            self.next_look = now + self.pause;
        } else if last.is_some_and(|last| last.head.completed) || self.idle_looks >= IDLE_LOOKS {
            self.finish(self.stopped(true), out);
        }
    }

    fn stopped(&self, confirmed: bool) -> Verdict {
        let cause = match self.mode {
            Mode::Stopping { cause, .. } => cause,
            Mode::Running | Mode::Over => StopCause::AbortedElsewhere,
        };
        Verdict::Stopped {
            cause,
            confirmed,
            began: self.sends > 0 || self.plan.resume,
            note: self.last_retry.clone(),
        }
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
            _ => {}
        }
        if self.mode != Mode::Over && !self.looking && now >= self.next_look {
            self.look(out);
        }
    }

    /// When to look next, after a look.
    fn wait(&mut self, now: Instant) {
        let timing = &self.plan.timing;
        let calm = self.mode == Mode::Running && self.sent == Sent::Open && self.stream_live;
        self.pause = if calm { timing.poll_min } else { (self.pause * 2).min(timing.poll_max) };
        self.next_look = now + if calm { timing.poll_calm } else { self.pause };
    }

    fn look_soon(&mut self, now: Instant) {
        self.next_look = self.next_look.min(now + self.plan.timing.poll_min * 5);
    }

    fn look_now(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.looking {
            self.look_again = true;
        } else {
            self.next_look = now;
            self.look(out);
        }
    }

    fn look(&mut self, out: &mut Vec<Effect>) {
        self.looking = true;
        self.asks.look_began();
        let mut children: Vec<String> = self.children.iter().cloned().collect();
        children.sort();
        out.push(Effect::Look { children });
    }

    fn finish(&mut self, verdict: Verdict, out: &mut Vec<Effect>) {
        if self.mode == Mode::Over {
            return;
        }
        self.asks.withdraw_all(out);
        self.display.finish(out);
        self.mode = Mode::Over;
        out.push(Effect::Finish(Box::new(verdict)));
    }
}
