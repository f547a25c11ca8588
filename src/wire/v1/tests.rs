//! The recordings, read by the code that reads the daemon.

use http::StatusCode;

use super::*;
use crate::wire::{Answer, Cut, Ending, FailureKind, Signal};

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
        .filter_map(|data| events::read(data.as_bytes(), &|_, _| true).unwrap().map(|told| told.signal))
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
    assert_eq!(failed.reason, "the model's provider does not take the request (it answered 400)");
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
    let retries = retries.iter().filter(
        |it| matches!(it, Signal::Status(Status::Retry { reason, .. }) if reason.contains("own record")),
    );
    assert_eq!(retries.count(), 3);

    let bash = signals(fixture!("bash.sse"));
    let tools: Vec<_> = bash
        .iter()
        .filter_map(|it| match it {
            Signal::Tool(tool) => Some((tool.title.as_deref().unwrap(), tool.state.clone())),
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
        matches!(health::read(StatusCode::OK, body.as_bytes()), crate::wire::Health::Fine(process) if process.version.minor == 18)
    );
}

const OURS: &str = "msg_1fb6509c0001aaaaaaaaaaaaaa";

fn id(number: u32) -> String {
    format!("msg_1fb6509c{number:04x}aaaaaaaaaaaaaa")
}

fn user(number: u32, part: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({ "info": { "id": id(number), "role": "user", "time": {}, "summary": { "diffs": [] } }, "parts": [part] })
}

fn assistant(number: u32, parent: u32, finish: &str, text: &str) -> serde_json::Value {
    serde_json::json!({
        "info": { "id": id(number), "role": "assistant", "parentID": id(parent), "time": { "completed": 1 }, "finish": finish },
        "parts": [{ "type": "text", "text": text }],
    })
}

fn summary(number: u32, parent: u32) -> serde_json::Value {
    let mut message = assistant(number, parent, "stop", "what happened so far");
    message["info"]["summary"] = true.into();
    message
}

fn said(text: &str) -> serde_json::Value {
    serde_json::json!({ "type": "text", "text": text })
}

fn history(list: &[serde_json::Value]) -> crate::wire::History {
    let body = serde_json::to_vec(list).unwrap();
    messages::history(&body, &MessageId::parse(OURS).unwrap()).unwrap()
}

#[test]
fn a_record_is_read_until_it_is_older_than_the_turn() {
    let begins = |list: &[serde_json::Value], limit| {
        messages::reaches(&serde_json::to_vec(list).unwrap(), &MessageId::parse(OURS).unwrap(), limit)
    };
    let earlier = serde_json::json!({ "info": { "id": "msg_1fb6509b0000aaaaaaaaaaaaaa" }, "parts": [] });
    let (ours, later) = (user(1, &said("go")), user(2, &said("on")));
    assert!(begins(&[earlier, later.clone()], 2) && begins(&[later.clone(), ours], 2));
    assert!(!begins(&[later.clone(), later.clone()], 2));
    assert!(begins(&[later], 2), "there are no more");
}

fn compaction() -> serde_json::Value {
    serde_json::json!({ "type": "compaction", "auto": true })
}

#[test]
fn a_turn_that_was_summed_up_on_the_way_goes_on_under_the_daemons_own_messages() {
    let go_on =
        serde_json::json!({ "type": "text", "text": "Continue if you have next steps", "synthetic": true });
    for added in [go_on, said("fix it")] {
        let list = [
            user(1, &said("fix it")),
            assistant(2, 1, "tool-calls", "reading"),
            user(3, &compaction()),
            summary(4, 3),
            user(5, &added),
            assistant(6, 5, "stop", "fixed"),
            user(7, &said("and now?")),
            assistant(8, 7, "stop", "somebody else's"),
        ];
        let whole = history(&list);
        assert_eq!(whole.last().map(|it| it.text.as_str()), Some("fixed"));
        assert_eq!((whole.steps.len(), whole.unanswered), (3, false));
        assert_eq!(whole.prompts, [id(1), id(3), id(5)]);
        let summed_up = history(&list[..4]);
        assert_eq!(summed_up.last().map(|it| it.text.as_str()), Some("reading"), "a summary is no reply");
        assert!(history(&list[..5]).unanswered);
    }
}

#[test]
fn all_that_the_agent_says_is_its_reply_but_for_what_it_answers_the_daemon_after_its_last_word() {
    let go_on = || serde_json::json!({ "type": "text", "text": "Continue if you have next steps", "synthetic": true });
    let summed_up = || [user(3, &compaction()), summary(4, 3), user(5, &go_on())];
    let spoken = |list: &[serde_json::Value]| -> Vec<String> {
        history(list).spoken().map(|step| step.text.clone()).collect()
    };
    let after = |ending: &str, text: &str| {
        let mut list = vec![user(1, &said("fix it")), assistant(2, 1, ending, text)];
        list.extend(summed_up());
        list.push(assistant(6, 5, "stop", "nothing more to do"));
        list
    };
    assert_eq!(spoken(&after("stop", "the answer")), ["the answer"]);
    assert_eq!(spoken(&after("stop", "")), ["", "nothing more to do"], "nothing was said before");
    assert_eq!(
        spoken(&after("tool-calls", "first")),
        ["first", "nothing more to do"],
        "it was summed up in the middle of its work"
    );
    let two = [
        user(1, &said("go")),
        assistant(2, 1, "tool-calls", "the bug is here"),
        assistant(3, 1, "stop", "fixed"),
    ];
    assert_eq!(spoken(&two), ["the bug is here", "fixed"]);
}

#[test]
fn a_message_that_something_else_ended_says_so() {
    for (finish, cut) in [
        ("stop", None),
        ("length", Some(Cut::Length)),
        ("content-filter", Some(Cut::Filter)),
        ("other", None),
    ] {
        let list = [user(1, &said("go")), assistant(2, 1, finish, "half a")];
        assert_eq!(history(&list).steps[0].cut, cut, "{finish}");
    }
}

#[test]
fn somebody_elses_prompt_ends_the_turn_even_with_the_same_words() {
    let list = [
        user(1, &said("go")),
        assistant(2, 1, "stop", "gone"),
        user(3, &said("go")),
        assistant(4, 3, "stop", "x"),
    ];
    let whole = history(&list);
    assert_eq!((whole.steps.len(), whole.prompts.len()), (1, 1));
}

#[test]
fn a_part_or_message_that_cannot_be_read_hides_no_other() {
    let mut last = assistant(3, 1, "stop", "done");
    for unparseable in
        [serde_json::json!({ "type": 7 }), serde_json::json!({ "type": "hologram", "text": {} }), 5.into()]
    {
        last["parts"].as_array_mut().unwrap().insert(0, unparseable);
    }
    let all = [user(1, &said("go")), serde_json::json!({ "info": 4 }), 7.into(), last.clone()];
    let whole = history(&all);
    assert_eq!((whole.unreadable, whole.last().unwrap().text.as_str()), (2, "done"));
    let answer = answers::prompt(StatusCode::OK, last.to_string().as_bytes());
    assert!(
        matches!(answer, Answer::Message(it) if it.text == "done" && it.head.ending == Some(Ending::Final))
    );
}

#[test]
fn a_message_with_a_tool_for_the_daemon_is_no_last_word() {
    for (metadata, ending) in [
        (serde_json::json!({}), Ending::Tools),
        (serde_json::json!({ "providerExecuted": false }), Ending::Tools),
        (serde_json::json!({ "providerExecuted": true }), Ending::Final),
    ] {
        let mut last = assistant(2, 1, "stop", "let me see");
        let tool = serde_json::json!({ "type": "tool", "tool": "bash", "metadata": metadata, "state": { "status": "completed" } });
        last["parts"].as_array_mut().unwrap().push(tool);
        let whole = history(&[user(1, &said("go")), last]);
        assert_eq!(whole.last().unwrap().head.ending, Some(ending), "{metadata}");
    }
}

#[test]
fn an_ask_in_another_shape_is_named_and_hides_no_other() {
    let body = br#"[{"id":"per_1","sessionID":"ses_a","permission":{"kind":"bash"}},{"x":1},
        {"id":"per_2","sessionID":"ses_a","permission":"bash"}]"#;
    let pending = answers::permissions(body).unwrap();
    assert_eq!((pending.asks.len(), pending.asks[0].id.as_str()), (1, "per_2"));
    assert_eq!((pending.unparseable.len(), pending.unparseable[0].id.as_str()), (1, "per_1"));
}

#[test]
fn heartbeats_are_about_the_connection_and_reach_no_turn() {
    for kind in ["server.connected", "server.heartbeat"] {
        let event = format!(r#"{{"type":"{kind}","properties":{{}}}}"#);
        assert_eq!(events::read(event.as_bytes(), &|_, _| true), Ok(None), "{kind}");
    }
}

/// Releases before about 1.4 name the session in what an event tells of alone.
#[test]
fn events_of_every_release_are_known_by_their_session() {
    let part = |more: &str| {
        let part = r#""id":"prt_1","sessionID":"ses_a","messageID":"msg_1""#;
        format!(r#"{{"part":{{{part},{more}}}}}"#)
    };
    let message =
        r#"{"info":{"id":"msg_1","sessionID":"ses_a","role":"assistant","parentID":"msg_0","time":{}}}"#;
    let text = part(r#""type":"text","text":"hi""#);
    let tool = part(r#""type":"tool","callID":"call_0","tool":"bash","state":{"status":"running"}"#);
    let step = part(r#""type":"step-start""#);
    for (kind, properties) in [
        ("message.part.updated", text.as_str()),
        ("message.part.updated", tool.as_str()),
        ("message.part.updated", step.as_str()),
        ("message.updated", message),
        ("session.created", r#"{"info":{"id":"ses_a","parentID":"ses_0","title":"t"}}"#),
        ("session.idle", r#"{"sessionID":"ses_a"}"#),
        ("session.status", r#"{"sessionID":"ses_a","status":{"type":"busy"}}"#),
    ] {
        let event = format!(r#"{{"type":"{kind}","properties":{properties}}}"#);
        for wanted in [true, false] {
            let told = events::read(event.as_bytes(), &|session, _| wanted && session == "ses_a").unwrap();
            assert_eq!(told.is_some(), wanted, "{event}");
            assert!(told.is_none_or(|told| told.session == "ses_a"), "{event}");
        }
    }
    let tool = format!(r#"{{"type":"message.part.updated","properties":{tool}}}"#);
    let told = events::read(tool.as_bytes(), &|_, _| true).unwrap().unwrap();
    assert!(matches!(told.signal, Signal::Tool(tool) if tool.call == "msg_1/call_0"));
    for nobodys in [r#"{"part":{"type":"text"}}"#, r#"{"part":7}"#, r#"{"info":{"id":"msg_1"}}"#, "{}"] {
        let event = format!(r#"{{"type":"message.updated","properties":{nobodys}}}"#);
        assert_eq!(events::read(event.as_bytes(), &|_, _| true).unwrap(), None, "{event}");
    }
}
