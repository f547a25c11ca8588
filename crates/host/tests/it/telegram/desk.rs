//! The surface in this process, between a fake Bot API and a connector that records.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_engine::Engine;
use connector_engine::instance::{Fixed, Instance, Ready};
use connector_gate::clock::Clock;
use connector_gate::policy::{Actor, GateConfig};
use connector_host::assemble::{self, Parts};
use connector_host::telegram::Telegram;
use connector_ledger::LedgerError;
use connector_rules::{RuleSet, SourceFile};
use connector_surface::Surface as _;
use connector_telegram::{Config, NAME, Settings};
use serde_json::{Value, json};
use testkit::telegram::{FakeTelegram, Shown, TOKEN};

use super::webhook::{tapped, written};
use super::world::{ANNA, CHAT, GROUP};
use crate::database;
use crate::probe::{Probe, Shared};

/// The seed's rule and the one for replies, for the probe.
pub(super) const RULES: [&str; 2] =
    [include_str!("../../../rules/telegram/fix.toml"), include_str!("../../../rules/telegram/reply.toml")];

/// Settings for a fake.
pub(super) fn settings(telegram: &FakeTelegram) -> Settings {
    let config = json!({
        "bot_token": TOKEN, "api_base": telegram.base_url(), "poll_timeout": 1,
        "allow_users": [ANNA], "allow_chats": [GROUP],
    });
    serde_json::from_value::<Config>(config).unwrap().check().unwrap()
}

/// A surface and its engine.
pub(super) struct Desk {
    pub(super) telegram: FakeTelegram,
    pub(super) surface: Telegram,
    pub(super) engine: Engine,
    running: tokio::task::JoinHandle<Result<(), LedgerError>>,
    _state: tempfile::TempDir,
}

impl Desk {
    /// With rules, of which `exempt` name (action, rule) that need no card.
    pub(super) async fn start(rules: &[&str], probe: Arc<Shared>, exempt: &[(&str, &str)]) -> Self {
        let telegram = FakeTelegram::start().unwrap();
        let surface = Telegram::new(settings(&telegram), NAME, Clock::System).unwrap();
        let connector = surface.connector();
        let http = connector_engine::instance::grant(
            connector.as_ref(),
            &telegram.base_url().parse().unwrap(),
            connector_contract::Reach::Loopback,
        );
        let own = Ready { connector, http: http.unwrap() };
        let agent = Arc::new(Probe::new(probe, true));
        let agent = Ready { connector: agent, http: connector_contract::OutboundHttp::new([]).unwrap() };
        let instance = |name: &str, ready: Ready| Instance {
            name: name.into(),
            workspace: None,
            described: ready.connector.clone(),
            provider: Arc::new(Fixed(ready)),
        };
        let files = rules.iter().enumerate().map(|(n, text)| SourceFile::new(format!("{n}.toml"), *text));
        let parts = Parts {
            rules: RuleSet::parse(files).unwrap(),
            instances: vec![instance(NAME, own), instance("connector-opencode", agent)],
            surfaces: vec![Arc::new(surface.clone())],
            gate: gate(exempt),
            deadline: Duration::from_mins(1),
            max_running: 4,
            ..Parts::default()
        };
        let state = tempfile::tempdir().unwrap();
        let engine = assemble::engine(state.path(), Clock::System, parts).unwrap();
        surface.report_to(engine.inbox(surface.name()));
        surface.introduce().await.unwrap();
        let running = tokio::spawn({
            let engine = engine.clone();
            async move { engine.run().await }
        });
        Self { telegram, surface, engine, running, _state: state }
    }

    pub(super) async fn stop(self) {
        self.engine.stop(Duration::from_secs(5)).await;
        self.running.await.unwrap().unwrap();
        self.surface.finish().await;
    }

    /// Anna's message is taken in.
    pub(super) async fn write(&self, number: u32, text: &str) -> Result<(), LedgerError> {
        self.surface.take(&written(number, text)).await
    }

    /// Anna's answer to a message of the bot is taken in.
    pub(super) async fn reply(&self, number: u32, message: i32, text: &str) -> Result<(), LedgerError> {
        let mut update = written(number, text);
        update["message"]["reply_to_message"] = json!({
            "message_id": message, "date": 1, "chat": { "id": CHAT, "type": "private" },
            "from": { "id": testkit::telegram::BOT, "is_bot": true, "first_name": "bot" },
        });
        self.surface.take(&update).await
    }

    /// Anna's tap on the button with this label is taken in.
    pub(super) async fn tap(&self, number: u32, shown: &Shown, label: &str) -> Result<(), LedgerError> {
        let labels = shown.buttons.iter().flatten();
        let (_, data) = labels.zip(shown.data.iter().flatten()).find(|(it, _)| it.contains(label)).unwrap();
        self.surface.take(&tapped(number, shown.id, data)).await
    }

    /// The card of a task that Anna asks for.
    pub(super) async fn card(&self, number: u32, text: &str) -> Shown {
        self.write(number, text).await.unwrap();
        let is_it = |it: &&Shown| it.text.contains("Approval needed") && it.text.contains(text);
        self.telegram.wait(CHAT, |screen| screen.iter().find(is_it).cloned()).await
    }

    /// Changes the ledger as nobody should.
    pub(super) fn edit(&self, sql: &str) {
        database::edit(self.engine.ledger().path(), sql);
    }

    /// One number out of the ledger.
    pub(super) fn count(&self, sql: &str) -> i64 {
        database::value(self.engine.ledger().path(), sql)
    }

    /// Waits until `sql` counts `wanted`.
    pub(super) async fn until(&self, sql: &str, wanted: i64) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.count(sql) != wanted {
            assert!(Instant::now() < until, "{sql} is {}, not {wanted}", self.count(sql));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The parameters of every call of a method.
    pub(super) fn calls_of(&self, method: &str) -> Vec<Value> {
        self.telegram.calls().into_iter().filter(|it| it.method == method).map(|it| it.params).collect()
    }
}

fn gate(exempt: &[(&str, &str)]) -> GateConfig {
    let policy: Vec<Value> = exempt
        .iter()
        .map(|(action, rule)| json!({ "connector": NAME, "action": action, "rule": rule, "policy": "allow" }))
        .collect();
    let approvers = vec![Actor::from_text(format!("telegram:{ANNA}"))];
    GateConfig { policy: serde_json::from_value(json!(policy)).unwrap(), approvers, ..GateConfig::default() }
}
