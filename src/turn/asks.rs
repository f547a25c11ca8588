//! The agent's asks: each is put to a person once and answered once.
//!
//! An ask may be seen many times: as an event, again as a repeated event, and in
//! every list of what is pending. Its state is kept by id for the whole turn, so
//! that none is put twice. A reply that may not have arrived is sent again, the
//! same reply, when a poll still finds the ask pending.

use std::collections::HashMap;
use std::time::Duration;

use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use tokio::time::Instant;

use super::{Early, Effect, ReplyOutcome};
use crate::config::AskPolicy;
use crate::wire::{Asked, UnparseableAsk, call_id};

/// How often a reply that the daemon refuses is sent.
const MAX_REFUSALS: u32 = 5;
/// More asks than this at once is no conversation any more, and a host puts no more of
/// one call to a person.
const MAX_WAITING: usize = 16;

/// Who refuses: whoever the host asked, …
pub(crate) const PERSON: &str = "a person";
/// … nobody, for as long as was to be waited, …
const LIMIT: &str = "the time limit, as nobody answered";
/// … what is configured, or cannot be put to anybody, …
pub(crate) const HERE: &str = "the connector";
/// … or who refused another request of the turn.
const OTHER: &str = "the refusal of another request";

#[derive(Debug)]
pub(super) struct Asks {
    policy: AskPolicy,
    timeout: Duration,
    known: HashMap<String, Ask>,
    /// What was denied last from here, if anything was.
    denied: Option<Early>,
    polls: u64,
}

#[derive(Debug)]
struct Ask {
    state: State,
    asked: Asked,
    kind: Kind,
    /// The tool's call that waits for it.
    call: Option<String>,
    /// Whether it was answered from here.
    answered: bool,
    /// Who refused it.
    refuser: Option<&'static str>,
    refusals: u32,
    /// The poll that was under way, or done, when it was first seen.
    since_poll: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Permission,
    Question,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    /// With a person.
    Waiting {
        until: Instant,
    },
    /// Decided; the reply is on its way, or to be sent again.
    Decided {
        reply: Reply,
        in_flight: bool,
    },
    Closed,
}

#[derive(Debug, Clone, PartialEq)]
enum Reply {
    Permission(PermissionReply),
    Question(QuestionReply),
}

impl Asks {
    pub(super) fn new(policy: AskPolicy, timeout: Duration) -> Self {
        Self { policy, timeout, known: HashMap::new(), denied: None, polls: 0 }
    }

    pub(super) fn permission(&mut self, ask: PermissionAsk, now: Instant, out: &mut Vec<Effect>) {
        if self.known.contains_key(&ask.id) {
            return;
        }
        let reply = match self.policy {
            AskPolicy::Relay if self.room() => None,
            AskPolicy::Relay => Some(reject("too many requests wait for a person at once")),
            AskPolicy::Reject => {
                Some(reject("this agent may not ask; do without it, or say what you would need"))
            }
            AskPolicy::Allow => Some(PermissionReply::Once),
        };
        let id = ask.id.clone();
        self.learn(asked(&ask.session_id, &ask.id), Kind::Permission, now);
        if let Some(known) = self.known.get_mut(&id) {
            known.call = ask.call.as_ref().map(|it| call_id(&it.message_id, &it.call_id));
        }
        match reply {
            None => out.push(Effect::AskPermission(ask)),
            Some(reply) => self.decide(&id, Reply::Permission(reply), HERE, out),
        }
    }

    pub(super) fn question(&mut self, ask: QuestionAsk, now: Instant, out: &mut Vec<Effect>) {
        if self.known.contains_key(&ask.id) {
            return;
        }
        let id = ask.id.clone();
        let multiple = ask.questions.iter().map(|question| question.multiple).collect();
        self.learn(Asked { multiple, ..asked(&ask.session_id, &id) }, Kind::Question, now);
        if self.policy == AskPolicy::Relay && self.room() {
            out.push(Effect::AskQuestion(ask));
        } else {
            self.decide(&id, Reply::Question(QuestionReply::Reject), HERE, out);
        }
    }

    /// A request that cannot be read cannot be shown to anybody: it is rejected.
    pub(super) fn unparseable_permission(
        &mut self,
        ask: &UnparseableAsk,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        if self.is_undecided(&ask.id) {
            self.learn(asked(&ask.session, &ask.id), Kind::Permission, now);
            let reply = reject("this request could not be shown to a person; find another way");
            self.decide(&ask.id, Reply::Permission(reply), HERE, out);
        }
    }

    /// The same for questions.
    pub(super) fn unparseable_question(&mut self, ask: &UnparseableAsk, now: Instant, out: &mut Vec<Effect>) {
        if self.is_undecided(&ask.id) {
            self.learn(asked(&ask.session, &ask.id), Kind::Question, now);
            self.decide(&ask.id, Reply::Question(QuestionReply::Reject), HERE, out);
        }
    }

    pub(super) fn permission_decided(
        &mut self,
        id: &str,
        reply: PermissionReply,
        by: &'static str,
        out: &mut Vec<Effect>,
    ) {
        if !self.is_waiting(id) {
            return;
        }
        self.decide(id, Reply::Permission(reply), by, out);
    }

    /// Answers that do not fit the questions would leave the agent waiting for
    /// ever: the daemon refuses them.
    pub(super) fn question_decided(&mut self, id: &str, reply: QuestionReply, out: &mut Vec<Effect>) {
        if !self.is_waiting(id) {
            return;
        }
        let asked = self.known.get(id).map(|ask| ask.asked.multiple.len());
        let fits = match &reply {
            QuestionReply::Answers { answers } => Some(answers.len()) == asked,
            QuestionReply::Reject => true,
        };
        self.decide(id, Reply::Question(if fits { reply } else { QuestionReply::Reject }), PERSON, out);
    }

    pub(super) fn reply_sent(&mut self, id: &str, outcome: ReplyOutcome, out: &mut Vec<Effect>) {
        let Some(ask) = self.known.get_mut(id) else { return };
        let State::Decided { reply, in_flight } = &mut ask.state else { return };
        match outcome {
            ReplyOutcome::Taken | ReplyOutcome::Gone => ask.state = State::Closed,
            ReplyOutcome::Failed => *in_flight = false,
            ReplyOutcome::Refused if ask.refusals >= MAX_REFUSALS => ask.state = State::Closed,
            ReplyOutcome::Refused if matches!(reply, Reply::Question(QuestionReply::Answers { .. })) => {
                self.decide(id, Reply::Question(QuestionReply::Reject), HERE, out);
            }
            // Tried again at the next polls; then the turn's own limits end it.
            ReplyOutcome::Refused => {
                *in_flight = false;
                ask.refusals += 1;
            }
        }
    }

    /// It was answered, here or elsewhere.
    pub(super) fn closed(&mut self, id: &str, out: &mut Vec<Effect>) {
        if let Some(ask) = self.known.get_mut(id) {
            if matches!(ask.state, State::Waiting { .. }) {
                out.push(Effect::Withdraw(id.to_owned()));
            }
            ask.state = State::Closed;
        }
    }

    pub(super) fn poll_began(&mut self) {
        self.polls += 1;
    }

    /// What is pending, as the last poll found it; if that is the `whole` of it, nothing
    /// else is. Returns whether anything was new.
    pub(super) fn pending(
        &mut self,
        permissions: Vec<PermissionAsk>,
        questions: Vec<QuestionAsk>,
        whole: bool,
        now: Instant,
        out: &mut Vec<Effect>,
    ) -> bool {
        let before = self.known.len();
        let ids: Vec<String> = permissions
            .iter()
            .map(|ask| ask.id.clone())
            .chain(questions.iter().map(|ask| ask.id.clone()))
            .collect();
        self.repeat_lost_replies(&ids, out);
        // What was asked after the poll began may be missing from it.
        let gone: Vec<String> = self
            .known
            .iter()
            .filter(|(id, ask)| {
                whole
                    && matches!(ask.state, State::Waiting { .. })
                    && ask.since_poll < self.polls
                    && !ids.contains(id)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in &gone {
            self.closed(id, out);
        }
        for ask in permissions {
            self.permission(ask, now, out);
        }
        for ask in questions {
            self.question(ask, now, out);
        }
        self.known.len() > before
    }

    fn repeat_lost_replies(&mut self, pending: &[String], out: &mut Vec<Effect>) {
        for id in pending {
            if let Some(Ask { state: State::Decided { reply, in_flight: false }, .. }) = self.known.get(id) {
                let reply = reply.clone();
                let by = self.known.get(id).and_then(|ask| ask.refuser).unwrap_or(HERE);
                self.decide(id, reply, by, out);
            }
        }
    }

    pub(super) fn expire(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let late: Vec<(String, bool)> = self
            .known
            .iter()
            .filter(|(_, ask)| matches!(ask.state, State::Waiting { until } if until <= now))
            .map(|(id, ask)| (id.clone(), ask.kind == Kind::Question))
            .collect();
        for (id, question) in late {
            out.push(Effect::Withdraw(id.clone()));
            let reply = if question {
                Reply::Question(QuestionReply::Reject)
            } else {
                Reply::Permission(reject("nobody answered in time; do without it"))
            };
            self.decide(&id, reply, LIMIT, out);
        }
    }

    pub(super) fn withdraw_all(&mut self, out: &mut Vec<Effect>) {
        for (id, ask) in &mut self.known {
            if matches!(ask.state, State::Waiting { .. }) {
                out.push(Effect::Withdraw(id.clone()));
                ask.state = State::Closed;
            }
        }
    }

    /// Whether the agent waits for a person.
    pub(super) fn waiting(&self) -> bool {
        self.next_deadline().is_some()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.known.values().filter_map(|ask| match ask.state {
            State::Waiting { until } => Some(until),
            _ => None,
        });
        deadlines.min()
    }

    /// What of the turn was denied last from here.
    pub(super) fn denied(&self) -> Option<Early> {
        self.denied
    }

    /// Whether a request of the turn was rejected from here.
    pub(super) fn rejected(&self) -> bool {
        self.known.values().any(|ask| ask.kind == Kind::Permission && ask.refuser.is_some())
    }

    /// Who refused the tool's call that failed. The daemon ends other requests of the turn together
    /// with one that is refused.
    pub(super) fn refuser(&self, call: &str) -> Option<&'static str> {
        let asked = || self.known.values().filter(|ask| ask.call.as_deref() == Some(call));
        let ended_with_another = |ask: &Ask| ask.state == State::Closed && !ask.answered && self.rejected();
        asked().find_map(|ask| ask.refuser).or_else(|| asked().any(ended_with_another).then_some(OTHER))
    }

    fn room(&self) -> bool {
        self.known.values().filter(|ask| matches!(ask.state, State::Waiting { .. })).count() < MAX_WAITING
    }

    fn is_waiting(&self, id: &str) -> bool {
        matches!(self.known.get(id), Some(Ask { state: State::Waiting { .. }, .. }))
    }

    /// Whether a reply to it is still to be sent, or to be sent again.
    fn is_undecided(&self, id: &str) -> bool {
        self.known.get(id).is_none_or(|ask| matches!(ask.state, State::Decided { in_flight: false, .. }))
    }

    fn learn(&mut self, asked: Asked, kind: Kind, now: Instant) {
        let state = State::Waiting { until: now + self.timeout };
        self.known.insert(
            asked.id.clone(),
            Ask {
                state,
                asked,
                kind,
                call: None,
                answered: false,
                refuser: None,
                refusals: 0,
                since_poll: self.polls,
            },
        );
    }

    /// `by` is who answered it.
    fn decide(&mut self, id: &str, reply: Reply, by: &'static str, out: &mut Vec<Effect>) {
        let Some(ask) = self.known.get_mut(id) else { return };
        ask.answered = true;
        let denied = match reply {
            Reply::Permission(PermissionReply::Reject { .. }) => Some(Early::Refused),
            Reply::Question(QuestionReply::Reject) => Some(Early::Declined),
            Reply::Permission(_) | Reply::Question(_) => None,
        };
        if denied.is_some() {
            ask.refuser = Some(by);
            self.denied = denied;
        }
        out.push(match &reply {
            Reply::Permission(reply) => {
                Effect::ReplyPermission { ask: ask.asked.clone(), reply: reply.clone() }
            }
            Reply::Question(reply) => Effect::ReplyQuestion { ask: ask.asked.clone(), reply: reply.clone() },
        });
        ask.state = State::Decided { reply, in_flight: true };
    }
}

fn asked(session: &str, id: &str) -> Asked {
    Asked { session: session.to_owned(), id: id.to_owned(), multiple: Vec::new() }
}

fn reject(message: &str) -> PermissionReply {
    PermissionReply::Reject { message: message.to_owned() }
}
