//! Delivery: what the outbox holds reaches its chat, in order.
//!
//! Each chat has its own line: a slow or broken one holds up no other, and never a pass.

use std::time::Duration;

use connector_gate::clock::Millis;
use connector_gate::ids::StepId;
use connector_gate::state::StepState;
use connector_surface::{DeliveryError, View};

use super::{Engine, passing};
use crate::failpoint::failpoint;
use crate::ledger::LedgerError;
use crate::ledger::outbox::{self, OutboxRow, Parcel};
use crate::ledger::steps::{self, StepRow};

/// How many chats are delivered to at a time.
const CHATS: u32 = 256;

/// The longest wait between two tries of one parcel.
const MAX_WAIT: Millis = 60_000;

/// The wait for a surface that is not configured.
const NO_SURFACE: Millis = 60 * 60_000;

/// After this long, a card that could not be delivered is denied.
const UNDELIVERABLE: Millis = 15 * 60_000;

impl Engine {
    /// Begins to deliver wherever something is due.
    pub(super) async fn deliver_due(&self) -> Result<(), LedgerError> {
        for row in self.0.ledger.read(|tx| outbox::due(tx, CHATS)).await? {
            self.deliver_to(row.surface, row.chat);
        }
        Ok(())
    }

    /// Delivers everything due in one chat, unless that is going on already.
    fn deliver_to(&self, surface: String, chat: String) {
        let place = (surface, chat);
        if !self.delivering().insert(place.clone()) {
            return;
        }
        let engine = self.clone();
        tokio::spawn(async move {
            loop {
                match engine.deliver_next(&place.0, &place.1).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        let error = connector_contract::chain(&error);
                        tracing::error!(
                            surface = place.0,
                            chat = place.1,
                            error,
                            "delivery waits for the ledger"
                        );
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        break;
                    }
                }
            }
            // In this order: whatever is put in from now on is seen by the pass that this starts.
            engine.delivering().remove(&place);
            engine.0.wake.notify_one();
        });
    }

    /// Returns whether there may be more to deliver now.
    async fn deliver_next(&self, surface: &str, chat: &str) -> Result<bool, LedgerError> {
        let (of, at) = (surface.to_owned(), chat.to_owned());
        let Some(row) = self.0.ledger.read(move |tx| outbox::due_in(tx, &of, &at)).await? else {
            return Ok(false);
        };
        match self.hand_over(&row).await? {
            Ok(surface_ref) => {
                match row.parcel {
                    Parcel::Card(_) => failpoint("card.shown"),
                    Parcel::Result(_) => failpoint("result.shown"),
                    Parcel::Text { .. } => failpoint("reply.shown"),
                }
                let is_card = matches!(row.parcel, Parcel::Card(_));
                self.0.ledger.write(move |tx| outbox::delivered(tx, &row, &surface_ref)).await?;
                if is_card {
                    failpoint("card.recorded");
                } else {
                    failpoint("result.recorded");
                }
                Ok(true)
            }
            Err(DeliveryError::Moved { to }) if to != chat => {
                tracing::warn!(
                    surface,
                    chat,
                    to,
                    "a chat is another now; what it is still to be told goes there"
                );
                self.move_chat(row, to).await?;
                Ok(true)
            }
            Err(error) => {
                tracing::warn!(outbox = row.id, surface, %error, "delivery postponed");
                self.postpone(row, error.to_string()).await?;
                Ok(false)
            }
        }
    }

    async fn hand_over(&self, row: &OutboxRow) -> Result<Result<String, DeliveryError>, LedgerError> {
        let view = match &row.parcel {
            Parcel::Text { body, .. } => {
                failpoint("reply.taken_up");
                Some(View::Text(body.clone()))
            }
            Parcel::Card(step) => {
                failpoint("card.taken_up");
                let (now, views) = (self.0.clock.now(), &self.0.views);
                // A card that was decided before it was shown has nothing left to ask.
                let card = |row: &StepRow| {
                    (row.state == StepState::Waiting).then(|| View::Card(Box::new(views.card(row, now))))
                };
                self.view(*step, card).await?
            }
            Parcel::Result(step) => {
                failpoint("result.taken_up");
                self.view(*step, |row| Some(View::Result(Box::new(self.0.views.result(row))))).await?
            }
        };
        let Some(view) = view else { return Ok(Ok(String::new())) };
        let Some(surface) = self.surface(&row.surface) else {
            return Ok(Err(DeliveryError::Later(format!("no surface `{}` is configured", row.surface))));
        };
        Ok(surface.deliver(&row.chat, row.id, view).await)
    }

    /// A row that cannot be read is still told of.
    async fn view(
        &self,
        step: StepId,
        view: impl FnOnce(&StepRow) -> Option<View>,
    ) -> Result<Option<View>, LedgerError> {
        match self.0.ledger.read(move |tx| steps::get(tx, step)).await {
            Ok(row) => Ok(row.as_ref().and_then(view)),
            Err(LedgerError::Content(reason)) => {
                Ok(Some(View::Text(format!("{step} has ended, and its row cannot be read: {reason}"))))
            }
            Err(error) => Err(error),
        }
    }

    async fn postpone(&self, row: OutboxRow, reason: String) -> Result<(), LedgerError> {
        let known = self.surface(&row.surface).is_some();
        self.0
            .ledger
            .write(move |tx| {
                let mut wait = (1_000 << row.attempts.min(6)).min(MAX_WAIT);
                // Also those that wait behind it: nobody sees them either.
                let (cards, late) = outbox::cards_of(tx, &row, tx.now - UNDELIVERABLE)?;
                for step in late {
                    steps::deny_undeliverable(tx, step, &reason)?;
                }
                if !known && !cards {
                    wait = NO_SURFACE;
                }
                outbox::postponed(tx, &row, tx.now + wait)
            })
            .await
    }

    async fn move_chat(&self, row: OutboxRow, to: String) -> Result<(), LedgerError> {
        self.0
            .ledger
            .write(move |tx| {
                let reason = format!("its chat is `{to}` now; ask again there");
                for step in steps::waiting_in(tx, &row.surface, &row.chat)? {
                    steps::deny_undeliverable(tx, step, &reason)?;
                }
                outbox::move_chat(tx, &row.surface, &row.chat, &to)
            })
            .await
    }

    /// Delivers what is due now and waits for it, at most `grace`.
    pub(super) async fn deliver_the_last(&self, grace: Duration) {
        let all = async {
            loop {
                if let Err(error) = self.deliver_due().await
                    && !passing(&error)
                {
                    let error = connector_contract::chain(&error);
                    tracing::error!(error, "the last results wait for the next start");
                    return;
                }
                if self.delivering().is_empty() {
                    return;
                }
                self.until_delivered().await;
            }
        };
        let _ = tokio::time::timeout(grace, all).await;
    }

    /// Waits until no delivery is under way.
    pub(super) async fn until_delivered(&self) {
        while !self.delivering().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
