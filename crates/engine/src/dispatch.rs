//! Dispatch: an approved step runs, once, exactly as approved.
//!
//! Before the connector is called, the digest is computed again from the row
//! and the configuration in force. If it differs from the one that was
//! approved, the step goes back to waiting with the reason. `dispatched` is
//! durable before the call; the connector's own checkpoint is durable before
//! its effect. So a start after a crash knows for each dispatched step whether
//! nothing began, or where to look.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::facts::Facts;
use connector_contract::{
    ActionResult, Checkpoint, CheckpointError, CheckpointLog, ConnectorError, Consequence, Context, Progress,
    chain, progress_channel,
};
use connector_failpoint::failpoint;
use connector_gate::digest::TOLD;
use connector_gate::ids::StepId;
use connector_gate::policy::{Actor, Terms};
use connector_gate::state::{Move, StepState};
use connector_ledger::outbox::Parcel;
use connector_ledger::steps::release::{InForce, Released, release};
use connector_ledger::steps::{self, Change, Guard, StepRow};
use connector_ledger::{Ledger, LedgerError, asks, audience, runs};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::advance::{parse_stored, token};
use super::asks::Relay;
use super::{BATCH, Engine, FoundAgain, Running};
use crate::instance::Instance;
use crate::transcript::{Begins, Recorder};

/// How many unread progress updates a surface may leave.
const PROGRESS: usize = 256;

/// How long it is tried to find out what became of a step after a restart.
const RECONCILE: Duration = Duration::from_mins(1);

impl Engine {
    /// Calls connectors for approved steps: of each lane the first, as many as may run at once.
    pub(super) async fn dispatch_approved(&self) -> Result<(), LedgerError> {
        let mut progressed = true;
        while progressed && self.may_dispatch() {
            progressed = false;
            for step in self.0.ledger.read(|tx| steps::next_in_lanes(tx, BATCH)).await? {
                if !self.may_dispatch() {
                    break;
                }
                progressed |= self.dispatch(step).await?;
            }
        }
        self.show_queued().await
    }

    fn may_dispatch(&self) -> bool {
        !self.0.draining.load(Ordering::SeqCst) && self.running().len() < self.0.max_running
    }

    /// Shows the approved steps their place, when it has changed.
    async fn show_queued(&self) -> Result<(), LedgerError> {
        let queued = self.0.ledger.read(|tx| steps::queued(tx, BATCH)).await?;
        for (step, ahead) in self.moved(&queued) {
            self.audience(step.run).await?.progress(step, &Progress::Queued { ahead });
        }
        Ok(())
    }

    /// Those whose place was not shown yet, with how many are before each.
    fn moved(&self, queued: &[steps::Queued]) -> Vec<(StepId, usize)> {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|step, _| queued.iter().any(|place| place.step == *step));
        let mut moved = Vec::new();
        for place in queued {
            if place.ahead == 0 && self.may_dispatch() {
                continue; // Approved since this pass looked: the next one calls it.
            }
            // With nothing before it in its lane, it waits for its turn among all.
            let ahead = place.ahead.max(1) as usize;
            if places.insert(place.step, ahead) != Some(ahead) {
                moved.push((place.step, ahead));
            }
        }
        moved
    }

    /// Returns whether the step is no longer just approved.
    async fn dispatch(&self, step: StepId) -> Result<bool, LedgerError> {
        let _dispatching = self.0.dispatching.lock().await;
        if !self.may_dispatch() {
            return Ok(false);
        }
        let row = match self.0.ledger.read(move |tx| steps::get(tx, step)).await {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(false),
            Err(LedgerError::Content(reason)) => {
                let finish = Finish::failed(reason, Consequence::NothingStarted);
                return self.finish(step, Move::Fail, finish).await;
            }
            Err(error) => return Err(error),
        };
        let Some(instance) = self.0.instances.get(&row.connector).cloned() else {
            let reason = format!("no connector `{}` is configured any more", row.connector);
            let finish = Finish::failed(reason, Consequence::NothingStarted);
            return self.finish(step, Move::Fail, finish).await;
        };
        let now = self.in_force(&row, &instance).await?;
        failpoint("dispatch.looked_at");
        let released = self
            .0
            .ledger
            .write(move |tx| {
                let released = release(tx, step, &now)?;
                failpoint("dispatch.uncommitted");
                Ok(released)
            })
            .await?;
        failpoint("dispatch.committed");
        if released == Released::Dispatched {
            self.call(instance, row, None);
        }
        Ok(released != Released::NotApproved)
    }

    async fn in_force(&self, row: &StepRow, instance: &Instance) -> Result<InForce, LedgerError> {
        let mut target = instance.target(&row.action, &row.input, &self.terms_of_call(row).await?.provenance);
        // As it was told when somebody was asked.
        let told = row.target.settings.get(TOLD).cloned();
        target.settings.extend(told.map(|told| (TOLD.to_owned(), told)));
        let rule = self.rule_in_force(&row.rule);
        let terms = match &rule {
            Some(rule) => Terms::of(rule, &self.0.gate),
            // The rule is gone: whoever would approve it as it was.
            None => self.stored_terms(row).await?,
        };
        let read_only = instance.action(&row.action).is_some_and(|decl| decl.read_only);
        Ok(InForce {
            target,
            rule_now: rule.map(|rule| rule.version().as_str().to_owned()),
            terms,
            followers: self.followers_in_force(&row.rule),
            policy: self.0.gate.policy(&row.connector, &row.action, &row.rule, read_only),
            token: token()?,
        })
    }

    /// Who may answer the agent's asks: whoever may approve the step, then and now.
    pub(super) async fn may_answer(&self, row: &StepRow) -> Result<Vec<Actor>, LedgerError> {
        let then = row.terms();
        let now = match self.rule_in_force(&row.rule) {
            Some(rule) => Terms::of(&rule, &self.0.gate),
            None => self.stored_terms(row).await?,
        };
        let may = |account: &&Actor| {
            let barred = then.bars(account, &row.requester) || now.bars(account, &row.requester);
            now.approvers.contains(account) && !barred
        };
        Ok(row.approvers.iter().filter(may).cloned().collect())
    }

    async fn stored_terms(&self, row: &StepRow) -> Result<Terms, LedgerError> {
        let version = row.rule_version.clone();
        let definition = self.0.ledger.read(move |tx| runs::definition(tx, &version)).await?;
        Ok(match parse_stored(&definition, &row.rule_version) {
            Ok(rule) => Terms::of(&rule, &self.0.gate),
            Err(_) => row.terms(),
        })
    }

    /// Steps that were dispatched when the host died.
    pub(super) async fn recover(&self) -> Result<(), LedgerError> {
        let _dispatching = self.0.dispatching.lock().await;
        if self.0.draining.load(Ordering::SeqCst) {
            return Ok(());
        }
        for step in self.0.ledger.read(|tx| steps::ids_in_state(tx, StepState::Dispatched)).await? {
            let row = match self.0.ledger.read(move |tx| steps::get(tx, step)).await {
                Ok(Some(row)) => row,
                Ok(None) => continue,
                Err(LedgerError::Content(reason)) => {
                    let finish = Finish::failed(reason, Consequence::Unknown);
                    self.finish(step, Move::LoseTrack, finish).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // It waits on, and nothing was begun.
            if row.wake_at.is_some() {
                continue;
            }
            let Some(instance) = self.0.instances.get(&row.connector).cloned() else {
                let reason = format!(
                    "the host stopped while it ran, and no connector `{}` is configured any more",
                    row.connector
                );
                self.finish(row.id, Move::LoseTrack, Finish::failed(reason, Consequence::Unknown)).await?;
                continue;
            };
            // What its agent still asks, it asks again.
            self.0.ledger.write(move |tx| asks::withdraw(tx, step)).await?;
            match row.checkpoint.clone() {
                Some(checkpoint) => self.call(instance, row, Some(checkpoint)),
                // Nothing began, so it is as approved as it was; whether that still holds under the
                // configuration in force is looked at again like that of any other step.
                None if instance.described.checkpoints() => {
                    let change = Change::none().not_dispatched().only_if(Guard::NoCheckpoint);
                    self.0.ledger.write(move |tx| steps::make(tx, step, Move::Return, change)).await?;
                }
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
        let found_again = match (instance.described.checkpoints(), &instance.workspace) {
            (false, _) => FoundAgain::Never,
            (true, Some(_)) => FoundAgain::AtOurDaemon,
            (true, None) => FoundAgain::AtTheirs,
        };
        self.running().insert(row.id, Running { cancel: cancel.clone(), found_again });
        let engine = self.clone();
        tokio::spawn(async move {
            let step = row.id;
            let work = tokio::spawn(engine.clone().until_known(instance, row, resume, cancel));
            let (made, finish) = work.await.unwrap_or_else(|panic| {
                let reason = format!("the connector broke down: {panic}");
                (Move::LoseTrack, Finish::failed(reason, Consequence::Unknown))
            });
            // The host has stopped, and what its pool's end did to a call that it left is not the end of the step, which the
            // next start looks for.
            if engine.is_left(step) {
                return;
            }
            engine.finish_for_sure(step, made, finish).await;
            engine.running().remove(&step);
            engine.forget_refusals(step);
            engine.0.wake.notify_one();
        });
    }

    /// Whether the next start finds out what becomes of a step that runs, since this host has stopped.
    fn is_left(&self, step: StepId) -> bool {
        let left = self.0.left.get().filter(|_| self.0.stopping.is_cancelled());
        left.is_some_and(|left| self.running().get(&step).is_some_and(|it| left.takes(it.found_again)))
    }

    /// Carries a call out. One that goes on with an earlier effect is tried for a while: right
    /// after a start, the other side may still be starting too.
    async fn until_known(
        self,
        instance: Instance,
        row: StepRow,
        resume: Option<Checkpoint>,
        cancel: CancellationToken,
    ) -> (Move, Finish) {
        let now = || self.0.clock.now();
        let begins = if resume.is_some() { Begins::Again } else { Begins::With(&row.input) };
        let recorder = Recorder::new(self.0.transcripts.clone(), row.id, begins, now());
        let recorder = Arc::new(Mutex::new(recorder));
        let give_up = Instant::now() + RECONCILE;
        let mut pause = Duration::from_secs(1);
        let (made, finish) = loop {
            let ended = self.carry_out(&instance, &row, resume.clone(), cancel.clone(), &recorder).await;
            let late = Instant::now() + pause > give_up;
            if resume.is_none() || ended.0 != Move::LoseTrack || late || cancel.is_cancelled() {
                break ended;
            }
            tracing::warn!(step = %row.id, reason = ended.1.reason, "what became of it is not known yet");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = cancel.cancelled() => break ended,
            }
            pause = (pause * 2).min(Duration::from_secs(15));
        };
        // What the next start finds out is no end.
        if !self.is_left(row.id) {
            let reply = finish.output.as_ref().and_then(|output| Facts::of(output).reply());
            let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            recorder.end(now(), made.target().as_str(), finish.reason.as_deref(), reply);
        }
        (made, finish)
    }

    async fn carry_out(
        &self,
        instance: &Instance,
        row: &StepRow,
        resume: Option<Checkpoint>,
        cancel: CancellationToken,
        recorder: &Arc<Mutex<Recorder>>,
    ) -> (Move, Finish) {
        failpoint("call.begins");
        let ready = tokio::select! {
            biased;
            // What may be running already is stopped by its connector, once that is ready.
            () = cancel.cancelled(), if resume.is_none() => return (Move::Cancel, Finish::failed("cancelled before it began".into(), Consequence::NothingStarted)),
            ready = instance.provider.ready() => ready,
        };
        failpoint("call.ready");
        let ready = match ready {
            Ok(ready) => ready,
            Err(reason) if resume.is_some() => {
                return (Move::LoseTrack, Finish::failed(reason, Consequence::Unknown));
            }
            Err(reason) => return (Move::Fail, Finish::failed(reason, Consequence::NothingStarted)),
        };
        let known = async {
            Ok::<_, LedgerError>((self.terms_of_call(row).await?, self.audience(row.id.run).await?))
        };
        let (terms, audience) = match known.await {
            Ok(known) => known,
            Err(error) if resume.is_some() => {
                return (Move::LoseTrack, Finish::failed(chain(&error), Consequence::Unknown));
            }
            Err(error) => return (Move::Fail, Finish::failed(chain(&error), Consequence::NothingStarted)),
        };
        let (sink, mut updates) = progress_channel(PROGRESS);
        let step = row.id;
        let hear = |progress: &Progress| {
            let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            recorder.hear(self.0.clock.now(), progress);
        };
        let show = async {
            while let Some(progress) = updates.next().await {
                let progress = self.naming_refuser(step, progress);
                hear(&progress);
                audience.progress(step, &progress);
            }
        };
        let relay = Relay::new(self.clone(), row.clone(), audience.clone(), Arc::clone(recorder));
        let resumed = resume.is_some();
        let context = Context {
            http: ready.http,
            deadline: Instant::now() + self.time_left(row, terms.timeout),
            cancel,
            progress: sink,
            asks: Arc::new(relay),
            checkpoints: Arc::new(Checkpoints { ledger: self.0.ledger.clone(), step }),
            resume,
            provenance: terms.provenance,
            approved: Some(row.target.clone()),
        };
        let call = async {
            let result = ready.connector.execute(&row.action, row.input.clone(), &context).await;
            drop(context);
            result
        };
        let (result, ()) = tokio::join!(call, show);
        failpoint("call.returned");
        judge(result, resumed)
    }

    /// What is left of the deadline that began with the dispatch, or of the step's own `timeout`
    /// if that is earlier; after a restart never nothing, so that the end of what went on meanwhile
    /// can be seen.
    fn time_left(&self, row: &StepRow, timeout: Option<Duration>) -> Duration {
        let deadline = timeout.map_or(self.0.deadline, |timeout| timeout.min(self.0.deadline));
        let began = row.dispatched_at.unwrap_or_else(|| self.0.clock.now());
        let passed = u64::try_from(self.0.clock.now() - began).unwrap_or(0);
        deadline.saturating_sub(Duration::from_millis(passed)).max(RECONCILE.min(deadline))
    }

    /// A result is not lost because the ledger cannot take it for a while.
    async fn finish_for_sure(&self, step: StepId, made: Move, finish: Finish) {
        loop {
            match self.finish(step, made, finish.clone()).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::error!(%step, ?made, "the result came for a step that does not run");
                    return;
                }
                Err(error) if !self.0.stopping.is_cancelled() => {
                    tracing::error!(%step, error = %chain(&error), "the result waits for the ledger");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => {
                    tracing::error!(%step, error = %chain(&error), "the next start finds out what became of it");
                    return;
                }
            }
        }
    }

    async fn finish(&self, step: StepId, made: Move, finish: Finish) -> Result<bool, LedgerError> {
        let recorded = self
            .0
            .ledger
            .write(move |tx| {
                let mut change = Change::none().ended(tx.now).detail(finish.detail());
                if let Some(reason) = finish.reason {
                    change = change.reason(reason);
                }
                if let Some(output) = finish.output {
                    change = change.output(&output);
                }
                if let Some(session) = finish.session_id {
                    change = change.session(session);
                }
                if let Some(consequence) = finish.consequence {
                    change = change.consequence(consequence)?;
                }
                let made = steps::make(tx, step, made, change)?;
                if made {
                    audience::put(tx, step.run, &Parcel::Result(step))?;
                }
                failpoint("finish.uncommitted");
                Ok(made)
            })
            .await?;
        failpoint("finish.committed");
        Ok(recorded)
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
            let session_id = Facts::of(&result.output).session().map(str::to_owned);
            let (made, reason) =
                if result.success { (Move::Succeed, None) } else { (Move::Fail, Some(result.message)) };
            (made, Finish { reason, session_id, output: Some(result.output), consequence: None })
        }
        Err(error) => {
            let cancelled = matches!(error, ConnectorError::Cancelled { .. });
            let made = match error.consequence() {
                Consequence::NothingStarted if cancelled && !resumed => Move::Cancel,
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

struct Checkpoints {
    ledger: Ledger,
    step: StepId,
}

#[async_trait]
impl CheckpointLog for Checkpoints {
    async fn record(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let step = self.step;
        let recorded = self
            .ledger
            .write(move |tx| {
                let recorded = steps::checkpoint(tx, step, &checkpoint)?;
                failpoint("checkpoint.uncommitted");
                Ok(recorded)
            })
            .await;
        failpoint("checkpoint.committed");
        match recorded {
            Ok(true) => Ok(()),
            Ok(false) => Err(CheckpointError { reason: format!("step {step} is no longer running") }),
            Err(error) => Err(CheckpointError { reason: chain(&error) }),
        }
    }
}
