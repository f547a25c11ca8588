//! A host in a temporary directory, with a clock that stands and a screen that remembers.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use connector_contract::{OutboundHttp, Progress};
use connector_engine::Engine;
use connector_engine::instance::{Fixed, Instance, Ready};
use connector_gate::clock::Clock;
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::{Actor, GateConfig};
use connector_host::assemble::{self, Parts};
use connector_ledger::audit::{self, Verdict};
use connector_ledger::events::{NewEvent, ReplyTo};
use connector_ledger::runs::{self, RunRow, RunState};
use connector_ledger::steps::{self, StepRow};
use connector_ledger::{Ledger, LedgerError, Tx};
use connector_rules::{RuleSet, SourceFile};
use connector_surface::view::Standing;
use connector_surface::{DeliveryError, OpenAsk, Surface, View};
use serde_json::json;

use crate::probe::{Probe, Shared};

pub(crate) const ANNA: &str = "screen:anna";
pub(crate) const BEN: &str = "screen:ben";

/// The seed's rule, for the probe.
pub(crate) const FIX: &str = r#"
[rule]
name = "fix"
[trigger]
type = "ConnectorEvent"
connector = "chat"
event = "message_received"
[[conditions]]
type = "FieldContains"
field = "trigger.text"
value = "/fix"
[[actions]]
type = "RunConnector"
connector = "oc"
action = "run_task"
[actions.params]
prompt = "${trigger.text}"
"#;

/// A surface that keeps what it was given.
#[derive(Default)]
pub(crate) struct Screen {
    pub(crate) notices: Mutex<Vec<View>>,
    /// Where the rows are that the notices are of.
    ledger: OnceLock<Ledger>,
    cards: Mutex<Vec<StepRow>>,
    /// What became of its cards, in words.
    pub(crate) standings: Mutex<Vec<String>>,
    /// The asks that it was given, and those that were closed.
    pub(crate) asks: Mutex<Vec<String>>,
    results: Mutex<Vec<StepRow>>,
    pub(crate) broken: Mutex<bool>,
    /// How long it takes over a notice.
    pub(crate) slow: Mutex<Duration>,
}

#[async_trait]
impl Surface for Screen {
    fn name(&self) -> &'static str {
        "screen"
    }

    async fn deliver(&self, _chat: &str, _parcel: i64, notice: View) -> Result<String, DeliveryError> {
        if *self.broken.lock().unwrap() {
            return Err(DeliveryError::Later("the screen is broken".into()));
        }
        let slow = *self.slow.lock().unwrap();
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        match &notice {
            View::Card(card) => {
                // What is tapped is what was shown.
                let row = StepRow { digest: card.digest.clone(), ..self.row(card.id).await? };
                self.cards.lock().unwrap().push(row);
            }
            View::Result(result) => {
                let row = self.row(result.id).await?;
                self.results.lock().unwrap().push(row);
            }
            View::Text(_) => {}
        }
        let mut notices = self.notices.lock().unwrap();
        notices.push(notice);
        Ok(format!("m{}", notices.len()))
    }

    fn takes_answers(&self) -> bool {
        true
    }

    fn progress(&self, _chat: &str, _step: StepId, _progress: &Progress) {}

    async fn changed(&self, _chat: &str, standing: &Standing) -> Result<(), DeliveryError> {
        self.standings.lock().unwrap().push(standing.words());
        Ok(())
    }

    fn ask(&self, chat: &str, ask: &OpenAsk) {
        self.asks.lock().unwrap().push(format!("{chat}: ask {}", ask.number));
    }

    fn ask_closed(&self, chat: &str, ask: &OpenAsk, by: Option<&Actor>) {
        let by = by.map(Actor::as_str).unwrap_or_default();
        self.asks.lock().unwrap().push(format!("{chat}: ask {} closed by {by}", ask.number));
    }
}

impl Screen {
    /// The rows of the cards it was given, as they were then.
    pub(crate) fn cards(&self) -> Vec<StepRow> {
        self.cards.lock().unwrap().clone()
    }

    /// The same of the results.
    pub(crate) fn results(&self) -> Vec<StepRow> {
        self.results.lock().unwrap().clone()
    }

    async fn row(&self, id: StepId) -> Result<StepRow, DeliveryError> {
        let row = self.ledger.get().unwrap().read(move |tx| steps::get(tx, id)).await;
        Ok(row.map_err(|error| DeliveryError::Later(error.to_string()))?.unwrap())
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let notices = self.notices.lock().unwrap();
        notices
            .iter()
            .filter_map(|notice| if let View::Text(text) = notice { Some(text.clone()) } else { None })
            .collect()
    }
}

/// How a world is set up.
pub(crate) struct Plan {
    pub(crate) rules: Vec<&'static str>,
    pub(crate) gate: GateConfig,
    pub(crate) probe: Arc<Shared>,
    pub(crate) checkpoints: bool,
    /// In place of the probe.
    pub(crate) instance: Option<Instance>,
    /// Beside the screen.
    pub(crate) surfaces: Vec<Arc<dyn Surface>>,
}

impl Default for Plan {
    fn default() -> Self {
        let approvers = vec![Actor::from_text(ANNA), Actor::from_text(BEN)];
        Self {
            rules: vec![FIX],
            gate: GateConfig { approvers, ..GateConfig::default() },
            probe: Shared::open(),
            checkpoints: true,
            instance: None,
            surfaces: Vec::new(),
        }
    }
}

/// A running host.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) screen: Arc<Screen>,
    pub(crate) probe: Arc<Shared>,
    pub(crate) hand: Arc<AtomicI64>,
    running: tokio::task::JoinHandle<Result<(), LedgerError>>,
}

impl World {
    /// Starts a host on `state` at the time `now`, in milliseconds.
    pub(crate) fn start(state: &Path, now: i64, plan: Plan) -> Self {
        Self::try_start(state, now, plan).unwrap()
    }

    pub(crate) fn try_start(state: &Path, now: i64, plan: Plan) -> Result<Self, LedgerError> {
        let (clock, hand) = Clock::manual(now);
        Self::at(state, (clock, hand), plan)
    }

    /// Starts a host on `state` whose time is this machine's.
    pub(crate) fn start_in_real_time(state: &Path, plan: Plan) -> Self {
        Self::at(state, (Clock::System, Arc::default()), plan).unwrap()
    }

    fn at(state: &Path, (clock, hand): (Clock, Arc<AtomicI64>), plan: Plan) -> Result<Self, LedgerError> {
        let screen = Arc::new(Screen::default());
        let connector = Arc::new(Probe::new(plan.probe.clone(), plan.checkpoints));
        let http = OutboundHttp::new([]).unwrap();
        let provider = Arc::new(Fixed(Ready { connector: connector.clone(), http }));
        let files =
            plan.rules.iter().enumerate().map(|(n, text)| SourceFile::new(format!("{n}.toml"), *text));
        let probe = Instance { name: "oc".into(), workspace: None, described: connector, provider };
        let parts = Parts {
            rules: RuleSet::parse(files).unwrap(),
            instances: vec![plan.instance.unwrap_or(probe)],
            surfaces: plan.surfaces.into_iter().chain([screen.clone() as Arc<dyn Surface>]).collect(),
            gate: plan.gate,
            deadline: Duration::from_mins(1),
            max_running: 4,
            ..Parts::default()
        };
        let engine = assemble::engine(state, clock, parts)?;
        screen.ledger.get_or_init(|| engine.ledger().clone());
        let running = tokio::spawn({
            let engine = engine.clone();
            async move { engine.run().await }
        });
        Ok(Self { engine, screen, probe: plan.probe, hand, running })
    }

    /// Ends the host in an orderly way.
    pub(crate) async fn stop(self) {
        self.engine.stop(Duration::from_secs(5)).await;
        self.running.await.unwrap().unwrap();
    }

    /// Ends the host, which leaves what runs to the next start; `after` is what comes when nobody waits for it any more.
    pub(crate) async fn leave(self, after: impl FnOnce()) {
        // Nobody waits so long: what is left is not waited for.
        let left =
            tokio::time::timeout(Duration::from_mins(1), self.engine.leave(Duration::from_hours(1), true))
                .await;
        assert_eq!(left.unwrap(), 1, "one runs on");
        after();
        self.running.await.unwrap().unwrap();
    }

    pub(crate) async fn say(&self, id: &str, text: &str) -> Option<i64> {
        self.engine.submit(event(id, text)).await.unwrap()
    }

    /// The only card, once it is there.
    pub(crate) async fn card(&self) -> StepRow {
        self.until("a card", |world| world.screen.cards().last().cloned()).await
    }

    /// The `n`th result, once it is there.
    pub(crate) async fn result(&self, n: usize) -> StepRow {
        self.until("a result", |world| world.screen.results().get(n - 1).cloned()).await
    }

    pub(crate) async fn tap(&self, card: &StepRow, who: &str, decision: Decision) -> Tapped {
        let approver = Actor::from_text(who);
        // Whoever is elsewhere has another chat, or none.
        let chat = (approver.surface() == card.surface).then(|| card.chat.clone());
        let tap = Tap { step: card.id, digest: card.digest.as_str().to_owned(), approver, chat, decision };
        self.engine.tap(tap).await.unwrap()
    }

    /// Waits, at most ten seconds, until `look` sees something.
    pub(crate) async fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        for _ in 0..2_000 {
            if let Some(seen) = look(self) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what} did not come; the screen has {:#?}", self.screen.notices.lock().unwrap())
    }

    pub(crate) async fn step(&self, id: StepId) -> StepRow {
        self.read(move |tx| steps::get(tx, id)).await.unwrap()
    }

    /// How a run ended.
    pub(crate) async fn until_ended(&self, run: i64) -> RunState {
        for _ in 0..2_000 {
            let row = self.read(move |tx| runs::get(tx, RunId(run))).await.unwrap();
            if row.state != RunState::Active {
                return row.state;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("run {run} did not end")
    }

    /// The step, once its card's delivery is recorded.
    pub(crate) async fn until_delivered(&self, id: StepId) -> StepRow {
        for _ in 0..2_000 {
            let row = self.step(id).await;
            if row.delivered_at.is_some() {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the card of {id} was not delivered")
    }

    pub(crate) async fn runs(&self) -> Vec<RunRow> {
        self.read(|tx| runs::latest(tx, 100)).await
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> T {
        self.engine.ledger().read(work).await.unwrap()
    }

    pub(crate) async fn audited(&self, kind: &'static str) -> usize {
        self.read(move |tx| {
            let mut found = 0;
            audit::for_each(tx, |row| {
                found += usize::from(row.entry.kind == kind);
                Ok(())
            })?;
            Ok(found)
        })
        .await
    }

    pub(crate) async fn audit_is_intact(&self) -> bool {
        matches!(self.read(audit::verify).await, Verdict::Intact { .. })
    }

    pub(crate) fn set_time(&self, now: i64) {
        self.hand.store(now, Ordering::SeqCst);
    }
}

pub(crate) fn event(id: &str, text: &str) -> NewEvent {
    NewEvent {
        surface: "screen".into(),
        platform_id: id.into(),
        connector: "chat".into(),
        event: "message_received".into(),
        chat: "main".into(),
        requester: Actor::from_text(ANNA),
        payload: json!({ "text": text }),
        reply: None,
    }
}

pub(crate) fn reply_to(session: &str) -> ReplyTo {
    ReplyTo { session_id: session.into(), run_id: "1".into(), workspace: String::new(), change: None }
}

/// A ledger nobody else uses.
pub(crate) fn ledger(state: &Path) -> Ledger {
    Ledger::open(state, Clock::System).unwrap()
}
