//! What the daemon's record says of the turn: its end, or that it goes on.

use connector_contract::StopCause;
use tokio::time::Instant;

use super::{
    Early, Effect, IDLE_POLLS, MAX_SENDS, Mode, NotStarted, Polling, SETTLED_POLLS, Sent, Snapshot, Turn,
    TurnOutcome,
};
use crate::wire::{End, Ending, Failure, FailureKind, History, Message, Outcome, Status};

impl Turn {
    pub(super) fn polled(&mut self, snapshot: Snapshot, now: Instant, out: &mut Vec<Effect>) {
        let again = std::mem::replace(&mut self.polling, Polling::No) == Polling::Again;
        self.unreachable_since = None;
        let begun =
            snapshot.history.end == End::Open && snapshot.history.arrived && !snapshot.history.inbox.ours;
        self.underway |= begun;
        // What is pending was read after the record, and either may be from before the turn had begun.
        let works = self.worked_at_look || begun;
        for child in snapshot.children.into_iter().filter(|_| works) {
            if child != self.plan.session.as_str() && self.children.insert(child.clone()) {
                out.push(Effect::Follow(child));
            }
        }
        let ours =
            |session: &str| session == self.plan.session.as_str() && works || self.children.contains(session);
        let permissions = snapshot.permissions.into_iter().filter(|ask| ours(&ask.session_id)).collect();
        let questions = snapshot.questions.into_iter().filter(|ask| ours(&ask.session_id)).collect();
        for ask in snapshot.unparseable_permissions.iter().filter(|ask| ours(&ask.session)) {
            self.asks.unparseable_permission(ask, now, out);
        }
        for ask in snapshot.unparseable_questions.iter().filter(|ask| ours(&ask.session)) {
            self.asks.unparseable_question(ask, now, out);
        }
        if self.asks.pending(permissions, questions, snapshot.whole && works, now, out) {
            self.progressed(now);
        }
        for step in &snapshot.history.steps {
            self.display.own_message(&step.head.id);
        }
        let seen = (snapshot.history.steps.len(), snapshot.history.steps.last().map_or(0, |step| step.size));
        if self.seen != seen {
            self.seen = seen;
            self.progressed(now);
        }
        self.prompts.clone_from(&snapshot.history.prompts);
        self.evaluate(&snapshot.status, &snapshot.history, now, out);
        if again {
            self.next_poll = now;
        }
    }

    /// Decides from the daemon's record. While the session is not idle nothing is
    /// an end: the daemon goes on after many a last word.
    fn evaluate(&mut self, status: &Status, history: &History, now: Instant, out: &mut Vec<Effect>) {
        let idle = *status == Status::Idle;
        if idle {
            if self.idle_polls == 0 {
                self.idle_since = now;
            }
            self.idle_polls += 1;
        } else {
            self.status_seen(status, now, out);
        }
        let last = history.last();
        let over = |last: &Message| last.head.completed || last.head.failure.is_some();
        let settled = idle && !history.inbox.any && last.is_some_and(over);
        self.settled_looks = if settled { self.settled_looks + 1 } else { 0 };
        self.wait(now);
        match history.end {
            // What is being interrupted has not stopped before the session is idle, or
            // works at something else.
            End::Told(outcome) if idle || outcome != Outcome::Interrupted || history.followed => {
                return self.conclude_told(outcome, history, now, out);
            }
            _ => {}
        }
        if idle && history.inbox.ours && self.sent != Sent::Open {
            if let Mode::TakingBack { .. } = self.mode {
                return out.push(Effect::Abort);
            }
            if let (Mode::Running, Some(failure)) = (self.mode, self.failure_before(history)) {
                return self.take_back(failure, now, out);
            }
        }
        let enough = history.end == End::Untold || self.settled_looks >= SETTLED_POLLS;
        if let Some(last) = last
            && idle
            && enough
            && (last.head.failure.is_some() || is_last_word(last) && !history.unanswered)
        {
            if history.end == End::Open && self.mode == Mode::Running && is_cut_off(last) {
                self.conclude_shut(last, history, now, out);
            } else {
                self.conclude(last, now, out);
            }
            return;
        }
        if matches!(self.mode, Mode::Stopping { .. }) {
            return self.evaluate_stop(idle, history, out);
        }
        if !idle || self.mode != Mode::Running {
            return;
        }
        match self.sent.clone() {
            Sent::No => self.send_or_give_up("the daemon was not there", history, out),
            Sent::Refused { failure, until } => self.evaluate_refusal(failure, until, history, now, out),
            Sent::Unexplained { status, .. } => self.evaluate_unexplained(status, history, now, out),
            Sent::Admitted { since } if self.idle_polls >= IDLE_POLLS => {
                self.evaluate_taken(
                    since,
                    "the daemon took the prompt and does not have it",
                    history,
                    now,
                    out,
                );
            }
            Sent::Open | Sent::Admitted { .. } => {}
            Sent::Lost { since, why } => match last {
                None if history.end != End::Untold && history.arrived => {
                    if self.idle_polls >= IDLE_POLLS {
                        self.evaluate_taken(since, &why, history, now, out);
                    }
                }
                None => self.send_or_give_up(&why, history, out),
                Some(last) if self.idle_polls >= IDLE_POLLS => {
                    self.conclude_broken(last, history, now, out);
                }
                Some(_) => {}
            },
        }
    }

    /// The daemon has, or had, the prompt, and nothing of the session works. What is
    /// in the inbox was not begun; what is in the record was.
    fn evaluate_taken(
        &mut self,
        since: Instant,
        why: &str,
        history: &History,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let known = self.session_failure.clone().or_else(|| history.reason.clone());
        match (history.last(), known) {
            (Some(last), Some(failure)) if !last.head.completed => {
                self.finish(TurnOutcome::Failed(last.head.failure.clone().unwrap_or(failure)), out);
            }
            // What waits in the inbox is somebody else's, and does not begin.
            (Some(last), _) if is_last_word(last) => self.conclude(last, now, out),
            (Some(last), _) => self.conclude_broken(last, history, now, out),
            (None, known) if history.arrived && !history.inbox.ours => match known {
                Some(failure) => self.finish(TurnOutcome::Failed(failure), out),
                None => self.conclude_lost(history, now, out),
            },
            (None, _) if !history.arrived || self.sends < MAX_SENDS => {
                self.send_or_give_up(why, history, out);
            }
            (None, _) if now < since + self.plan.timing.give_up => {}
            // Somebody stopped the session before it came to this; it is taken back.
            (None, _) => self.stop(StopCause::AbortedElsewhere, now, out),
        }
    }

    fn evaluate_refusal(
        &mut self,
        failure: Failure,
        until: Instant,
        history: &History,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let told = history.end != End::Untold;
        if told && history.arrived {
            // It was taken for all that: the session's record tells what becomes of it.
            self.may_have_arrived = true;
            self.sent = Sent::Admitted { since: now };
            return;
        }
        if told && self.idle_polls < IDLE_POLLS {
            // Between two requests of a poll it may go from the inbox to the record.
            return;
        }
        let known = self.session_failure.clone();
        if known.is_none() && failure.kind == FailureKind::Opaque && now < until {
            return;
        }
        let failure = known.unwrap_or(failure);
        match history.last() {
            None if !self.may_have_arrived => {
                self.finish(TurnOutcome::NotStarted(NotStarted::Refused(failure)), out);
            }
            _ => self.finish(TurnOutcome::Failed(failure), out),
        }
    }

    /// The daemon answered the prompt itself, with an error and no words.
    fn evaluate_unexplained(&mut self, status: u16, history: &History, now: Instant, out: &mut Vec<Effect>) {
        if history.arrived {
            self.may_have_arrived = true;
            self.sent = Sent::Admitted { since: now };
        } else if self.idle_polls >= IDLE_POLLS {
            self.finish(TurnOutcome::NotStarted(NotStarted::Unexplained(status)), out);
        }
    }

    /// Why the session has failed before it began with the prompt, if it has. A single poll may see a
    /// session that is about to begin.
    fn failure_before(&self, history: &History) -> Option<Failure> {
        let told = self.failed_before.clone();
        let recorded = history.failed_before && self.idle_polls >= IDLE_POLLS;
        told.or_else(|| recorded.then(|| history.reason.clone().unwrap_or_else(unrecorded)))
    }

    fn send_or_give_up(&mut self, why: &str, history: &History, out: &mut Vec<Effect>) {
        if self.sends < MAX_SENDS {
            return self.send(out);
        }
        let outcome = if history.arrived {
            let reason = format!("the daemon has the prompt and does not begin: {why}");
            TurnOutcome::Unknown { reason }
        } else if self.may_have_arrived {
            let reason = format!(
                "the prompt was sent {MAX_SENDS} times and is not on record, but may still arrive: {why}"
            );
            TurnOutcome::Unknown { reason }
        } else {
            let reason = format!("the prompt could not be sent in {MAX_SENDS} attempts: {why}");
            TurnOutcome::NotStarted(NotStarted::Unavailable(reason))
        };
        self.finish(outcome, out);
    }

    /// A message that ended, as an answer or the daemon's record has it.
    pub(super) fn conclude(&mut self, last: &Message, now: Instant, out: &mut Vec<Effect>) {
        let head = &last.head;
        let stopping = matches!(self.mode, Mode::Stopping { .. });
        let outcome = match (&head.failure, head.ending) {
            (Some(failure), _) if stopping || failure.kind == FailureKind::Aborted => self.stopped(true),
            (Some(failure), _) => TurnOutcome::Failed(failure.clone()),
            (None, Some(Ending::Final)) => TurnOutcome::Completed(Box::new(last.clone())),
            (None, Some(Ending::Tools)) if head.completed && stopping => self.stopped(true),
            (None, Some(Ending::Tools)) if head.completed => self.ended_early(last),
            // Complete, no error, nothing said: an abort while the provider failed.
            (None, _) => match self.session_failure.clone() {
                Some(failure) if failure.kind != FailureKind::Aborted && head.completed => {
                    TurnOutcome::Failed(failure)
                }
                _ if head.completed => self.stopped(true),
                _ => return self.lose("the answer is half a message", now, out),
            },
        };
        self.finish(outcome, out);
    }

    /// The turn's end, as the session's record tells it.
    fn conclude_told(&mut self, outcome: Outcome, history: &History, now: Instant, out: &mut Vec<Effect>) {
        let stopping = matches!(self.mode, Mode::Stopping { .. });
        let last = history.last();
        let failure = |reason: &str| Failure { kind: FailureKind::Other, reason: reason.to_owned() };
        let outcome = match (outcome, last) {
            (Outcome::Succeeded, Some(last)) if last.head.failure.is_none() && last.head.completed => {
                match last.head.ending {
                    Some(Ending::Tools) => return self.conclude(last, now, out),
                    Some(Ending::Final) | None => TurnOutcome::Completed(Box::new(last.clone())),
                }
            }
            (Outcome::Interrupted, Some(last)) if last.refused && !stopping => self.ended_early(last),
            (Outcome::Interrupted, _) => self.stopped(true),
            (Outcome::Failed, _) if stopping => self.stopped(true),
            (Outcome::Succeeded | Outcome::Failed, last) => {
                let known = last.and_then(|last| last.head.failure.clone());
                let known = known.or_else(|| self.session_failure.clone()).or_else(|| history.reason.clone());
                let failure = known.unwrap_or_else(|| match outcome {
                    Outcome::Succeeded => failure("the daemon ended the turn without an answer"),
                    _ => unrecorded(),
                });
                if failure.kind == FailureKind::Aborted {
                    self.stopped(true)
                } else {
                    TurnOutcome::Failed(failure)
                }
            }
        };
        self.finish(outcome, out);
    }

    /// The turn was cut off, and the record does not tell that anybody interrupted it: by what was
    /// refused, or by the daemon's own end.
    fn conclude_shut(&mut self, last: &Message, history: &History, now: Instant, out: &mut Vec<Effect>) {
        if last.refused {
            self.finish(self.ended_early(last), out);
        } else {
            self.conclude_lost(history, now, out);
        }
    }

    fn ended_early(&self, last: &Message) -> TurnOutcome {
        let why = if last.refused { self.asks.denied().unwrap_or(Early::Refused) } else { Early::Unsaid };
        TurnOutcome::EndedEarly { last: Box::new(last.clone()), why }
    }

    /// Nothing runs, and the last message has no proper end.
    fn conclude_broken(&mut self, last: &Message, history: &History, now: Instant, out: &mut Vec<Effect>) {
        // Where ends are told, a turn goes on after what was rejected from here; it may
        // have been ended by what was rejected elsewhere.
        let ends_it = history.end == End::Untold || !self.asks.rejected() || self.shut;
        let outcome = if last.head.completed && last.refused && ends_it {
            self.ended_early(last)
        } else if last.head.completed && last.head.ending.is_none() && !history.unanswered {
            self.session_failure.clone().map_or_else(|| self.stopped(true), TurnOutcome::Failed)
        } else {
            return self.conclude_lost(history, now, out);
        };
        self.finish(outcome, out);
    }

    /// The daemon has lost the turn. One that tells of ends may have been started anew,
    /// and take up what it had begun: it is given time for that.
    fn conclude_lost(&mut self, history: &History, now: Instant, out: &mut Vec<Effect>) {
        if history.end != End::Untold && now < self.idle_since + self.plan.timing.give_up {
            return;
        }
        let reason = "the daemon stopped or restarted during the turn, and nothing runs any more".to_owned();
        self.finish(TurnOutcome::Failed(Failure { kind: FailureKind::Other, reason }), out);
    }

    /// While the prompt's request is open, the prompt may be about to begin: only
    /// a message that ended proves that it will not.
    fn evaluate_stop(&mut self, idle: bool, history: &History, out: &mut Vec<Effect>) {
        let Mode::Stopping { delivered, .. } = self.mode else { return };
        let ended = history.last().is_some_and(|last| last.head.completed);
        let silent = self.sent != Sent::Open && self.idle_polls >= IDLE_POLLS;
        if idle && delivered && !history.inbox.any && (ended || silent) {
            self.finish(self.stopped(true), out);
        } else if !idle || !delivered || history.inbox.any || self.sent == Sent::Open {
            out.push(Effect::Abort);
        }
    }
}

/// What is told of a failure that nothing tells of.
pub(super) fn unrecorded() -> Failure {
    let reason = "the turn failed, and the daemon did not record why".to_owned();
    Failure { kind: FailureKind::Other, reason }
}

fn is_cut_off(message: &Message) -> bool {
    message.head.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Aborted)
}

fn is_last_word(message: &Message) -> bool {
    message.head.completed && message.head.ending == Some(Ending::Final)
}
