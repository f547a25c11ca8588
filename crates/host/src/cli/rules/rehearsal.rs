//! A host on a ledger that is thrown away: what it puts on its cards is what
//! the real one would.
//!
//! It is the same engine, gate and digest as in `run`, so nothing here can say
//! something else than they do. Its connectors cannot be called, and its
//! surface keeps what it is given instead of showing it to anybody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::Progress;
use connector_engine::Engine;
use connector_gate::clock::{Clock, Millis};
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_ledger::events::{self, EventRow, NewEvent};
use connector_ledger::runs::{self, RunRow, Still};
use connector_ledger::steps::{self, StepRow};
use connector_ledger::{LedgerError, Tx, outbox};
use connector_rules::RuleSet;
use connector_surface::{DeliveryError, OpenAsk, Surface, View};
use tokio::time::Instant;

use super::known::Known;
use crate::assemble::{self, Parts};
use crate::exit::Failure;

/// How long a rehearsal may take: it does nothing that waits.
const LIMIT: Duration = Duration::from_secs(30);

/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// What the event came to.
pub(super) struct Rehearsed {
    /// The event as it was stored.
    pub(super) event: EventRow,
    /// Its runs, each with its steps so far.
    pub(super) runs: Vec<(RunRow, Vec<StepRow>)>,
    /// The steps whose card was delivered.
    pub(super) cards: Vec<StepId>,
}

/// Lets `event` happen at `now` to a host with these rules, until everything waits or has ended.
pub(super) async fn rehearse(
    known: Known,
    rules: RuleSet,
    event: NewEvent,
    now: Millis,
) -> Result<Rehearsed, Failure> {
    let directory = tempfile::tempdir()?;
    let (clock, _hand) = Clock::manual(now);
    let stage = Arc::new(Stage { name: event.surface.clone(), cards: Mutex::default() });
    let parts = Parts {
        rules,
        instances: known.plan.instances,
        surfaces: vec![stage.clone()],
        gate: known.gate,
        ..Parts::default()
    };
    let engine = assemble::engine(directory.path(), clock, parts)?;
    engine.submit(event).await?;
    let running = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run().await }
    });
    let settled = settle(&engine).await;
    let seen = engine.ledger().read(collect).await;
    engine.stop(Duration::ZERO).await;
    running.await??;
    settled?;
    let (event, runs) = seen?;
    let cards = std::mem::take(&mut *stage.cards.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Rehearsed { event, runs, cards })
}

/// Waits until nothing goes on by itself.
async fn settle(engine: &Engine) -> Result<(), Failure> {
    let limit = Instant::now() + LIMIT;
    loop {
        if !engine.ledger().read(goes_on).await? {
            return Ok(());
        }
        if Instant::now() > limit {
            return Err(Failure::failed("the dry run did not come to rest"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn goes_on(tx: &Tx<'_>) -> Result<bool, LedgerError> {
    Ok(events::any_unhandled(tx)?
        || outbox::any_undelivered(tx, None)?
        || runs::any_active(tx, None, Still::Restless)?)
}

type Seen = (EventRow, Vec<(RunRow, Vec<StepRow>)>);

fn collect(tx: &Tx<'_>) -> Result<Seen, LedgerError> {
    let event = events::get(tx, 1)?.ok_or_else(|| LedgerError::Content("the event is gone".to_owned()))?;
    let with_steps = |run: RunRow| {
        let steps = steps::of_run(tx, run.id)?;
        Ok((run, steps))
    };
    let runs =
        runs::of_event(tx, event.id)?.into_iter().map(with_steps).collect::<Result<_, LedgerError>>()?;
    Ok((event, runs))
}

/// Stands in for the surface of the event.
struct Stage {
    name: String,
    cards: Mutex<Vec<StepId>>,
}

#[async_trait]
impl Surface for Stage {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, _chat: &str, _parcel: i64, notice: View) -> Result<String, DeliveryError> {
        if let View::Card(row) = notice {
            self.cards.lock().unwrap_or_else(PoisonError::into_inner).push(row.id);
        }
        Ok(String::new())
    }

    fn takes_answers(&self) -> bool {
        true
    }

    fn progress(&self, _chat: &str, _step: StepId, _progress: &Progress) {}

    fn ask(&self, _chat: &str, _ask: &OpenAsk) {}

    fn ask_closed(&self, _chat: &str, _ask: &OpenAsk, _by: Option<&Actor>) {}
}
