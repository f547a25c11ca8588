//! The relay of one dispatched step: its agent's asks go to people, or are answered by a grant.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::AskRelay;
use connector_contract::ask::{PermissionAsk, PermissionReply, QuestionAsk, QuestionReply};
use connector_gate::ask::{Answer, Asked};
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_ledger::asks::{self, AskState, Put};
use connector_ledger::steps::StepRow;
use connector_ledger::{Tx, audit, grants};
use connector_surface::OpenAsk;
use serde_json::json;
use tokio::sync::oneshot;

use super::{HOST, Waiting, by_command, row_id};
use crate::Engine;
use crate::audience::Audience;
use crate::transcript::Recorder;

/// How long a ledger that takes nothing is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Relays the asks of one dispatched step.
pub(crate) struct Relay {
    engine: Engine,
    step: StepId,
    audience: Audience,
    row: StepRow,
    recorder: Arc<Mutex<Recorder>>,
}

impl Relay {
    /// The relay of the step of `row`, whose asks are shown to `audience` and written by `recorder`.
    pub(crate) fn new(
        engine: Engine,
        row: StepRow,
        audience: Audience,
        recorder: Arc<Mutex<Recorder>>,
    ) -> Self {
        Self { engine, step: row.id, audience, row, recorder }
    }

    /// Who may answer now, as soon as that is known: it is looked at for each ask, since rules may
    /// have changed while the step runs.
    async fn approvers(&self) -> Vec<Actor> {
        loop {
            match self.engine.may_answer(&self.row).await {
                Ok(approvers) => return approvers,
                Err(error) => {
                    let error = connector_contract::chain(&error);
                    tracing::error!(step = %self.step, error, "the agent asks, and the ask waits for the ledger");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Why nobody can answer: those who may are of no surface that shows it and takes answers, and none of them has the
    /// command line.
    fn nobody(&self, approvers: &[Actor]) -> Option<String> {
        if approvers.iter().any(by_command) { None } else { self.audience.nobody_answers(approvers) }
    }

    /// An ask that nobody could answer is refused at once, with the reason: the agent need not wait.
    async fn refused(&self, asked: &Asked, approvers: &[Actor]) -> Option<String> {
        let why = self.nobody(approvers)?;
        tracing::warn!(step = %self.step, why, "the agent asks what nobody can answer; it is refused");
        self.note_refused(asked, &why).await;
        Some(format!("nobody can answer this ({why}); do without it"))
    }

    /// Records that nobody was asked, and that it was no person who refused.
    async fn note_refused(&self, asked: &Asked, why: &str) {
        let detail = json!({ "ask": asked.record(), "reason": why });
        let entry = audit::of_step(self.step, "ask_refused", audit::host(), None, detail);
        if let Err(error) = self.engine.0.ledger.write(move |tx| audit::append(tx, entry)).await {
            tracing::error!(error = connector_contract::chain(&error), "a refused ask is not recorded");
        }
        if let Some(call) = asked.call() {
            self.engine.0.asks.refused().insert((self.step, call), HOST.to_owned());
        }
    }

    /// Whether a grant of somebody who may answer says yes to exactly this. One that cannot be
    /// looked up does not.
    async fn is_granted(&self, ask: &PermissionAsk, approvers: &[Actor]) -> bool {
        let (step, may, ask) = (self.step, approvers.to_vec(), ask.clone());
        match self.engine.0.ledger.write(move |tx| grants::use_for(tx, step, &ask, &may)).await {
            Ok(grant) => grant.is_some(),
            Err(error) => {
                tracing::warn!(%step, error = %connector_contract::chain(&error), "no grant can be looked up");
                false
            }
        }
    }

    /// An ask as it is on record, as soon as the ledger takes it: nobody could answer before.
    async fn put(&self, asked: &Asked, approvers: &[Actor]) -> Put {
        loop {
            let (step, asked, approvers) = (self.step, asked.clone(), approvers.to_vec());
            let put = move |tx: &Tx<'_>| asks::put(tx, step, &asked, &approvers);
            match self.engine.0.ledger.write(put).await {
                Ok(put) => return put,
                Err(error) => {
                    let error = connector_contract::chain(&error);
                    tracing::error!(%step, error, "the agent asks, and the ask waits for the ledger");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Notes that the agent was told. Where that cannot be written, it is told the same once more.
    async fn heard(&self, id: i64) {
        if let Err(error) = self.engine.0.ledger.write(move |tx| asks::heard(tx, id)).await {
            let error = connector_contract::chain(&error);
            tracing::warn!(step = %self.step, ask = id, error, "that an agent has its answer is not on record");
        }
    }

    async fn wait(&self, asked: Asked, approvers: Vec<Actor>) -> Option<Answer> {
        let people = &self.row.people;
        let row = match self.put(&asked, &approvers).await {
            Put::Asked(row) => row,
            // While no host ran, or as it died: the agent has not heard of it yet.
            Put::Answered(id, answer, by) => {
                self.engine.0.asks.note_refusal(self.step, &asked, &answer, || people.named(&by));
                self.heard(id).await;
                return Some(answer);
            }
            Put::Refused(why) => {
                tracing::warn!(step = %self.step, why, "an ask is refused");
                self.note_refused(&asked, why).await;
                return Some(asked.rejection(&format!("nobody was asked ({why}); do without it")));
            }
        };
        let at = self.engine.0.clock.now();
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner).ask(at, row.id, &asked);
        let number = u64::try_from(row.id).unwrap_or_default();
        let (times, people) = (row.times, people.clone());
        let ask = OpenAsk { number, times, step: self.step, asked, approvers, people };
        let (reply, answer) = oneshot::channel();
        let mut guard = Guard { relay: self, ask: ask.clone(), answered: None };
        let (audience, unshown) = (self.audience.clone(), Vec::new());
        self.engine.0.asks.open().insert(number, Waiting { ask: ask.clone(), audience, unshown, reply });
        self.audience.ask(&ask);
        // Somebody may have been faster than this registry.
        self.engine.look_again();
        let answered = answer.await.ok()?;
        let answer = guard.answered.insert(answered).0.clone();
        self.heard(row.id).await;
        Some(answer)
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
        engine.0.asks.remove((self.ask.number, self.ask.times));
        if let (None, Ok(runtime)) = (&self.answered, tokio::runtime::Handle::try_current()) {
            let withdrawn = withdraw(engine.clone(), (row_id(self.ask.number), self.ask.times));
            runtime.spawn(withdrawn);
        }
        let answered = self.answered.as_ref().map(|(answer, by)| (answer, by));
        self.relay.audience.close_ask(&self.ask, answered);
    }
}

/// Writes down that an agent no longer waits. What cannot be written now is closed with its step.
async fn withdraw(engine: Engine, ask: (i64, u32)) {
    let close = move |tx: &Tx<'_>| asks::close(tx, ask, AskState::Withdrawn, None);
    if let Err(error) = engine.0.ledger.write(close).await {
        let error = connector_contract::chain(&error);
        tracing::warn!(ask = ask.0, error, "that an ask is withdrawn is not on record");
    }
}

#[async_trait]
impl AskRelay for Relay {
    /// Only this once is ever passed on: what holds for the session is kept here, so that the next
    /// ask comes here too and can be answered otherwise.
    async fn permission(&self, ask: PermissionAsk) -> PermissionReply {
        let approvers = self.approvers().await;
        if self.is_granted(&ask, &approvers).await {
            return PermissionReply::Once;
        }
        let asked = Asked::Permission(ask);
        if let Some(message) = self.refused(&asked, &approvers).await {
            return PermissionReply::Reject { message };
        }
        match self.wait(asked, approvers).await {
            Some(Answer::Permission(PermissionReply::Always)) => PermissionReply::Once,
            Some(Answer::Permission(reply)) => reply,
            _ => PermissionReply::Reject { message: "nobody answered; do without it".to_owned() },
        }
    }

    async fn question(&self, ask: QuestionAsk) -> QuestionReply {
        let (asked, approvers) = (Asked::Question(ask), self.approvers().await);
        if self.refused(&asked, &approvers).await.is_some() {
            return QuestionReply::Reject;
        }
        match self.wait(asked, approvers).await {
            Some(Answer::Question(reply)) => reply,
            _ => QuestionReply::Reject,
        }
    }
}
