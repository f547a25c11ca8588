//! Asks in flight: from an agent to a person and back.
//!
//! An ask lives as long as the call that made it. It is not a row: after a
//! restart the connector reads the daemon's pending asks and asks again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use connector_contract::{AskRelay, Progress, ToolOutcome};
use serde_json::json;
use tokio::sync::oneshot;

use super::Engine;
use crate::gate::policy::Actor;
use crate::ids::StepId;
use crate::ledger::{LedgerError, audit};
use crate::surface::{Asked, OpenAsk, Surface};

/// An answer to an ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a permission request.
    Permission(PermissionReply),
    /// To questions.
    Question(QuestionReply),
}

/// How an answer is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It was passed on.
    PassedOn,
    /// Somebody was faster, or the agent no longer asks.
    NotOpen,
    /// This person may not answer.
    NotAllowed,
    /// It does not fit the ask.
    DoesNotFit(String),
}

/// Open asks by number.
#[derive(Default)]
pub(super) struct Desk {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Waiting>>,
    /// Who refused the tools' calls of the steps that run.
    refused: Mutex<HashMap<(StepId, String), Actor>>,
}

struct Waiting {
    ask: OpenAsk,
    /// `None` while an answer is recorded.
    reply: Option<Reply>,
}

type Reply = oneshot::Sender<(Answer, Actor)>;

/// The way back to the agent, while an answer is recorded. Dropped without being used, it is put
/// back, so that the ask can be answered again.
struct WayBack<'a> {
    desk: &'a Desk,
    number: u64,
    reply: Option<Reply>,
}

impl Drop for WayBack<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.desk.open().get_mut(&self.number) {
            waiting.reply = self.reply.take();
        }
    }
}

impl Desk {
    fn refused(&self) -> MutexGuard<'_, HashMap<(StepId, String), Actor>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Relays the asks of one dispatched step.
pub(super) struct Relay {
    pub(super) engine: Engine,
    pub(super) step: StepId,
    pub(super) surface: Option<Arc<dyn Surface>>,
    pub(super) chat: String,
    pub(super) approvers: Vec<Actor>,
}

impl Engine {
    /// The asks that wait, oldest first.
    pub fn open_asks(&self) -> Vec<OpenAsk> {
        let mut asks: Vec<OpenAsk> = self.0.desk.open().values().map(|waiting| waiting.ask.clone()).collect();
        asks.sort_unstable_by_key(|ask| ask.number);
        asks
    }

    /// Answers an ask, once. After an error it was not answered, and waits on.
    pub async fn answer(&self, number: u64, by: &Actor, answer: Answer) -> Result<Answered, LedgerError> {
        let desk = &self.0.desk;
        let (ask, mut way_back) = {
            let mut open = desk.open();
            let Some(waiting) = open.get_mut(&number) else { return Ok(Answered::NotOpen) };
            if !waiting.ask.approvers.contains(by) {
                return Ok(Answered::NotAllowed);
            }
            if let Err(problem) = fits(&waiting.ask.asked, &answer) {
                return Ok(Answered::DoesNotFit(problem));
            }
            let Some(reply) = waiting.reply.take() else { return Ok(Answered::NotOpen) };
            (waiting.ask.clone(), WayBack { desk, number, reply: Some(reply) })
        };
        let (step, actor) = (ask.step, by.clone());
        let detail = json!({ "ask": subject(&ask.asked), "answer": describe(&answer) });
        self.0
            .ledger
            .write(move |tx| audit::append(tx, audit::of_step(step, audit::ANSWERED, actor, None, detail)))
            .await?;
        desk.open().remove(&number);
        if let (Answer::Permission(PermissionReply::Reject { .. }), Some(call)) =
            (&answer, call_of(&ask.asked))
        {
            desk.refused().insert((step, call), by.clone());
        }
        let sent = way_back.reply.take().is_some_and(|reply| reply.send((answer, by.clone())).is_ok());
        Ok(if sent { Answered::PassedOn } else { Answered::NotOpen })
    }

    /// An update with the name of who refused the tool that it tells of, where that is known.
    pub(super) fn naming_refuser(&self, step: StepId, mut update: Progress) -> Progress {
        if let Progress::ToolFinished { call_id, outcome: ToolOutcome::Refused { by }, .. } = &mut update
            && let Some(actor) = self.0.desk.refused().get(&(step, call_id.clone()))
        {
            *by = actor.to_string();
        }
        update
    }

    /// Nothing of the step runs any more.
    pub(super) fn forget_refusals(&self, step: StepId) {
        self.0.desk.refused().retain(|(of, _), _| *of != step);
    }

    /// An ask that its surface cannot show: nobody is asked, and silence is no yes.
    pub async fn reject_unshown(&self, number: u64, reason: &str) -> Result<(), LedgerError> {
        let (waiting, told) = {
            let mut open = self.0.desk.open();
            let Some(told) = open.get_mut(&number).and_then(|waiting| waiting.reply.take()) else {
                return Ok(());
            };
            let Some(waiting) = open.remove(&number) else { return Ok(()) };
            (waiting, told)
        };
        let (step, reply) = (waiting.ask.step, rejection(&waiting.ask.asked));
        let detail = json!({ "ask": subject(&waiting.ask.asked), "reason": reason });
        let unshown = audit::of_step(step, audit::UNSHOWN, audit::host(), None, detail);
        self.0.ledger.write(move |tx| audit::append(tx, unshown)).await?;
        let _ = told.send((reply, audit::host()));
        Ok(())
    }
}

fn rejection(asked: &Asked) -> Answer {
    match asked {
        Asked::Permission(_) => Answer::Permission(PermissionReply::Reject {
            message: "nobody could be asked; do without it".to_owned(),
        }),
        Asked::Question(_) => Answer::Question(QuestionReply::Reject),
    }
}

/// The tool's call that asks, by the name that progress has for it.
fn call_of(asked: &Asked) -> Option<String> {
    match asked {
        Asked::Permission(ask) => {
            ask.call.as_ref().map(|call| format!("{}/{}", call.message_id, call.call_id))
        }
        Asked::Question(_) => None,
    }
}

/// A permission takes a permission's reply, and questions one list each.
fn fits(asked: &Asked, answer: &Answer) -> Result<(), String> {
    match (asked, answer) {
        (Asked::Permission(_), Answer::Permission(_))
        | (Asked::Question(_), Answer::Question(QuestionReply::Reject)) => Ok(()),
        (Asked::Question(ask), Answer::Question(QuestionReply::Answers { answers })) => {
            let wanted = ask.questions.len();
            if answers.len() != wanted {
                return Err(format!(
                    "{wanted} answers are needed, one for each question; got {}",
                    answers.len()
                ));
            }
            for (question, chosen) in ask.questions.iter().zip(answers) {
                if chosen.is_empty() || (chosen.len() > 1 && !question.multiple) {
                    return Err(format!("`{}` takes one answer", question.question));
                }
            }
            Ok(())
        }
        _ => Err("that is not the kind of answer it takes".to_owned()),
    }
}

/// What was asked, without what the agent adds: that may quote a file.
fn subject(asked: &Asked) -> serde_json::Value {
    match asked {
        Asked::Permission(ask) => {
            json!({ "id": ask.id, "permission": ask.permission, "patterns": ask.patterns })
        }
        Asked::Question(ask) => {
            let questions: Vec<&str> = ask.questions.iter().map(|one| one.question.as_str()).collect();
            json!({ "id": ask.id, "questions": questions })
        }
    }
}

fn describe(answer: &Answer) -> serde_json::Value {
    match answer {
        Answer::Permission(reply) => json!(reply),
        Answer::Question(reply) => json!(reply),
    }
}

impl Relay {
    /// Whether somebody can answer here: the ask is shown on one surface, and those who may answer
    /// are of that.
    fn nobody(&self) -> Option<String> {
        let Some(surface) = &self.surface else { return Some("its surface is not configured".to_owned()) };
        if !surface.takes_answers() {
            return Some(format!("asks cannot be answered on `{}`", surface.name()));
        }
        let here = |actor: &&Actor| actor.surface() == surface.name();
        match self.approvers.iter().find(here) {
            Some(_) => None,
            None => Some(format!("none of those who may answer is on `{}`", surface.name())),
        }
    }

    /// An ask that nobody could answer is refused at once, with the reason: the agent need not wait.
    async fn refused(&self, asked: &Asked) -> Option<String> {
        let why = self.nobody()?;
        tracing::warn!(step = %self.step, why, "the agent asks what nobody can answer; it is refused");
        let detail = json!({ "ask": subject(asked), "reason": why });
        let entry = audit::of_step(self.step, "ask_refused", audit::host(), None, detail);
        if let Err(error) = self.engine.0.ledger.write(move |tx| audit::append(tx, entry)).await {
            tracing::error!(error = connector_contract::chain(&error), "a refused ask is not recorded");
        }
        Some(format!("nobody can answer this ({why}); do without it"))
    }

    async fn wait(&self, asked: Asked) -> Option<Answer> {
        let surface = self.surface.as_ref()?;
        let number = self.engine.0.desk.next.fetch_add(1, Ordering::Relaxed) + 1;
        let ask = OpenAsk { number, step: self.step, asked, approvers: self.approvers.clone() };
        let (reply, answer) = oneshot::channel();
        let mut guard = Guard { relay: self, ask: ask.clone(), answered: None };
        // Before anybody can answer, so that the answer comes after it.
        record(&self.engine, self.step, audit::ASKED, json!({ "ask": subject(&ask.asked) })).await;
        self.engine.0.desk.open().insert(number, Waiting { ask: ask.clone(), reply: Some(reply) });
        surface.ask(&self.chat, &ask);
        let answered = answer.await.ok()?;
        Some(guard.answered.insert(answered).0.clone())
    }
}

/// Closes the ask however its future ends.
struct Guard<'a> {
    relay: &'a Relay,
    ask: OpenAsk,
    answered: Option<(Answer, Actor)>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let engine = &self.relay.engine;
        engine.0.desk.open().remove(&self.ask.number);
        if let (None, Ok(runtime)) = (&self.answered, tokio::runtime::Handle::try_current()) {
            let (engine, step) = (self.relay.engine.clone(), self.ask.step);
            let detail = json!({ "ask": subject(&self.ask.asked) });
            let withdrawn = async move { record(&engine, step, audit::WITHDRAWN, detail).await };
            self.relay.engine.0.tasks.spawn_on(withdrawn, &runtime);
        }
        let Some(surface) = &self.relay.surface else { return };
        match &self.answered {
            Some((answer, by)) => surface.ask_answered(&self.relay.chat, &self.ask, answer, by),
            None => surface.ask_closed(&self.relay.chat, &self.ask, None),
        }
    }
}

/// Writes down what became of an ask. It waits for nobody's sake: what cannot be written now is
/// missing from `runs show` alone.
async fn record(engine: &Engine, step: StepId, kind: &'static str, detail: serde_json::Value) {
    let entry = audit::of_step(step, kind, audit::host(), None, detail);
    if let Err(error) = engine.0.ledger.write(move |tx| audit::append(tx, entry)).await {
        tracing::warn!(%step, error = %connector_contract::chain(&error), "an ask is not on record");
    }
}

#[async_trait]
impl AskRelay for Relay {
    async fn permission(&self, ask: PermissionAsk) -> PermissionReply {
        let asked = Asked::Permission(ask);
        if let Some(message) = self.refused(&asked).await {
            return PermissionReply::Reject { message };
        }
        match self.wait(asked).await {
            Some(Answer::Permission(reply)) => reply,
            _ => PermissionReply::Reject { message: "nobody answered; do without it".to_owned() },
        }
    }

    async fn question(&self, ask: QuestionAsk) -> QuestionReply {
        let asked = Asked::Question(ask);
        if self.refused(&asked).await.is_some() {
            return QuestionReply::Reject;
        }
        match self.wait(asked).await {
            Some(Answer::Question(reply)) => reply,
            _ => QuestionReply::Reject,
        }
    }
}
