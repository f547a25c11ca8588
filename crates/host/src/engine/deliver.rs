//! Delivery: what the outbox holds reaches its chat, in order.

use crate::clock::Millis;
use crate::ledger::outbox::{self, OutboxRow, Parcel};
use crate::ledger::{LedgerError, steps};
use crate::surface::Notice;

use super::{BATCH, Engine};

/// The longest wait between two tries of one parcel.
const MAX_WAIT: Millis = 60_000;

/// After this long, a card that could not be delivered is denied.
const UNDELIVERABLE: Millis = 15 * 60_000;

impl Engine {
    pub(super) async fn deliver_due(&self) -> Result<(), LedgerError> {
        loop {
            let due = self.0.ledger.read(|tx| outbox::due(tx, BATCH)).await?;
            let due: Vec<OutboxRow> =
                due.into_iter().filter(|row| self.0.surfaces.contains_key(&row.surface)).collect();
            let mut progressed = false;
            for row in due {
                progressed |= self.deliver(row).await?;
            }
            if !progressed {
                return Ok(());
            }
        }
    }

    /// Returns whether the surface took it.
    async fn deliver(&self, row: OutboxRow) -> Result<bool, LedgerError> {
        let Some(surface) = self.surface(&row.surface) else { return Ok(false) };
        let notice = match &row.parcel {
            Parcel::Text { body, .. } => Some(Notice::Text(body.clone())),
            Parcel::Card(step) => self.step_row(*step).await?.map(|step| Notice::Card(Box::new(step))),
            Parcel::Result(step) => self.step_row(*step).await?.map(|step| Notice::Result(Box::new(step))),
        };
        let outcome = match notice {
            // A card that was decided before it was shown has nothing left to ask.
            Some(Notice::Card(step)) if step.state != crate::gate::state::StepState::Waiting => {
                Ok(String::new())
            }
            Some(notice) => surface.deliver(&row.chat, notice).await,
            None => Ok(String::new()),
        };
        match outcome {
            Ok(surface_ref) => {
                self.0.ledger.write(move |tx| outbox::delivered(tx, &row, &surface_ref)).await?;
                Ok(true)
            }
            Err(error) => {
                tracing::warn!(outbox = row.id, surface = row.surface, %error, "delivery postponed");
                self.postpone(row, error.to_string()).await?;
                Ok(false)
            }
        }
    }

    async fn postpone(&self, row: OutboxRow, reason: String) -> Result<(), LedgerError> {
        self.0
            .ledger
            .write(move |tx| {
                if let Parcel::Card(step) = row.parcel
                    && tx.now - row.created_at > UNDELIVERABLE
                {
                    steps::deny_undeliverable(tx, step, &reason)?;
                }
                let wait = (1_000 << row.attempts.min(6)).min(MAX_WAIT);
                outbox::postponed(tx, &row, tx.now + wait)
            })
            .await
    }

    pub(super) async fn step_row(
        &self,
        step: crate::ids::StepId,
    ) -> Result<Option<steps::StepRow>, LedgerError> {
        self.0.ledger.read(move |tx| steps::get(tx, step)).await
    }
}
