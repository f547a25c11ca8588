//! The surface of the command line: messages come from there, and what there is to
//! see is in the ledger, where `approvals` and `runs` show it.

use async_trait::async_trait;
use connector_contract::Progress;
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;

use crate::text::one_line;
use crate::{DeliveryError, OpenAsk, Surface, View};

/// The name of this surface, and of accounts of the command line.
pub const COMMAND_LINE: &str = "cli";

/// A surface that writes to the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogSurface;

#[async_trait]
impl Surface for LogSurface {
    fn name(&self) -> &str {
        COMMAND_LINE
    }

    /// The ledger does, and that is where they are looked at.
    fn keeps_cards(&self) -> bool {
        true
    }

    async fn deliver(&self, chat: &str, _delivery: i64, view: View) -> Result<String, DeliveryError> {
        match view {
            View::Card(card) => {
                let digest = card.digest.short();
                tracing::info!(step = %card.id, chat, digest, rule = card.rule, "waits for approval");
            }
            View::Result(result) => {
                tracing::info!(step = %result.id, chat, state = %result.state, reason = result.reason, "ended");
            }
            View::Text(text) => {
                tracing::info!(chat, text = one_line(&text), "reply");
            }
        }
        Ok(String::new())
    }

    fn progress(&self, _chat: &str, step: StepId, progress: &Progress) {
        tracing::debug!(%step, ?progress, "progress");
    }

    fn ask(&self, _chat: &str, ask: &OpenAsk) {
        let number = ask.number;
        tracing::warn!(step = %ask.step, ask = number, "the agent asks; see `approvals asks`, and answer with `approvals answer {number}`");
    }

    fn ask_closed(&self, _chat: &str, ask: &OpenAsk, by: Option<&Actor>) {
        tracing::info!(step = %ask.step, ask = ask.number, by = by.map(Actor::as_str), "the agent's ask is closed");
    }
}
