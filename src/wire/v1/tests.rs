//! The recordings, read by the code that reads the daemon.

use http::StatusCode;

use super::*;
use crate::wire::{Answer, Ending, FailureKind, Signal};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/wire/1.18.33/", $name))
    };
}

fn answer(recording: &str) -> Answer {
    let exchange: serde_json::Value = serde_json::from_str(recording).unwrap();
    let last =
        exchange.as_array().unwrap().iter().rfind(|it| it["request"].as_str().unwrap().ends_with("/message"));
    let last = last.unwrap();
    let status = StatusCode::from_u16(u16::try_from(last["status"].as_u64().unwrap()).unwrap()).unwrap();
    answers::prompt(status, last["response"].to_string().as_bytes())
}

fn signals(recording: &str) -> Vec<Signal> {
    let lines = recording.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .filter_map(|data| match events::peek(data.as_bytes()).unwrap() {
            Peek::Session { rest, .. } => rest.read().unwrap(),
            Peek::Connection => None,
        })
        .collect()
}

#[test]
fn each_recorded_answer_is_what_it_was() {
    let message = |recording| match answer(recording) {
        Answer::Message(message) => *message,
        other => panic!("{other:?}"),
    };
    let text = message(fixture!("text.json"));
    assert_eq!(
        (text.text.as_str(), text.head.ending, text.head.tokens.input),
        ("Done: hello", Some(Ending::Final), 10)
    );
    let rejected = message(fixture!("permission-reject.json"));
    assert_eq!((rejected.head.ending, rejected.refused), (Some(Ending::Tools), true));
    let failed = message(fixture!("provider-400.json")).head.failure.unwrap();
    assert_eq!(failed.reason, "bad request from provider (the model's provider answered 400)");
    let aborted = message(fixture!("abort.json")).head.failure.unwrap();
    assert_eq!(aborted.kind, FailureKind::Aborted);
    let given_up = message(fixture!("provider-500-retry.json"));
    assert_eq!((given_up.head.completed, given_up.head.ending, given_up.head.failure), (true, None, None));
}

#[test]
fn each_recorded_refusal_is_no_answer() {
    for (recording, status, kind) in [
        (fixture!("bad-session-id.json"), 500, FailureKind::Opaque),
        (fixture!("unknown-model.json"), 500, FailureKind::Opaque),
        (fixture!("unknown-agent.json"), 500, FailureKind::Opaque),
        (fixture!("unknown-session.json"), 404, FailureKind::Other),
        (fixture!("model-as-string.json"), 400, FailureKind::Other),
    ] {
        let Answer::Refused { status: actual, failure: Some(failure) } = answer(recording) else {
            panic!("{recording}")
        };
        assert_eq!((actual, failure.kind), (status, kind), "{failure:?}");
    }
}

#[test]
fn the_events_that_decide_are_read() {
    let question = signals(fixture!("question.sse"));
    let asked = question.iter().find_map(|it| match it {
        Signal::QuestionAsked(ask) => Some(ask),
        _ => None,
    });
    assert_eq!(asked.unwrap().questions[0].options[1].label, "B");
    assert!(question.iter().any(|it| matches!(it, Signal::AskClosed(id) if *id == asked.unwrap().id)));

    let permission = signals(fixture!("permission-once.sse"));
    assert!(
        permission.iter().any(
            |it| matches!(it, Signal::PermissionAsked(ask) if ask.patterns == ["echo hi > out.txt", "ls"])
        )
    );

    let retries = signals(fixture!("provider-500-retry.sse"));
    let retries = retries
        .iter()
        .filter(|it| matches!(it, Signal::Status(Status::Retry { reason, .. }) if reason == "boom"));
    assert_eq!(retries.count(), 3);

    let bash = signals(fixture!("bash.sse"));
    let tools: Vec<_> = bash
        .iter()
        .filter_map(|it| match it {
            Signal::Tool(tool) => Some((tool.title.as_str(), tool.state.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(tools.last(), Some(&("echo hi > out.txt; ls", crate::wire::ToolState::Completed)));
}

#[test]
fn health_is_read() {
    let exchange: serde_json::Value = serde_json::from_str(fixture!("health.json")).unwrap();
    let body = exchange[0]["response"].to_string();
    assert!(
        matches!(health::read(body.as_bytes()), crate::wire::Health::Fine(version) if version.minor == 18)
    );
}
