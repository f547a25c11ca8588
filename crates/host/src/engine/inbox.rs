//! Inbox: how a surface reports what came in, and asks what it needs for that.

use std::sync::Weak;

use super::{Engine, Inner};
use crate::ledger::LedgerError;

/// Handle to the engine that a surface is run by. Cheap to clone; it keeps no engine alive, so that a host that has
/// ended lets go of its state directory whoever still holds one.
#[derive(Clone)]
pub struct Inbox(Weak<Inner>);

impl Inbox {
    /// The engine, while it is there.
    ///
    /// # Errors
    ///
    /// The host has ended: whatever came in comes again to the next one.
    pub(crate) fn engine(&self) -> Result<Engine, LedgerError> {
        self.0.upgrade().map(Engine).ok_or_else(|| LedgerError::Content("the host has ended".to_owned()))
    }
}

impl Engine {
    /// The inbox of its surfaces.
    pub fn inbox(&self) -> Inbox {
        Inbox(std::sync::Arc::downgrade(&self.0))
    }

    /// Runs every surface until `stop`, and returns once what they were sending is sent or given up. One that cannot
    /// go on is told of by `failed` with its name and the reason, and all else goes on.
    pub async fn run_surfaces(
        &self,
        stop: &tokio_util::sync::CancellationToken,
        failed: impl Fn(&str, &crate::surface::SurfaceError) + Sync,
    ) {
        let failed = &failed;
        let each = self.0.surfaces.values().map(|surface| async move {
            if let Err(error) = surface.run(self.inbox(), stop.clone()).await {
                failed(surface.name(), &error);
            }
        });
        futures_util::future::join_all(each).await;
    }
}
