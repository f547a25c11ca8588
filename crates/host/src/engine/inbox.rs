//! Inbox: how a surface reports what came in, and asks what it needs for that.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Engine, Inner};
use crate::gate::policy::Actor;
use crate::ledger::LedgerError;
use crate::ledger::events::NewEvent;
use crate::ledger::steps::decide::{Tap, Tapped};
use crate::surface::SurfaceError;

/// Handle to the engine that a surface is run by. Cheap to clone; it keeps no engine alive, so that a host that has
/// ended lets go of its state directory whoever still holds one.
///
/// After an error of any of its functions nobody knows whether it was stored: what came in is to be reported again, under
/// the same id.
#[derive(Clone)]
pub struct Inbox(Weak<Inner>);

impl Inbox {
    /// Stores an event; whether it is new. When this returns it is durable.
    pub async fn submit(&self, event: NewEvent) -> Result<bool, LedgerError> {
        Ok(self.engine()?.submit(event).await?.is_some())
    }

    /// Stores a message, as `message_received` of a connector called like the surface; whether it is new. `id` is the
    /// platform's, or one that the surface keeps until this returns `Ok`.
    pub async fn message(
        &self,
        (surface, chat): (&str, &str),
        (id, by): (&str, &Actor),
        text: &str,
    ) -> Result<bool, LedgerError> {
        let (command, args) = text
            .strip_prefix('/')
            .map_or(("", ""), |rest| rest.split_once(char::is_whitespace).unwrap_or((rest, "")));
        let event = NewEvent {
            surface: surface.to_owned(),
            platform_id: id.to_owned(),
            connector: surface.to_owned(),
            event: "message_received".to_owned(),
            chat: chat.to_owned(),
            requester: by.clone(),
            payload: json!({ "text": text, "command": command, "args": args.trim(), "chat_id": chat }),
            reply: None,
        };
        self.submit(event).await
    }

    /// Carries a tap out and says how it is answered.
    pub async fn decide(&self, tap: Tap) -> Result<Tapped, LedgerError> {
        self.engine()?.tap(tap).await
    }

    /// The engine, while it is there.
    pub(crate) fn engine(&self) -> Result<Engine, LedgerError> {
        self.0.upgrade().map(Engine).ok_or(LedgerError::Ended)
    }
}

impl Engine {
    /// The inbox of its surfaces.
    pub fn inbox(&self) -> Inbox {
        Inbox(Arc::downgrade(&self.0))
    }

    /// Runs every surface, each as a task of its own, until `stop`, after which none takes anything in any more. One that
    /// cannot go on, or breaks down, is told of by `failed` with its name and the reason, and all else goes on. What
    /// does not return within `grace` of `stop` is given up.
    pub async fn run_surfaces(
        &self,
        (stop, grace): (&CancellationToken, Duration),
        failed: impl Fn(&str, &SurfaceError),
    ) {
        let (failed, ended) = (&failed, async {
            stop.cancelled().await;
            tokio::time::sleep(grace).await;
        });
        let each = join_all(self.0.surfaces.values().map(|surface| {
            let (running, inbox, stop) = (Arc::clone(surface), self.inbox(), stop.clone());
            let task = tokio::spawn(async move { running.run(inbox, stop).await });
            async move {
                let ended =
                    task.await.unwrap_or_else(|error| Err(SurfaceError { reason: error.to_string() }));
                if let Err(error) = ended {
                    failed(surface.name(), &error);
                }
            }
        }));
        tokio::select! {
            _ = each => {}
            () = ended => tracing::warn!("a surface did not stop in time"),
        }
    }

    /// Waits for what the surfaces are still sending, each at most `grace`: after the engine's last delivery.
    pub async fn finish_surfaces(&self, grace: Duration) {
        join_all(self.0.surfaces.values().map(|surface| surface.finish(grace))).await;
    }
}
