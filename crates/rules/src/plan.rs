//! What a run does next: a decision, made from what its steps came to.
//!
//! The host keeps the outcomes, asks, does what the answer says, records the outcome and asks
//! again. A run that was interrupted goes on from its recorded outcomes and from nothing else; the
//! tests beside a rule walk the same path.

use serde::Serialize;

use crate::condition::Failure;
use crate::rule::{Action, OnError, Rule, Step};
use crate::scope::{Scope, StepOutcome, StepState};

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next<'a> {
    /// Resolve and run this step, then record how it ended.
    Run(&'a Step),
    /// Record this step as skipped.
    Skip {
        /// The step.
        step: &'a Step,
        /// The condition of its `when` that does not hold.
        because: Failure,
    },
    /// Nothing: the run is over.
    Finished(RunEnd),
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum RunEnd {
    /// No step failed whose failure matters.
    Succeeded,
    /// A step failed, and its `on_error` (if it is steps) has run.
    Failed {
        /// The label of the step.
        step: String,
    },
}

impl Rule {
    /// What a run of this rule does next, given the outcomes in `scope`.
    pub fn next<'a>(&'a self, scope: &Scope<'_>) -> Next<'a> {
        for step in self.steps() {
            let Some(outcome) = outcome_of(step, scope.steps) else {
                return begin(step, scope);
            };
            if is_repeated(step, outcome) {
                return Next::Finished(RunEnd::Succeeded);
            }
            if outcome.state != StepState::Failed || step.on_error == OnError::Continue {
                continue;
            }
            let handlers = step.on_error.steps();
            return match handlers.iter().find(|handler| !is_past(handler, scope.steps)) {
                Some(handler) if !is_over(handlers, scope.steps) => begin(handler, scope),
                _ => Next::Finished(RunEnd::Failed { step: step.label().to_owned() }),
            };
        }
        Next::Finished(RunEnd::Succeeded)
    }
}

/// Whether the step found that its key was seen before, which its output says.
fn is_repeated(step: &Step, outcome: &StepOutcome) -> bool {
    matches!(step.action, Action::Dedupe { .. })
        && outcome.state == StepState::Succeeded
        && outcome.output.get("new") == Some(&serde_json::Value::Bool(false))
}

fn begin<'a>(step: &'a Step, scope: &Scope<'_>) -> Next<'a> {
    match step.why_skipped(scope) {
        Some(because) => Next::Skip { step, because },
        None => Next::Run(step),
    }
}

fn outcome_of<'a>(step: &Step, outcomes: &'a [StepOutcome]) -> Option<&'a StepOutcome> {
    outcomes.iter().find(|outcome| outcome.step == step.label())
}

fn is_past(step: &Step, outcomes: &[StepOutcome]) -> bool {
    outcome_of(step, outcomes).is_some()
}

/// A step of an `on_error` that fails ends it, and so does one whose key was seen before.
fn is_over(handlers: &[Step], outcomes: &[StepOutcome]) -> bool {
    handlers.iter().any(|handler| {
        outcome_of(handler, outcomes)
            .is_some_and(|outcome| outcome.state == StepState::Failed || is_repeated(handler, outcome))
    })
}
