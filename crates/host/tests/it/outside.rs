//! Events that nobody caused in a chat: which of them are there already.

use connector_host::engine::{Arrival, Repeat, ScheduleChat, Stored};
use connector_host::gate::policy::Actor;
use connector_host::ledger::events::NewEvent;
use connector_rules::{Event, HookPath, WEBHOOK};
use serde_json::{Map, Value, json};

use crate::world::{Plan, World, event};

const MINUTE: i64 = 60_000;

fn world(state: &std::path::Path) -> World {
    let world = World::start(state, MINUTE, Plan::default());
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
}

#[tokio::test]
async fn an_event_is_known_by_its_senders_id_wherever_it_was_reported_and_by_what_it_says() {
    let state = tempfile::tempdir().unwrap();
    let world = world(state.path());
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
