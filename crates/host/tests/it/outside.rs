//! Events that nobody caused in a chat: which of them are there already, and what a chat is told of many.

use std::time::Duration;

use connector_engine::{Arrival, Repeat, ScheduleChat, Stored};
use connector_gate::ids::RunId;
use connector_gate::policy::Actor;
use connector_ledger::Tx;
use connector_ledger::events::NewEvent;
use connector_ledger::outbox;
use connector_ledger::runs::RunState;
use connector_rules::{Event, HookPath, WEBHOOK};
use serde_json::{Map, Value, json};

use crate::database;
use crate::world::{Plan, World, event};

const MINUTE: i64 = 60_000;

/// A rule of that name for one request at a time.
fn rule(name: &str) -> &'static str {
    String::leak(format!(
        "[rule]\nname = \"{name}\"\nmax_concurrent = 1\n[trigger]\ntype = \"Webhook\"\npath = \"/ci\"\n\
         [[actions]]\ntype = \"RunConnector\"\nconnector = \"oc\"\naction = \"run_task\"\n\
         params = {{ prompt = \"{name}\" }}\n"
    ))
}

fn world(state: &std::path::Path, rules: &[&str]) -> World {
    let rules = rules.iter().copied().map(rule).collect();
    let world = World::start(state, MINUTE, Plan { rules, ..Plan::default() });
    let chat = ScheduleChat { surface: "screen".into(), chat: "main".into() };
    world.engine.schedules_report_to(chat).unwrap();
    world
}

fn request(id: &str, body: Value) -> Event {
    HookPath::parse("/ci").unwrap().event(id, &Map::new(), body)
}

impl World {
    async fn requested(&self, event: Event, repeat: Repeat) -> Stored {
        self.engine.submit_from_outside(event, Actor::new(WEBHOOK, "/ci"), repeat).await.unwrap()
    }

    /// Waits until `count` cards are to be put out.
    async fn until_cards(&self, count: i64) {
        let sql = "SELECT count(*) FROM outbox WHERE kind = 'card'";
        for _ in 0..2_000 {
            if database::value::<i64>(self.engine.ledger().path(), sql) == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("there are not {count} cards")
    }

    /// The texts that no chat has yet.
    fn untold(&self) -> Vec<String> {
        let sql = "SELECT body FROM outbox WHERE kind = 'text' AND delivered_at IS NULL ORDER BY id";
        let file = database::open(self.engine.ledger().path());
        let mut select = file.prepare(sql).unwrap();
        let bodies = select.query_map([], |row| row.get(0)).unwrap();
        bodies.collect::<Result<_, _>>().unwrap()
    }
}

#[tokio::test]
async fn an_event_is_known_by_its_senders_id_wherever_it_was_reported_and_by_what_it_says() {
    let state = tempfile::tempdir().unwrap();
    let world = world(state.path(), &[]);
    let body = json!({ "n": 0.100_000_000_000_000_02, "list": [1e300, -0.0], "text": "ä" });
    // Where nothing is reported any more, and by one that has nothing to do with it.
    let (named, digest) = (request("d1", body.clone()), request("sum", body.clone()));
    for (surface, platform_id, connector) in [
        ("telegram", named.id.clone(), WEBHOOK),
        ("telegram", format!("{}:{MINUTE}", digest.id), WEBHOOK),
        ("chat", "webhook:/ci:other".to_owned(), "chat"),
        ("screen", "webhook:/ci:taken".to_owned(), "chat"),
    ] {
        let payload = named.payload.clone();
        let connector = connector.to_owned();
        let stored = NewEvent { surface: surface.into(), platform_id, connector, payload, ..event("", "") };
        world.engine.submit(stored).await.unwrap().unwrap();
    }
    let within = Repeat::Within(10 * MINUTE);
    let passed = Map::from_iter([("x-kind".to_owned(), json!("retry"))]);
    let with_headers = HookPath::parse("/ci").unwrap().event("d1", &passed, body.clone());
    for (event, repeat, row, arrival) in [
        (named, Repeat::ById, 1, Arrival::Again),
        (with_headers, Repeat::ById, 1, Arrival::Again),
        (request("d1", json!({})), Repeat::ById, 1, Arrival::Clash),
        (
            request("d1", json!({ "n": 0.1, "list": [1e300, -0.0], "text": "ä" })),
            Repeat::ById,
            1,
            Arrival::Clash,
        ),
        (digest, within, 2, Arrival::Again),
        (request("other", body.clone()), Repeat::ById, 5, Arrival::First),
        (request("d2", body.clone()), Repeat::ById, 6, Arrival::First),
        (request("d2", body.clone()), Repeat::ById, 6, Arrival::Again),
        (request("d2", json!([])), Repeat::ById, 6, Arrival::Clash),
        (request("another", body.clone()), within, 7, Arrival::First),
        (request("taken", body), Repeat::ById, 4, Arrival::Clash),
    ] {
        let told = format!("{event:?}");
        assert_eq!(world.requested(event, repeat).await, Stored { event: row, arrival }, "{told}");
    }
    world.stop().await;
}

#[tokio::test]
async fn requests_that_a_rule_holds_back_are_one_line_for_each_rule_until_the_chat_is_told() {
    let state = tempfile::tempdir().unwrap();
    let world = world(state.path(), &["build_a", "build-a"]);
    *world.screen.broken.lock().unwrap() = true;
    for n in 1..=5 {
        world.requested(request(&n.to_string(), json!({})), Repeat::ById).await;
        // What is first in the chat may be on its way.
        world.until_cards(2).await;
    }
    world.until_runs(10).await;
    for run in 3..=10 {
        assert_eq!(world.until_ended(run).await, RunState::Denied);
    }
    let mut told = world.untold();
    told.sort();
    let line = |rule: &str| {
        format!(
            "4 held back by `cooldown` or `max_concurrent` of the rule {rule}: `connector-host runs list` has each"
        )
    };
    assert_eq!(told, [line("build-a"), line("build_a")]);
    let reasons = world.runs().await.into_iter().filter_map(|run| run.reason);
    assert_eq!(reasons.filter(|reason| reason.contains("the rule allows 1 at once")).count(), 8);
    assert!(world.audit_is_intact().await);
    world.stop().await;
}

#[tokio::test]
async fn a_line_that_may_be_on_its_way_is_counted_up_no_more() {
    let state = tempfile::tempdir().unwrap();
    let world = world(state.path(), &["ci"]);
    *world.screen.broken.lock().unwrap() = true;
    world.requested(request("1", json!({})), Repeat::ById).await;
    world.until_runs(1).await;
    let count =
        |tx: &Tx<'_>| (0..4).try_for_each(|_| outbox::count_up(tx, "screen", "new", RunId(1), "of these"));
    world.engine.ledger().write(count).await.unwrap();
    assert_eq!(world.untold(), ["1 of these", "3 of these"]);
    world.stop().await;
}
