//! Dispatch: an approved step runs, once, exactly as approved.
//!
//! Before the connector is called, the digest is computed again from the row
//! and the configuration in force. If it differs from the one that was
//! approved, the step goes back to waiting with the reason. `dispatched` is
//! durable before the call; the connector's own checkpoint is durable before
//! its effect. So a start after a crash knows for each dispatched step whether
//! nothing began, or where to look.

use std::sync::Arc;

use async_trait::async_trait;
use connector_contract::{
    ActionResult, Checkpoint, CheckpointError, CheckpointLog, ConnectorError, Consequence, Context, Progress,
    chain, progress_channel,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::advance::{provenance, token};
use super::asks::Relay;
use super::{BATCH, Engine, Running, passing};
use crate::gate::state::{Move, StepState};
use crate::ids::StepId;
use crate::instance::Instance;
use crate::ledger::outbox::{self, Parcel};
use crate::ledger::steps::{self, Change, StepRow};
use crate::ledger::{Ledger, LedgerError, runs};

/// How many unread progress updates a surface may leave.
const PROGRESS: usize = 256;

impl Engine {
    pub(super) async fn dispatch_approved(&self) -> Result<(), LedgerError> {
        let approved = self.0.ledger.read(|tx| steps::in_state(tx, StepState::Approved, BATCH)).await?;
        let mut taken: Vec<String> = self.running().values().map(|running| running.lane.clone()).collect();
        for row in approved {
            let lane = lane(&row);
            let ahead = taken.iter().filter(|other| **other == lane).count();
            let queued = ahead > 0 || self.running().len() >= self.0.max_running;
            taken.push(lane);
            if queued {
                self.show_queued(&row, ahead.max(1));
            } else {
                self.dispatch(row).await?;
            }
        }
        Ok(())
    }

    fn show_queued(&self, row: &StepRow, ahead: usize) {
        if let Some(surface) = self.surface(&row.surface) {
            surface.progress(&row.chat, row.id, &Progress::Queued { ahead });
        }
    }

    async fn dispatch(&self, row: StepRow) -> Result<(), LedgerError> {
        let Some(instance) = self.0.instances.get(&row.connector).cloned() else {
            let reason = format!("no connector `{}` is configured any more", row.connector);
            return self
                .finish(row.id, Move::Fail, Finish::failed(reason, Consequence::NothingStarted))
                .await;
        };
        let Some(run) = self.0.ledger.read(move |tx| runs::get(tx, row.id.run)).await? else { return Ok(()) };
        let target = instance.target(&row.action, &row.input, &provenance(&run));
        let digest = row.digest_with(&target)?;
        if digest != row.digest {
            return self.rebind(row, target, digest.as_str().to_owned()).await;
        }
        let (step, bound) = (row.id, digest.as_str().to_owned());
        let made = self
            .0
            .ledger
            .write(move |tx| {
                let change = Change::none().set("dispatched_at", tx.now).only_if("digest = ?", bound);
                steps::make(tx, step, Move::Dispatch, change)
            })
            .await?;
        if made {
            self.call(instance, row, None);
        }
        Ok(())
    }

    /// What would run is not what was approved: ask again, and say why.
    async fn rebind(
        &self,
        row: StepRow,
        target: connector_contract::Target,
        digest: String,
    ) -> Result<(), LedgerError> {
        let reason = difference(&row, &target);
        let fresh = token()?;
        self.0
            .ledger
            .write(move |tx| {
                let change = Change::none()
                    .set("target", serde_json::to_string(&target)?)
                    .set("digest", digest)
                    .set("reason", reason.clone())
                    .set("token", fresh)
                    .set("delivered_at", rusqlite::types::Null)
                    .set("expires_at", rusqlite::types::Null)
                    .set("decided_at", rusqlite::types::Null)
                    .set("decided_by", rusqlite::types::Null)
                    .detail(json!({ "reason": reason }));
                if steps::make(tx, row.id, Move::Rebind, change)? {
                    outbox::put(tx, &row.surface, &row.chat, &Parcel::Card(row.id))?;
                }
                Ok(())
            })
            .await
    }

    /// Steps that were dispatched when the host died.
    pub(super) async fn recover(&self) -> Result<(), LedgerError> {
        let orphans = self.0.ledger.read(|tx| steps::in_state(tx, StepState::Dispatched, u32::MAX)).await?;
        for row in orphans {
            let Some(instance) = self.0.instances.get(&row.connector).cloned() else {
                let reason = format!(
                    "the host stopped while it ran, and no connector `{}` is configured any more",
                    row.connector
                );
                self.finish(row.id, Move::LoseTrack, Finish::failed(reason, Consequence::Unknown)).await?;
                continue;
            };
            match row.checkpoint.clone() {
                Some(checkpoint) => self.call(instance, row, Some(checkpoint)),
                None if instance.described.checkpoints() => self.call(instance, row, None),
                None => {
                    let reason =
                        "the host stopped while it ran, and its connector keeps no checkpoints".to_owned();
                    self.finish(row.id, Move::LoseTrack, Finish::failed(reason, Consequence::Unknown))
                        .await?;
                }
            }
        }
        Ok(())
    }

    fn call(&self, instance: Instance, row: StepRow, resume: Option<Checkpoint>) {
        let cancel = CancellationToken::new();
        self.running().insert(row.id, Running { cancel: cancel.clone(), lane: lane(&row) });
        let engine = self.clone();
        self.0.tasks.spawn(async move {
            let step = row.id;
            let work = tokio::spawn(engine.clone().carry_out(instance, row, resume, cancel));
            let (made, finish) = work.await.unwrap_or_else(|panic| {
                let reason = format!("the connector broke down: {panic}");
                (Move::LoseTrack, Finish::failed(reason, Consequence::Unknown))
            });
            engine.finish_for_sure(step, made, finish).await;
            engine.running().remove(&step);
            engine.0.wake.notify_one();
        });
    }

    async fn carry_out(
        self,
        instance: Instance,
        row: StepRow,
        resume: Option<Checkpoint>,
        cancel: CancellationToken,
    ) -> (Move, Finish) {
        let ready = tokio::select! {
            ready = instance.provider.ready() => ready,
            () = cancel.cancelled() => return (Move::Cancel, Finish::failed("cancelled before it began".into(), Consequence::NothingStarted)),
        };
        let ready = match ready {
            Ok(ready) => ready,
            Err(reason) if resume.is_some() => {
                return (Move::LoseTrack, Finish::failed(reason, Consequence::Unknown));
            }
            Err(reason) => return (Move::Fail, Finish::failed(reason, Consequence::NothingStarted)),
        };
        let (sink, mut updates) = progress_channel(PROGRESS);
        let (surface, chat, step) = (self.surface(&row.surface), row.chat.clone(), row.id);
        let show = async {
            while let Some(progress) = updates.next().await {
                if let Some(surface) = &surface {
                    surface.progress(&chat, step, &progress);
                }
            }
        };
        let relay = Relay {
            engine: self.clone(),
            step,
            surface: surface.clone(),
            chat: chat.clone(),
            approvers: row.approvers.clone(),
        };
        let run = self.0.ledger.read(move |tx| runs::get(tx, step.run)).await.ok().flatten();
        let resumed = resume.is_some();
        let context = Context {
            http: ready.http,
            deadline: Instant::now() + self.0.deadline,
            cancel,
            progress: sink,
            asks: Arc::new(relay),
            checkpoints: Arc::new(Checkpoints { ledger: self.0.ledger.clone(), step }),
            resume,
            provenance: run.as_ref().map_or(connector_contract::Provenance::Local, provenance),
        };
        let call = async {
            let result = ready.connector.execute(&row.action, row.input.clone(), &context).await;
            drop(context);
            result
        };
        let (result, ()) = tokio::join!(call, show);
        judge(result, resumed)
    }

    /// A result is not lost because the disk is full for a while.
    async fn finish_for_sure(&self, step: StepId, made: Move, finish: Finish) {
        loop {
            match self.finish(step, made, finish.clone()).await {
                Ok(()) => return,
                Err(error) if passing(&error) && !self.0.stopping.is_cancelled() => {
                    tracing::error!(%step, error = %chain(&error), "the result waits for the ledger");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
                Err(error) => {
                    tracing::error!(%step, error = %chain(&error), "the result could not be recorded");
                    return;
                }
            }
        }
    }

    async fn finish(&self, step: StepId, made: Move, finish: Finish) -> Result<(), LedgerError> {
        self.0
            .ledger
            .write(move |tx| {
                let mut change = Change::none().set("ended_at", tx.now).detail(finish.detail());
                if let Some(reason) = finish.reason {
                    change = change.set("reason", reason);
                }
                if let Some(output) = finish.output {
                    change = change.set("output", output.to_string());
                }
                if let Some(session) = finish.session_id {
                    change = change.set("session_id", session);
                }
                if let Some(consequence) = finish.consequence {
                    change = change.set("consequence", serde_json::to_string(&consequence)?);
                }
                if steps::make(tx, step, made, change)?
                    && let Some(run) = runs::get(tx, step.run)?
                {
                    outbox::put(tx, &run.surface, &run.chat, &Parcel::Result(step))?;
                }
                Ok(())
            })
            .await
    }
}

/// How a call ended, ready to be recorded.
#[derive(Debug, Clone, Default)]
struct Finish {
    reason: Option<String>,
    output: Option<Value>,
    session_id: Option<String>,
    consequence: Option<Consequence>,
}

impl Finish {
    fn failed(reason: String, consequence: Consequence) -> Self {
        Self { reason: Some(reason), consequence: Some(consequence), ..Self::default() }
    }

    fn detail(&self) -> Value {
        json!({ "reason": self.reason, "session_id": self.session_id, "consequence": self.consequence })
    }
}

fn judge(result: Result<ActionResult, ConnectorError>, resumed: bool) -> (Move, Finish) {
    match result {
        Ok(result) => {
            let session_id = result.output.get("session_id").and_then(Value::as_str).map(str::to_owned);
            let (made, reason) =
                if result.success { (Move::Succeed, None) } else { (Move::Fail, Some(result.message)) };
            (made, Finish { reason, session_id, output: Some(result.output), consequence: None })
        }
        Err(error) => {
            let made = match error.consequence() {
                // An effect was announced before: that it cannot be looked at now says nothing about it.
                Consequence::NothingStarted if resumed => Move::LoseTrack,
                Consequence::NothingStarted | Consequence::Failed => Move::Fail,
                Consequence::Stopped => Move::Cancel,
                Consequence::Unknown => Move::LoseTrack,
            };
            let session_id = error.reference().and_then(|reference| reference.session_id.clone());
            let consequence = Some(error.consequence());
            (made, Finish { reason: Some(chain(&error)), session_id, output: None, consequence })
        }
    }
}

/// Steps of one lane run one after another: they share a directory.
fn lane(row: &StepRow) -> String {
    let directory = row.target.settings.get("directory").and_then(Value::as_str).unwrap_or_default();
    format!("{} {directory}", row.target.origin.as_deref().unwrap_or(&row.connector))
}

/// Names what is different, for the second card.
fn difference(row: &StepRow, now: &connector_contract::Target) -> String {
    let mut changed = Vec::new();
    if row.target.origin != now.origin {
        changed.push("origin".to_owned());
    }
    let keys = row.target.settings.keys().chain(now.settings.keys());
    for key in keys {
        if row.target.settings.get(key) != now.settings.get(key) && !changed.contains(key) {
            changed.push(key.clone());
        }
    }
    if changed.is_empty() {
        return "the row was changed after the approval; approve again only if you know why".to_owned();
    }
    format!("changed after the approval: {}", changed.join(", "))
}

struct Checkpoints {
    ledger: Ledger,
    step: StepId,
}

#[async_trait]
impl CheckpointLog for Checkpoints {
    async fn record(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let step = self.step;
        let recorded = self.ledger.write(move |tx| steps::checkpoint(tx, step, &checkpoint)).await;
        match recorded {
            Ok(true) => Ok(()),
            Ok(false) => Err(CheckpointError { reason: format!("step {step} is no longer running") }),
            Err(error) => Err(CheckpointError { reason: chain(&error) }),
        }
    }
}
