//! One fault each: what comes of it, and what remains.

use std::time::Duration;

use connector_contract::{ConnectorError, Consequence, Provenance, SourceNote, StopCause};
use serde_json::{Value, json};
use testkit::fake::{Canned, Faults, Fixture, Generation, PromptFault};
use tokio::time::Instant;

use crate::support::{Bench, eventually, fake, id_of, notes, prompts, text_of};
use crate::wires::on_wires;

// The path is for the host's tests, which name this file by its own.
#[path = "faults/rows.rs"]
pub(crate) mod rows;

use rows::{Expect, Row, a_session, about_the_prompt, about_the_stream, about_who_answers, canned};

on_wires! {
    both {
        an_origin_that_is_not_granted_is_not_reached,
        a_checkpoint_that_cannot_be_recorded_starts_nothing,
        the_event_stream_is_opened_before_the_session_is_ready,
        cancelling_aborts_and_confirms,
        a_stop_is_confirmed_when_the_turn_has_ended_and_not_before,
        a_deadline_aborts_and_confirms,
        endless_retries_end_at_the_limit_without_progress_and_say_why,
        an_abort_by_somebody_else_is_no_success,
        dropping_the_call_ends_the_turn_in_the_background,
        a_stop_goes_out_whatever_cannot_be_read,
        a_turn_that_cannot_be_watched_any_more_is_ended,
        a_session_that_cannot_be_made_has_its_directory_named,
        a_daemon_that_does_not_confirm_a_stop_is_not_believed_to_have_stopped,
        turns_of_one_directory_run_one_by_one_unless_configured_otherwise,
        progress_is_ordered_and_never_shows_the_prompt_as_the_reply,
        the_output_is_whole_and_capped,
        what_came_from_a_chat_is_strict_and_says_so_outside_the_prompt,
        a_daemon_that_does_not_take_the_rules_gets_no_prompt,
        the_prompts_id_carries_the_daemons_time_and_no_other,
        a_stream_that_ends_at_its_greeting_is_opened_ever_more_rarely,
        a_silent_stream_is_given_up_and_opened_again,
        the_wait_in_line_is_not_the_turns,
        the_rules_own_note_goes_beside_the_prompt_or_none_does,
    }
    threaded {
        faults_of_the_prompt,
        faults_of_the_event_stream,
        faults_of_whoever_answers,
    }
    only V2 because "1.x is told the directory with each request, and has one of its own" {
        a_daemon_that_is_not_told_where_to_work_gets_no_session,
    }
    only V2 because "1.x sends its heartbeats as events" {
        heartbeats_alone_keep_a_stream_open,
    }
}

/// Runs a row; returns what is wrong with it.
async fn check(row: Row) -> Result<(), String> {
    let reply = row.fixture.reply();
    let (fake, bench) = fake(row.fixture, row.faults, json!({ "limits": { "event_bytes": 1 << 20 } })).await;
    let began = Instant::now();
    let result = bench.run("go").await;
    let text = format!("{}: {result:?} after {:?}", row.name, began.elapsed());
    let fine = match (&row.expect, &result) {
        (Expect::Same, Ok(result)) => result.success && result.output["reply"] == reply.as_str(),
        (Expect::Error(consequence, words), Err(error)) => {
            let shown = connector_contract::chain(error);
            error.consequence() == *consequence && words.iter().all(|word| shown.contains(word))
        }
        _ => false,
    };
    if !fine {
        return Err(text);
    }
    if fake.tasks() != row.tasks {
        return Err(format!("{text}: {} tasks", fake.tasks()));
    }
    // Nothing remains: no turn at the daemon, and no stream to it.
    eventually(row.name, || fake.streams() == 0 && fake.running() == 0).await;
    Ok(())
}

async fn check_all(generation: Generation, rows: Vec<Row>) {
    let exists = |row: &Row| row.only.is_none_or(|(only, _)| only == generation);
    let rows: Vec<Row> = rows.into_iter().filter(exists).collect();
    let count = rows.len();
    let mut wrong = Vec::new();
    let checks = rows.into_iter().map(|row| tokio::spawn(check(row))).collect::<Vec<_>>();
    for check in checks {
        if let Err(why) = check.await.unwrap() {
            wrong.push(why);
        }
    }
    assert!(wrong.is_empty(), "{} of {count} rows:\n{}", wrong.len(), wrong.join("\n"));
}

async fn faults_of_the_prompt(generation: Generation) {
    check_all(generation, about_the_prompt(generation)).await;
}

async fn faults_of_the_event_stream(generation: Generation) {
    check_all(generation, about_the_stream(generation)).await;
}

async fn faults_of_whoever_answers(generation: Generation) {
    check_all(generation, about_who_answers(generation)).await;
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bench = Bench::new(&format!("http://{gone}"), json!({})).await;
    let error = bench.run("go").await.unwrap_err();
    assert!(matches!(&error, ConnectorError::Unavailable { .. }), "{error:?}");
    let said = connector_contract::chain(&error);
    for words in [&gone.to_string(), "opencode serve", "cannot connect"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
}

async fn an_origin_that_is_not_granted_is_not_reached(generation: Generation) {
    let (fake, bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    let (mut ctx, _progress) = bench.context();
    ctx.http = connector_contract::OutboundHttp::new([]).unwrap();
    let error = bench.connector.execute("run_task", json!({ "prompt": "x" }), &ctx).await.unwrap_err();
    assert!(matches!(error, ConnectorError::CapabilityDenied { .. }), "{error:?}");
    assert_eq!(fake.requests(), Vec::<String>::new());
}

async fn a_checkpoint_that_cannot_be_recorded_starts_nothing(generation: Generation) {
    struct Full;
    #[async_trait::async_trait]
    impl connector_contract::CheckpointLog for Full {
        async fn record(
            &self,
            _: connector_contract::Checkpoint,
        ) -> Result<(), connector_contract::CheckpointError> {
            Err(connector_contract::CheckpointError { reason: "disk full".into() })
        }
    }
    let (fake, bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    let (mut ctx, _progress) = bench.context();
    ctx.checkpoints = std::sync::Arc::new(Full);
    let error = bench.connector.execute("run_task", json!({ "prompt": "x" }), &ctx).await.unwrap_err();
    assert_eq!((error.consequence(), fake.tasks()), (Consequence::NothingStarted, 0));
    assert!(error.to_string().contains("disk full"));
}

async fn the_event_stream_is_opened_before_the_session_is_ready(generation: Generation) {
    struct Until(std::sync::Arc<testkit::fake::Fake>);
    #[async_trait::async_trait]
    impl connector_contract::CheckpointLog for Until {
        async fn record(
            &self,
            _: connector_contract::Checkpoint,
        ) -> Result<(), connector_contract::CheckpointError> {
            eventually("a stream before the prompt's turn comes", || self.0.streams() == 1).await;
            Ok(())
        }
    }
    let (fake, bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    let fake = std::sync::Arc::new(fake);
    let (mut ctx, _progress) = bench.context();
    ctx.checkpoints = std::sync::Arc::new(Until(fake.clone()));
    bench.connector.execute("run_task", json!({ "prompt": "x" }), &ctx).await.unwrap();
    eventually("its end", || fake.streams() == 0).await;
}

async fn stopped(
    generation: Generation,
    fixture: &str,
    config: Value,
    stop: impl AsyncFnOnce(&Bench),
) -> ConnectorError {
    let (fake, bench) = fake(Fixture::of(generation, fixture), Faults::default(), config).await;
    let (result, ()) = tokio::join!(bench.run("go"), async {
        eventually("the turn runs", || fake.running() == 1).await;
        stop(&bench).await;
    });
    assert_eq!((fake.running(), fake.tasks()), (0, 1), "the turn was ended at the daemon");
    result.unwrap_err()
}

async fn cancelling_aborts_and_confirms(generation: Generation) {
    let error = stopped(generation, "abort", json!({}), async |bench| bench.cancel.cancel()).await;
    let ConnectorError::Stopped { cause: StopCause::Cancelled, reason, reference } = error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("has stopped") && reference.session_id.is_some(), "{reason}");
}

async fn a_stop_is_confirmed_when_the_turn_has_ended_and_not_before(generation: Generation) {
    let cleanup = Duration::from_millis(400);
    let faults = Faults { cleanup, ..Faults::default() };
    let (fake, bench) = fake(Fixture::of(generation, "abort"), faults, json!({})).await;
    let (result, stopped_at) = tokio::join!(bench.run("go"), async {
        eventually("the turn waits for an abort", || fake.waits_for_abort()).await;
        bench.cancel.cancel();
        Instant::now()
    });
    assert_eq!(fake.running(), 0);
    let ConnectorError::Stopped { reason, .. } = result.unwrap_err() else { panic!() };
    assert!(reason.contains("has stopped"), "{reason}");
    assert!(generation == Generation::V1 || stopped_at.elapsed() >= cleanup);
}

async fn a_deadline_aborts_and_confirms(generation: Generation) {
    let config = json!({ "deadline_secs": 1 });
    let error = stopped(generation, "abort", config, async |_| ()).await;
    assert!(matches!(error, ConnectorError::Stopped { cause: StopCause::Deadline, .. }), "{error:?}");
}

async fn endless_retries_end_at_the_limit_without_progress_and_say_why(generation: Generation) {
    let config = json!({ "no_progress_secs": 1 });
    let error = stopped(generation, "provider-500-retry", config, async |_| ()).await;
    let ConnectorError::Stopped { cause: StopCause::NoProgress, reason, .. } = error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("kept failing: ") && reason.contains("provider"), "{reason}");
}

async fn an_abort_by_somebody_else_is_no_success(generation: Generation) {
    for fixture in ["abort", "provider-500-retry"] {
        let (fake, bench) = fake(Fixture::of(generation, fixture), Faults::default(), json!({})).await;
        let (result, ()) = tokio::join!(bench.run("go"), async {
            eventually("the turn runs", || fake.running() == 1).await;
            fake.abort_elsewhere();
        });
        let error = result.unwrap_err();
        assert!(
            matches!(error, ConnectorError::Stopped { cause: StopCause::AbortedElsewhere, .. }),
            "{error:?}"
        );
    }
}

async fn dropping_the_call_ends_the_turn_in_the_background(generation: Generation) {
    let (fake, bench) = fake(Fixture::of(generation, "abort"), Faults::default(), json!({})).await;
    {
        let mut running = Box::pin(bench.run("go"));
        tokio::select! {
            result = &mut running => panic!("{result:?}"),
            () = eventually("the turn runs", || fake.running() == 1) => {}
        }
    }
    eventually("the turn was ended", || fake.running() == 0).await;
    eventually("the stream is closed", || fake.streams() == 0).await;
    assert!(!fake.lines(generation.abort()).is_empty());
}

/// What is read before a turn is interrupted.
fn record(generation: Generation) -> [String; 2] {
    match generation {
        Generation::V1 => ["GET /session/*/message", "GET /session/status"],
        Generation::V2 => ["GET /api/session/*/message", "GET /api/session/*/inbox"],
    }
    .map(str::to_owned)
}

async fn a_stop_goes_out_whatever_cannot_be_read(generation: Generation) {
    let broken = record(generation).map(|request| (request, Canned::empty(500)));
    let timing = connector_opencode::Timing {
        give_up: Duration::from_mins(1),
        stop: Duration::from_millis(600),
        ..crate::support::impatient()
    };
    for faults in [
        Faults { canned: broken.to_vec(), ..Faults::default() },
        Faults { unanswered: record(generation).to_vec(), ..Faults::default() },
    ] {
        for dropped in [false, true] {
            let fake =
                testkit::fake::Fake::start(Fixture::of(generation, "abort"), faults.clone()).await.unwrap();
            let bench = Bench::at_with_timing(&fake, json!({}), timing).await;
            let mut running = Box::pin(bench.run("go"));
            tokio::select! {
                result = &mut running => panic!("{result:?}"),
                () = eventually("the turn waits for an abort", || fake.waits_for_abort()) => {}
            }
            if dropped {
                drop(running);
            } else {
                bench.cancel.cancel();
                let error = running.await.unwrap_err();
                assert!(matches!(error, ConnectorError::Stopped { .. }), "{error:?}");
            }
            eventually("the turn was ended", || fake.running() == 0).await;
            assert!(!fake.lines(generation.abort()).is_empty(), "{:?}", fake.requests());
        }
    }
}

async fn a_turn_that_cannot_be_watched_any_more_is_ended(generation: Generation) {
    let broken = record(generation).map(|request| (request, Canned::empty(500)));
    let faults = Faults {
        canned: broken.to_vec(),
        prompt: PromptFault::CutAt(3),
        no_stream: true,
        ..Faults::default()
    };
    let (fake, bench) = fake(Fixture::of(generation, "abort"), faults, json!({})).await;
    let error = bench.run("go").await.unwrap_err();
    assert_eq!(error.consequence(), Consequence::Unknown, "{error}");
    eventually("the turn was ended", || fake.running() == 0).await;
}

async fn a_session_that_cannot_be_made_has_its_directory_named(generation: Generation) {
    let faults = canned(generation.create(), Canned::empty(500));
    let (_fake, bench) =
        fake(Fixture::of(generation, "text"), faults, json!({ "directory": "/code/gone" })).await;
    let error = bench.run("go").await.unwrap_err();
    assert_eq!(error.consequence(), Consequence::NothingStarted);
    assert!(error.to_string().contains("check that the directory /code/gone exists"), "{error}");
}

async fn a_daemon_that_is_not_told_where_to_work_gets_no_session(generation: Generation) {
    let config = json!({ "directory": null });
    let (fake, bench) = fake(Fixture::of(generation, "text"), Faults::default(), config).await;
    for (action, input) in [
        ("run_task", json!({ "prompt": "go" })),
        ("continue_session", json!({ "prompt": "go", "session_id": "ses_a" })),
    ] {
        let error = bench.execute(action, input).await.unwrap_err();
        assert_eq!((error.consequence(), fake.tasks()), (Consequence::NothingStarted, 0));
        assert!(error.to_string().contains("`directory`"), "{error}");
    }
    assert!(fake.lines("POST ").is_empty(), "{:?}", fake.requests());
}

async fn a_daemon_that_does_not_confirm_a_stop_is_not_believed_to_have_stopped(generation: Generation) {
    let faults = canned(
        generation.abort(),
        match generation {
            Generation::V1 => Canned::json(200, &json!(true)),
            Generation::V2 => Canned::json(200, &json!({ "interrupted": true })),
        },
    );
    let (fake, bench) = fake(Fixture::of(generation, "abort"), faults, json!({})).await;
    let (result, ()) = tokio::join!(bench.run("go"), async {
        eventually("the turn runs", || fake.running() == 1).await;
        bench.cancel.cancel();
    });
    let ConnectorError::Stopped { reason, .. } = result.unwrap_err() else { panic!() };
    assert!(reason.contains("may still be running"), "{reason}");
}

async fn turns_of_one_directory_run_one_by_one_unless_configured_otherwise(generation: Generation) {
    use connector_contract::Progress;
    for (parallel, most) in [(false, 1), (true, 3)] {
        let faults = Faults { pace: Duration::from_millis(4), ..Faults::default() };
        let (fake, bench) =
            fake(Fixture::of(generation, "text"), faults, json!({ "parallel_turns": parallel })).await;
        let seen = std::sync::atomic::AtomicUsize::new(0);
        let watch = async {
            while fake.tasks() < 3 || fake.running() > 0 {
                seen.fetch_max(fake.running(), std::sync::atomic::Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (a, b, c, ()) = tokio::join!(bench.watch("a"), bench.watch("b"), bench.watch("c"), watch);
        let queued = [&a.1, &b.1, &c.1]
            .iter()
            .filter(|all| all.iter().any(|it| matches!(it, Progress::Queued { .. })))
            .count();
        assert!(a.0.is_ok() && b.0.is_ok() && c.0.is_ok());
        assert_eq!(seen.into_inner(), most);
        assert_eq!(queued, if parallel { 0 } else { 2 });
    }
}

async fn progress_is_ordered_and_never_shows_the_prompt_as_the_reply(generation: Generation) {
    use connector_contract::Progress;
    // Slow enough that the answer does not overtake what is told of it.
    let faults = Faults { duplicate: true, pace: Duration::from_millis(2), ..Faults::default() };
    let (_fake, bench) = fake(Fixture::of(generation, "write"), faults, json!({})).await;
    let (result, seen) = bench.watch("go").await;
    assert!(result.unwrap().success);
    let kinds: Vec<&str> = seen
        .iter()
        .map(|it| match it {
            Progress::Started { .. } => "started",
            Progress::ToolStarted { .. } => "tool started",
            Progress::ToolFinished { title, .. } if title == "hello.txt" => "tool finished",
            Progress::Text { .. } => "text",
            _ => "other",
        })
        .collect();
    assert!(kinds.len() >= 3, "{seen:?}");
    assert_eq!(&kinds[..3], ["started", "tool started", "tool finished"], "{seen:?}");
    let Some(Progress::Text { so_far }) = seen.last() else { panic!("{seen:?}") };
    assert_eq!(so_far.trim(), "Done: WRITE a file");
    assert!(!seen.iter().any(|it| matches!(it, Progress::Text { so_far } if so_far == "WRITE a file")));
}

async fn the_output_is_whole_and_capped(generation: Generation) {
    let patch = "--- a\n+++ b\n@@ -0,0 +1,2 @@\n+hello\n+there\n";
    let changes =
        json!([{ "file": "hello.txt", "patch": patch, "additions": 2, "deletions": 0, "status": "added" }]);
    let fixture = Fixture::of(generation, "write").changing(changes);
    let (_fake, bench) =
        fake(fixture, Faults::default(), json!({ "limits": { "patch_bytes": 20, "response_bytes": 12 } }))
            .await;
    let output = bench.run("go").await.unwrap().output;
    assert_eq!(
        output["files"],
        json!([{ "path": "hello.txt", "additions": 2, "deletions": 0, "status": "added" }])
    );
    assert_eq!(output["patch"], "--- a\n+++ b\n[cut: 30 of 42 bytes left out]\n");
    assert_eq!(output["response"]["truncated"], true);
    assert_eq!(output["reply"], "Done: WRITE \n[cut: 6 of 18 bytes left out]\n");
    assert_eq!(output["tokens"]["input"], 20, "both steps count");
    let output: connector_opencode::TurnOutput = serde_json::from_value(output).unwrap();
    assert!(output.message_id.starts_with("msg_") && output.session_id.starts_with("ses_"));
}

async fn what_came_from_a_chat_is_strict_and_says_so_outside_the_prompt(generation: Generation) {
    let (fake, mut bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    bench.provenance =
        Provenance::Chat { surface: "telegram".into(), rule: "fix\n`rm`".into(), note: SourceNote::Usual };
    bench.run("go").await.unwrap();
    let created = &fake.bodies(generation.create())[0];
    let (rules, rule) = match generation {
        Generation::V1 => {
            let rule = json!({ "permission": "external_directory", "pattern": "*", "action": "deny" });
            (&created["permission"], rule)
        }
        Generation::V2 => {
            let rule = json!({ "action": "external_directory", "resource": "*", "effect": "deny" });
            (&created["permissions"], rule)
        }
    };
    assert!(rules.as_array().unwrap().contains(&rule), "{rules}");
    assert_eq!(text_of(&prompts(&fake)[0]), "go");
    let note = notes(&fake).remove(0);
    let system = note.as_str().unwrap();
    assert!(system.contains("telegram") && system.contains("fixrm"), "{system}");
    assert!(!system.contains("approved"), "nobody may have been asked: {system}");
}

async fn a_daemon_that_does_not_take_the_rules_gets_no_prompt(generation: Generation) {
    let faults = Faults {
        canned: vec![
            (generation.create().into(), a_session(generation, "ses_a")),
            (generation.create().replace("POST", "GET") + "/ses_a", a_session(generation, "ses_a")),
        ],
        ..Faults::default()
    };
    let (fake, mut bench) = fake(Fixture::of(generation, "text"), faults, json!({})).await;
    let chat = Provenance::Chat { surface: "console".into(), rule: "fix".into(), note: SourceNote::Usual };
    bench.provenance = chat;
    let error = bench.run("go").await.unwrap_err();
    assert!(matches!(&error, ConnectorError::Refused { reason } if reason.contains("rules")), "{error:?}");
    assert_eq!(prompts(&fake), Vec::<Value>::new());
}

async fn the_prompts_id_carries_the_daemons_time_and_no_other(generation: Generation) {
    let (fake, bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    let first = bench.run("one").await.unwrap();
    let expected = connector_opencode::MessageId::new(1_795_300_000_001, 0, [0; 14]);
    assert_eq!(id_of(&prompts(&fake)[0])[..16], expected.as_str()[..16]);
    let last = &first.output["response"];
    let newest = last["info"]["id"].as_str().or(last["id"].as_str()).unwrap().to_owned();
    let input = json!({ "session_id": first.output["session_id"], "prompt": "two" });
    bench.execute("continue_session", input).await.unwrap();
    let expected = connector_opencode::MessageId::after(&newest, [0; 14]).unwrap();
    let sent = id_of(&prompts(&fake)[1]).to_owned();
    match generation {
        Generation::V1 => assert_eq!(sent[..16], expected.as_str()[..16], "right after {newest}"),
        // The row that marks the end comes between.
        Generation::V2 => {
            assert!(sent > newest && sent[..14] == expected.as_str()[..14], "{sent}, right after {newest}");
        }
    }
}

async fn a_stream_that_ends_at_its_greeting_is_opened_ever_more_rarely(generation: Generation) {
    let faults = Faults { short_streams: true, ..Faults::default() };
    let fake = testkit::fake::Fake::start(Fixture::of(generation, "abort"), faults).await.unwrap();
    let timing = connector_opencode::Timing {
        reconnect_min: Duration::from_millis(20),
        reconnect_max: Duration::from_secs(5),
        ..crate::support::impatient()
    };
    let bench = Bench::at_with_timing(&fake, json!({ "deadline_secs": 1 }), timing).await;
    let error = bench.run("go").await.unwrap_err();
    assert!(matches!(error, ConnectorError::Stopped { cause: StopCause::Deadline, .. }), "{error:?}");
    let opened = fake.lines(generation.events()).len();
    assert!((2..10).contains(&opened), "opened {opened} times in a second");
}

async fn a_silent_stream_is_given_up_and_opened_again(generation: Generation) {
    for silent in [true, false] {
        let faults = Faults { silent_stream: silent, ..Faults::default() };
        let fake = testkit::fake::Fake::start(Fixture::of(generation, "abort"), faults).await.unwrap();
        let stream_silence = Duration::from_millis(if silent { 100 } else { 5000 });
        let timing = connector_opencode::Timing { stream_silence, ..crate::support::impatient() };
        let bench = Bench::at_with_timing(&fake, json!({ "deadline_secs": 1 }), timing).await;
        bench.run("go").await.unwrap_err();
        let opened = fake.lines(generation.events()).len();
        assert_eq!(opened > 1, silent, "opened {opened} times");
    }
}

async fn heartbeats_alone_keep_a_stream_open(generation: Generation) {
    let faults = Faults { heartbeat: Some(Duration::from_millis(20)), ..Faults::default() };
    let fake = testkit::fake::Fake::start(Fixture::of(generation, "abort"), faults).await.unwrap();
    let timing = connector_opencode::Timing {
        stream_silence: Duration::from_millis(200),
        ..crate::support::impatient()
    };
    let bench = Bench::at_with_timing(&fake, json!({ "deadline_secs": 1 }), timing).await;
    bench.run("go").await.unwrap_err();
    assert_eq!(fake.lines(generation.events()).len(), 1);
}

async fn the_wait_in_line_is_not_the_turns(generation: Generation) {
    let faults = Faults { pace: Duration::from_millis(100), ..Faults::default() };
    let (fake, bench) = fake(Fixture::of(generation, "text"), faults, json!({})).await;
    let short = json!({ "prompt": "short", "deadline_secs": 3 });
    let began = Instant::now();
    let (first, second, third) = tokio::join!(
        bench.run("long"),
        bench.execute("run_task", short.clone()),
        bench.execute("run_task", short)
    );
    assert!(first.is_ok() && second.is_ok() && third.is_ok(), "{first:?} {second:?} {third:?}");
    assert!(began.elapsed() > Duration::from_secs(3), "the last waited longer than its deadline");
    assert_eq!(fake.tasks(), 3);
}

async fn the_rules_own_note_goes_beside_the_prompt_or_none_does(generation: Generation) {
    for (note, config, system) in [
        (SourceNote::Text("From the night watch.".into()), json!({}), json!("From the night watch.")),
        (SourceNote::None, json!({}), Value::Null),
        (SourceNote::Text("From the night watch.".into()), json!({ "name_source": false }), Value::Null),
    ] {
        let (fake, mut bench) = fake(Fixture::of(generation, "text"), Faults::default(), config).await;
        let said = format!("{note:?}");
        bench.provenance = Provenance::Chat { surface: "telegram".into(), rule: "fix".into(), note };
        bench.run("go").await.unwrap();
        assert_eq!(text_of(&prompts(&fake)[0]), "go", "{said}");
        assert_eq!(notes(&fake).first().unwrap_or(&Value::Null), &system, "{said}");
    }
}
