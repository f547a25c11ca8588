//! Deciding, by a client that configuration names as an approver.

use connector_contract::ActionResult;
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::ids::StepId;
use connector_ledger::steps::decide::decide;
use serde::Deserialize;
use serde_json::json;

use super::tools::{HostTools, shown};
use crate::cli::approvals;
use crate::exit::Failure;

/// Which card is decided. Without the digest of what the client has read, nothing is.
#[derive(Deserialize)]
pub(super) struct Choice {
    step: StepId,
    digest: String,
}

impl HostTools {
    pub(super) async fn approve(&self, choice: Choice) -> Result<ActionResult, Failure> {
        self.tap(choice, Decision::Approve).await
    }

    pub(super) async fn deny(&self, choice: Choice) -> Result<ActionResult, Failure> {
        self.tap(choice, Decision::Deny).await
    }

    /// The same way as everybody's: whether this account may is the gate's to say, of the card as it is now.
    async fn tap(&self, choice: Choice, decision: Decision) -> Result<ActionResult, Failure> {
        let step = choice.step;
        let digest = approvals::digest(&choice.digest).map_err(Failure::usage)?;
        let tap = Tap { step, digest, approver: self.client.clone(), chat: None, decision };
        let answer = self.ledger.write(move |tx| decide(tx, &tap)).await?;
        let done = matches!(answer, Tapped::Approved | Tapped::Counted { .. } | Tapped::Denied);
        let result = shown(approvals::words(step, &answer), json!(answer));
        Ok(ActionResult { success: done, ..result })
    }
}
