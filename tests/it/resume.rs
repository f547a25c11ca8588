//! After a crash of the host: what became of the turn, from its ids alone.

use std::time::Duration;

use connector_contract::{
    Checkpoint, ConnectorError, Consequence, Progress, Provenance, SourceNote, StopCause,
};
use serde_json::{Value, json};
use testkit::fake::{Canned, Fake, Faults, Fixture, Generation, PromptFault};

use crate::support::{Bench, eventually, fake, id_of, notes, prompts, text_of};
use crate::wires::on_wires;

on_wires! {
    both {
        a_finished_turn_is_found_finished_and_not_run_again,
        a_running_turn_is_followed_to_its_end,
        a_failed_turn_is_found_failed,
        a_turn_that_died_with_the_daemon_is_found_dead,
        a_prompt_that_never_arrived_is_sent_now_under_its_own_id,
        the_checkpoint_is_recorded_before_the_prompt_is_sent_and_names_what_is_sent,
        whatever_hinders_the_look_the_outcome_is_unknown_and_nothing_is_started,
        continuing_uses_the_session_and_sends_only_the_new_prompt,
        continuing_what_is_not_there_or_elsewhere_starts_nothing,
        a_chat_cannot_escape_its_rules_by_continuing_a_session_without_them,
        a_turn_whose_prompt_was_cut_goes_on_after_the_crash_too,
        a_stop_while_a_turn_is_looked_up_ends_it_and_says_where_it_was,
        a_turn_that_cannot_be_reached_to_be_stopped_may_be_running,
        dropping_the_look_for_a_turn_ends_the_turn,
        fresh_work_waits_behind_a_turn_that_is_followed_again,
        a_session_becomes_what_each_prompt_needs,
        a_note_does_not_outlive_its_task,
    }
    only V2 because "1.x has no inbox" {
        a_stop_before_the_prompt_has_begun_takes_it_back_and_leaves_somebody_elses_turn_alone,
        a_stop_that_takes_too_long_to_take_the_prompt_back_leaves_somebody_elses_turn_alone,
    }
    only V2 because "on 1.x model and agent go with each prompt" {
        a_session_that_does_not_become_what_the_prompt_needs_gets_none,
    }
    only V2 because "1.x gives any number of messages at once" {
        a_turn_of_more_messages_than_one_page_holds_is_read_whole_or_not_at_all,
    }
    only V2 because "on 1.x a note goes with each prompt" {
        a_note_that_cannot_be_taken_away_is_replaced,
        a_note_that_is_not_taken_starts_nothing_and_says_what_to_do,
    }
    only V2 because "only 2.x is known to lack a default model at first" {
        no_session_is_pinned_to_a_model_that_the_configuration_does_not_name,
    }
}

const MESSAGE: &str = "msg_1fbb8188c000Gy2jna7bblV55l";

/// Sends a prompt and dies: the call's task is forgotten without a goodbye, as
/// when a process is killed. The turn goes on at the daemon.
async fn crash(fake: &Fake) -> Checkpoint {
    let session = session(fake).await;
    let (path, body) = match fake.generation() {
        Generation::V1 => (
            format!("/session/{session}/message"),
            json!({ "messageID": MESSAGE, "parts": [{ "type": "text", "text": "go" }] }),
        ),
        Generation::V2 => (
            format!("/api/session/{session}/prompt"),
            json!({ "id": MESSAGE, "text": "go", "delivery": "queue" }),
        ),
    };
    let sending = tokio::spawn(post(fake.base_url(), fake.generation(), path, body));
    eventually("the task arrived", || fake.tasks() == 1).await;
    sending.abort();
    note(fake.generation(), &session, MESSAGE)
}

fn note(generation: Generation, session: &str, message: &str) -> Checkpoint {
    Checkpoint(json!({ "wire": generation.wire(), "session_id": session, "message_id": message }))
}

async fn session(fake: &Fake) -> String {
    let (path, body) = match fake.generation() {
        Generation::V1 => ("/session", json!({})),
        Generation::V2 => ("/api/session", json!({ "location": { "directory": "/code/app" } })),
    };
    let answer = post(fake.base_url(), fake.generation(), path.to_owned(), body).await;
    answer["id"].as_str().or(answer["data"]["id"].as_str()).unwrap().to_owned()
}

/// Asks as another program of the same user would.
async fn post(base: String, generation: Generation, path: String, body: Value) -> Value {
    let bench = Bench::new(&base, json!({})).await;
    let mut request = http::Request::post(format!("{base}{path}"));
    if let Some(password) = generation.password() {
        let token = data_encoding::BASE64.encode(format!("opencode:{password}").as_bytes());
        request = request.header("authorization", format!("Basic {token}"));
    }
    let answer = bench.http.send(request.body(body.to_string().into()).unwrap()).await.unwrap();
    serde_json::from_slice(&answer.bytes(1 << 20).await.unwrap()).unwrap_or_default()
}

async fn resume(
    fake: &Fake,
    checkpoint: Checkpoint,
) -> Result<connector_contract::ActionResult, ConnectorError> {
    let mut bench = Bench::at(fake, json!({})).await;
    bench.resume = Some(checkpoint);
    bench.run("go").await
}

async fn a_finished_turn_is_found_finished_and_not_run_again(generation: Generation) {
    let fake = Fake::start(Fixture::of(generation, "write"), Faults::default()).await.unwrap();
    let checkpoint = crash(&fake).await;
    eventually("the turn ended", || fake.running() == 0).await;
    let result = resume(&fake, checkpoint).await.unwrap();
    assert_eq!((result.output["reply"].as_str(), fake.tasks()), (Some("Done: WRITE a file"), 1));
    assert_eq!(result.output["message_id"], MESSAGE);
    let asked = |it: &String| it.starts_with(generation.health());
    assert!(!fake.requests().iter().skip_while(|it| !asked(it)).any(|it| it.starts_with("POST")));
}

async fn a_running_turn_is_followed_to_its_end(generation: Generation) {
    let faults = Faults { pace: Duration::from_millis(5), ..Faults::default() };
    let fake = Fake::start(Fixture::of(generation, "write"), faults).await.unwrap();
    let checkpoint = crash(&fake).await;
    let result = resume(&fake, checkpoint).await.unwrap();
    assert_eq!((result.output["reply"].as_str(), fake.tasks()), (Some("Done: WRITE a file"), 1));
}

async fn a_failed_turn_is_found_failed(generation: Generation) {
    let fake = Fake::start(Fixture::of(generation, "provider-400"), Faults::default()).await.unwrap();
    let checkpoint = crash(&fake).await;
    eventually("the turn ended", || fake.running() == 0).await;
    let error = resume(&fake, checkpoint).await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::Failed { reason, .. } if reason.contains("does not take the request")),
        "{error:?}"
    );
}

async fn a_turn_that_died_with_the_daemon_is_found_dead(generation: Generation) {
    let faults = Faults { restart_at: Some(18), ..Faults::default() };
    let fake = Fake::start(Fixture::of(generation, "write"), faults).await.unwrap();
    let checkpoint = crash(&fake).await;
    eventually("the daemon restarted", || fake.running() == 0).await;
    let error = resume(&fake, checkpoint).await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::Failed { reason, .. } if reason.contains("restarted")),
        "{error:?}"
    );
}

async fn a_prompt_that_never_arrived_is_sent_now_under_its_own_id(generation: Generation) {
    let fake = Fake::start(Fixture::of(generation, "text"), Faults::default()).await.unwrap();
    let checkpoint = note(generation, &session(&fake).await, MESSAGE);
    let result = resume(&fake, checkpoint).await.unwrap();
    assert_eq!((result.success, fake.tasks()), (true, 1));
    assert_eq!(id_of(&prompts(&fake)[0]), MESSAGE);
}

async fn the_checkpoint_is_recorded_before_the_prompt_is_sent_and_names_what_is_sent(generation: Generation) {
    let (fake, bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    let result = bench.run("go").await.unwrap();
    let note = bench.notes.last().unwrap().0;
    assert_eq!(note["session_id"], result.output["session_id"]);
    assert_eq!(note["message_id"], id_of(&prompts(&fake)[0]));
    assert_eq!(note["wire"], generation.wire());
}

async fn whatever_hinders_the_look_the_outcome_is_unknown_and_nothing_is_started(generation: Generation) {
    let fake = Fake::start(Fixture::of(generation, "text"), Faults::default()).await.unwrap();
    let gone = {
        let other = Fake::start(Fixture::of(generation, "text"), Faults::default()).await.unwrap();
        other.base_url()
    };
    let wire = generation.wire();
    let note = json!({ "wire": wire, "session_id": "ses_a", "message_id": "msg_b" });
    let cases = [
        (fake.base_url(), json!({ "wire": "v9", "session_id": "ses_a", "message_id": "msg_b" })),
        (fake.base_url(), json!({ "wire": wire, "session_id": "../a", "message_id": "msg_b" })),
        (fake.base_url(), json!("nonsense")),
        (gone, note.clone()),
    ];
    for (url, note) in cases {
        let mut bench = Bench::new(&url, json!({})).await;
        bench.resume = Some(Checkpoint(note.clone()));
        let error = bench.run("go").await.unwrap_err();
        assert_eq!(error.consequence(), Consequence::Unknown, "{note}: {error}");
    }
    assert_eq!(fake.tasks(), 0);
}

async fn continuing_uses_the_session_and_sends_only_the_new_prompt(generation: Generation) {
    let (fake, bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    let first = bench.run("one").await.unwrap();
    let input = json!({ "session_id": first.output["session_id"], "prompt": "two" });
    let second = bench.execute("continue_session", input).await.unwrap();
    assert_eq!(second.output["session_id"], first.output["session_id"]);
    assert!(second.output["message_id"].as_str() > first.output["message_id"].as_str());
    assert_eq!(text_of(&prompts(&fake)[1]), "two");
    assert_eq!(fake.tasks(), 2);
}

async fn a_session_becomes_what_each_prompt_needs(generation: Generation) {
    let (fake, bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    let first = bench.run("one").await.unwrap();
    let file = json!({ "name": "a.txt", "mime": "text/plain", "data": "aGk=" });
    for agent in ["build", "plan"] {
        let input = json!({
            "session_id": first.output["session_id"], "prompt": "two", "files": [file],
            "agent": agent, "model": "scripted/scripted",
        });
        bench.execute("continue_session", input).await.unwrap();
    }
    if generation == Generation::V2 {
        let models = fake.bodies("POST /api/session/*/model");
        assert_eq!(models.len(), 2, "the agent `plan` brought its own: {models:?}");
    }
    assert_eq!(fake.tasks(), 3);
}

async fn a_note_does_not_outlive_its_task(generation: Generation) {
    let (fake, mut bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    bench.provenance = Provenance::Chat {
        surface: "telegram".into(),
        rule: "fix".into(),
        note: SourceNote::Text("From the night watch.".into()),
    };
    let first = bench.run("one").await.unwrap();
    bench.provenance = Provenance::Local;
    let input = json!({ "session_id": first.output["session_id"], "prompt": "two" });
    bench.execute("continue_session", input).await.unwrap();
    let told = notes(&fake);
    assert_eq!(told[0], "From the night watch.");
    match generation {
        Generation::V1 => assert_eq!(told[1], Value::Null),
        Generation::V2 => assert_eq!((told.len(), fake.lines(&format!("DELETE {ENTRY}")).len()), (1, 1)),
    }
}

/// Where 2.x keeps a note.
const ENTRY: &str = "/api/experimental/session/*/instructions/entries/origin";

async fn a_note_that_cannot_be_taken_away_is_replaced(generation: Generation) {
    for methods in [&["DELETE"][..], &["DELETE", "PUT"]] {
        let gone = |method: &&str| (format!("{method} {ENTRY}"), Canned::empty(404));
        let faults = Faults { canned: methods.iter().map(gone).collect(), ..Faults::default() };
        let (fake, bench) = fake(Fixture::of(generation, "text"), faults, json!({})).await;
        let first = bench.run("one").await.unwrap();
        let input = json!({ "session_id": first.output["session_id"], "prompt": "two" });
        bench.execute("continue_session", input).await.unwrap();
        let sent = notes(&fake);
        assert!(sent[0].as_str().unwrap().starts_with("Nothing is said"), "{sent:?}");
        assert_eq!((sent.len(), fake.tasks()), (1, 2), "{methods:?}");
    }
}

async fn a_note_that_is_not_taken_starts_nothing_and_says_what_to_do(generation: Generation) {
    let route_is_missing =
        Faults { canned: vec![(format!("PUT {ENTRY}"), Canned::empty(404))], ..Faults::default() };
    let long = "a long story ".repeat(1000);
    for (faults, text, words) in [
        (route_is_missing, "From the night watch.", "404"),
        (Faults::default(), long.as_str(), "shorten the note"),
    ] {
        let (fake, mut bench) = fake(Fixture::of(generation, "text"), faults, json!({})).await;
        let note = SourceNote::Text(text.into());
        bench.provenance = Provenance::Chat { surface: "telegram".into(), rule: "fix".into(), note };
        let error = bench.run("one").await.unwrap_err();
        let ConnectorError::Refused { reason } = &error else { panic!("{error:?}") };
        assert!(reason.contains("`name_source = false`") && reason.contains(words), "{reason}");
        assert_eq!(fake.tasks(), 0);
    }
}

async fn a_session_that_does_not_become_what_the_prompt_needs_gets_none(generation: Generation) {
    for what in ["model", "agent"] {
        let deaf = (format!("POST /api/session/*/{what}"), Canned::empty(204));
        let faults = Faults { canned: vec![deaf], ..Faults::default() };
        let (fake, bench) = fake(Fixture::of(generation, "text"), faults, json!({})).await;
        let mut input = json!({ "session_id": session(&fake).await, "prompt": "go" });
        input[what] = json!(if what == "model" { "scripted/scripted" } else { "build" });
        let error = bench.execute("continue_session", input).await.unwrap_err();
        let refused = matches!(&error, ConnectorError::Refused { reason } if reason.contains("did not take the model or the agent"));
        assert!(refused, "{error:?}");
        assert_eq!((prompts(&fake), fake.tasks()), (Vec::new(), 0));
    }
}

async fn a_turn_of_more_messages_than_one_page_holds_is_read_whole_or_not_at_all(generation: Generation) {
    let fixture = || Fixture::of(generation, "bash").with_steps(300);
    let faults = || Faults { no_stream: true, ..Faults::default() };
    let short = json!({ "limits": { "body_bytes": 50_000 } });
    let (_fake, bench) = fake(fixture(), faults(), short).await;
    let error = bench.run("go").await.unwrap_err();
    assert_eq!(error.consequence(), Consequence::Unknown);
    assert!(error.to_string().contains("longer than"), "all pages together: {error}");
    let (fake, bench) = fake(fixture(), faults(), json!({})).await;
    let result = bench.run("go").await.unwrap();
    assert_eq!(result.output["reply"], "Done: BASH now");
    assert_eq!(result.output["tokens"]["input"], 3020, "every step counts");
    assert!(fake.lines("GET /api/session/*/message?limit=200&cursor=").len() > 1, "{:?}", fake.requests());
}

async fn no_session_is_pinned_to_a_model_that_the_configuration_does_not_name(generation: Generation) {
    for cold in [false, true] {
        pinned(generation, cold).await;
    }
}

async fn pinned(generation: Generation, cold_models: bool) {
    let error = json!({ "name": "ProviderModelNotFoundError", "data": { "message": "no such model" } });
    let prompt = PromptFault::Refused { error, answer: Canned::empty(500) };
    let faults = Faults { prompt, cold_models, ..Faults::default() };
    let fake = Fake::start(Fixture::of(generation, "text"), faults).await.unwrap();
    let session = session(&fake).await;
    let of_session = |what: &str| format!("/api/session/{session}/{what}");
    let model = |id: &str| json!({ "model": { "id": id, "providerID": "scripted" } });
    post(fake.base_url(), generation, of_session("model"), model("gone")).await;
    let body = json!({ "id": MESSAGE, "text": "go", "delivery": "queue" });
    post(fake.base_url(), generation, of_session("prompt"), body).await;
    eventually("the turn has failed", || fake.tasks() == 1 && fake.running() == 0).await;
    let bench = Bench::at(&fake, json!({})).await;
    let input = json!({ "session_id": session, "prompt": "again" });
    bench.execute("continue_session", input).await.unwrap_err();
    let models = fake.bodies("POST /api/session/*/model");
    let configured = (!cold_models).then(|| model("scripted"));
    assert_eq!(models, [model("gone")].into_iter().chain(configured).collect::<Vec<_>>());
}

async fn continuing_what_is_not_there_or_elsewhere_starts_nothing(generation: Generation) {
    let (fake, bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    let unknown = json!({ "session_id": "ses_nope", "prompt": "x" });
    let error = bench.execute("continue_session", unknown).await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::Refused { reason } if reason.contains("not found")),
        "{error:?}"
    );

    let elsewhere = Bench::at(&fake, json!({ "directory": "/code/other" })).await;
    let input = json!({ "session_id": session(&fake).await, "prompt": "x" });
    let error = elsewhere.execute("continue_session", input).await.unwrap_err();
    assert!(error.to_string().contains("/code/app, not to /code/other"), "{error}");
    assert_eq!(fake.tasks(), 0);
}

async fn a_chat_cannot_escape_its_rules_by_continuing_a_session_without_them(generation: Generation) {
    let (fake, mut bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    let first = bench.run("one").await.unwrap();
    bench.provenance = connector_contract::Provenance::Chat {
        surface: "console".into(),
        rule: "fix".into(),
        note: connector_contract::SourceNote::Usual,
    };
    for _ in 0..2 {
        let input = json!({ "session_id": first.output["session_id"], "prompt": "two" });
        bench.execute("continue_session", input).await.unwrap();
    }
    let patches = fake.bodies(generation.rules());
    assert_eq!(patches.len(), 1, "rules that are in force are not sent again");
    let rules = patches[0]["permission"].as_array().or(patches[0]["permissions"].as_array());
    assert!(rules.unwrap().len() > 3);
}

async fn a_turn_whose_prompt_was_cut_goes_on_after_the_crash_too(generation: Generation) {
    let faults =
        Faults { prompt: PromptFault::CutAt(9), pace: Duration::from_millis(3), ..Faults::default() };
    let fake = Fake::start(Fixture::of(generation, "bash"), faults).await.unwrap();
    let checkpoint = crash(&fake).await;
    assert!(resume(&fake, checkpoint).await.unwrap().success);
    assert_eq!(fake.tasks(), 1);
}

async fn a_stop_while_a_turn_is_looked_up_ends_it_and_says_where_it_was(generation: Generation) {
    let fake = Fake::start(Fixture::of(generation, "abort"), Faults::default()).await.unwrap();
    let checkpoint = crash(&fake).await;
    let mut bench = Bench::at(&fake, json!({})).await;
    bench.resume = Some(checkpoint.clone());
    bench.cancel.cancel();
    let error = bench.run("go").await.unwrap_err();
    let ConnectorError::Stopped { cause: StopCause::Cancelled, reason, reference } = error else {
        panic!("{error:?}")
    };
    assert_eq!(json!(reference.message_id), checkpoint.0["message_id"]);
    assert!(!reason.contains("nothing was sent"), "{reason}");
    assert_eq!(fake.running(), 0);
}

/// Queues a prompt behind somebody else's in a session of 2.x.
pub(crate) async fn behind_somebody_elses_turn(fake: &Fake) -> Checkpoint {
    let session = session(fake).await;
    let path = format!("/api/session/{session}/prompt");
    for (id, text) in [("msg_1fbb8188b000Gy2jna7bblV55l", "theirs"), (MESSAGE, "ours")] {
        let body = json!({ "id": id, "text": text, "delivery": "queue" });
        post(fake.base_url(), fake.generation(), path.clone(), body).await;
    }
    note(fake.generation(), &session, MESSAGE)
}

async fn a_stop_before_the_prompt_has_begun_takes_it_back_and_leaves_somebody_elses_turn_alone(
    generation: Generation,
) {
    let fake = Fake::start(Fixture::of(generation, "abort"), Faults::default()).await.unwrap();
    let queued = behind_somebody_elses_turn(&fake).await;
    let session = queued.0["session_id"].as_str().unwrap().to_owned();
    eventually("their turn runs", || fake.waits_for_abort()).await;
    let mut bench = Bench::at(&fake, json!({})).await;
    bench.resume = Some(queued);
    bench.cancel.cancel();
    let error = bench.run("go").await.unwrap_err();
    let ConnectorError::Stopped { cause: StopCause::Cancelled, reason, .. } = error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("has stopped"), "{reason}");
    let taken_back = format!("DELETE /api/session/{session}/inbox/{MESSAGE}");
    assert!(fake.requests().contains(&taken_back), "{:?}", fake.requests());
    assert!(fake.lines(generation.abort()).is_empty(), "{:?}", fake.requests());
    assert_eq!(fake.running(), 1, "theirs goes on");
}

async fn a_stop_that_takes_too_long_to_take_the_prompt_back_leaves_somebody_elses_turn_alone(
    generation: Generation,
) {
    let faults = Faults { unanswered: vec!["DELETE /api/session/*/inbox/*".to_owned()], ..Faults::default() };
    let fake = Fake::start(Fixture::of(generation, "abort"), faults).await.unwrap();
    let queued = behind_somebody_elses_turn(&fake).await;
    eventually("their turn runs", || fake.waits_for_abort()).await;
    let timing =
        connector_opencode::Timing { stop: Duration::from_millis(600), ..crate::support::impatient() };
    let mut bench = Bench::at_with_timing(&fake, json!({}), timing).await;
    bench.resume = Some(queued);
    bench.cancel.cancel();
    let ConnectorError::Stopped { reason, .. } = bench.run("go").await.unwrap_err() else { panic!() };
    assert!(reason.contains("may still be running"), "{reason}");
    assert!(fake.requests().iter().any(|it| it.starts_with("DELETE")), "{:?}", fake.requests());
    assert!(fake.lines(generation.abort()).is_empty(), "{:?}", fake.requests());
    assert_eq!(fake.running(), 1, "theirs goes on");
}

async fn a_turn_that_cannot_be_reached_to_be_stopped_may_be_running(generation: Generation) {
    let gone = Fake::start(Fixture::of(generation, "text"), Faults::default()).await.unwrap().base_url();
    let mut bench = Bench::new(&gone, json!({})).await;
    bench.resume = Some(note(generation, "ses_a", "msg_b"));
    bench.cancel.cancel();
    let ConnectorError::Stopped { reason, reference, .. } = bench.run("go").await.unwrap_err() else {
        panic!()
    };
    assert!(reason.contains("may still be running"), "{reason}");
    assert_eq!(reference.session_id.as_deref(), Some("ses_a"));
}

async fn dropping_the_look_for_a_turn_ends_the_turn(generation: Generation) {
    let faults = Faults { no_stream: true, ..Faults::default() };
    let fake = Fake::start(Fixture::of(generation, "abort"), faults).await.unwrap();
    let checkpoint = crash(&fake).await;
    let mut bench = Bench::at(&fake, json!({})).await;
    bench.resume = Some(checkpoint);
    {
        let mut running = Box::pin(bench.run("go"));
        tokio::select! {
            result = &mut running => panic!("{result:?}"),
            () = eventually("it is looked up", || fake.requests().iter().any(|it| it.starts_with(generation.health()))) => {}
        }
    }
    eventually("the turn was ended", || fake.running() == 0).await;
}

async fn fresh_work_waits_behind_a_turn_that_is_followed_again(generation: Generation) {
    let faults = Faults { pace: Duration::from_millis(10), ..Faults::default() };
    let fake = Fake::start(Fixture::of(generation, "write"), faults).await.unwrap();
    let checkpoint = crash(&fake).await;
    let mut bench = Bench::at(&fake, json!({})).await;
    bench.resume = Some(checkpoint);
    let (again, _stream) = bench.context();
    bench.resume = None;
    let input = json!({ "prompt": "go" });
    let (followed, fresh) = tokio::join!(bench.connector.execute("run_task", input, &again), async {
        eventually("it is looked up", || {
            fake.requests().iter().any(|it| it.starts_with(generation.health()))
        })
        .await;
        bench.watch("fresh").await
    });
    assert!(followed.is_ok(), "{followed:?}");
    let (result, seen) = fresh;
    assert!(result.is_ok(), "{result:?}");
    let queued = |it: &Progress| matches!(it, Progress::Queued { ahead: 1 });
    assert!(seen.iter().any(queued), "{seen:?}");
}
