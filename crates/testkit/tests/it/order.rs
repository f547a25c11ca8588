//! The order in which the fake of 2.x tells of a turn, against recordings of a running 2.0.14.

use std::path::Path;

use serde_json::Value;
use testkit::fake::{Fixture, Generation};

/// Each turn of the fake, and the recording of one like it.
const TURNS: [(&str, &str); 11] = [
    ("text", "reasoning"),
    ("write", "reasoning-write"),
    ("bash", "input-pieces"),
    ("permission-once", "permission-once"),
    ("permission-reject", "permission-reject-message"),
    ("permission-reject-silent", "permission-reject-bare"),
    ("question", "form-reply"),
    ("abort", "interrupt-tool"),
    ("provider-400", "fail-fail400"),
    ("provider-500-retry", "interrupt-retry"),
    ("no-step", "fail-model"),
];

/// What says nothing of how a turn goes, or is told by some turns and releases alone.
const PASSED_OVER: [&str; 4] =
    ["session.usage.updated", "session.renamed", "session.tool.progress", "session.tool.input.delta"];

/// The types of the events of the turn that begins first, to its end.
fn of_first_turn(text: &str) -> Vec<String> {
    let events = text.lines().filter_map(|line| line.split_once("data: "));
    let events: Vec<Value> = events.filter_map(|(_, data)| serde_json::from_str(data).ok()).collect();
    let session = |event: &Value| match &event["data"]["sessionID"] {
        Value::Null => event["data"]["form"]["sessionID"].clone(),
        session => session.clone(),
    };
    let first = events.iter().find(|event| event["type"] == "session.inbox.enqueued").unwrap();
    let ours = events.iter().filter(|event| session(event) == session(first));
    let kinds = ours.map(|event| event["type"].as_str().unwrap().to_owned());
    let mut kinds: Vec<_> = kinds.skip_while(|kind| kind != "session.inbox.enqueued").collect();
    let ends = |kind: &String| kind.starts_with("session.execution.") && kind != "session.execution.started";
    kinds.truncate(kinds.iter().position(ends).unwrap() + 1);
    kinds.retain(|kind| !PASSED_OVER.contains(&kind.as_str()));
    // In how many pieces a text comes is the model's.
    kinds.dedup_by(|next, last| next == last && next.split('.').next_back() == Some("delta"));
    kinds
}

/// A thought is told in few pieces, so that what follows it may begin before it has ended.
fn without_thoughts(kinds: Vec<String>) -> Vec<String> {
    kinds.into_iter().filter(|kind| !kind.starts_with("session.reasoning.")).collect()
}

#[test]
fn the_fake_tells_of_each_turn_in_the_order_in_which_a_running_server_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/wire2");
    let read = |name: String| of_first_turn(&std::fs::read_to_string(root.join(name)).unwrap());
    let names: Vec<&str> = Fixture::names_of(Generation::V2).collect();
    assert_eq!(TURNS.map(|turn| turn.0).to_vec(), names);
    for (name, recording) in TURNS {
        let (told, recorded) = (read(format!("{name}.sse")), read(format!("2.0.14/{recording}.sse")));
        assert_eq!(without_thoughts(told), without_thoughts(recorded), "{name}");
    }
}
