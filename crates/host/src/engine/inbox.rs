//! Inbox: how a surface reports what came in, and asks what it needs for that.

use std::sync::{Arc, Weak};

use futures_util::future::join_all;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Engine, Inner, unique};
use crate::gate::policy::Actor;
use crate::ledger::LedgerError;
use crate::ledger::events::NewEvent;
use crate::ledger::steps::decide::{Tap, Tapped};
use crate::surface::SurfaceError;

/// Handle to the engine that a surface is run by. Cheap to clone; it keeps no engine alive, so that a host that has
/// ended lets go of its state directory whoever still holds one.
///
/// An error of any of its functions says that nothing was stored: what came in is to be reported again.
#[derive(Clone)]
pub struct Inbox(Weak<Inner>);

impl Inbox {
    /// Stores an event; whether it is new. When this returns it is durable.
    pub async fn submit(&self, event: NewEvent) -> Result<bool, LedgerError> {
        Ok(self.engine()?.submit(event).await?.is_some())
    }

    /// Stores a message that somebody wrote now, as `message_received` of a connector called like the surface: for
    /// surfaces that deliver none twice.
    pub async fn message(
        &self,
        (surface, chat): (&str, &str),
        by: &Actor,
        text: &str,
    ) -> Result<(), LedgerError> {
        let (command, args) = text
            .strip_prefix('/')
            .map_or(("", ""), |rest| rest.split_once(char::is_whitespace).unwrap_or((rest, "")));
        let event = NewEvent {
            surface: surface.to_owned(),
            platform_id: unique()?,
            connector: surface.to_owned(),
            event: "message_received".to_owned(),
            chat: chat.to_owned(),
            requester: by.clone(),
            payload: json!({ "text": text, "command": command, "args": args.trim(), "chat_id": chat }),
            reply: None,
        };
        self.submit(event).await.map(drop)
    }

    /// Carries a tap out and says how it is answered.
    pub async fn decide(&self, tap: Tap) -> Result<Tapped, LedgerError> {
        self.engine()?.tap(tap).await
    }

    /// The engine, while it is there.
    pub(crate) fn engine(&self) -> Result<Engine, LedgerError> {
        self.0.upgrade().map(Engine).ok_or_else(|| LedgerError::Content("the host has ended".to_owned()))
    }
}

impl Engine {
    /// The inbox of its surfaces.
    pub fn inbox(&self) -> Inbox {
        Inbox(Arc::downgrade(&self.0))
    }

    /// Runs every surface until `stop`, and returns once what they were sending is sent or given up. One that cannot
    /// go on is told of by `failed` with its name and the reason, and all else goes on.
    pub async fn run_surfaces(&self, stop: &CancellationToken, failed: impl Fn(&str, &SurfaceError)) {
        let failed = &failed;
        let each = self.0.surfaces.values().map(|surface| async move {
            if let Err(error) = surface.run(self.inbox(), stop.clone()).await {
                failed(surface.name(), &error);
            }
        });
        join_all(each).await;
    }
}
