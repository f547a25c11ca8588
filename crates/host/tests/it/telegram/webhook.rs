//! Webhook mode: Telegram brings the updates, and whoever else knocks finds nothing.

use std::path::Path;

use connector_contract::{Grant, OutboundHttp, Reach};
#[cfg(feature = "failpoints")]
use connector_telegram::webhook::SECRET_HEADER;
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::fake::{Fake, Faults, Fixture};
use testkit::telegram::{FakeTelegram, Fault, TOKEN};

use super::world::{ANNA, CHAT};
use crate::database;
use crate::fuzz::{CLIENTS, fuzz};
use crate::terminal::{Terminal, User};

const PATH: &str = "/hook/4f1c0a7de2b94c6e";
const SECRET: &str = "a-secret-that-nobody-may-see";

struct Hooked {
    telegram: FakeTelegram,
    _daemon: Fake,
    user: User,
    host: Option<Terminal>,
    /// Where it listens.
    base: String,
}

impl Hooked {
    async fn start() -> Self {
        let telegram = FakeTelegram::start().unwrap();
        let daemon = Fake::start(Fixture::recorded("text"), Faults::default()).await.unwrap();
        let user = User::new()
            .with_variable("TELEGRAM_BOT_TOKEN", TOKEN)
            .with_variable("HOOK_SECRET", SECRET)
            .with_variable("CONNECTOR_HOST_LOG", "trace");
        let home = user.home.path();
        std::fs::create_dir(home.join("rules")).unwrap();
        let rule = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/telegram/fix.toml");
        std::fs::copy(rule, home.join("rules/fix.toml")).unwrap();
        for (mode, more) in [
            ("polling", String::new()),
            (
                "webhook",
                format!(
                    "webhook_url = \"https://bot.example{PATH}\"\nwebhook_secret = \"env:HOOK_SECRET\"\n\
                     webhook_listen = \"127.0.0.1:0\"\nwebhook_check = 1\n"
                ),
            ),
        ] {
            let config = format!(
                "rules = \"rules\"\n[gate]\napprovers = [\"telegram:{ANNA}\"]\n\
                 [connectors.connector-opencode]\nbase_url = \"{}\"\ndirectory = \"/code/app\"\n\
                 [surfaces.telegram]\nbot_token = \"env:TELEGRAM_BOT_TOKEN\"\napi_base = \"{}\"\n\
                 poll_timeout = 2\nallow_users = [{ANNA}]\nupdate_mode = \"{mode}\"\n{more}",
                daemon.base_url(),
                telegram.base_url(),
            );
            std::fs::write(home.join(format!("{mode}.toml")), config).unwrap();
        }
        Self { telegram, _daemon: daemon, user, host: None, base: String::new() }
    }

    fn run(&mut self, mode: &str) {
        let config = self.user.home.path().join(format!("{mode}.toml"));
        let mut host = self.user.start(&["run", "-c", config.to_str().unwrap()]);
        if mode == "webhook" {
            let line = host.expect("telegram brings updates to the webhook");
            let (_, listen) = line.rsplit_once("127.0.0.1:").unwrap();
            let port: String = listen.chars().take_while(char::is_ascii_digit).collect();
            self.base = format!("http://127.0.0.1:{port}");
        } else {
            host.expect("telegram is connected");
        }
        self.host = Some(host);
    }

    /// Ends the host in order; neither the token nor the secret is in what it wrote.
    fn stop(&mut self) {
        let host = self.host.take().unwrap();
        host.signal(Signal::TERM);
        let (code, seen) = host.finish();
        let written = seen.join("\n");
        assert_eq!(code, 0, "{written}");
        let key = TOKEN.split_once(':').unwrap().1;
        assert!(!written.contains(key) && !written.contains(SECRET) && !written.contains(PATH), "{written}");
    }

    async fn post(&self, path: &str, secret: Option<&str>, body: &str) -> u16 {
        let grant = Grant::new(self.base.parse().unwrap(), Reach::Loopback).unwrap();
        let http = OutboundHttp::new([grant]).unwrap();
        let mut request = http::Request::post(format!("{}{path}", self.base));
        if let Some(secret) = secret {
            request = request.header(SECRET_HEADER, secret);
        }
        let request = request.body(bytes::Bytes::from(body.to_owned())).unwrap();
        http.send(request).await.unwrap().status().as_u16()
    }

    async fn bring(&self, update: &Value) -> u16 {
        self.post(PATH, Some(SECRET), &update.to_string()).await
    }

    fn calls_of(&self, method: &str) -> Vec<Value> {
        self.telegram.calls().into_iter().filter(|it| it.method == method).map(|it| it.params).collect()
    }

    async fn card(&self, task: &str) -> testkit::telegram::Shown {
        let is_it =
            |it: &&testkit::telegram::Shown| it.text.contains("Approval needed") && it.text.contains(task);
        self.telegram.wait(CHAT, |screen| screen.iter().find(is_it).cloned()).await
    }
}

pub(super) fn written(number: u32, text: &str) -> Value {
    json!({ "update_id": number, "message": {
        "message_id": number, "date": 1, "text": text, "chat": { "id": CHAT, "type": "private" },
        "from": { "id": ANNA, "is_bot": false, "first_name": "Anna" } } })
}

pub(super) fn tapped(number: u32, message: i32, data: &str) -> Value {
    json!({ "update_id": number, "callback_query": {
        "id": format!("query-{number}"), "chat_instance": "1", "data": data,
        "from": { "id": ANNA, "is_bot": false, "first_name": "Anna" },
        "message": { "message_id": message, "date": 1, "text": "…", "chat": { "id": CHAT, "type": "private" } } } })
}

#[tokio::test]
async fn updates_come_in_by_the_webhook_once_and_in_any_order_and_nobody_else_comes_in() {
    let mut world = Hooked::start().await;
    world.telegram.fault("setWebhook", 1, &Fault::Refuse(429, "Too Many Requests: retry after 1", Some(1)));
    world.run("webhook");
    let set = world.calls_of("setWebhook").pop().unwrap();
    assert_eq!(set["url"], format!("https://bot.example{PATH}"));
    assert_eq!((&set["secret_token"], &set["max_connections"]), (&json!(SECRET), &json!(8)));
    assert_eq!(set["allowed_updates"], json!(["message", "edited_message", "callback_query"]));

    let good = written(1, "/fix never").to_string();
    let long = format!("{{\"update_id\":1,\"x\":\"{}\"}}", "x".repeat(1 << 20));
    for (path, secret, body, status) in [
        (PATH, None, good.as_str(), 404),
        (PATH, Some("a-secret-that-somebody-guessed"), good.as_str(), 404),
        ("/hook/", Some(SECRET), good.as_str(), 404),
        ("/", Some(SECRET), good.as_str(), 404),
        (PATH, Some(SECRET), "no json", 400),
        (PATH, Some(SECRET), long.as_str(), 413),
    ] {
        assert_eq!(world.post(path, secret, body).await, status, "{path} {secret:?}");
    }

    // The later one first, and both twice.
    for number in [12, 11, 12, 11] {
        assert_eq!(world.bring(&written(number, &format!("/fix task {number}"))).await, 200);
    }
    let first = world.card("/fix task 12").await;
    let second = world.card("/fix task 11").await;
    assert!(first.id < second.id, "as they came");
    let tap = tapped(13, first.id, &first.data[0][0]);
    for _ in 0..2 {
        assert_eq!(world.bring(&tap).await, 200);
    }
    world.telegram.wait_for(CHAT, "Done: hello").await;
    let runs = world.user.run(&["--json", "runs", "list"]).json();
    assert_eq!(runs.as_array().map(Vec::len), Some(2), "{runs}");
    world.stop();
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn an_update_whose_row_is_there_when_the_host_dies_comes_again_and_is_done_once() {
    let mut world = Hooked::start().await;
    let config = world.user.home.path().join("polling.toml");
    world.telegram.write(ANNA, CHAT, "/fix once");
    let [place] = connector_failpoint::OF_SURFACES;
    let mut doomed = world.user.start_doomed(&["run", "-c", config.to_str().unwrap()], place);
    assert_eq!(doomed.wait(), -1, "a signal ended it");
    assert_eq!(world.telegram.unacknowledged(), 1, "Telegram was not told");
    let file = world.user.state().join("ledger.sqlite");
    let stored = "SELECT count(*) FROM events WHERE event = 'message_received'";
    let stored = || database::value::<i64>(&file, stored);
    assert_eq!(stored(), 1, "its row is there");

    world.run("polling");
    world.card("/fix once").await;
    world.telegram.wait_until_acknowledged().await;
    assert_eq!(stored(), 1);
    let runs = world.user.run(&["--json", "runs", "list"]).json();
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
    world.stop();
}

#[tokio::test]
async fn no_update_that_a_fuzzer_makes_breaks_the_webhook() {
    let mut world = Hooked::start().await;
    world.run("webhook");
    let header = format!("{SECRET_HEADER}: {SECRET}");
    let checks = ["--checks", "not_a_server_error,status_code_conformance", "--max-examples", "20"];
    fuzz(&Path::new(CLIENTS).join("webhook.json"), &world.base, &header, &checks);
    assert_eq!(world.bring(&written(1_000_000_001, "/fix it after all")).await, 200);
    world.card("it after all").await;
    world.stop();
}

#[tokio::test]
async fn a_webhook_that_is_gone_is_set_again_and_one_that_fails_is_told() {
    let mut world = Hooked::start().await;
    world.run("webhook");
    world.telegram.set_webhook();
    world.host.as_mut().unwrap().expect("the webhook was taken away or replaced; it is set again");
    world.telegram.wait(CHAT, |_| (world.calls_of("setWebhook").len() == 2).then_some(())).await;
    let set = world.calls_of("setWebhook");
    assert_eq!(set[0], set[1]);
    assert_eq!(world.telegram.calls().last().unwrap().status, 200);

    world.telegram.update(written(1, "/fix what is never brought"));
    world.telegram.fail_webhook(1_700_000_000, "Connection refused");
    let told = world.host.as_mut().unwrap().expect("telegram cannot bring updates to the webhook");
    assert!(told.contains("Connection refused") && told.contains("pending"), "{told}");
    world.stop();
}

#[tokio::test]
async fn from_the_webhook_to_polling_and_back_nothing_is_lost() {
    let mut world = Hooked::start().await;
    world.run("webhook");
    assert_eq!(world.bring(&written(1, "/fix by webhook")).await, 200);
    world.card("by webhook").await;
    world.stop();

    // It waits at Telegram while nobody listens.
    world.telegram.update(written(2, "/fix by polling"));
    world.telegram.fault("deleteWebhook", 1, &Fault::Gateway);
    world.run("polling");
    world.card("by polling").await;
    assert_eq!(world.calls_of("deleteWebhook").last().unwrap()["drop_pending_updates"], false);
    // Somebody sets a webhook behind the host's back.
    world.telegram.set_webhook();
    world.host.as_mut().unwrap().expect("another program takes this bot's updates (409)");
    world.telegram.update(written(3, "/fix after that"));
    world.card("after that").await;
    world.stop();

    world.run("webhook");
    assert_eq!(world.bring(&written(4, "/fix by webhook again")).await, 200);
    world.card("by webhook again").await;
    world.stop();
}
