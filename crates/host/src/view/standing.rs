//! The view of a card after a vote or a decision: what became of it.

use connector_gate::clock::Millis;
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_surface::text::one_line;
use connector_surface::view::{CardDecision, Standing};

use connector_ledger::steps::StepRow;

/// Where the card of a step stands that these accounts approved, each another person's.
pub fn standing(row: &StepRow, approved_by: &[Actor], now: Millis) -> Standing {
    let named = |by: &Actor| one_line(&row.people.named(by));
    let decision = if row.state == StepState::Waiting {
        let approved_by = approved_by.iter().map(named).collect();
        CardDecision::Awaited { approved_by, needed: row.approvals_needed }
    } else {
        CardDecision::Approved { by: row.decided_by.as_ref().map(named) }
    };
    Standing { card: super::card(row, now), decision }
}
