//! Where a step's work comes from, as its connector is told, and how long it may take.
//!
//! Both follow from the stored rule, event and run alone, never from the time
//! or the rules of now: what the card was made with is what the call is made with.

use std::time::Duration;

use connector_contract::{Provenance, SourceNote, chain};
use connector_rules::{Provenance as Wanted, ResolveError, Rule, Scope};

use super::Engine;
use super::advance::parse_stored;
use super::intake::{as_event, timestamp};
use crate::ledger::events::{self, EventRow};
use crate::ledger::runs::{self, RunRow};
use crate::ledger::steps::StepRow;
use crate::ledger::{LedgerError, Tx};

/// What a step's own rule says about its call.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) provenance: Provenance,
    /// The step's own `timeout`.
    pub(super) timeout: Option<Duration>,
}

impl Engine {
    /// The terms of a stored step.
    pub(super) async fn terms_of_call(&self, row: &StepRow) -> Result<Terms, LedgerError> {
        let (id, version) = (row.id.run, row.rule_version.clone());
        let load = move |tx: &Tx<'_>| {
            let gone = |what: &str| LedgerError::Content(format!("the {what} of run {id} is gone"));
            let run = runs::get(tx, id)?.ok_or_else(|| gone("row"))?;
            let event = events::get(tx, run.event_id)?.ok_or_else(|| gone("event"))?;
            Ok((runs::definition(tx, &version)?, event, run))
        };
        let (definition, event, run) = self.0.ledger.read(load).await?;
        let rule = parse_stored(&definition, &row.rule_version).map_err(LedgerError::Content)?;
        let provenance = of(&run, &event, &rule).map_err(|error| LedgerError::Content(chain(&error)))?;
        let step = row.name.as_deref().and_then(|name| rule.step(name));
        Ok(Terms { provenance, timeout: step.and_then(|step| step.timeout) })
    }
}

/// Where the work of a run comes from. Whoever types at this machine's own
/// console could as well call the daemon; everybody else is remote.
pub(super) fn of(run: &RunRow, event: &EventRow, rule: &Rule) -> Result<Provenance, ResolveError> {
    Ok(match run.surface.as_str() {
        "console" | "cli" => Provenance::Local,
        surface => Provenance::Chat {
            surface: surface.to_owned(),
            rule: run.rule.clone(),
            note: note(run, event, rule)?,
        },
    })
}

fn note(run: &RunRow, event: &EventRow, rule: &Rule) -> Result<SourceNote, ResolveError> {
    if rule.definition().rule.provenance == Wanted::Usual && rule.schedule().is_none() {
        return Ok(SourceNote::Usual);
    }
    let (event, run_id) = (as_event(event), run.id.to_string());
    let now = timestamp(run.created_at);
    let scope = Scope { event: &event, rule: rule.name(), run_id: &run_id, now, steps: &[] };
    Ok(rule.provenance(&scope)?.map_or(SourceNote::None, SourceNote::Text))
}
