//! Messages of the client's, what they fire, and taking them back.

use std::time::{Duration, Instant};

use connector_contract::{ActionResult, Context};
use connector_engine::{self as engine, CancelOutcome, cancel_run};
use connector_gate::state::StepState;
use connector_ledger::events;
use connector_ledger::runs as rows;
use connector_surface::log::COMMAND_LINE;
use serde::Deserialize;
use serde_json::json;

use super::read::RunChoice;
use super::tools::{HostTools, shown};
use crate::cli::events::Outcome;
use crate::cli::{approvals, runs, send};
use crate::exit::Failure;

/// How long a message is waited for until rules have looked at it.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// The input of `submit_message`.
#[derive(Deserialize)]
pub(super) struct Submit {
    text: String,
    id: Option<String>,
}

impl HostTools {
    pub(super) async fn submit(&self, ask: Submit, ctx: &Context) -> Result<ActionResult, Failure> {
        let id = match ask.id {
            Some(id) => id,
            None => engine::unique()?,
        };
        let event = send::message_of_program(&self.connector, &self.client, &id, &ask.text);
        let id = event.platform_id.clone();
        let stored = self.ledger.write(move |tx| events::store(tx, &event)).await?;
        let event = match stored {
            Some(event) => event,
            None => self
                .ledger
                .read(move |tx| events::find(tx, COMMAND_LINE, &id))
                .await?
                .ok_or_else(|| Failure::failed("that message is no longer in the ledger"))?,
        };
        let until = Instant::now() + TAKEN_WITHIN;
        loop {
            let version = self.ledger.data_version().await?;
            let outcome = self.outcome(event).await?;
            if is_known(&outcome) || !self.changes(version, until, ctx).await? {
                return Ok(came(&outcome));
            }
        }
    }

    pub(super) async fn message(&self, choice: EventChoice) -> Result<ActionResult, Failure> {
        Ok(came(&self.outcome(choice.event).await?))
    }

    async fn outcome(&self, event: i64) -> Result<Outcome, Failure> {
        let found = self.ledger.read(move |tx| Outcome::of(tx, event)).await?;
        found.ok_or_else(|| Failure::usage(format!("there is no message {event}")))
    }

    pub(super) async fn cancel(&self, choice: RunChoice) -> Result<ActionResult, Failure> {
        let (id, by) = (choice.run, self.client.clone());
        let outcome = self
            .ledger
            .write(move |tx| {
                let own = rows::get(tx, id)?.is_some_and(|run| run.requester == by);
                Ok(if own { Some(cancel_run(tx, id, &by)?) } else { None })
            })
            .await?;
        let Some(outcome) = outcome else {
            return Err(Failure::usage(format!("there is no run {id} of a message of this client's")));
        };
        let words = match outcome {
            CancelOutcome::Withdrawn => format!("run {id} is withdrawn"),
            CancelOutcome::Stopping => format!("run {id} is told to stop; follow_run tells how it ends"),
            CancelOutcome::NothingToDo => format!("run {id} has ended or was told to stop before"),
        };
        Ok(shown(words, json!({ "run": id, "outcome": runs::word(outcome) })))
    }
}

/// The input of `show_message`.
#[derive(Deserialize)]
pub(super) struct EventChoice {
    event: i64,
}

/// Whether there is more to say of it than that it was taken: a card, an end.
fn is_known(outcome: &Outcome) -> bool {
    let stands = |state: StepState| state != StepState::Resolved;
    outcome.handled
        && outcome.runs().all(|(run, steps)| {
            run.state != rows::RunState::Active
                || (!steps.is_empty() && steps.iter().any(|step| stands(step.state)))
        })
}

fn came(outcome: &Outcome) -> ActionResult {
    let mut words = outcome.describe();
    if !outcome.handled {
        words.push_str("\nno host has taken it yet; one that runs with this state directory will");
    }
    let waiting = outcome.runs().flat_map(|(_, steps)| steps).filter(|step| step.state == StepState::Waiting);
    for step in waiting {
        words.push_str(&format!("\nwaits for approval:\n{}", approvals::waiting(step)));
    }
    let mut output = json!(outcome);
    output["ended"] = json!(outcome.has_ended());
    shown(words, output)
}
