//! Events from outside that nobody caused in a chat: a request, or files that changed.
//!
//! What comes of them is reported where the runs of schedules are.

use std::sync::PoisonError;

use connector_rules::Event;

use super::{Engine, ScheduleChat};
use crate::clock::Millis;
use crate::gate::policy::Actor;
use crate::ledger::events::{self, NewEvent};
use crate::ledger::{LedgerError, Tx};

/// When an event is one that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// When its id is.
    ById,
    /// When one whose id begins so was stored within this time, in milliseconds.
    Within(Millis),
}

/// A stored event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its row.
    pub event: i64,
    /// Whether it was there before.
    pub again: bool,
}

impl Engine {
    /// Stores an event by `requester`, once: a repeat is the event that is there already.
    pub async fn submit_from_outside(
        &self,
        event: Event,
        requester: Actor,
        repeat: Repeat,
    ) -> Result<Stored, LedgerError> {
        let chat = self.reports_to();
        // Also if it was reported elsewhere when it came first.
        let mut surfaces: Vec<String> = self.0.surfaces.keys().cloned().collect();
        surfaces.sort();
        let store = move |tx: &Tx<'_>| {
            for surface in &surfaces {
                if let Some(event) = known(tx, surface, &event.id, repeat)? {
                    return Ok(Stored { event, again: true });
                }
            }
            let platform_id = match repeat {
                Repeat::ById => event.id.clone(),
                Repeat::Within(_) => format!("{}:{}", event.id, tx.now),
            };
            let new = new_event(event, platform_id, chat, requester);
            let stored = events::store(tx, &new)?;
            stored.map(|event| Stored { event, again: false }).ok_or_else(|| {
                LedgerError::Content(format!("the event {} is there and cannot be found", new.platform_id))
            })
        };
        let stored = self.ledger().write(store).await?;
        self.look_again();
        Ok(stored)
    }

    /// The ledger's time, which never runs backwards.
    pub(crate) async fn now_by_ledger(&self) -> Result<Millis, LedgerError> {
        self.ledger().read(|tx| Ok(tx.now)).await
    }

    pub(super) fn reports_to(&self) -> ScheduleChat {
        self.0.timetable.chat.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn known(tx: &Tx<'_>, surface: &str, id: &str, repeat: Repeat) -> Result<Option<i64>, LedgerError> {
    match repeat {
        Repeat::ById => events::find(tx, surface, id),
        Repeat::Within(window) => events::find_since(tx, surface, id, tx.now.saturating_sub(window)),
    }
}

fn new_event(event: Event, platform_id: String, chat: ScheduleChat, requester: Actor) -> NewEvent {
    NewEvent {
        surface: chat.surface,
        platform_id,
        connector: event.connector,
        event: event.event,
        chat: chat.chat,
        requester,
        payload: event.payload,
        reply: None,
    }
}
