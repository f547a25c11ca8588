//! Asks in flight: from an agent to a person and back.
//!
//! What is asked is a row of [`connector_ledger::asks`]; here are only the ways back to the agents that
//! wait. An answer is written into its row by whoever gives it, in this process or beside it, and
//! each pass looks for answers to what waits here. After a restart the connector reads the daemon's
//! pending asks and asks again, which is the same row.

mod relay;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use connector_contract::{Progress, ToolOutcome};
use connector_gate::ask::{Answer, Answered, Asked};
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_ledger::asks::{self, AskState};
use connector_ledger::audience::Member;
use connector_ledger::{LedgerError, Tx, audit};
use connector_surface::OpenAsk;
use connector_surface::log::COMMAND_LINE;
use tokio::sync::oneshot;

use super::Engine;
use super::audience::Audience;

pub(super) use relay::Relay;

/// Who refused, where nobody was asked: what stands for the person who could not be.
const HOST: &str = "the host, as nobody could be asked";

/// What an agent is told whose ask no surface can show.
const UNSHOWN: &str = "nobody could be asked; do without it";

/// The asks that agents wait for, by the numbers of their rows.
#[derive(Default)]
pub(super) struct AskRegistry {
    open: Mutex<HashMap<u64, Waiting>>,
    /// Who refused the tools' calls of the steps that run.
    refused: Mutex<HashMap<(StepId, String), String>>,
}

struct Waiting {
    /// What is asked, and of whom.
    ask: OpenAsk,
    /// The chats that it is shown in.
    audience: Audience,
    /// Those of them that cannot show it.
    unshown: Vec<Member>,
    reply: oneshot::Sender<(Answer, Actor)>,
}

impl Waiting {
    /// Whether one of those who may answer can do so where it is shown, or by the command line having seen it there.
    fn is_shown_to_somebody(&self) -> bool {
        let (shown, approvers) = (self.audience.without(&self.unshown), &self.ask.approvers);
        shown.takes_answers()
            && (approvers.iter().any(by_command) || shown.nobody_answers(approvers).is_none())
    }
}

impl AskRegistry {
    fn refused(&self) -> MutexGuard<'_, HashMap<(StepId, String), String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes an answer to its agent, if that waits for the answer to this time that it asked.
    fn pass_on(&self, (number, times): (u64, u32), answer: Answer, by: Actor) {
        let Some(Waiting { ask, reply, .. }) = self.remove((number, times)) else { return };
        self.note_refusal(ask.step, &ask.asked, &answer, || {
            if by == audit::host() { HOST.to_owned() } else { ask.people.named(&by) }
        });
        // Nobody hears it if the call is over: then the answer stays on record.
        let _ = reply.send((answer, by));
    }

    fn remove(&self, (number, times): (u64, u32)) -> Option<Waiting> {
        let mut open = self.open();
        open.get(&number).is_some_and(|waiting| waiting.ask.times == times).then(|| open.remove(&number))?
    }

    /// Keeps who turned a tool's call down, until its step has ended.
    fn note_refusal(&self, step: StepId, asked: &Asked, answer: &Answer, name: impl FnOnce() -> String) {
        if answer.is_rejection()
            && let Some(call) = asked.call()
        {
            self.refused().insert((step, call), name());
        }
    }
}

impl Engine {
    /// The asks that wait, oldest first.
    pub fn open_asks(&self) -> Vec<OpenAsk> {
        let mut asks: Vec<OpenAsk> = self.0.asks.open().values().map(|waiting| waiting.ask.clone()).collect();
        asks.sort_unstable_by_key(|ask| ask.number);
        asks
    }

    /// Answers an ask, once. After an error it was not answered, and waits on.
    pub async fn answer(&self, number: u64, by: &Actor, answer: Answer) -> Result<Answered, LedgerError> {
        let times = match self.0.asks.open().get(&number) {
            Some(waiting) => waiting.ask.times,
            None => return Ok(Answered::NotOpen),
        };
        let (actor, given) = (by.clone(), answer.clone());
        let written = move |tx: &Tx<'_>| asks::answer(tx, row_id(number), &actor, &given);
        let answered = self.0.ledger.write(written).await?;
        if answered == Answered::PassedOn {
            self.0.asks.pass_on((number, times), answer, by.clone());
        }
        Ok(answered)
    }

    /// Passes on what was answered beside this process. An ask whose row cannot be read waits on, and
    /// holds nothing else up.
    pub(super) async fn hear_answers(&self) -> Result<(), LedgerError> {
        let of =
            |(number, waiting): (&u64, &Waiting)| (*number, waiting.ask.times, waiting.ask.approvers.clone());
        let waiting: Vec<_> = self.0.asks.open().iter().map(of).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let look = move |tx: &Tx<'_>| {
            let mut heard = Vec::new();
            for (number, times, approvers) in waiting {
                match asks::answered(tx, row_id(number), &approvers) {
                    Ok(answered) => heard.extend(answered.map(|(answer, by)| ((number, times), answer, by))),
                    Err(error) => {
                        let error = connector_contract::chain(&error);
                        tracing::warn!(ask = number, error, "whether an ask is answered cannot be read");
                    }
                }
            }
            Ok(heard)
        };
        for (asked, answer, by) in self.0.ledger.read(look).await? {
            self.0.asks.pass_on(asked, answer, by);
        }
        Ok(())
    }

    /// An update with the name of who refused the tool that it tells of, where that is known.
    pub(super) fn naming_refuser(&self, step: StepId, mut update: Progress) -> Progress {
        if let Progress::ToolFinished { call_id, outcome: ToolOutcome::Refused { by }, .. } = &mut update
            && let Some(refuser) = self.0.asks.refused().get(&(step, call_id.clone()))
        {
            by.clone_from(refuser);
        }
        update
    }

    /// Nothing of the step runs any more.
    pub(super) fn forget_refusals(&self, step: StepId) {
        self.0.asks.refused().retain(|(of, _), _| *of != step);
    }

    /// An ask, of this time that it was asked, that a chat cannot show. Where nobody who may answer it sees it in another, nobody
    /// is asked, and silence is no yes.
    pub async fn reject_unshown(
        &self,
        (number, times): (u64, u32),
        (surface, chat): (&str, &str),
        reason: &str,
    ) -> Result<(), LedgerError> {
        let rejection = match self.0.asks.open().get_mut(&number) {
            Some(waiting) if waiting.ask.times == times => {
                waiting.unshown.push(Member::new(surface, chat));
                if waiting.is_shown_to_somebody() {
                    return Ok(());
                }
                waiting.ask.asked.rejection(UNSHOWN)
            }
            _ => return Ok(()),
        };
        let reason = reason.to_owned();
        let close =
            move |tx: &Tx<'_>| asks::close(tx, (row_id(number), times), AskState::Unshown, Some(&reason));
        if self.0.ledger.write(close).await? {
            self.0.asks.pass_on((number, times), rejection, audit::host());
        }
        Ok(())
    }
}

/// Whether somebody answers by the command line, wherever an ask is shown.
fn by_command(actor: &Actor) -> bool {
    actor.surface() == COMMAND_LINE
}

/// The row that people name by this number.
fn row_id(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
