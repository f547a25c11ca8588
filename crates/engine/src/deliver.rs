//! Delivery: what the outbox holds reaches its chat, in order.
//!
//! Each chat has its own line: a slow or broken one holds up no other, and never a pass.

use std::sync::Arc;
use std::time::Duration;

use connector_failpoint::failpoint;
use connector_gate::clock::Millis;
use connector_gate::ids::StepId;
use connector_gate::state::StepState;
use connector_ledger::audience::Member;
use connector_ledger::outbox::{self, OutboxRow, Parcel};
use connector_ledger::steps::{self, StepRow, decide};
use connector_ledger::{LedgerError, audience};
use connector_surface::view::{CardDecision, CardView, Field};
use connector_surface::{DeliveryError, View};

use super::{Engine, passing};

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
                    Parcel::Changed(_) => failpoint("changed.shown"),
                    Parcel::Result(_) => failpoint("result.shown"),
                    Parcel::Text { .. } => failpoint("reply.shown"),
                }
                let recorded = match row.parcel {
                    Parcel::Card(_) => "card.recorded",
                    Parcel::Changed(_) => "changed.recorded",
                    Parcel::Result(_) | Parcel::Text { .. } => "result.recorded",
                };
                self.0.ledger.write(move |tx| outbox::delivered(tx, &row, &surface_ref)).await?;
                failpoint(recorded);
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
                let (now, is_shown) = (self.0.clock.now(), self.is_shown(row, *step).await?);
                // A card that was decided before it was shown has nothing left to ask.
                let card = |step: &StepRow| {
                    let card = (step.state == StepState::Waiting).then(|| self.0.views.card(step, now))?;
                    Some(View::Card(Box::new(as_told(
                        CardView { is_delivered: is_shown, ..card },
                        step,
                        row,
                    ))))
                };
                self.view(*step, card).await?
            }
            Parcel::Changed(step) => {
                failpoint("changed.taken_up");
                return self.show_change(row, *step).await;
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

    /// Whether the chat of `row` has the card of a step, as it is asked about now.
    async fn is_shown(&self, row: &OutboxRow, step: StepId) -> Result<bool, LedgerError> {
        let (surface, chat) = (row.surface.clone(), row.chat.clone());
        self.0.ledger.read(move |tx| outbox::is_shown(tx, step, &surface, &chat)).await
    }

    /// Shows what became of a card, unless its step has ended, which its result says.
    async fn show_change(
        &self,
        row: &OutboxRow,
        step: StepId,
    ) -> Result<Result<String, DeliveryError>, LedgerError> {
        let Some(surface) = self.surface(&row.surface) else {
            return Ok(Err(DeliveryError::Later(format!("no surface `{}` is configured", row.surface))));
        };
        let is_shown = self.is_shown(row, step).await?;
        let (now, views) = (self.0.clock.now(), Arc::clone(&self.0.views));
        let standing = self.0.ledger.read(move |tx| {
            let Some(step) = steps::get(tx, step)?.filter(|step| step.state.is_live()) else {
                return Ok(None);
            };
            let standing = views.standing(&step, &decide::approvals(tx, &step)?, now);
            Ok(Some((standing, step)))
        });
        let (mut standing, step) = match standing.await {
            Ok(Some(known)) => known,
            // What cannot be read has nothing to say here; its end is told.
            Ok(None) | Err(LedgerError::Content(_)) => return Ok(Ok(String::new())),
            Err(error) => return Err(error),
        };
        // It was of an earlier asking, which nobody counts any more.
        if matches!(standing.decision, CardDecision::Awaited { .. }) && !is_shown {
            return Ok(Ok(String::new()));
        }
        standing.card = as_told(standing.card, &step, row);
        Ok(surface.changed(&row.chat, &standing).await.map(|()| String::new()))
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
        let refused =
            self.admits((&row.surface, &to)).err().map(|why| format!("it is `{to}` now, and {why}"));
        self.0
            .ledger
            .write(move |tx| {
                let reason = format!("its chat is `{to}` now; ask again there");
                for step in steps::waiting_in(tx, &row.surface, &row.chat)? {
                    steps::deny_undeliverable(tx, step, &reason)?;
                }
                let (from, now) = (Member::new(&row.surface, &row.chat), Member::new(&row.surface, &to));
                audience::move_followers(tx, &from, &now, refused.as_deref())?;
                outbox::move_chat(tx, &row.surface, &row.chat, &to)
            })
            .await?;
        self.look_at_audiences().await
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

/// A card as another chat is shown it than the one that asked: it says which that was.
fn as_told(mut card: CardView, step: &StepRow, row: &OutboxRow) -> CardView {
    if (&step.surface, &step.chat) == (&row.surface, &row.chat) {
        return card;
    }
    for field in &mut card.fields {
        if let Field::AskedBy { by, chat } = field {
            let value = format!("{by} in {}:{chat}", connector_surface::text::one_line(&step.surface));
            *field = Field::Named { name: "asked by".to_owned(), value };
        }
    }
    card
}
