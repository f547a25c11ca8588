//! Events from outside that nobody caused in a chat: a request, or files that changed.
//!
//! What comes of them is reported where the runs of schedules are.

use std::sync::PoisonError;

use connector_gate::clock::Millis;
use connector_gate::policy::Actor;
use connector_ledger::events::{self, NewEvent};
use connector_ledger::{LedgerError, Tx};
use connector_rules::{Event, WEBHOOK};
use serde_json::Value;

use super::{Engine, ScheduleChat};

/// When an event is one that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// When its id is.
    ById,
    /// When one whose id begins so was stored within this time, in milliseconds.
    Within(Millis),
}

/// An event that is stored under the id of one that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its row.
    pub event: i64,
    /// Whether it is the one that came in.
    pub arrival: Arrival,
}

/// What an event that comes in is to what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It was not there, and is now.
    First,
    /// It was there before.
    Again,
    /// One that says something else has its id: it is not stored.
    Clash,
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
        let store = move |tx: &Tx<'_>| {
            if let Some(known) = known(tx, &event, repeat)? {
                return Ok(known);
            }
            let platform_id = match repeat {
                Repeat::ById => event.id.clone(),
                Repeat::Within(_) => format!("{}:{}", event.id, tx.now),
            };
            let new = new_event(event, platform_id, chat, requester);
            if let Some(event) = events::store(tx, &new)? {
                return Ok(Stored { event, arrival: Arrival::First });
            }
            // Of another connector.
            let other = events::find(tx, &new.surface, &new.platform_id)?;
            other.map(|event| Stored { event, arrival: Arrival::Clash }).ok_or_else(|| {
                LedgerError::Content(format!("the event {} is there and cannot be found", new.platform_id))
            })
        };
        let stored = self.ledger().write(store).await?;
        self.look_again();
        Ok(stored)
    }

    /// The ledger's time, which never runs backwards.
    pub async fn now_by_ledger(&self) -> Result<Millis, LedgerError> {
        self.ledger().read(|tx| Ok(tx.now)).await
    }

    pub(super) fn reports_to(&self) -> ScheduleChat {
        self.0.timetable.chat.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The event that has the id of this one, also if it was reported elsewhere when it came.
fn known(tx: &Tx<'_>, event: &Event, repeat: Repeat) -> Result<Option<Stored>, LedgerError> {
    match repeat {
        Repeat::ById => {
            let Some((row, payload)) = events::find_of(tx, &event.connector, &event.id)? else {
                return Ok(None);
            };
            let same = said(payload) == said(as_stored(&event.payload)?);
            let arrival = if same { Arrival::Again } else { Arrival::Clash };
            Ok(Some(Stored { event: row, arrival }))
        }
        Repeat::Within(window) => {
            let since = tx.now.saturating_sub(window);
            let row = events::find_since(tx, &event.connector, &event.id, since)?;
            Ok(row.map(|event| Stored { event, arrival: Arrival::Again }))
        }
    }
}

/// What a payload is when it is read from the ledger: numbers change in their last digit.
fn as_stored(payload: &Value) -> Result<Value, LedgerError> {
    Ok(serde_json::from_str(&payload.to_string())?)
}

/// What the sender says in a body. A repeat may have other headers, or come after others were let through.
fn said(mut payload: Value) -> Value {
    if let Some(fields) = payload.as_object_mut() {
        fields.remove(WEBHOOK);
    }
    payload
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
