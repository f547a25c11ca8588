//! The fake of 2.x against what was written down of 2.x: every exchange and every
//! event of every turn, to the letter.

use std::time::Duration;

use serde_json::Value;
use testkit::fake::{Fake, Faults, Fixture, Generation};

use crate::client::call;

fn file(name: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/wire2");
    std::fs::read_to_string(format!("{root}/{name}")).unwrap()
}

fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// Reads a stream until `count` events came.
async fn listen(url: String, password: String, count: usize) -> Vec<Value> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(clippy::disallowed_methods, reason = "tests speak to what they started themselves")]
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(url).basic_auth("opencode", Some(password));
    let mut answer = request.send().await.unwrap();
    let mut text = String::new();
    while text.matches("\n\n").count() < count {
        let chunk = answer.chunk().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    events(&text)
}

/// Waits for what an exchange waits for.
async fn until(fake: &Fake, when: &str, asks: &str) {
    let password = fake.password().unwrap().to_owned();
    for _ in 0..4000 {
        let done = match when {
            "idle" => fake.running() == 0,
            "listened" => fake.streams() == 1,
            "waiting" => fake.waits_for_abort(),
            "asked" => {
                let url = format!("{}{asks}", fake.base_url());
                let (_, body) = call(reqwest::Method::GET, &url, Some(&password), None).await;
                body["data"].as_array().is_some_and(|it| !it.is_empty())
            }
            other => unreachable!("{other}"),
        };
        if done {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    unreachable!("not within 20 s: {when}");
}

/// Asks what an exchange asks, and compares the answer.
async fn ask(fake: &Fake, name: &str, exchange: &Value) {
    let password = fake.password().unwrap().to_owned();
    let request = exchange["request"].as_str().unwrap();
    let (method, path) = request.split_once(' ').unwrap();
    if let Some(when) = exchange["when"].as_str() {
        until(fake, when, path).await;
    }
    let url = format!("{}{path}", fake.base_url());
    let (status, body) = call(method.parse().unwrap(), &url, Some(&password), exchange.get("body")).await;
    assert_eq!(status, exchange["status"], "{name}: {request}: {body}");
    same(&body, &exchange["response"], &format!("{name}: {request}"));
}

#[tokio::test]
async fn the_fake_answers_what_was_written_down_of_what_is_outside_a_turn() {
    let fake = Fake::start(Fixture::of(Generation::V2, "text"), Faults::default()).await.unwrap();
    let exchanges: Vec<Value> = serde_json::from_str(&file("routes.json")).unwrap();
    for exchange in &exchanges {
        ask(&fake, "routes", exchange).await;
    }
    assert_eq!(fake.tasks(), 0);
}

#[tokio::test]
async fn the_fake_answers_and_tells_what_was_written_down() {
    for name in Fixture::names_of(Generation::V2) {
        let fake = Fake::start(Fixture::of(Generation::V2, name), Faults::default()).await.unwrap();
        let password = fake.password().unwrap().to_owned();
        let told = events(&file(&format!("{name}.sse")));
        let heard = tokio::spawn(listen(format!("{}/api/event", fake.base_url()), password, told.len()));
        until(&fake, "listened", "").await;
        let exchanges: Vec<Value> = serde_json::from_str(&file(&format!("{name}.json"))).unwrap();
        assert!(exchanges.len() > 8, "{name}");
        for exchange in &exchanges {
            ask(&fake, name, exchange).await;
        }
        assert_eq!(heard.await.unwrap(), told, "{name}");
        assert_eq!(fake.tasks(), 1, "{name}");
    }
}

/// The same JSON; or the same events, where the answer is a stream.
fn same(found: &Value, expected: &Value, place: &str) {
    match (found.as_str(), expected.as_str()) {
        (Some(found), Some(expected)) => assert_eq!(events(found), events(expected), "{place}"),
        _ => assert_eq!(found, expected, "{place}"),
    }
}
