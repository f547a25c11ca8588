//! What the README says of the adapter, done.

use serde_json::json;
use springtale_adapter::Adapter;
use springtale_adapter::springtale::Connector as _;
use testkit::fake::{Fake, Faults, Fixture, Generation};

#[tokio::test]
async fn a_task_and_its_next_turn_cross() {
    for generation in [Generation::V1, Generation::V2] {
        let fake = Fake::start(Fixture::of(generation, "text"), Faults::default()).await.unwrap();
        let directory = (generation == Generation::V2).then_some("/code/app");
        let config =
            json!({ "base_url": fake.base_url(), "password": generation.password(), "directory": directory });
        let adapter = Adapter::new(config).await.unwrap();
        let names: Vec<_> = adapter.actions().iter().map(|action| action.name.as_str()).collect();
        assert_eq!(names, ["run_task", "continue_session", "describe_daemon"]);
        assert_eq!((adapter.triggers().len(), adapter.manifest().capabilities.len()), (0, 1));
        let first = adapter.execute("run_task", json!({ "prompt": "mend it" })).await.unwrap();
        assert!(first.success, "{}", first.message);
        assert_eq!(first.output["reply"], "Done: hello");
        let input = json!({ "session_id": first.output["session_id"], "prompt": "now add tests" });
        let second = adapter.execute("continue_session", input).await.unwrap();
        assert_eq!(second.output["session_id"], first.output["session_id"]);
    }
}

#[tokio::test]
async fn what_fails_is_told_in_words() {
    let adapter = Adapter::new(json!({ "base_url": "http://127.0.0.1:9" })).await.unwrap();
    for (action, input, words) in [
        ("run_task", json!({ "title": "x" }), "prompt"),
        ("continue_session", json!({ "session_id": "x/share#", "prompt": "x" }), "session_id"),
        ("merge", json!({}), "merge"),
        ("run_task", json!({ "prompt": "x" }), "no daemon answers"),
    ] {
        let error = adapter.execute(action, input).await.unwrap_err().to_string();
        assert!(error.contains(words), "{action}: {error}");
    }
    assert!(adapter.on_event("done", Box::new(|_| ())).await.is_err());
}

#[test]
fn the_adapter_is_short() {
    let lines = include_str!("../src/lib.rs").lines().count();
    assert!(lines < 80, "{lines} lines");
}
