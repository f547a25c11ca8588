//! The surface in this process, between a fake Bot API and a connector that does as it is told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use connector_contract::OutboundHttp;
use connector_engine::Engine;
use connector_engine::instance::{Fixed, Instance, Ready};
use connector_gate::clock::Clock;
use connector_gate::policy::{Actor, GateConfig};
use connector_host::assemble::{self, Parts};
use connector_host::telegram::Telegram;
use connector_ledger::LedgerError;
use connector_rules::{RuleSet, SourceFile};
use connector_surface::SurfaceError;
use connector_telegram::Config;
use serde_json::json;
use testkit::telegram::{FakeTelegram, Shown, TOKEN};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::world::{ANNA, CHAT, GROUP};
use crate::database;
use crate::probe::{Probe, Shared};

const FIX: &str = include_str!("../../../rules/telegram/fix.toml");
const REPLY: &str = include_str!("../../../rules/telegram/reply.toml");

pub(super) struct Stage {
    pub(super) telegram: FakeTelegram,
    pub(super) probe: Arc<Shared>,
    pub(super) state: tempfile::TempDir,
    host: Option<Host>,
}

struct Host {
    engine: Engine,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), LedgerError>>,
}

impl Stage {
    /// A host whose calls end as `probe` says.
    pub(super) fn start(probe: Arc<Shared>) -> Self {
        let (telegram, state) = (FakeTelegram::start().unwrap(), tempfile::tempdir().unwrap());
        let host = Some(host(&telegram, &probe, state.path()));
        Self { telegram, probe, state, host }
    }

    /// Tells the host to end.
    pub(super) fn begin_to_stop(&self) {
        self.host.as_ref().unwrap().stop.cancel();
    }

    /// Ends the host in order; nothing more is sent.
    pub(super) async fn stop(&mut self) {
        self.begin_to_stop();
        self.host.take().unwrap().serving.await.unwrap().unwrap();
    }

    /// Starts it again, where it was.
    pub(super) fn start_again(&mut self) {
        self.host = Some(host(&self.telegram, &self.probe, self.state.path()));
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.host.as_ref().unwrap().engine
    }

    /// Waits for a card with this text that can be approved.
    pub(super) async fn card(&self, text: &str) -> Shown {
        self.see(|shown| shown.text.contains(text) && has_button(shown, "Approve")).await
    }

    /// Anna asks for something, and approves it.
    pub(super) async fn approved(&self, text: &str) -> Shown {
        self.telegram.write(ANNA, CHAT, text);
        let card = self.card(text).await;
        self.telegram.tap(ANNA, CHAT, card.id, "Approve");
        card
    }

    /// Waits for the newest message that is like this.
    pub(super) async fn see(&self, like: impl Fn(&Shown) -> bool) -> Shown {
        self.telegram.wait(CHAT, |screen| screen.iter().rev().find(|shown| like(shown)).cloned()).await
    }

    /// Anna replies to a message that the host knows it sent: no person is so fast that it does not.
    pub(super) async fn reply(&self, message: i32, text: &str) {
        self.until(&format!("SELECT count(*) FROM messages WHERE surface_ref = '{message}'")).await;
        self.telegram.reply(ANNA, CHAT, message, text);
    }

    /// Waits until there is nothing more to tell.
    pub(super) async fn until_told(&self) {
        self.until("SELECT NOT EXISTS (SELECT 1 FROM outbox WHERE delivered_at IS NULL)").await;
    }

    /// Waits until the ledger answers this with more than nothing.
    pub(super) async fn until(&self, sql: &str) {
        let until = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            if database::value::<u32>(self.engine().ledger().path(), sql) > 0 {
                return;
            }
            assert!(tokio::time::Instant::now() < until, "{sql}: {:#?}", self.telegram.screen(CHAT));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Whether a message has a button whose label contains this.
pub(super) fn has_button(shown: &Shown, label: &str) -> bool {
    shown.buttons.iter().flatten().any(|button| button.contains(label))
}

fn host(telegram: &FakeTelegram, probe: &Arc<Shared>, state: &Path) -> Host {
    let config = json!({
        "bot_token": TOKEN, "api_base": telegram.base_url(), "poll_timeout": 1,
        "allow_users": [ANNA], "allow_chats": [GROUP],
    });
    let settings = serde_json::from_value::<Config>(config).unwrap().check().unwrap();
    let surface = Telegram::in_haste(settings, "connector-telegram", Clock::System).unwrap();
    let connector = Arc::new(Probe::new(Arc::clone(probe), true));
    let http = OutboundHttp::new([]).unwrap();
    let provider = Arc::new(Fixed(Ready { connector: connector.clone(), http }));
    let name = "connector-opencode".to_owned();
    let files = [("fix.toml", FIX), ("reply.toml", REPLY)];
    let parts = Parts {
        rules: RuleSet::parse(files.map(|(name, text)| SourceFile::new(name, text))).unwrap(),
        instances: vec![Instance { name, workspace: None, described: connector, provider }],
        surfaces: vec![Arc::new(surface)],
        gate: GateConfig {
            approvers: vec![Actor::from_text(format!("telegram:{ANNA}"))],
            ..GateConfig::default()
        },
        deadline: Duration::from_mins(1),
        max_running: 4,
        ..Parts::default()
    };
    let engine = assemble::engine(state, Clock::System, parts).unwrap();
    let stop = CancellationToken::new();
    let failed = |name: &str, error: &SurfaceError| panic!("{name}: {error}");
    let serving = tokio::spawn({
        let (engine, stop) = (engine.clone(), stop.clone());
        async move { engine.serve((&stop, Duration::from_secs(5)), failed).await }
    });
    Host { engine, stop, serving }
}
