//! One call on a leased daemon, over its deaths.
//!
//! The daemon's death is the pool's to notice. From that moment nothing more is said to its port.
//! When the pool has started it again, a call that had announced its effect goes on with that
//! announcement (the sessions survive, so the daemon's record says what became of the turn); one
//! that had not is made again, since nothing had begun.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::facts;
use connector_contract::{
    ActionResult, Checkpoint, CheckpointError, CheckpointLog, Connector, ConnectorError, Consequence,
    Context, EventHandler, Manifest, Progress, Provenance, Reference, StopCause, Subscription, Target, chain,
};
use opencode_daemons::Lease;
use opencode_daemons::pool::{Address, PoolError, Wait};
use opencode_daemons::project::Brought;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::Managed;
use super::refusals::Refusals;
use super::tree::Tree;
use crate::powers;

/// How long the pool lets a daemon rest at most that died often, before it starts it again.
pub(super) const REST: Duration = Duration::from_secs(30);

/// How long after an error it may take the pool to notice that the daemon died.
const NOTICE: Duration = Duration::from_millis(500);

/// What is said where there was a change in the moment between the last look at an approved task and its call.
const CHANGED: &str = "what the repository brings, opencode's configuration or objects that it borrows, has changed since it was \
    approved; send the task again to be asked about what is there now";

/// How many deaths one call outlives.
const DEATHS: u32 = 3;

#[async_trait]
impl Connector for Managed {
    fn manifest(&self) -> &Manifest {
        self.0.described.manifest()
    }

    async fn execute(
        &self,
        action: &str,
        input: Value,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError> {
        let tree = match &self.0.trees {
            Some(trees) => Some(Arc::new(Tree::of(trees, &input, ctx).await?)),
            None => None,
        };
        let changed = self.copy_project(ctx)?;
        let (ended, lease) = match self.lease(ctx).await {
            Ok(mut lease) => {
                if let Some(directory) = changed {
                    // What it remembers of the directory is from before.
                    lease.leave_directory(&directory).await;
                }
                let mut refusals = Refusals::from_now(self.0.egress_record(), self.0.refusal_record());
                let ended = tokio::select! {
                    ended = self.over_deaths((action, &input), ctx, &mut lease, tree.as_ref()) => ended,
                    never = refusals.tell(&ctx.progress) => match never {},
                };
                let paths = refusals.paths(tree.as_deref().map(Tree::directory), &self.0.environment);
                (with_refusals(ended, refusals, &paths), Some(lease))
            }
            Err(error) => (Err(error), None),
        };
        let ended = match &tree {
            Some(tree) => tree.ends(ended, &ctx.cancel).await,
            None => ended,
        };
        let consequence = ended.as_ref().err().map(ConnectorError::consequence);
        let unknown = consequence == Some(Consequence::Unknown);
        let unseen = unknown || consequence == Some(Consequence::NothingStarted);
        match (lease, &tree) {
            // What was begun earlier is looked up by another call then.
            (Some(lease), _) if unseen && ctx.resume.is_some() => lease.return_for_now(),
            (Some(lease), Some(tree)) if !unknown => lease.leave_directory(tree.directory()).await,
            _ => {}
        }
        if let Some(tree) = tree.and_then(Arc::into_inner) {
            tree.let_go().await;
        }
        ended
    }

    fn check(&self, action: &str, input: &Value) -> Result<(), ConnectorError> {
        self.0.check_directory()?;
        self.0.described.check(action, input)
    }

    fn target(&self, action: &str, input: &Value, provenance: &Provenance) -> Target {
        let target = self.0.described.target(action, input, provenance);
        let target = self.0.own_model.tell(target, input);
        powers::under(within(target, &self.0.terms()), &self.0.rules)
    }

    fn checkpoints(&self) -> bool {
        self.0.described.checkpoints()
    }

    async fn on_event(&self, trigger: &str, handler: EventHandler) -> Result<Subscription, ConnectorError> {
        self.0.described.on_event(trigger, handler).await
    }

    async fn remove_event(&self, subscription: &Subscription) -> Result<(), ConnectorError> {
        self.0.described.remove_event(subscription).await
    }
}

/// The result says what was refused.
fn with_refusals(
    ended: Result<ActionResult, ConnectorError>,
    refused: Refusals,
    paths: &[String],
) -> Result<ActionResult, ConnectorError> {
    let mut result = ended?;
    if let Some(output) = result.output.as_object_mut() {
        facts::write_refusals(output, &refused.all(), paths);
    }
    Ok(result)
}

impl Managed {
    /// Has the daemon find what the workspace brings of configuration, if that is what was approved; the
    /// directory in which it may know of something else. A call that goes on with a turn has it from before.
    fn copy_project(&self, ctx: &Context) -> Result<Option<PathBuf>, ConnectorError> {
        let Some((directory, copies)) = self.0.project().filter(|_| ctx.resume.is_none()) else {
            return Ok(None);
        };
        let brought = Brought::of(directory);
        if !as_approved(ctx.approved.as_ref(), &self.0.terms_with(&brought)) {
            return Err(ConnectorError::Unavailable { reason: CHANGED.to_owned(), source: None });
        }
        let failed = |error: std::io::Error| ConnectorError::Unavailable {
            reason: format!("the project's configuration cannot be copied: {error}"),
            source: None,
        };
        let changed = brought.copy(&copies).map_err(failed)?;
        Ok((changed && self.0.trees.is_none()).then(|| directory.to_owned()))
    }

    /// Calls the connector, again for each death of the daemon.
    async fn over_deaths(
        &self,
        (action, input): (&str, &Value),
        ctx: &Context,
        lease: &mut Lease,
        tree: Option<&Arc<Tree>>,
    ) -> Result<ActionResult, ConnectorError> {
        let notes = Arc::new(Notes {
            inner: Arc::clone(&ctx.checkpoints),
            last: Mutex::new(ctx.resume.clone()),
            tree: tree.map(Arc::clone),
        });
        let mut attempt = ctx.clone();
        attempt.checkpoints = Arc::clone(&notes) as Arc<dyn CheckpointLog>;
        let mut address = lease.address();
        for _ in 0..DEATHS {
            let ready = self.connect(&address, tree.map(|tree| tree.directory())).await?;
            attempt.http = ready.http;
            let ended = tokio::select! {
                ended = ready.connector.execute(action, input.clone(), &attempt) => ended,
                () = lease.lost(&address) => Err(died(None)),
            };
            let suspect = matches!(&ended, Err(error) if may_be_a_death(error));
            if !suspect || timeout(NOTICE, lease.lost(&address)).await.is_err() {
                return ended;
            }
            drop(ready.connector);
            self.disconnect(&address).await;
            attempt.resume = notes.last();
            address = came_back(lease, self.0.comes_back, &attempt).await?;
        }
        Err(died(notes.last().as_ref()))
    }

    /// Waits for the daemon, visibly. A call that goes on with a turn is not called stopped here: the
    /// turn may be running, and whoever speaks to the daemon stops it. Nor is its outcome called
    /// unknown because the pool has ended.
    async fn lease(&self, ctx: &Context) -> Result<Lease, ConnectorError> {
        let progress = ctx.progress.clone();
        let told = move |wait| progress.report(Progress::Waiting { reason: words(wait).to_owned() });
        let (pool, workspace) = (&self.0.pool, &self.0.workspace);
        let leased = async {
            if ctx.resume.is_none() {
                return pool.lease(workspace, told).await;
            }
            match pool.lease_to_finish(workspace, told).await {
                // The host stops, and the next one goes on with the turn: an answer now would be the last.
                Err(PoolError::Ended) => std::future::pending().await,
                leased => leased,
            }
        };
        let why = tokio::select! {
            lease = leased => match lease {
                Ok(lease) => return Ok(lease),
                Err(error) => chain(&error),
            },
            () = ctx.cancel.cancelled(), if ctx.resume.is_none() => {
                return Err(cancelled("it waited for its daemon", None));
            }
            () = tokio::time::sleep_until(ctx.deadline) => "its time passed while it waited for its daemon".to_owned(),
        };
        Err(match ctx.resume {
            None => ConnectorError::Unavailable { reason: why, source: None },
            Some(_) => ConnectorError::OutcomeUnknown {
                reason: format!("the turn was begun earlier and cannot be looked up now ({why})"),
                reference: Reference::default(),
            },
        })
    }
}

fn words(wait: Wait) -> &'static str {
    match wait {
        Wait::Starting => "its daemon gets ready",
        Wait::Full => "all daemons work; it waits until one is done",
        Wait::Resting => "its daemon died and is started again",
        Wait::Outdated => "its daemon finishes what it began with earlier settings, and is then replaced",
    }
}

/// Waits until the daemon runs again.
async fn came_back(lease: &mut Lease, limit: Duration, ctx: &Context) -> Result<Address, ConnectorError> {
    ctx.progress.report(Progress::Connection { live: false });
    let limit = limit.min(ctx.deadline.saturating_duration_since(tokio::time::Instant::now()));
    let address = tokio::select! {
        address = timeout(limit, lease.running()) => address.ok().flatten(),
        () = ctx.cancel.cancelled() => return Err(cancelled("its daemon died, and nothing of it runs", ctx.resume.as_ref())),
    };
    let address = address.ok_or_else(|| died(ctx.resume.as_ref()))?;
    ctx.progress.report(Progress::Connection { live: true });
    Ok(address)
}

/// Whether an error may come of the daemon's end.
fn may_be_a_death(error: &ConnectorError) -> bool {
    matches!(error, ConnectorError::Unavailable { .. }) || error.consequence() == Consequence::Unknown
}

fn died(announced: Option<&Checkpoint>) -> ConnectorError {
    let reason = "the daemon died and did not come back; its log says more (`daemons logs`)".to_owned();
    match announced {
        None => ConnectorError::Unavailable { reason, source: None },
        Some(_) => ConnectorError::OutcomeUnknown { reason, reference: Reference::default() },
    }
}

pub(super) fn cancelled(reason: &str, announced: Option<&Checkpoint>) -> ConnectorError {
    let reason = reason.to_owned();
    if announced.is_none() {
        return ConnectorError::Cancelled { reason };
    }
    let (cause, reference) = (StopCause::Cancelled, Reference::default());
    ConnectorError::Stopped { cause, reason, reference }
}

/// The target on the terms of its daemon. What the connector says itself stays.
pub(super) fn within(mut target: Target, terms: &Map<String, Value>) -> Target {
    for (key, value) in terms {
        target.settings.entry(key.clone()).or_insert_with(|| value.clone());
    }
    target
}

/// Whether these are the terms that were approved, where somebody was asked.
fn as_approved(approved: Option<&Target>, terms: &Map<String, Value>) -> bool {
    approved.is_none_or(|target| target.settings.get("walls") == terms.get("walls"))
}

/// Passes checkpoints on and remembers the last.
struct Notes {
    inner: Arc<dyn CheckpointLog>,
    last: Mutex<Option<Checkpoint>>,
    tree: Option<Arc<Tree>>,
}

impl Notes {
    fn last(&self) -> Option<Checkpoint> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl CheckpointLog for Notes {
    async fn record(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        // First, so that whoever finds the checkpoint finds the tree.
        if let Some(tree) = &self.tree {
            let failed = |error: std::io::Error| CheckpointError { reason: error.to_string() };
            tree.announces(&checkpoint).await.map_err(failed)?;
        }
        self.inner.record(checkpoint.clone()).await?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(checkpoint);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_terms_that_were_approved_are_acted_on() {
        let target = |walls: Value| Target { origin: None, settings: [("walls".to_owned(), walls)].into() };
        let terms = Map::from_iter([("walls".to_owned(), json!("0123"))]);
        let none = Target { origin: None, settings: std::collections::BTreeMap::new() };
        for (approved, holds) in [
            (Some(target(json!("0123"))), true),
            (Some(target(json!("0124"))), false),
            (Some(none), false),
            (None, true),
        ] {
            assert_eq!(as_approved(approved.as_ref(), &terms), holds, "{approved:?}");
        }
    }
}
