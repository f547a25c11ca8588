//! What a step that has not ended does now, as far as the ledger tells.

use connector_gate::ask::Asked;
use connector_gate::clock::{Millis, rfc3339};
use connector_gate::ids::{RunId, StepId};
use connector_gate::state::StepState;
use connector_surface::text::{one_line, shortened};
use schemars::JsonSchema;
use serde::Serialize;

use connector_ledger::steps::{self, StepRow};
use connector_ledger::{LedgerError, Tx, audit, runs};

/// How many steps are looked at.
const MOST: u32 = 100;

/// How much of an ask is shown, in characters.
const ASK: usize = 300;

/// What a step does now.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(in crate::cli) struct Standing {
    /// The step.
    pub(in crate::cli) step: StepId,
    #[serde(flatten)]
    does: Does,
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "does", rename_all = "snake_case")]
enum Does {
    /// It waits for a decision.
    WaitsForApproval,
    /// It waits for its turn.
    Queued { behind: Vec<StepId> },
    /// It does nothing else than to wait.
    Waits { until: Millis },
    /// Its agent works.
    Runs,
    /// Its agent waits for an answer.
    WaitsForAnswer { asks: Vec<String> },
}

impl Standing {
    fn of(tx: &Tx<'_>, step: &StepRow) -> Result<Option<Self>, LedgerError> {
        if let (StepState::Dispatched, Some(until)) = (step.state, step.wake_at) {
            return Ok(Some(Self { step: step.id, does: Does::Waits { until } }));
        }
        let does = match step.state {
            StepState::Resolved | StepState::Waiting => Does::WaitsForApproval,
            StepState::Approved => Does::Queued { behind: steps::before(tx, step.id)? },
            StepState::Dispatched => {
                let asks = audit::unanswered(tx, step.id)?;
                let asks: Vec<String> =
                    asks.iter().filter_map(Asked::from_record).map(|ask| ask.in_a_line()).collect();
                if asks.is_empty() { Does::Runs } else { Does::WaitsForAnswer { asks } }
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { step: step.id, does }))
    }

    /// In words, for people.
    pub(in crate::cli) fn words(&self) -> String {
        let id = self.step;
        match &self.does {
            Does::WaitsForApproval => format!("⏸ {id} waits for approval"),
            Does::Queued { behind } if behind.is_empty() => format!("… {id} is queued; it is the next"),
            Does::Queued { behind } => {
                let behind: Vec<String> = behind.iter().map(ToString::to_string).collect();
                format!("… {id} is queued, behind {}", behind.join(", "))
            }
            Does::Waits { until } => format!("⏳ {id} waits until {}", rfc3339(*until)),
            Does::Runs => format!("▶ {id} is running"),
            Does::WaitsForAnswer { asks } => {
                let asks = asks.iter().map(|ask| format!("\n  {}", shortened(&one_line(ask), ASK)));
                format!("❓ {id} is waiting for an answer{}", asks.collect::<String>())
            }
        }
    }
}

/// What these steps do that have not ended.
pub(in crate::cli) fn of_steps(tx: &Tx<'_>, steps: &[StepRow]) -> Result<Vec<Standing>, LedgerError> {
    let all = steps.iter().map(|step| Standing::of(tx, step)).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().flatten().collect())
}

/// What the steps of a run do that have not ended, or those of all runs.
pub(in crate::cli) fn of_run(tx: &Tx<'_>, run: Option<RunId>) -> Result<Vec<Standing>, LedgerError> {
    let Some(run) = run else {
        let mut all = Vec::new();
        for state in [StepState::Waiting, StepState::Approved, StepState::Dispatched] {
            all.extend(of_steps(tx, &steps::in_state(tx, state, MOST)?)?);
        }
        return Ok(all);
    };
    let active = runs::get(tx, run)?.is_some_and(|run| run.state == runs::RunState::Active);
    if active { of_steps(tx, &steps::of_run(tx, run)?) } else { Ok(Vec::new()) }
}
