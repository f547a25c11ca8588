//! One fault each: what comes of it, and what remains.

use std::time::Duration;

use connector_contract::{ConnectorError, Consequence, Provenance, SourceNote, StopCause};
use serde_json::{Value, json};
use testkit::fake::{Canned, Faults, Fixture, PromptFault};
use tokio::time::Instant;

use crate::support::{Bench, eventually, fake};

/// What a row of the table expects.
enum Expect {
    /// The reply of the recording, as if nothing had happened.
    Same,
    /// An error of this consequence whose text has all these words.
    Error(Consequence, &'static [&'static str]),
}
use Expect::{Error, Same};

struct Row {
    name: &'static str,
    fixture: Fixture,
    faults: Faults,
    expect: Expect,
    /// How many tasks the daemon was asked to run.
    tasks: usize,
}

fn opaque() -> Canned {
    let message = "Unexpected server error. Check server logs for details.";
    Canned::json(500, &json!({ "name": "UnknownError", "data": { "message": message } }))
}

fn prompt(prompt: PromptFault) -> Faults {
    Faults { prompt, ..Faults::default() }
}

fn refused(name: &str, message: &str) -> Faults {
    let error = json!({ "name": name, "data": { "message": message } });
    prompt(PromptFault::Refused { error, answer: opaque() })
}

fn canned(request: &str, answer: Canned) -> Faults {
    Faults { canned: vec![(request.to_owned(), answer)], ..Faults::default() }
}

fn health(body: &Value) -> Faults {
    canned("GET /global/health", Canned::json(200, body))
}

fn row(name: &'static str, faults: Faults, expect: Expect, tasks: usize) -> Row {
    Row { name, fixture: Fixture::recorded("write"), faults, expect, tasks }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn about_the_prompt() -> Vec<Row> {
    use Consequence::{Failed, NothingStarted, Unknown};
    vec![
        row("cut before it is taken", prompt(PromptFault::CutBefore), Same, 1),
        row("cut during the turn", prompt(PromptFault::CutAt(20)), Same, 1),
        row("cut in the answer", prompt(PromptFault::CutInAnswer), Same, 1),
        row("cut after the turn", prompt(PromptFault::CutAt(usize::MAX)), Same, 1),
        row("never answered", prompt(PromptFault::NeverAnswered), Same, 1),
        row("200 empty", prompt(PromptFault::Instead(Canned::empty(200))), Same, 1),
        row("200 web page", prompt(PromptFault::Instead(Canned::page())), Same, 1),
        row(
            "200 half JSON",
            prompt(PromptFault::Instead(Canned {
                status: 200,
                content_type: "application/json",
                body: b"{\"info\":".to_vec(),
            })),
            Same,
            1,
        ),
        row(
            "200 of another message",
            prompt(PromptFault::Instead(Canned::json(200, &Fixture::recorded("text").answer().clone()))),
            Same,
            1,
        ),
        row("200 null", prompt(PromptFault::Instead(Canned::json(200, &Value::Null))), Same, 1),
        row("500 after the turn ran", prompt(PromptFault::Instead(opaque())), Same, 1),
        row(
            "502 and not run, once",
            prompt(PromptFault::InsteadOfTurn(Canned {
                status: 502,
                content_type: "text/html",
                body: b"<html>bad gateway</html>".to_vec(),
            })),
            Same,
            1,
        ),
        row("200 empty and not run, once", prompt(PromptFault::InsteadOfTurn(Canned::empty(200))), Same, 1),
        row(
            "200 web page and never run",
            canned("POST /session/", Canned::page()),
            Error(Unknown, &["3 times", "web page"]),
            0,
        ),
        row(
            "504 and never run",
            canned("POST /session/", Canned::empty(504)),
            Error(Unknown, &["3 times", "504"]),
            0,
        ),
        row(
            "400",
            prompt(PromptFault::InsteadOfTurn(Canned::json(
                400,
                &json!({ "name": "BadRequest", "data": { "message": "Expected object | null" } }),
            ))),
            Error(NothingStarted, &["Expected object"]),
            0,
        ),
        row(
            "401 at the prompt",
            prompt(PromptFault::InsteadOfTurn(Canned::empty(401))),
            Error(NothingStarted, &["password"]),
            0,
        ),
        row(
            "404 at the prompt",
            prompt(PromptFault::InsteadOfTurn(Canned::json(
                404,
                &json!({ "name": "NotFoundError", "data": { "message": "Session not found: ses_x" } }),
            ))),
            Error(NothingStarted, &["Session not found"]),
            0,
        ),
        row(
            "unknown model, reason in the events",
            refused("UnknownError", "Model not found: anthropic/nope."),
            Error(NothingStarted, &["Model not found: anthropic/nope", "remembers it"]),
            0,
        ),
        row(
            "unknown agent, reason in the events",
            refused("UnknownError", "Agent not found: \"nope\". Available agents: build"),
            Error(NothingStarted, &["Available agents: build"]),
            0,
        ),
        row(
            "500 without any reason",
            prompt(PromptFault::InsteadOfTurn(opaque())),
            Error(NothingStarted, &["Check server logs"]),
            0,
        ),
        row(
            "daemon restarts mid-turn",
            Faults { restart_at: Some(18), ..Faults::default() },
            Error(Failed, &["restarted", "nothing runs any more"]),
            1,
        ),
        row(
            "401 mid-turn",
            Faults {
                lock_out_at: Some(15),
                stream_cut_at: Some(15),
                prompt: PromptFault::CutAt(15),
                ..Faults::default()
            },
            Error(Unknown, &["password"]),
            1,
        ),
    ]
}

/// `write`, whose last message has a part that nobody knows.
fn hologram() -> Fixture {
    let fixture = Fixture::recorded("write");
    let last = &fixture.answer()["info"];
    let part = json!({ "id": "prt_0", "messageID": last["id"], "type": { "hologram": 1 }, "text": 7 });
    let properties = json!({ "sessionID": last["sessionID"], "part": part });
    let at = fixture.len() - 1;
    fixture.with(at, [json!({ "type": "message.part.updated", "properties": properties })])
}

fn about_the_stream() -> Vec<Row> {
    let line = |text: &str| text.as_bytes().to_vec();
    let insert =
        |bytes: Vec<u8>| Faults { insert: vec![(5, bytes.clone()), (20, bytes)], ..Faults::default() };
    let idle = |session: &str| {
        line(&format!(
            "data: {{\"type\":\"session.idle\",\"properties\":{{\"sessionID\":\"{session}\"}}}}\n\n"
        ))
    };
    let huge = [b"data: {\"x\":\"".to_vec(), vec![b'x'; 10 << 20], b"\"}\n\n".to_vec()].concat();
    vec![
        row("never opens", Faults { no_stream: true, ..Faults::default() }, Same, 1),
        row(
            "never opens, prompt cut",
            Faults { no_stream: true, prompt: PromptFault::CutAt(3), ..Faults::default() },
            Same,
            1,
        ),
        row("silent", Faults { silent_stream: true, ..Faults::default() }, Same, 1),
        row("split at every byte", Faults { split: Some(1), ..Faults::default() }, Same, 1),
        row(
            "split at every third byte, CR LF, BOM",
            Faults { split: Some(3), crlf: true, bom: true, ..Faults::default() },
            Same,
            1,
        ),
        row("every second event early", Faults { reorder: true, ..Faults::default() }, Same, 1),
        row(
            "every second event early, prompt cut",
            Faults { reorder: true, prompt: PromptFault::CutAt(20), ..Faults::default() },
            Same,
            1,
        ),
        Row {
            fixture: hologram(),
            ..row("unknown part type in the record", prompt(PromptFault::CutAt(20)), Same, 1)
        },
        row("every event twice", Faults { duplicate: true, ..Faults::default() }, Same, 1),
        row("invalid UTF-8", insert(b"data: \"\xff\xfe\"\n\n".to_vec()), Same, 1),
        row("not JSON", insert(line("data: {oops\n\n")), Same, 1),
        row(
            "JSON of another shape",
            insert(line(
                "data: [1,2,3]\n\ndata: {\"type\":7}\n\ndata: {\"type\":\"session.status\",\"properties\":{\"sessionID\":\"ses_fake000000010000000000000000\",\"status\":4}}\n\n",
            )),
            Same,
            1,
        ),
        row("10 MB event", insert(huge), Same, 1),
        row(
            "unknown event type",
            insert(line(
                "data: {\"type\":\"session.exploded\",\"properties\":{\"sessionID\":\"ses_fake000000010000000000000000\",\"blast\":{}}}\n\n",
            )),
            Same,
            1,
        ),
        row(
            "unknown part type",
            insert(line(
                "data: {\"type\":\"message.part.updated\",\"properties\":{\"sessionID\":\"ses_fake000000010000000000000000\",\"part\":{\"id\":\"prt_1\",\"messageID\":\"msg_1\",\"type\":\"hologram\"}}}\n\n",
            )),
            Same,
            1,
        ),
        row("stale idle of the previous turn", insert(idle("ses_fake000000010000000000000000")), Same, 1),
        row("idle of somebody else", insert(idle("ses_other")), Same, 1),
        row(
            "error of somebody else",
            insert(line(
                "data: {\"type\":\"session.error\",\"properties\":{\"sessionID\":\"ses_other\",\"error\":{\"name\":\"UnknownError\",\"data\":{\"message\":\"not yours\"}}}}\n\n",
            )),
            Same,
            1,
        ),
        row(
            "instance disposed",
            Faults {
                insert: vec![(
                    9,
                    line(
                        "data: {\"type\":\"server.instance.disposed\",\"properties\":{\"directory\":\"/code/app\"}}\n\n",
                    ),
                )],
                stream_cut_at: Some(9),
                ..Faults::default()
            },
            Same,
            1,
        ),
    ]
}

fn about_who_answers() -> Vec<Row> {
    use Consequence::NothingStarted;
    let info = |version: &str| Faults {
        canned: vec![
            ("GET /global/health".to_owned(), Canned::page()),
            (
                "GET /api/info".to_owned(),
                Canned::json(200, &json!({ "version": version, "pid": 1, "urls": [], "paths": {} })),
            ),
        ],
        ..Faults::default()
    };
    vec![
        row(
            "a stranger's JSON",
            health(&json!({ "ok": true })),
            Error(NothingStarted, &["not opencode", "base_url"]),
            0,
        ),
        row("a stranger's page", canned("GET ", Canned::page()), Error(NothingStarted, &["not opencode"]), 0),
        row(
            "a stranger's 404",
            canned("GET ", Canned::empty(404)),
            Error(NothingStarted, &["not opencode"]),
            0,
        ),
        row(
            "too old",
            health(&json!({ "healthy": true, "version": "1.0.215" })),
            Error(NothingStarted, &["CVE-2026-22812", "1.1.7"]),
            0,
        ),
        row(
            "2.x that answers health",
            health(&json!({ "healthy": true, "version": "2.0.6" })),
            Error(NothingStarted, &["2.0.6", "2.x"]),
            0,
        ),
        row("an early 2.x", info("2.0.5"), Error(NothingStarted, &["2.0.5", "2.0.6"]), 0),
        row("3.x", info("3.0.0"), Error(NothingStarted, &["3.0.0", "2.x daemon"]), 0),
        row(
            "unhealthy",
            health(&json!({ "healthy": false, "version": "1.18.33" })),
            Error(NothingStarted, &["not healthy"]),
            0,
        ),
        row(
            "wants a password",
            Faults { password: Some("p".into()), ..Faults::default() },
            Error(NothingStarted, &["wants a password"]),
            0,
        ),
        row(
            "a session that is no session",
            canned("POST /session", Canned::json(200, &json!({ "id": "../x" }))),
            Error(NothingStarted, &["no usable answer"]),
            0,
        ),
        row(
            "no session, a page",
            canned("POST /session", Canned::page()),
            Error(NothingStarted, &["no usable answer"]),
            0,
        ),
    ]
}

/// Runs a row; returns what is wrong with it.
async fn check(row: Row) -> Result<(), String> {
    let reply = row.fixture.reply();
    let (fake, bench) = fake(row.fixture, row.faults, json!({ "limits": { "event_bytes": 1 << 20 } })).await;
    let began = Instant::now();
    let result = bench.run("go").await;
    let text = format!("{}: {result:?} after {:?}", row.name, began.elapsed());
    let fine = match (&row.expect, &result) {
        (Same, Ok(result)) => result.success && result.output["reply"] == reply.as_str(),
        (Error(consequence, words), Err(error)) => {
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

async fn check_all(rows: Vec<Row>) {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_prompt() {
    check_all(about_the_prompt()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_event_stream() {
    check_all(about_the_stream()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_whoever_answers() {
    check_all(about_who_answers()).await;
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bench = Bench::new(&format!("http://{gone}"), json!({})).await;
    let error = bench.run("go").await.unwrap_err();
    assert!(matches!(&error, ConnectorError::Unavailable { source: Some(_), .. }), "{error:?}");
    assert!(
        error.to_string().contains(&gone.to_string()) && error.to_string().contains("opencode serve"),
        "{error}"
    );
}

#[tokio::test]
async fn an_origin_that_is_not_granted_is_not_reached() {
    let (fake, bench) = fake(Fixture::recorded("text"), Faults::default(), json!({})).await;
    let (mut ctx, _progress) = bench.context();
    ctx.http = connector_contract::OutboundHttp::new([]).unwrap();
    let error = bench.connector.execute("run_task", json!({ "prompt": "x" }), &ctx).await.unwrap_err();
    assert!(matches!(error, ConnectorError::CapabilityDenied { .. }), "{error:?}");
    assert_eq!(fake.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_recorded_starts_nothing() {
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
    let (fake, bench) = fake(Fixture::recorded("text"), Faults::default(), json!({})).await;
    let (mut ctx, _progress) = bench.context();
    ctx.checkpoints = std::sync::Arc::new(Full);
    let error = bench.connector.execute("run_task", json!({ "prompt": "x" }), &ctx).await.unwrap_err();
    assert_eq!((error.consequence(), fake.tasks()), (Consequence::NothingStarted, 0));
    assert!(error.to_string().contains("disk full"));
}

async fn stopped(fixture: &str, config: Value, stop: impl AsyncFnOnce(&Bench)) -> (ConnectorError, Duration) {
    let (fake, bench) = fake(Fixture::recorded(fixture), Faults::default(), config).await;
    let began = Instant::now();
    let (result, ()) = tokio::join!(bench.run("go"), async {
        eventually("the turn runs", || fake.running() == 1).await;
        stop(&bench).await;
    });
    assert_eq!((fake.running(), fake.tasks()), (0, 1), "the turn was ended at the daemon");
    (result.unwrap_err(), began.elapsed())
}

#[tokio::test]
async fn cancelling_aborts_and_confirms() {
    let (error, took) = stopped("abort", json!({}), async |bench| bench.cancel.cancel()).await;
    let ConnectorError::Stopped { cause: StopCause::Cancelled, reason, reference } = error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("has stopped") && reference.session_id.is_some(), "{reason}");
    assert!(took < Duration::from_secs(5));
}

#[tokio::test]
async fn a_deadline_aborts_and_confirms() {
    let config = json!({ "deadline_secs": 1 });
    let (error, _) = stopped("abort", config, async |_| ()).await;
    assert!(matches!(error, ConnectorError::Stopped { cause: StopCause::Deadline, .. }), "{error:?}");
}

#[tokio::test]
async fn endless_retries_end_at_the_limit_without_progress_and_say_why() {
    let config = json!({ "no_progress_secs": 1 });
    let (error, _) = stopped("provider-500-retry", config, async |_| ()).await;
    let ConnectorError::Stopped { cause: StopCause::NoProgress, reason, .. } = error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("kept failing: boom"), "{reason}");
}

#[tokio::test]
async fn an_abort_by_somebody_else_is_no_success() {
    for fixture in ["abort", "provider-500-retry"] {
        let (fake, bench) = fake(Fixture::recorded(fixture), Faults::default(), json!({})).await;
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

#[tokio::test]
async fn dropping_the_call_ends_the_turn_in_the_background() {
    let (fake, bench) = fake(Fixture::recorded("abort"), Faults::default(), json!({})).await;
    {
        let mut running = Box::pin(bench.run("go"));
        tokio::select! {
            result = &mut running => panic!("{result:?}"),
            () = eventually("the turn runs", || fake.running() == 1) => {}
        }
    }
    eventually("the turn was ended", || fake.running() == 0).await;
    eventually("the stream is closed", || fake.streams() == 0).await;
    assert!(fake.requests().iter().any(|line| line.contains("/abort")));
}

#[tokio::test]
async fn a_daemon_that_does_not_confirm_a_stop_is_not_believed_to_have_stopped() {
    let faults = canned_abort();
    let (fake, bench) = fake(Fixture::recorded("abort"), faults, json!({})).await;
    let (result, ()) = tokio::join!(bench.run("go"), async {
        eventually("the turn runs", || fake.running() == 1).await;
        bench.cancel.cancel();
    });
    let ConnectorError::Stopped { reason, .. } = result.unwrap_err() else { panic!() };
    assert!(reason.contains("may still be running"), "{reason}");
}

/// Aborts are answered, and nothing happens.
fn canned_abort() -> Faults {
    canned("POST /session/ses_fake000000010000000000000000/abort", Canned::json(200, &json!(true)))
}

#[tokio::test]
async fn turns_of_one_directory_run_one_by_one_unless_configured_otherwise() {
    use connector_contract::Progress;
    for (parallel, most) in [(false, 1), (true, 3)] {
        let faults = Faults { pace: Duration::from_millis(4), ..Faults::default() };
        let (fake, bench) =
            fake(Fixture::recorded("text"), faults, json!({ "parallel_turns": parallel })).await;
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

#[tokio::test]
async fn progress_is_ordered_and_never_shows_the_prompt_as_the_reply() {
    use connector_contract::Progress;
    let (_fake, bench) =
        fake(Fixture::recorded("write"), Faults { duplicate: true, ..Faults::default() }, json!({})).await;
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
    assert_eq!(&kinds[..3], ["started", "tool started", "tool finished"], "{seen:?}");
    let Some(Progress::Text { so_far }) = seen.last() else { panic!("{seen:?}") };
    assert_eq!(so_far.trim(), "Done: WRITE a file");
    assert!(!seen.iter().any(|it| matches!(it, Progress::Text { so_far } if so_far == "WRITE a file")));
}

#[tokio::test]
async fn the_output_is_whole_and_capped() {
    let patch = "--- a\n+++ b\n@@ -0,0 +1,2 @@\n+hello\n+there\n";
    let changes =
        json!([{ "file": "hello.txt", "patch": patch, "additions": 2, "deletions": 0, "status": "added" }]);
    let fixture = Fixture::recorded("write").changing(changes);
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

#[tokio::test]
async fn what_came_from_a_chat_is_strict_and_says_so_outside_the_prompt() {
    let (fake, mut bench) = fake(Fixture::recorded("text"), Faults::default(), json!({})).await;
    bench.provenance =
        Provenance::Chat { surface: "telegram".into(), rule: "fix\n`rm`".into(), note: SourceNote::Usual };
    bench.run("go").await.unwrap();
    let created = &fake.bodies("POST /session")[0];
    assert!(
        created["permission"]
            .as_array()
            .unwrap()
            .contains(&json!({ "permission": "external_directory", "pattern": "*", "action": "deny" }))
    );
    let sent = &fake.bodies("POST /session/")[0];
    assert_eq!(sent["parts"], json!([{ "type": "text", "text": "go" }]));
    let system = sent["system"].as_str().unwrap();
    assert!(system.contains("telegram") && system.contains("fixrm"), "{system}");
    assert!(!system.contains("approved"), "nobody may have been asked: {system}");
}

#[tokio::test]
async fn a_daemon_that_does_not_take_the_rules_gets_no_prompt() {
    let faults =
        canned("POST /session", Canned::json(200, &json!({ "id": "ses_a", "directory": "/code/app" })));
    let (fake, mut bench) = fake(Fixture::recorded("text"), faults, json!({})).await;
    let chat = Provenance::Chat { surface: "console".into(), rule: "fix".into(), note: SourceNote::Usual };
    bench.provenance = chat;
    let error = bench.run("go").await.unwrap_err();
    assert!(matches!(&error, ConnectorError::Refused { reason } if reason.contains("rules")), "{error:?}");
    assert!(!fake.requests().iter().any(|line| line.contains("/message")), "{:?}", fake.requests());
}

#[tokio::test]
async fn the_prompts_id_carries_the_daemons_time_and_no_other() {
    let (fake, bench) = fake(Fixture::recorded("text"), Faults::default(), json!({})).await;
    let first = bench.run("one").await.unwrap();
    let expected = connector_opencode::MessageId::new(1_795_300_000_001, 0, [0; 14]);
    let sent = fake.bodies("POST /session/")[0]["messageID"].as_str().unwrap().to_owned();
    assert_eq!(sent[..16], expected.as_str()[..16]);
    let newest = first.output["response"]["info"]["id"].as_str().unwrap().to_owned();
    let input = json!({ "session_id": first.output["session_id"], "prompt": "two" });
    bench.execute("continue_session", input).await.unwrap();
    let sent = fake.bodies("POST /session/")[1]["messageID"].as_str().unwrap().to_owned();
    let expected = connector_opencode::MessageId::after(&newest, [0; 14]).unwrap();
    assert_eq!(sent[..16], expected.as_str()[..16], "right after {newest}");
}

#[tokio::test]
async fn a_stream_that_ends_at_its_greeting_is_opened_ever_more_rarely() {
    let faults = Faults { short_streams: true, ..Faults::default() };
    let fake = testkit::fake::Fake::start(Fixture::recorded("abort"), faults).await.unwrap();
    let timing = connector_opencode::Timing {
        reconnect_min: Duration::from_millis(20),
        reconnect_max: Duration::from_secs(5),
        ..crate::support::impatient()
    };
    let bench = Bench::with_timing(&fake.base_url(), json!({ "deadline_secs": 1 }), timing).await;
    let error = bench.run("go").await.unwrap_err();
    assert!(matches!(error, ConnectorError::Stopped { cause: StopCause::Deadline, .. }), "{error:?}");
    let opened = fake.requests().iter().filter(|line| line.starts_with("GET /event")).count();
    assert!((2..10).contains(&opened), "opened {opened} times in a second");
}

#[tokio::test]
async fn a_silent_stream_is_given_up_and_opened_again() {
    for silent in [true, false] {
        let faults = Faults { silent_stream: silent, ..Faults::default() };
        let fake = testkit::fake::Fake::start(Fixture::recorded("abort"), faults).await.unwrap();
        let stream_silence = Duration::from_millis(if silent { 100 } else { 5000 });
        let timing = connector_opencode::Timing { stream_silence, ..crate::support::impatient() };
        let bench = Bench::with_timing(&fake.base_url(), json!({ "deadline_secs": 1 }), timing).await;
        bench.run("go").await.unwrap_err();
        let opened = fake.requests().iter().filter(|line| line.starts_with("GET /event")).count();
        assert_eq!(opened > 1, silent, "opened {opened} times");
    }
}

#[tokio::test]
async fn the_wait_in_line_is_not_the_turns() {
    let faults = Faults { pace: Duration::from_millis(100), ..Faults::default() };
    let (fake, bench) = fake(Fixture::recorded("text"), faults, json!({})).await;
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

#[tokio::test]
async fn the_rules_own_note_goes_beside_the_prompt_or_none_does() {
    for (note, config, system) in [
        (SourceNote::Text("From the night watch.".into()), json!({}), json!("From the night watch.")),
        (SourceNote::None, json!({}), Value::Null),
        (SourceNote::Text("From the night watch.".into()), json!({ "name_source": false }), Value::Null),
    ] {
        let (fake, mut bench) = fake(Fixture::recorded("text"), Faults::default(), config).await;
        let said = format!("{note:?}");
        bench.provenance = Provenance::Chat { surface: "telegram".into(), rule: "fix".into(), note };
        bench.run("go").await.unwrap();
        let sent = &fake.bodies("POST /session/")[0];
        assert_eq!(sent["parts"], json!([{ "type": "text", "text": "go" }]), "{said}");
        assert_eq!(sent.get("system").unwrap_or(&Value::Null), &system, "{said}");
    }
}
