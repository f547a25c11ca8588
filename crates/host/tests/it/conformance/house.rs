//! A host on a platform, with a connector that does as it is told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use connector_contract::OutboundHttp;
use connector_engine::Engine;
use connector_engine::instance::{Fixed, Instance, Ready};
use connector_gate::clock::Clock;
use connector_gate::decision::Decision;
use connector_gate::policy::GateConfig;
use connector_host::assemble::{self, Parts};
use connector_ledger::{LedgerError, lock};
use connector_rules::{RuleSet, SourceFile};
use connector_surface::SurfaceError;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Dispatch;

use super::platform::{Platform, Seen, Who};
use crate::database;
use crate::probe::{Probe, Shared};

/// How long something that has to come is waited for.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// The first of the chats where all are who are let in.
pub(crate) const TOGETHER: usize = 1;

/// The chat of somebody whom nobody let in.
pub(crate) const STRANGERS: usize = usize::MAX;

/// A host, and the platform that its surface is on.
pub(crate) struct House<P> {
    pub(crate) platform: P,
    pub(crate) probe: Arc<Shared>,
    pub(crate) gate: GateConfig,
    /// The chats that rules name as followers.
    pub(crate) followers: Vec<usize>,
    state: tempfile::TempDir,
    ledger: PathBuf,
    /// Where all that the host's own threads log goes.
    log: Option<Dispatch>,
    host: Option<Host>,
}

struct Host {
    engine: Engine,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), LedgerError>>,
    /// What all of it runs on, so that it can be killed.
    runtime: Option<Runtime>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl<P: Platform> House<P> {
    /// A host whose calls end at once.
    pub(crate) async fn start() -> Self {
        Self::with(Shared::open(), |_| {}).await
    }

    /// A host whose calls go on until the test lets them end.
    pub(crate) async fn busy() -> Self {
        Self::with(Shared::closed(), |_| {}).await
    }

    /// A host whose calls end as `probe` says, and whose gate is changed.
    pub(crate) async fn with(probe: Arc<Shared>, change: impl FnOnce(&mut GateConfig)) -> Self {
        let mut house = Self::on(P::start().await, probe);
        change(&mut house.gate);
        house.start_again();
        house.until_heard().await;
        house
    }

    /// Waits until what is said is heard: a surface that keeps a place has one.
    pub(crate) async fn until_heard(&self) {
        if P::KEEPS_PLACE {
            self.until("SELECT count(*) FROM cursors").await;
        }
    }

    /// A host on a platform that is there, which logs everything.
    pub(crate) fn logging(platform: P, probe: Arc<Shared>, log: Dispatch) -> Self {
        let mut house = Self { log: Some(log), ..Self::on(platform, probe) };
        house.start_again();
        house
    }

    fn on(platform: P, probe: Arc<Shared>) -> Self {
        let approvers = vec![platform.actor(Who::Anna), platform.actor(Who::Ben)];
        let gate = GateConfig { approvers, ..GateConfig::default() };
        let (state, ledger) = (tempfile::tempdir().unwrap(), PathBuf::new());
        let followers = Vec::new();
        Self { platform, probe, gate, followers, state, ledger, log: None, host: None }
    }

    /// The same with rules that name another chat as well, as it is after they were edited and the host was started again.
    pub(crate) async fn followed(mut self, chats: &[usize]) -> Self {
        self.stop().await;
        self.followers = chats.to_vec();
        self.start_again();
        self
    }

    /// Starts the host, where it was.
    pub(crate) fn start_again(&mut self) {
        let log = self.log.clone();
        let follow = move || {
            // Until the thread ends.
            std::mem::forget(log.as_ref().map(tracing::dispatcher::set_default));
        };
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).on_thread_start(follow).enable_all().build().unwrap();
        let entered = runtime.enter();
        let surface = self.platform.surface();
        let followers: Vec<String> = self.followers.iter().map(|chat| self.platform.address(*chat)).collect();
        let rules = rules(surface.connector_name(), &followers);
        let connector = Arc::new(Probe::new(Arc::clone(&self.probe), true));
        let http = OutboundHttp::new([]).unwrap();
        let provider = Arc::new(Fixed(Ready { connector: connector.clone(), http }));
        let parts = Parts {
            rules,
            instances: vec![Instance { name: "oc".into(), workspace: None, described: connector, provider }],
            surfaces: vec![surface],
            gate: self.gate.clone(),
            deadline: Duration::from_mins(2),
            max_running: 40,
            ..Parts::default()
        };
        let engine = assemble::engine(self.state.path(), Clock::System, parts).unwrap();
        drop(entered);
        let stop = CancellationToken::new();
        let failed = |name: &str, error: &SurfaceError| panic!("{name}: {error}");
        let serving = runtime.spawn({
            let (engine, stop) = (engine.clone(), stop.clone());
            async move { engine.serve((&stop, Duration::from_secs(10)), failed).await }
        });
        self.platform.started(&engine);
        engine.ledger().path().clone_into(&mut self.ledger);
        self.host = Some(Host { engine, stop, serving, runtime: Some(runtime) });
    }

    /// Ends the host in order; nothing more is sent.
    pub(crate) async fn stop(&mut self) {
        let mut host = self.host.take().unwrap();
        host.stop.cancel();
        (&mut host.serving).await.unwrap().unwrap();
        self.end(host).await;
    }

    /// Ends the host as a kill does, in the middle of everything.
    pub(crate) async fn kill(&mut self) {
        let host = self.host.take().unwrap();
        self.end(host).await;
    }

    /// Waits until nothing of it holds the state directory.
    async fn end(&self, host: Host) {
        self.platform.ended();
        drop(host);
        let until = Instant::now() + LIMIT;
        while lock::holder(self.state.path()).unwrap().is_some() {
            assert!(Instant::now() < until, "the host that was ended holds its state directory");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.host.as_ref().unwrap().engine
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        self.probe.calls().len()
    }

    /// Waits for the newest message of a chat that is like this.
    pub(crate) async fn see(&self, chat: usize, what: &str, like: impl Fn(&Seen) -> bool) -> Seen {
        let until = Instant::now() + LIMIT;
        loop {
            let screen = self.platform.screen(chat).await;
            if let Some(seen) = screen.iter().rev().find(|seen| like(seen)) {
                return seen.clone();
            }
            assert!(Instant::now() < until, "never seen: {what}; the screen has {screen:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a chat shows nothing like this any more.
    pub(crate) async fn until_gone(&self, chat: usize, what: &str, like: impl Fn(&Seen) -> bool) {
        let until = Instant::now() + LIMIT;
        loop {
            let screen = self.platform.screen(chat).await;
            if !screen.iter().any(&like) {
                return;
            }
            assert!(Instant::now() < until, "still there: {what}; the screen has {screen:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for a message with this text.
    pub(crate) async fn see_text(&self, chat: usize, text: &str) -> Seen {
        self.see(chat, text, |seen| seen.text.contains(text)).await
    }

    /// Waits for a card with this text that can be decided.
    pub(crate) async fn card(&self, chat: usize, text: &str) -> Seen {
        let is_card =
            |seen: &Seen| seen.is_open() && seen.text.contains("pproval needed") && seen.text.contains(text);
        let seen = self.see(chat, text, is_card).await;
        self.until_told().await;
        seen
    }

    /// Waits for an ask with this text that can be answered.
    pub(crate) async fn open(&self, chat: usize, text: &str) -> Seen {
        let is_ask =
            |seen: &Seen| seen.is_open() && seen.text.contains(text) && !seen.text.contains("pproval needed");
        let seen = self.see(chat, text, is_ask).await;
        if P::TRAITS.keeps_cards {
            // No person is so fast that the host does not know yet what it sent.
            self.until(&format!("SELECT count(*) FROM messages WHERE surface_ref = '{}'", seen.id)).await;
        }
        seen
    }

    /// Waits until a message stands there once more, and can be acted on.
    pub(crate) async fn shown_again(&self, before: &Seen) -> Seen {
        self.see(0, "it, once more", |seen| seen.id != before.id && seen.is_open()).await
    }

    /// Anna asks for something in her chat, and approves it.
    pub(crate) async fn approved(&self, text: &str) {
        self.approved_in(0, text).await;
    }

    /// The same in any chat.
    pub(crate) async fn approved_in(&self, chat: usize, text: &str) {
        self.platform.say(Who::Anna, chat, text).await;
        let card = self.card(chat, text).await;
        self.platform.decide(Who::Anna, chat, &card, Decision::Approve).await;
    }

    /// Anna asks for something in her chat; its card.
    pub(crate) async fn asked(&self, text: &str) -> Seen {
        self.platform.say(Who::Anna, 0, text).await;
        self.card(0, text).await
    }

    /// How many messages of a chat have this text.
    pub(crate) async fn count(&self, chat: usize, text: &str) -> usize {
        self.platform.screen(chat).await.iter().filter(|seen| seen.text.contains(text)).count()
    }

    /// Waits until there is nothing more to tell.
    pub(crate) async fn until_told(&self) {
        self.until("SELECT NOT EXISTS (SELECT 1 FROM outbox WHERE delivered_at IS NULL)").await;
    }

    /// Waits until the ledger answers this with more than nothing.
    pub(crate) async fn until(&self, sql: &str) {
        let until = Instant::now() + LIMIT;
        while self.value(sql) == 0 {
            // Looked at only then: a look costs a server more than the wait does.
            let late = Instant::now() > until;
            let screen = if late { self.platform.screen(0).await } else { Vec::new() };
            assert!(!late, "never: {sql}; the screen has {screen:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// One number out of the ledger.
    pub(crate) fn value(&self, sql: &str) -> i64 {
        database::value(&self.ledger, sql)
    }

    /// One text out of the ledger.
    pub(crate) fn text(&self, sql: &str) -> String {
        database::value(&self.ledger, sql)
    }

    /// The state of the first step of a run.
    pub(crate) fn state(&self, run: u32) -> String {
        self.text(&format!("SELECT state FROM steps WHERE run_id = {run} AND idx = 1"))
    }

    /// Changes the ledger as an end of the host at a bad moment leaves it.
    pub(crate) fn edit(&self, sql: &str) {
        database::edit(&self.ledger, sql);
    }
}

const MESSAGE: &str = "message_received";

fn rules(connector: &str, followers: &[String]) -> RuleSet {
    let rule = |(name, event): (&str, &str), condition: &str, action: &str, params: &str| {
        let text = format!(
            "[rule]\nname = \"{name}\"\nfollowers = {followers:?}\n[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"{connector}\"\n\
             event = \"{event}\"\n[[conditions]]\n{condition}\n[[actions]]\ntype = \"RunConnector\"\n\
             connector = \"oc\"\naction = \"{action}\"\n[actions.params]\nprompt = \"${{trigger.text}}\"\n{params}\n"
        );
        SourceFile::new(format!("{name}.toml"), text)
    };
    let matches =
        |pattern: &str| format!("type = \"FieldMatches\"\nfield = \"trigger.text\"\npattern = '{pattern}'");
    let replies = "type = \"FieldExists\"\nfield = \"trigger.reply.session_id\"";
    RuleSet::parse([
        rule(("fix", MESSAGE), &matches(r"^/fix\s+\S"), "run_task", ""),
        rule(("note", "command_received"), &matches(r"^/note\s+\S"), "run_task", ""),
        rule(("go-on", MESSAGE), replies, "continue_session", "session_id = \"${trigger.reply.session_id}\""),
    ])
    .unwrap()
}
