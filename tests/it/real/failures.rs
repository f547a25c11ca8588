//! How a turn fails, and that each way is told as what it is.

use std::path::Path;
use std::time::Duration;

use connector_contract::{ConnectorError, Progress, StopCause};
use serde_json::{Value, json};
use testkit::fake::Generation;
use testkit::{Answer, Script};
use tokio::time::Instant;

use super::{bash, bench, place, reply, words};
use crate::support::{Bench, eventually};
use crate::wires::on_wires;

on_wires! {
    threaded {
        cancelling_during_a_command_ends_it,
        cancelling_while_the_model_speaks_ends_the_turn,
        a_provider_that_refuses_is_the_reason,
        a_provider_that_fails_for_ever_ends_the_turn_at_the_limit_without_progress,
        an_unknown_model_or_agent_is_named_and_the_session_is_not_poisoned,
        a_fresh_session_with_an_unknown_model_goes_on_with_the_default,
        an_unknown_agent_and_an_unknown_model_are_told_at_once_and_leave_nothing_behind,
        a_wrong_password_and_an_unknown_session_are_told_apart,
    }
    only V2 because "1.x accepts a directory that is not there and works in it" {
        a_directory_that_is_gone_starts_nothing,
    }
}

async fn cancelling_during_a_command_ends_it(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    daemon.model().add(bash("SLEEP-7", "echo $$ > pid; sleep 600; echo late > late.txt"));
    let bench = bench(daemon, &directory, json!({})).await;
    let pid = directory.join("pid");
    let (result, ()) = tokio::join!(bench.run("SLEEP-7"), async {
        eventually("the command runs", || std::fs::read_to_string(&pid).is_ok_and(|it| !it.is_empty())).await;
        bench.cancel.cancel();
    });
    let error = result.unwrap_err();
    let ConnectorError::Stopped { cause: StopCause::Cancelled, reason, .. } = error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("has stopped"), "{reason}");
    let process = format!("/proc/{}", std::fs::read_to_string(&pid).unwrap().trim());
    eventually("the command is gone", || !Path::new(&process).exists()).await;
    assert!(!directory.join("late.txt").exists());
}

async fn cancelling_while_the_model_speaks_ends_the_turn(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    let chunks = (0..600).map(|number| format!("word {number} ")).collect();
    let speech = Answer::Text { chunks, delay_ms: 100 };
    daemon.model().add(Script::default().answer("SPEECH-7", speech));
    let bench = bench(daemon, &directory, json!({})).await;
    let (ctx, mut stream) = bench.context();
    let run = bench.connector.execute("run_task", json!({ "prompt": "SPEECH-7" }), &ctx);
    let (result, ()) = tokio::join!(run, async {
        while let Some(progress) = stream.next().await {
            if matches!(&progress, Progress::Text { so_far } if so_far.contains("word 1 ")) {
                break;
            }
        }
        bench.cancel.cancel();
    });
    let error = result.unwrap_err();
    let ConnectorError::Stopped { cause: StopCause::Cancelled, reason, .. } = error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("has stopped"), "{reason}");
}

async fn a_provider_that_refuses_is_the_reason(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    for status in [400, 401] {
        let prompt = format!("PROVIDER-8-{status}");
        let why = format!("no luck with {status}");
        daemon.model().add(Script::default().answer(&prompt, Answer::error(status, &why)));
        let error = bench(daemon, &directory, json!({})).await.run(&prompt).await.unwrap_err();
        let ConnectorError::Failed { reason, reference } = error else { panic!("{error:?}") };
        assert!(reason.contains("provider") && reason.contains(&status.to_string()), "{reason}");
        assert!(!reason.contains(&why), "an error may repeat anything, and is told in our words: {reason}");
        assert!(reference.session_id.is_some() && reference.message_id.is_some());
    }
}

async fn a_provider_that_fails_for_ever_ends_the_turn_at_the_limit_without_progress(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    // The first turn in a directory takes long to begin on a machine with much to do.
    daemon.model().add(Script::default().reply("PROVIDER-9-first", "begun"));
    bench(daemon, &directory, json!({})).await.run("PROVIDER-9-first").await.unwrap();
    for status in [429, 500] {
        let prompt = format!("PROVIDER-9-{status}");
        daemon.model().add(Script::default().answer(&prompt, Answer::error(status, "come back later")));
        let bench = bench(daemon, &directory, json!({ "no_progress_secs": 8, "parallel_turns": true })).await;
        let (result, seen) = bench.watch(&prompt).await;
        let error = result.unwrap_err();
        let ConnectorError::Stopped { cause: StopCause::NoProgress, reason, .. } = error else {
            panic!("{error:?}")
        };
        assert!(reason.contains("has stopped") && reason.contains("kept failing"), "{reason}");
        assert!(seen.iter().any(|it| matches!(it, Progress::Retry { attempt: 1, .. })), "{seen:?}");
    }
}

/// A prompt in a session, with what else is in its input.
async fn go_on(bench: &Bench, session: &Value, prompt: &str, extra: Value) -> Result<String, ConnectorError> {
    let mut input = json!({ "session_id": session, "prompt": prompt });
    input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    bench.execute("continue_session", input).await.map(|result| reply(&result).to_owned())
}

async fn an_unknown_model_or_agent_is_named_and_the_session_is_not_poisoned(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    daemon.model().add(Script::default().reply("FINE-10", "fine"));
    let bench = bench(daemon, &directory, json!({})).await;
    let session = bench.run("FINE-10").await.unwrap().output["session_id"].clone();
    let error =
        go_on(&bench, &session, "FINE-10 again", json!({ "model": "scripted/nope" })).await.unwrap_err();
    let reason = words(&error);
    assert!(reason.contains("scripted/nope") && reason.contains("remembers"), "{error:?}");
    let next = go_on(&bench, &session, "FINE-10 more", json!({})).await.unwrap();
    assert_eq!(next, "fine", "the next turn names the model that worked");

    let error = go_on(&bench, &session, "FINE-10 again", json!({ "agent": "nope" })).await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::Refused { reason } if reason.contains("Agent not found")),
        "{error:?}"
    );
    let next = go_on(&bench, &session, "FINE-10 last", json!({ "agent": "build" })).await.unwrap();
    assert_eq!(next, "fine");
}

async fn a_fresh_session_with_an_unknown_model_goes_on_with_the_default(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    daemon.model().add(Script::default().reply("FRESH-11", "fresh"));
    let bench = bench(daemon, &directory, json!({})).await;
    let input = json!({ "prompt": "FRESH-11", "model": "scripted/nope" });
    let error = bench.execute("run_task", input).await.unwrap_err();
    assert!(error.to_string().contains("scripted/nope"), "{error}");
    let session = bench.notes.last().unwrap().0["session_id"].clone();
    assert_eq!(go_on(&bench, &session, "FRESH-11", json!({})).await.unwrap(), "fresh");
}

/// What is not there is told at once, and not when the daemon is given up; nothing of the prompt is left
/// to run later.
async fn an_unknown_agent_and_an_unknown_model_are_told_at_once_and_leave_nothing_behind(
    generation: Generation,
) {
    let (daemon, directory) = place(generation).await;
    let prompt = "UNKNOWN-12";
    daemon.model().add(Script::default().reply(prompt, "known"));
    let bench = bench(daemon, &directory, json!({})).await;
    bench.run(prompt).await.unwrap();
    for (extra, name) in [(json!({ "agent": "nope" }), "nope"), (json!({ "model": "scripted/nope" }), "nope")]
    {
        let mut input = json!({ "prompt": format!("{prompt} left behind") });
        input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let began = Instant::now();
        let error = bench.execute("run_task", input).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}: {error:?}", began.elapsed());
        assert!(words(&error).contains(name), "{error:?}");
        if generation == Generation::V2 && extra.get("agent").is_some() {
            assert!(matches!(error, ConnectorError::Refused { .. }), "{error:?}");
            let session = bench.notes.last().unwrap().0["session_id"].as_str().unwrap().to_owned();
            let path = format!("/api/session/{session}/inbox");
            assert_eq!(super::sessions::get(daemon, &path).await["data"], json!([]), "it was taken back");
        }
    }
    let left = |it: &testkit::model::Seen| !it.title && it.prompt.contains("left behind");
    assert!(!daemon.model().seen().iter().any(left), "nothing of it ever reaches the model");
}

async fn a_wrong_password_and_an_unknown_session_are_told_apart(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    for config in [json!({ "password": "wrong" }), json!({})] {
        let mut config = config;
        config["directory"] = json!(directory);
        let error = Bench::new(&daemon.base_url(), config).await.run("x").await.unwrap_err();
        let ConnectorError::Unauthorized { reason } = &error else { panic!("{error:?}") };
        assert!(!reason.contains("wrong") && reason.contains("OPENCODE_"), "{reason}");
        let names = match generation {
            Generation::V1 => "OPENCODE_SERVER_PASSWORD",
            Generation::V2 => "OPENCODE_PASSWORD",
        };
        assert!(reason.contains(names), "{reason}");
    }
    let bench = bench(daemon, &directory, json!({})).await;
    let error = go_on(&bench, &json!("ses_nope"), "x", json!({})).await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::Refused { reason } if reason.contains("ession not found")),
        "{error:?}"
    );
}

/// Gone before the session is made, and gone between that and the prompt.
async fn a_directory_that_is_gone_starts_nothing(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    let gone = directory.with_extension("gone");
    let bench = bench(daemon, &gone, json!({})).await;
    let began = Instant::now();
    let error = bench.run("GONE-13").await.unwrap_err();
    let ConnectorError::Unavailable { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains(&*gone.to_string_lossy()), "{reason}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
