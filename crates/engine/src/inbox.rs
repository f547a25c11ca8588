//! What stands behind the inboxes of surfaces.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use connector_gate::ask::{Answer, Answered};
use connector_gate::decision::{Tap, Tapped};
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_ledger::events::{self, NewEvent, ReplyTo};
use connector_ledger::messages::{self, NewMessage};
use connector_ledger::outbox::{self, Parcel};
use connector_ledger::steps::{self, StepRow};
use connector_ledger::{LedgerError, Tx, cursors};
use connector_surface::inbox::{About, Message, Receiver, Sent};
use connector_surface::{Inbox, InboxError, OpenAsk};
use serde_json::json;

use super::commands::{self, Command};
use super::{Engine, Inner};

/// What the id of the event ends with that is a message's command.
pub const COMPANION: &str = " command_received";

/// A handle to an engine that does not keep it alive.
struct WeakEngine(Weak<Inner>);

impl Engine {
    /// The inbox of the surface that is called so.
    pub fn inbox(&self, surface: &str) -> Inbox {
        Inbox::new(Arc::new(WeakEngine(Arc::downgrade(&self.0))), surface)
    }

    /// The engine that an inbox of its own belongs to, while it is there.
    pub fn of(inbox: &Inbox) -> Result<Self, LedgerError> {
        let engine = inbox.downcast::<WeakEngine>().and_then(|it| it.0.upgrade());
        engine.map(Engine).ok_or(LedgerError::NotRunning)
    }

    async fn take(
        &self,
        surface: &str,
        messages: Vec<Message>,
        place: Option<String>,
    ) -> Result<usize, LedgerError> {
        let connector =
            self.surface(surface).map_or_else(|| surface.to_owned(), |it| it.connector_name().to_owned());
        let (surface, asks) = (surface.to_owned(), self.open_asks());
        let store_all = move |tx: &Tx<'_>| {
            let mut new = 0;
            for message in messages {
                new += usize::from(store(tx, (&surface, &connector), message, &asks)?);
            }
            if let Some(place) = place {
                cursors::put(tx, &surface, &place)?;
            }
            Ok(new)
        };
        let new = self.0.ledger.write(store_all).await?;
        self.look_again();
        Ok(new)
    }
}

/// Stores a message, and carries it out if it is a command of the host's own: what that is answered with goes out with what
/// else the chat is told. Whether it is new.
fn store(
    tx: &Tx<'_>,
    (surface, connector): (&str, &str),
    message: Message,
    asks: &[OpenAsk],
) -> Result<bool, LedgerError> {
    let Message { id, chat, user, trigger, text, answers, mut payload } = message;
    let (name, args) = connector_surface::command(&text);
    let (name, args) = (name.to_owned(), args.to_owned());
    for (key, value) in [("text", &text), ("command", &name), ("args", &args), ("chat_id", &chat)] {
        payload.insert(key.to_owned(), json!(value));
    }
    let requester = Actor::new(surface, &user);
    let reply = match answers {
        Some(answered) => readable(session_of(tx, (surface, &chat), &answered, &requester))?,
        None => None,
    };
    let is_message = trigger == "message_received";
    let is_own = is_message && commands::is_own(&name);
    let event = NewEvent {
        surface: surface.to_owned(),
        platform_id: id,
        connector: connector.to_owned(),
        event: if is_own { "command_received" } else { trigger }.to_owned(),
        chat,
        requester,
        payload: payload.into(),
        reply,
    };
    if is_message && !is_own && !name.is_empty() {
        // First: when rules have seen the message, it is known whether its command is answered.
        let platform_id = format!("{}{COMPANION}", event.platform_id);
        let (trigger, reply) = ("command_received".to_owned(), None);
        events::store(tx, &NewEvent { platform_id, event: trigger, reply, ..event.clone() })?;
    }
    let Some(stored) = events::store(tx, &event)? else { return Ok(false) };
    if is_own {
        let at = (surface, event.chat.as_str());
        let body =
            commands::carry_out(tx, &Command { name: &name, args: &args, at, by: &event.requester }, asks)?;
        outbox::put(tx, surface, &event.chat, &Parcel::Text { run: None, body })?;
    }
    tracing::debug!(event = stored, surface, "a message was taken");
    Ok(true)
}

/// Nothing in place of what is about a row that cannot be read: one such row holds no message up.
fn readable<T>(found: Result<Option<T>, LedgerError>) -> Result<Option<T>, LedgerError> {
    match found {
        Err(LedgerError::Content(reason)) => {
            tracing::error!(
                reason,
                "a message answers a step whose row cannot be read; it is taken as any other"
            );
            Ok(None)
        }
        found => found,
    }
}

/// The session that an answer of `by` to `message` goes on in. In a chat that only follows a run, it is that of nobody but those
/// who have to do with it.
pub fn session_of(
    tx: &Tx<'_>,
    (surface, chat): (&str, &str),
    message: &str,
    by: &Actor,
) -> Result<Option<ReplyTo>, LedgerError> {
    let Some(step) = messages::step_of(tx, surface, chat, message)? else { return Ok(None) };
    let row = steps::get(tx, step)?.filter(|row| goes_on_with(row, (surface, chat), by));
    Ok(row.and_then(reply_to))
}

/// Whether somebody in a chat may go on with what a step did: anybody where it was asked for, and where it is followed
/// whoever asked for it or may approve it.
pub fn goes_on_with(row: &StepRow, (surface, chat): (&str, &str), by: &Actor) -> bool {
    (row.surface == surface && row.chat == chat) || commands::is_theirs(row, by)
}

/// What answers the result of a step.
pub fn reply_to(row: StepRow) -> Option<ReplyTo> {
    let origin = row.target.origin.unwrap_or_default();
    let workspace = origin.strip_prefix("workspace:").unwrap_or_default().to_owned();
    let change = row.output.as_ref().and_then(events::Change::of);
    Some(ReplyTo { session_id: row.session_id?, run_id: row.id.run.to_string(), workspace, change })
}

impl WeakEngine {
    fn engine(&self) -> Result<Engine, InboxError> {
        self.0.upgrade().map(Engine).ok_or(InboxError::NotRunning)
    }
}

#[async_trait]
impl Receiver for WeakEngine {
    async fn take(
        &self,
        surface: &str,
        messages: Vec<Message>,
        place: Option<String>,
    ) -> Result<usize, InboxError> {
        self.engine()?.take(surface, messages, place).await.map_err(reported)
    }

    async fn place(&self, surface: &str) -> Result<Option<String>, InboxError> {
        let surface = surface.to_owned();
        self.engine()?.ledger().read(move |tx| cursors::get(tx, &surface)).await.map_err(reported)
    }

    async fn decide(&self, tap: Tap) -> Result<Tapped, InboxError> {
        self.engine()?.tap(tap).await.map_err(reported)
    }

    async fn answer(&self, number: u64, by: &Actor, answer: Answer) -> Result<Answered, InboxError> {
        self.engine()?.answer(number, by, answer).await.map_err(reported)
    }

    async fn record(&self, surface: &str, sent: Sent) -> Result<(), InboxError> {
        let Sent { chat, message, step, delivery, part } = sent;
        let surface = surface.to_owned();
        let new = NewMessage { surface, chat, surface_ref: message, step, parcel: delivery, part };
        self.engine()?.ledger().write(move |tx| messages::put(tx, &new)).await.map_err(reported)
    }

    async fn sent(&self, delivery: i64, part: &str) -> Result<Vec<String>, InboxError> {
        let part = part.to_owned();
        self.engine()?.ledger().read(move |tx| messages::of_part(tx, delivery, &part)).await.map_err(reported)
    }

    async fn about(&self, surface: &str, chat: &str, message: &str) -> Result<Option<About>, InboxError> {
        let [surface, chat, message] = [surface, chat, message].map(str::to_owned);
        let look = move |tx: &Tx<'_>| messages::about(tx, &surface, &chat, &message);
        let found = self.engine()?.ledger().read(look).await.map_err(reported)?;
        Ok(found.map(|(step, part)| About { step, part }))
    }

    async fn message_of(
        &self,
        surface: &str,
        chat: &str,
        step: StepId,
        part: &str,
    ) -> Result<Option<String>, InboxError> {
        let [surface, chat, part] = [surface, chat, part].map(str::to_owned);
        let look = move |tx: &Tx<'_>| messages::last_of(tx, &surface, &chat, step, &part);
        self.engine()?.ledger().read(look).await.map_err(reported)
    }

    fn is_approver(&self, who: &Actor) -> bool {
        self.engine().is_ok_and(|engine| engine.is_approver(who))
    }
}

/// What a surface is told of an error of the ledger.
fn reported(error: LedgerError) -> InboxError {
    match error {
        LedgerError::NotRunning => InboxError::NotRunning,
        LedgerError::Content(reason) => InboxError::Unreadable(reason),
        error => InboxError::Ledger(Box::new(error)),
    }
}
