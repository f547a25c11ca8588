//! Sessions whose record and events are long.

use std::time::Duration;

use connector_contract::Progress;
use serde_json::json;
use testkit::fake::Generation;
use testkit::{Answer, Script};

use super::{bench, place, reply};
use crate::wires::on_wires;

on_wires! {
    threaded {
        a_turn_of_more_than_two_hundred_messages_is_read_whole,
        a_turn_is_told_whole_however_many_events_come_at_once,
    }
}

/// More rows than a page of 2.x holds, each a step of the agent.
const STEPS: usize = 210;

async fn a_turn_of_more_than_two_hundred_messages_is_read_whole(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    let mut script = Script::default();
    for step in 0..STEPS {
        let read = json!({ "filePath": directory.join("a.txt"), "offset": 1, "limit": 1 + step });
        script = script.call("MANY-STEPS-20", step, "read", read);
    }
    daemon.model().add(script.reply("MANY-STEPS-20", "read often"));
    let mut bench = bench(daemon, &directory, json!({})).await;
    bench.deadline = Duration::from_mins(15);
    let result = bench.run("MANY-STEPS-20").await.unwrap();
    assert_eq!(reply(&result), "read often");
    let each = 10;
    assert_eq!(result.output["tokens"]["input"], (STEPS + 1) * each, "every step is counted");
}

/// More than 2.x keeps for a reader that is behind, which it then cuts off.
const WORDS: usize = 6_000;

async fn a_turn_is_told_whole_however_many_events_come_at_once(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    let chunks: Vec<String> = (0..WORDS).map(|word| format!("w{word} ")).collect();
    let whole = chunks.concat();
    daemon.model().add(Script::default().answer("MANY-WORDS-21", Answer::Text { chunks, delay_ms: 0 }));
    let mut bench = bench(daemon, &directory, json!({})).await;
    bench.deadline = Duration::from_mins(5);
    let (result, seen) = bench.watch("MANY-WORDS-21").await;
    assert_eq!(reply(&result.unwrap()), whole.trim());
    assert!(seen.iter().any(|it| matches!(it, Progress::Text { .. })), "{} updates", seen.len());
}
