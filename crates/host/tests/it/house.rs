//! A host between a fake Bot API and a fake daemon, with people at both ends of it.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use testkit::fake::{Fake, Faults, Fixture};
use testkit::telegram::{FakeTelegram, Shown, TOKEN};

use crate::database;
use crate::telegram::{ANNA, BEN, GROUP};
use crate::terminal::{Terminal, User};

const RULE: &str = include_str!("../../rules/telegram/fix.toml");

/// A host between a fake Bot API and a fake daemon.
pub(crate) struct House {
    pub(crate) telegram: FakeTelegram,
    pub(crate) daemon: Fake,
    pub(crate) user: User,
    host: Option<Terminal>,
}

/// Whoever runs the command line here.
pub(crate) fn caller() -> String {
    format!("cli:{}", whoami::username().unwrap())
}

impl House {
    /// One whose daemon plays this turn.
    pub(crate) async fn new(turn: &str) -> Self {
        let daemon = Fake::start(Fixture::recorded(turn), Faults::default()).await.unwrap();
        let user = User::new().with_variable("TELEGRAM_BOT_TOKEN", TOKEN);
        std::fs::create_dir(user.home.path().join("rules")).unwrap();
        std::fs::write(user.home.path().join("rules/fix.toml"), RULE).unwrap();
        Self { telegram: FakeTelegram::start().unwrap(), daemon, user, host: None }
    }

    pub(crate) fn config(&self) -> String {
        self.user.home.path().join("host.toml").display().to_string()
    }

    /// Writes the configuration, with these terms of the gate and persons.
    pub(crate) fn configure(&self, terms: &str, people: &[(&str, &[&str])]) {
        let people: Vec<String> = people
            .iter()
            .map(|(name, accounts)| format!("[people.{name}]\naccounts = {accounts:?}\n"))
            .collect();
        let people = people.concat();
        let config = format!(
            "rules = \"rules\"\n[gate]\napprovers = [\"telegram:{ANNA}\", \"telegram:{BEN}\", \"{}\"]\n{terms}\n{people}\
             [connectors.connector-opencode]\nbase_url = \"{}\"\ndirectory = \"/code/app\"\n\
             [surfaces.telegram]\nbot_token = \"env:TELEGRAM_BOT_TOKEN\"\napi_base = \"{}\"\n\
             poll_timeout = 1\nallow_users = [{ANNA}, {BEN}]\nallow_chats = [{GROUP}]\n",
            caller(),
            self.daemon.base_url(),
            self.telegram.base_url(),
        );
        std::fs::write(self.config(), config).unwrap();
    }

    /// Gives its rule these followers.
    pub(crate) fn follow(&self, chats: &[&str]) {
        let rule = RULE.replacen("[rule]\n", &format!("[rule]\nfollowers = {chats:?}\n"), 1);
        std::fs::write(self.user.home.path().join("rules/fix.toml"), rule).unwrap();
    }

    /// Waits until the host wrote this.
    pub(crate) fn expect(&mut self, words: &str) {
        self.host.as_mut().unwrap().expect(words);
    }

    pub(crate) fn start(&mut self) {
        let mut host = self.user.start(&["run", "-c", &self.config()]);
        host.expect("telegram is connected");
        self.host = Some(host);
    }

    /// Ends the host as a crash does.
    pub(crate) fn crash(&mut self) {
        self.host.take().unwrap().kill9();
    }

    /// The open asks, once there are as many.
    pub(crate) async fn until_asks(&self, wanted: usize) -> Value {
        let until = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            let asks = self.user.run(&["approvals", "asks", "--json"]).json();
            if asks.as_array().unwrap().len() == wanted {
                return asks;
            }
            assert!(tokio::time::Instant::now() < until, "{asks}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How the daemon's permission requests were answered.
    pub(crate) fn decisions(&self) -> Vec<Value> {
        let sent = self.daemon.bodies(self.daemon.generation().permission_reply());
        sent.iter().map(|body| body["reply"].clone()).collect()
    }

    /// Ends the host, and returns what it wrote.
    pub(crate) fn stop(&mut self) -> String {
        let host = self.host.take().unwrap();
        host.signal(Signal::TERM);
        let (code, seen) = host.finish();
        assert_eq!(code, 0, "{}", seen.join("\n"));
        seen.join("\n")
    }

    /// The newest message of the group that is like this.
    pub(crate) async fn see(&self, chat: i64, like: impl Fn(&Shown) -> bool) -> Shown {
        self.telegram.wait(chat, |screen| screen.iter().rev().find(|shown| like(shown)).cloned()).await
    }

    pub(crate) async fn card(&self, chat: i64) -> Shown {
        self.see(chat, |shown| shown.buttons.concat().iter().any(|label| label.contains("Approve"))).await
    }

    /// Waits until as many cards are on record as delivered.
    pub(crate) async fn until_delivered(&self, wanted: u32) {
        let ledger = self.user.state().join("ledger.sqlite");
        let sql = "SELECT count(*) FROM outbox WHERE kind = 'card' AND delivered_at IS NOT NULL";
        let until = tokio::time::Instant::now() + Duration::from_mins(1);
        while database::value::<u32>(&ledger, sql) != wanted {
            assert!(tokio::time::Instant::now() < until, "not {wanted} cards");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until as many votes are counted as there are to be.
    pub(crate) async fn until_votes(&self, wanted: usize) -> Value {
        let until = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            let shown = self.user.run(&["approvals", "show", "1.1", "--json"]).json();
            if shown["votes"].as_array().unwrap().len() == wanted {
                return shown;
            }
            assert!(tokio::time::Instant::now() < until, "{shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn persons_of_votes(&self) -> Vec<(String, Value)> {
        let exported = self.user.run(&["audit", "export", "--jsonl"]).text();
        let rows = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.filter(|row| row["kind"] == "vote")
            .map(|row| (row["actor"].as_str().unwrap().to_owned(), row["detail"]["person"].clone()))
            .collect()
    }
}
