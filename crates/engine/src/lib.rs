//! The engine: rows in, rows out.
//!
//! It is level-triggered. Each pass looks at the ledger and does what the rows
//! call for: expire cards, turn events into runs, resolve the next step, call
//! connectors for approved steps, deliver what chats are to be told. Nothing
//! that matters is kept in memory, so a pass after a crash is like any other;
//! a pass is started by whoever changed a row, by another process's change, or
//! by the next expiry.
//!
//! In memory are only the calls in flight, and the ways back to their agents.

mod advance;
mod asks;
mod audience;
pub mod commands;
mod deliver;
mod dispatch;
pub mod followers;
pub mod inbox;
pub mod instance;
mod intake;
mod limits;
mod outside;
mod provenance;
mod schedule;
mod surfaces;
mod switched_off;
pub mod transcript;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use connector_failpoint::failpoint;
use connector_gate::clock::{Clock, Millis};
use connector_gate::decision::{Tap, Tapped};
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::{Actor, GateConfig};
use connector_ledger::changes::Changes;
use connector_ledger::events::{self, NewEvent};
use connector_ledger::lock::HostLock;
use connector_ledger::outbox::Parcel;
use connector_ledger::steps::{StepRow, decide};
use connector_ledger::{Ledger, LedgerError, Tx, outbox, runs, steps};
use connector_rules::RuleSet;
use connector_surface::Surface;
use connector_surface::view::{CardView, ResultView, Standing};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::instance::Instance;
use crate::transcript::Transcripts;

pub use connector_gate::ask::{Answer, Answered};
pub use intake::{OF_RESULT, as_event};
pub use outside::{Arrival, Repeat, Stored};
pub use schedule::{NoSurface, ScheduleChat};
pub use switched_off::LeftOut;

/// How often another process's changes are looked for.
const LOOK: Duration = Duration::from_millis(200);

/// How many rows of a kind one pass takes on.
const BATCH: u32 = 64;

/// Views of rows: what the host's connectors mean by their inputs, targets and outputs is said here, and nowhere in the engine.
pub trait Views: Send + Sync + 'static {
    /// The card of a step, as it is at `now`.
    fn card(&self, row: &StepRow, now: Millis) -> CardView;
    /// The result of a step that has ended.
    fn result(&self, row: &StepRow) -> ResultView;
    /// Where the card of a step stands that these accounts approved, each another person's.
    fn standing(&self, row: &StepRow, approved_by: &[Actor], now: Millis) -> Standing;
}

/// How the engine is set up.
pub struct Setup {
    /// The ledger.
    pub ledger: Ledger,
    /// What is kept of the steps' agents.
    pub transcripts: Transcripts,
    /// Proof that no other host uses it.
    pub lock: HostLock,
    /// The time.
    pub clock: Clock,
    /// The rules in force.
    pub rules: RuleSet,
    /// Connector instances by the names rules use.
    pub instances: Vec<Instance>,
    /// Surfaces.
    pub surfaces: Vec<Arc<dyn Surface>>,
    /// The names of those whose users are this machine's own: what they ask for is under their own rules alone.
    pub local: BTreeSet<String>,
    /// The connectors that a button under a result may have do something; other rules take what somebody wrote alone.
    pub button_connectors: BTreeSet<String>,
    /// What is shown of rows.
    pub views: Arc<dyn Views>,
    /// The gate.
    pub gate: GateConfig,
    /// How long a dispatched step may take in all.
    pub deadline: Duration,
    /// How many steps may run at once.
    pub max_running: usize,
}

/// The engine. Cheap to clone; clones are handles to the same one.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    transcripts: Transcripts,
    _lock: HostLock,
    clock: Clock,
    rules: RwLock<RuleSet>,
    /// What is not in force since its file could not be used.
    switched_off: Mutex<switched_off::SwitchedOff>,
    instances: HashMap<String, Instance>,
    surfaces: HashMap<String, Arc<dyn Surface>>,
    local: BTreeSet<String>,
    button_connectors: BTreeSet<String>,
    views: Arc<dyn Views>,
    gate: GateConfig,
    deadline: Duration,
    max_running: usize,
    timetable: schedule::Timetable,
    wake: Notify,
    running: Mutex<HashMap<StepId, Running>>,
    /// When the first event that may still grow is taken up.
    growing: Mutex<Option<Millis>>,
    /// The rules changed, and who follows runs by them was not looked at since.
    rules_changed: AtomicBool,
    audiences: audience::Audiences,
    /// The places in the queue that were shown last.
    places: Mutex<HashMap<StepId, usize>>,
    /// The chats, by surface and name, that are being delivered to.
    delivering: Mutex<HashSet<(String, String)>>,
    /// Nothing new is dispatched any more.
    draining: AtomicBool,
    /// What is left running from then on.
    left: OnceLock<Left>,
    asks: asks::AskRegistry,
    /// Held while a step is let go, until it is among the running ones.
    dispatching: tokio::sync::Mutex<()>,
    /// Cancelled once what was so at the end of the last host is brought up to date: until then nothing comes in.
    started: CancellationToken,
    stopping: CancellationToken,
}

/// A call in flight.
struct Running {
    cancel: CancellationToken,
    /// The next start finds out what becomes of it, should this host end first.
    found_again: FoundAgain,
}

/// Whether a call can be found again after a start, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FoundAgain {
    /// Its connector keeps no checkpoints.
    Never,
    /// At a daemon that this host runs, if that goes on.
    AtOurDaemon,
    /// At a daemon that somebody else runs.
    AtTheirs,
}

/// Which running steps are left to the next start.
#[derive(Debug, Clone, Copy, Default)]
struct Left {
    /// Those at daemons that somebody else runs.
    at_theirs: bool,
    /// Those at this host's own.
    at_ours: bool,
}

impl Left {
    fn takes(self, found_again: FoundAgain) -> bool {
        match found_again {
            FoundAgain::Never => false,
            FoundAgain::AtOurDaemon => self.at_ours,
            FoundAgain::AtTheirs => self.at_theirs,
        }
    }
}

/// What cancelling a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It had not run yet, and will not.
    Withdrawn,
    /// It runs, and was told to stop; its result will say how it ended.
    Stopping,
    /// There was nothing to cancel.
    NothingToDo,
}

impl Engine {
    /// An engine over `setup`. Nothing happens until [`run`](Self::run).
    pub fn new(setup: Setup) -> Self {
        Self(Arc::new(Inner {
            ledger: setup.ledger,
            transcripts: setup.transcripts,
            _lock: setup.lock,
            clock: setup.clock,
            rules: RwLock::new(setup.rules),
            switched_off: Mutex::default(),
            instances: setup
                .instances
                .into_iter()
                .map(|instance| (instance.name.clone(), instance))
                .collect(),
            surfaces: setup
                .surfaces
                .into_iter()
                .map(|surface| (surface.name().to_owned(), surface))
                .collect(),
            local: setup.local,
            button_connectors: setup.button_connectors,
            views: setup.views,
            gate: setup.gate,
            deadline: setup.deadline,
            max_running: setup.max_running,
            timetable: schedule::Timetable::default(),
            wake: Notify::new(),
            running: Mutex::new(HashMap::new()),
            growing: Mutex::default(),
            rules_changed: AtomicBool::new(false),
            audiences: audience::Audiences::default(),
            places: Mutex::default(),
            delivering: Mutex::default(),
            left: OnceLock::new(),
            draining: AtomicBool::new(false),
            asks: asks::AskRegistry::default(),
            dispatching: tokio::sync::Mutex::default(),
            started: CancellationToken::new(),
            stopping: CancellationToken::new(),
        }))
    }

    /// Its ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// What it keeps of the steps' agents.
    pub fn transcripts(&self) -> &Transcripts {
        &self.0.transcripts
    }

    /// The changes of runs from now on, by whichever process. Whoever looks after it has subscribed, and again after each
    /// change, misses nothing.
    pub fn subscribe(&self) -> Changes {
        self.0.ledger.changes()
    }

    /// Makes passes until [`stop`](Self::stop). An error of the ledger ends it
    /// only if it cannot pass: a full disk or a busy file is waited out.
    pub async fn run(&self) -> Result<(), LedgerError> {
        // Before anything is read: what another process writes meanwhile is told of.
        let mut seen = self.0.ledger.data_version().await?;
        self.start().await?;
        self.0.started.cancel();
        let mut look = tokio::time::Instant::now() + LOOK;
        loop {
            let wait = match self.pass_and_look_ahead().await {
                Ok(wait) => wait,
                Err(error) if passing(&error) => {
                    tracing::error!(error = %connector_contract::chain(&error), "waiting for the ledger");
                    Duration::from_secs(1)
                }
                Err(error) => return Err(error),
            };
            let due = tokio::time::Instant::now() + wait;
            loop {
                tokio::select! {
                    // However busy this process is, it hears what others write.
                    biased;
                    () = self.0.stopping.cancelled() => return Ok(()),
                    () = tokio::time::sleep_until(look) => {
                        look = tokio::time::Instant::now() + LOOK;
                        match self.0.ledger.data_version().await {
                            Ok(version) if version == seen => {}
                            Ok(version) => {
                                seen = version;
                                self.0.ledger.changed_elsewhere();
                                break;
                            }
                            // The next pass waits it out.
                            Err(error) if passing(&error) => break,
                            Err(error) => return Err(error),
                        }
                    }
                    () = self.0.wake.notified() => break,
                    () = tokio::time::sleep_until(due) => break,
                }
            }
        }
    }

    async fn pass_and_look_ahead(&self) -> Result<Duration, LedgerError> {
        self.pass().await?;
        self.until_next().await
    }

    /// Stops: running steps are told to stop and are waited for, at most
    /// `grace`; whatever is left is found again by the next start.
    pub async fn stop(&self, grace: Duration) {
        self.stop_all_but(grace, Left::default()).await;
    }

    /// Stops, and leaves to the next start the running steps that it will find again: those at daemons
    /// that somebody else runs, and, if `daemons_go_on`, those at this host's own. Says how many.
    pub async fn leave(&self, grace: Duration, daemons_go_on: bool) -> usize {
        self.stop_all_but(grace, Left { at_theirs: true, at_ours: daemons_go_on }).await
    }

    async fn stop_all_but(&self, grace: Duration, left: Left) -> usize {
        let left = *self.0.left.get_or_init(|| left);
        self.0.draining.store(true, Ordering::SeqCst);
        // What is being let go is among the running ones from here on, and nothing else will be.
        if tokio::time::timeout(grace, self.0.dispatching.lock()).await.is_err() {
            tracing::warn!("a step that was being let go is not waited for");
        }
        let stays = |running: &Running| left.takes(running.found_again);
        for running in self.running().values().filter(|running| !stays(running)) {
            running.cancel.cancel();
        }
        let stopped = async {
            while !self.running().values().all(stays) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(grace, stopped).await.is_err() {
            tracing::warn!("some steps did not stop in time; the next start finds out what became of them");
        }
        let count = self.running().values().filter(|running| stays(running)).count();
        // What was decided last still ends its run, and its result is shown
        // before the surfaces go. The next start would do the same.
        if let Err(error) = self.advance_runs().await {
            tracing::warn!(error = %connector_contract::chain(&error), "left for the next start");
        }
        self.deliver_the_last(grace).await;
        self.0.stopping.cancel();
        count
    }

    /// Stores an event. Returns its id, or `None` if it was there before.
    pub async fn submit(&self, event: NewEvent) -> Result<Option<i64>, LedgerError> {
        self.submit_with(event, |_, id| Ok(id)).await
    }

    /// Stores an event and does `work` in the same transaction: neither is there without the other.
    /// An event that was there before is worked on no second time, and the answer is `None`.
    pub async fn submit_with<T, F>(&self, event: NewEvent, work: F) -> Result<Option<T>, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>, i64) -> Result<T, LedgerError> + Send + 'static,
    {
        let store = move |tx: &Tx<'_>| events::store(tx, &event)?.map(|id| work(tx, id)).transpose();
        let done = self.0.ledger.write(store).await?;
        self.0.wake.notify_one();
        Ok(done)
    }

    /// Stores an event that no rule sees, and what its chat is told instead.
    /// One that was there before is told nothing.
    pub async fn submit_refused(&self, event: NewEvent, told: String) -> Result<(), LedgerError> {
        let (surface, chat) = (event.surface.clone(), event.chat.clone());
        let refused = move |tx: &Tx<'_>, id| {
            events::handled(tx, id)?;
            outbox::put(tx, &surface, &chat, &Parcel::Text { run: None, body: told })
        };
        self.submit_with(event, refused).await.map(|_| ())
    }

    /// Carries a tap out and says how it is answered.
    pub async fn tap(&self, tap: Tap) -> Result<Tapped, LedgerError> {
        let answer = self.0.ledger.write(move |tx| decide::decide(tx, &tap)).await?;
        self.0.wake.notify_one();
        Ok(answer)
    }

    /// Cancels a step in whatever state it is.
    pub async fn cancel(&self, step: StepId, by: &Actor) -> Result<CancelOutcome, LedgerError> {
        let actor = by.clone();
        let outcome = self.0.ledger.write(move |tx| cancel(tx, step, &actor)).await?;
        self.0.wake.notify_one();
        Ok(outcome)
    }

    /// Cancels a run in whatever state it is: no further step of it begins.
    pub async fn cancel_run(&self, run: RunId, by: &Actor) -> Result<CancelOutcome, LedgerError> {
        let actor = by.clone();
        let outcome = self.0.ledger.write(move |tx| cancel_run(tx, run, &actor)).await?;
        self.0.wake.notify_one();
        Ok(outcome)
    }

    /// The steps that run now.
    pub fn running_steps(&self) -> Vec<StepId> {
        let mut steps: Vec<StepId> = self.running().keys().copied().collect();
        steps.sort_unstable();
        steps
    }

    /// Whether somebody is among those who may approve anything here.
    pub fn is_approver(&self, actor: &Actor) -> bool {
        let own = |rule: &connector_rules::Rule| {
            rule.approvers().is_some_and(|all| all.iter().any(|it| it == actor.as_str()))
        };
        self.0.gate.approvers.contains(actor) || self.rules().rules().iter().any(|rule| own(rule))
    }

    /// Replaces the rules. A run goes on by the rule it was made by; what it has not dispatched
    /// yet is asked about again.
    pub fn set_rules(&self, rules: RuleSet) {
        *self.0.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        self.0.timetable.forget();
        self.0.rules_changed.store(true, Ordering::SeqCst);
        self.0.wake.notify_one();
    }

    /// The rules in force.
    pub fn rules(&self) -> RuleSet {
        self.0.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn start(&self) -> Result<(), LedgerError> {
        failpoint("start.begins");
        self.withdraw_followers().await?;
        let (gate, rules) = (self.0.gate.clone(), self.rules());
        let surfaces: Vec<Arc<dyn Surface>> = self.0.surfaces.values().cloned().collect();
        self.0
            .ledger
            .write(move |tx| {
                advance::refresh_approvers(tx, &rules, &gate)?;
                runs::find_idle(tx)?;
                for surface in &surfaces {
                    outbox::retry_now(tx, surface.name())?;
                    if !surface.keeps_cards() {
                        outbox::show_again(tx, surface.name())?;
                    }
                }
                Ok(())
            })
            .await?;
        failpoint("start.cards_put_out");
        self.recover().await?;
        failpoint("start.recovered");
        Ok(())
    }

    async fn pass(&self) -> Result<(), LedgerError> {
        if self.0.rules_changed.swap(false, Ordering::SeqCst)
            && let Err(error) = self.withdraw_followers().await
        {
            self.0.rules_changed.store(true, Ordering::SeqCst);
            return Err(error);
        }
        self.honour_cancels().await?;
        self.wake().await?;
        self.hear_answers().await?;
        self.fire_schedules().await?;
        let (overdue, unhandled) = self
            .0
            .ledger
            .read(|tx| {
                let overdue = steps::next_expiry(tx)?.is_some_and(|at| at <= tx.now);
                Ok((overdue, events::any_unhandled(tx)?))
            })
            .await?;
        if overdue {
            self.expire_cards().await?;
        }
        *self.growing() = None;
        if unhandled {
            failpoint("intake.uncommitted");
            self.take_in_events().await?;
            failpoint("intake.committed");
        }
        self.advance_runs().await?;
        self.dispatch_approved().await?;
        self.deliver_due().await
    }

    async fn honour_cancels(&self) -> Result<(), LedgerError> {
        for step in self.0.ledger.read(steps::to_cancel).await? {
            if let Some(running) = self.running().get(&step) {
                running.cancel.cancel();
            }
        }
        Ok(())
    }

    /// Ends what only waits and is over.
    async fn wake(&self) -> Result<(), LedgerError> {
        let over = |tx: &Tx<'_>| Ok(steps::next_wake(tx)?.is_some_and(|at| at <= tx.now));
        if self.0.ledger.read(over).await? {
            while self.0.ledger.write(|tx| steps::wake(tx, BATCH)).await? == BATCH as usize {}
        }
        Ok(())
    }

    async fn expire_cards(&self) -> Result<(), LedgerError> {
        while self.0.ledger.write(|tx| steps::expire_overdue(tx, BATCH)).await? == BATCH as usize {}
        Ok(())
    }

    /// How long there is nothing to do by the clock.
    async fn until_next(&self) -> Result<Duration, LedgerError> {
        let look = |tx: &Tx<'_>| {
            // A pass takes on a batch: while more waits, the next follows at once.
            if events::any_unhandled(tx)? {
                return Ok((Some(tx.now), tx.now));
            }
            let next = [steps::next_expiry(tx)?, outbox::next_retry(tx)?, steps::next_wake(tx)?];
            let next = next.into_iter().flatten().min();
            Ok((next, tx.now))
        };
        let (next, now): (Option<Millis>, Millis) = self.0.ledger.read(look).await?;
        let growing = *self.growing();
        let next = [next, self.next_scheduled(), growing].into_iter().flatten().min();
        // Looked at again at least every minute, so that a clock that jumps is noticed.
        let wait = next.map_or(60_000, |at| at.saturating_sub(now).clamp(0, 60_000));
        Ok(Duration::from_millis(u64::try_from(wait).unwrap_or(0).max(1)))
    }

    /// Makes a pass: the ledger says something new.
    pub fn look_again(&self) {
        self.0.wake.notify_one();
    }

    fn growing(&self) -> MutexGuard<'_, Option<Millis>> {
        self.0.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<StepId, Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delivering(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
        self.0.delivering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn surface(&self, name: &str) -> Option<Arc<dyn Surface>> {
        self.0.surfaces.get(name).cloned()
    }

    /// Whether a run still has something running or waiting.
    pub async fn run_is_live(&self, run: RunId) -> Result<bool, LedgerError> {
        self.0
            .ledger
            .read(move |tx| {
                Ok(connector_ledger::runs::get(tx, run)?
                    .is_some_and(|row| row.state == connector_ledger::runs::RunState::Active))
            })
            .await
    }
}

/// Cancels a step, from this process or beside a running host.
pub fn cancel(tx: &Tx<'_>, step: StepId, by: &Actor) -> Result<CancelOutcome, LedgerError> {
    if steps::cancel_waiting(tx, step, by)? {
        return Ok(CancelOutcome::Withdrawn);
    }
    Ok(if steps::request_cancel(tx, step, by)? {
        CancelOutcome::Stopping
    } else {
        CancelOutcome::NothingToDo
    })
}

/// Cancels a run, from this process or beside a running host.
pub fn cancel_run(tx: &Tx<'_>, run: RunId, by: &Actor) -> Result<CancelOutcome, LedgerError> {
    if !runs::request_cancel(tx, run, by)? {
        return Ok(CancelOutcome::NothingToDo);
    }
    let mut outcome = CancelOutcome::Withdrawn;
    for step in steps::live_of_run(tx, run)? {
        if cancel(tx, step, by)? == CancelOutcome::Stopping {
            outcome = CancelOutcome::Stopping;
        }
    }
    Ok(outcome)
}

/// Whether waiting may help, or the error is about one row among many.
fn passing(error: &LedgerError) -> bool {
    matches!(
        error,
        LedgerError::Busy(_)
            | LedgerError::Full(_)
            | LedgerError::ReadOnly(_)
            | LedgerError::Lost(_)
            | LedgerError::NotRunning
            | LedgerError::Content(_)
            | LedgerError::CutOff(_)
    )
}

/// A text that no other call returns: for events whose surface has no ids of its own.
pub fn unique() -> Result<String, LedgerError> {
    advance::token()
}
