//! Surfaces at work: each is run and finished as a task of its own, so that none holds up another or the host.

use std::sync::Arc;
use std::time::Duration;

use connector_ledger::LedgerError;
use connector_surface::{Surface, SurfaceError};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Engine;

impl Engine {
    /// Serves until `stop`, until every surface has ended, or until the ledger cannot be used, and then ends in order:
    /// nothing comes in any more, running steps [stop](Self::stop), what is left to say is delivered, the surfaces
    /// finish. Nothing of this is waited for longer than `grace`. Surfaces that fail are told of as by
    /// [`run_surfaces`](Self::run_surfaces).
    ///
    /// # Errors
    ///
    /// As of [`run`](Self::run).
    pub async fn serve(
        &self,
        (stop, grace): (&CancellationToken, Duration),
        failed: impl Fn(&str, &SurfaceError),
    ) -> Result<(), LedgerError> {
        let stop = stop.child_token();
        let passes = async {
            let _stops_surfaces = stop.clone().drop_guard();
            self.run().await
        };
        let surfaces = async {
            self.run_surfaces((&stop, grace), &failed).await;
            self.stop(grace).await;
        };
        let (ended, ()) = tokio::join!(passes, surfaces);
        self.finish_surfaces(grace, &failed).await;
        ended
    }

    /// Runs every surface, once [`run`](Self::run) has begun, until `stop`, after which none takes anything in any more. One that cannot go on, or breaks
    /// down, is told of by `failed` with its name and the reason, and all else goes on. So is one that has not returned
    /// within `grace` of `stop`; it is ended.
    pub async fn run_surfaces(
        &self,
        (stop, grace): (&CancellationToken, Duration),
        failed: impl Fn(&str, &SurfaceError),
    ) {
        let run = |surface: Arc<dyn Surface>| {
            let (inbox, stop) = (self.inbox(surface.name()), stop.clone());
            let started = self.0.started.clone();
            async move {
                // Whoever may decide nothing any more is taken away first.
                let _ = stop.run_until_cancelled(started.cancelled()).await;
                surface.run(inbox, stop).await
            }
        };
        let late = || async {
            stop.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        self.each_surface(run, late, failed).await;
    }

    /// Lets the surfaces finish: after [`stop`](Self::stop), once [`run`](Self::run) has returned. What they still send is
    /// waited for, at most `grace`; one that breaks down over it, or is late, is told of by `failed`, and ended.
    pub async fn finish_surfaces(&self, grace: Duration, failed: impl Fn(&str, &SurfaceError)) {
        if tokio::time::timeout(grace, self.until_delivered()).await.is_err() {
            tracing::warn!("a delivery that takes too long is not waited for");
        }
        let finish = |surface: Arc<dyn Surface>| async move {
            surface.finish().await;
            Ok(())
        };
        self.each_surface(finish, || tokio::time::sleep(grace), failed).await;
    }

    /// Does `work` with each surface, until it is `late`.
    async fn each_surface<W, L>(
        &self,
        work: impl Fn(Arc<dyn Surface>) -> W,
        late: impl Fn() -> L,
        failed: impl Fn(&str, &SurfaceError),
    ) where
        W: Future<Output = Result<(), SurfaceError>> + Send + 'static,
        L: Future<Output = ()>,
    {
        let (late, failed) = (&late, &failed);
        join_all(self.0.surfaces.values().map(|surface| {
            let task = AbortOnDropHandle::new(tokio::spawn(work(Arc::clone(surface))));
            async move {
                let ended = tokio::select! {
                    biased;
                    ended = task => ended.unwrap_or_else(|broken| Err(SurfaceError { reason: broken.to_string() })),
                    () = late() => Err(SurfaceError { reason: "it did not stop in time".to_owned() }),
                };
                if let Err(error) = ended {
                    failed(surface.name(), &error);
                }
            }
        }))
        .await;
    }
}
