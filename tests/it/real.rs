//! The same turns against the real daemon, with a scripted model: agent, tools,
//! files and commands are real.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use connector_contract::ask::{PermissionReply, QuestionReply};
use connector_contract::{ActionResult, ConnectorError, Progress, Provenance, SourceNote, StopCause};
use connector_opencode::Timing;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{Answer, RealDaemon, Script, Turn};
use tokio::time::Instant;

use crate::support::{Bench, Person, eventually};

pub(crate) async fn bench(daemon: &RealDaemon, directory: &Path, mut config: Value) -> Bench {
    config["password"] = json!(daemon.password().expose_secret());
    config["directory"] = json!(directory);
    patient(daemon, config, Duration::from_secs(15)).await
}

/// A bench that gives a daemon up that is away for so long.
async fn patient(daemon: &RealDaemon, config: Value, give_up: Duration) -> Bench {
    let timing = Timing { give_up, ..Timing::default() };
    let mut bench = Bench::with_timing(&daemon.base_url(), config, timing).await;
    bench.deadline = Duration::from_secs(100);
    bench
}

pub(crate) fn bash(prompt: &str, command: &str) -> Script {
    Script::default()
        .call(prompt, 0, "bash", json!({ "command": command, "description": "a command" }))
        .reply(prompt, &format!("ran {prompt}"))
}

pub(crate) fn reply(result: &ActionResult) -> &str {
    result.output["reply"].as_str().unwrap()
}

/// What the model was told of the first tool it called for `prompt`.
fn told_of_tool(daemon: &RealDaemon, prompt: &str) -> Option<String> {
    let seen = daemon.model().seen();
    let after = seen.iter().find(|it| it.prompt.contains(prompt) && it.tools_done == 1)?;
    let messages = after.body["messages"].as_array()?;
    messages.iter().rfind(|it| it["role"] == "tool").map(|it| it["content"].to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_writes_a_file_and_a_second_turn_goes_on() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let write = json!({ "filePath": directory.join("hello.txt"), "content": "hello\nthere\n" });
    daemon.model().add(Script::default().call("WRITE-1", 0, "write", write).reply("WRITE-1", "written"));
    daemon.model().add(Script::default().reply("AND-THEN-1", "and then this"));
    let bench = bench(daemon, &directory, json!({})).await;

    let (result, seen) = bench.watch("WRITE-1 please").await;
    let result = result.unwrap();
    assert_eq!((result.success, reply(&result)), (true, "written"));
    assert_eq!(std::fs::read_to_string(directory.join("hello.txt")).unwrap(), "hello\nthere\n");
    let file = json!([{ "path": "hello.txt", "additions": 2, "deletions": 0, "status": "added" }]);
    assert_eq!(result.output["files"], file);
    assert!(result.output["patch"].as_str().unwrap().contains("+hello\n+there\n"));
    assert_eq!(result.output["response"]["info"]["parentID"], result.output["message_id"]);
    assert!(
        seen.iter().any(|it| matches!(it, Progress::ToolFinished { tool, .. } if tool == "write")),
        "{seen:?}"
    );
    assert!(matches!(seen.last(), Some(Progress::Text { so_far }) if so_far == "written"), "{seen:?}");

    let input = json!({ "session_id": result.output["session_id"], "prompt": "AND-THEN-1" });
    let second = bench.execute("continue_session", input).await.unwrap();
    assert_eq!(reply(&second), "and then this");
    assert_eq!(second.output["session_id"], result.output["session_id"]);
    assert_eq!(second.output["files"], json!([]), "only what this turn changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_reach_the_model_as_pictures_and_as_text() {
    // The smallest picture there is: one pixel.
    const PIXEL: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(Script::default().reply("FILES-1", "seen"));
    let files = json!([
        { "name": "shot.png", "mime": "image/png", "data": PIXEL },
        { "name": "log.txt", "mime": "text/plain", "data": "dGhlIGxvZyBzYXlzIG5v" },
    ]);
    let bench = bench(daemon, &directory, json!({})).await;
    let result = bench.execute("run_task", json!({ "prompt": "FILES-1", "files": files })).await.unwrap();
    assert_eq!(reply(&result), "seen");
    let seen = daemon.model().seen();
    let is_the_turn =
        |body: &&Value| body["tools"].is_array() && body["messages"].to_string().contains("FILES-1");
    let body = seen.iter().map(|it| &it.body).find(is_the_turn).unwrap();
    let parts = body["messages"].as_array().unwrap().last().unwrap()["content"].as_array().unwrap();
    assert_eq!(parts[0], json!({ "type": "text", "text": "FILES-1" }));
    let picture = parts.iter().find(|part| part["type"] == "image_url").unwrap();
    assert_eq!(picture["image_url"]["url"], format!("data:image/png;base64,{PIXEL}"));
    assert!(parts.iter().any(|part| part["text"] == "the log says no"), "{parts:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_a_command() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(bash("BASH-2", "echo hi > out.txt"));
    let result = bench(daemon, &directory, json!({})).await.run("BASH-2").await.unwrap();
    assert_eq!(reply(&result), "ran BASH-2");
    assert_eq!(result.output["files"][0]["path"], "out.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_asked_and_each_answer_is_heeded() {
    let daemon = RealDaemon::shared().await;
    let reject = PermissionReply::Reject { message: "use another way".into() };
    let silent = PermissionReply::Reject { message: String::new() };
    for (number, answer, runs) in [
        (1, PermissionReply::Once, true),
        (2, PermissionReply::Always, true),
        (3, reject, false),
        (4, silent, false),
    ] {
        let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
        let prompt = format!("ASK-3-{number}");
        daemon.model().add(bash(&prompt, "echo hi > out.txt"));
        let mut bench = bench(daemon, &directory, json!({ "permissions": { "bash": "ask" } })).await;
        let person = Person::who_says([answer]);
        bench.relay = person.clone();
        let result = bench.run(&prompt).await.unwrap();
        assert_eq!(reply(&result), format!("ran {prompt}"), "the agent goes on, told why or not");
        assert_eq!(directory.join("out.txt").exists(), runs);
        let asked = person.asked();
        assert_eq!((asked.len(), &asked[0]["permission"]), (1, &json!("bash")));
        assert_eq!(asked[0]["metadata"]["command"], "echo hi > out.txt");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_cannot_reach_outside_the_directory() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let outside = directory.with_extension("outside");
    std::fs::create_dir(&outside).unwrap();
    let write = json!({ "filePath": outside.join("x.txt"), "content": "x" });
    daemon.model().add(Script::default().call("OUTSIDE-4", 0, "write", write).reply("OUTSIDE-4", "tried"));
    let mut bench = bench(daemon, &directory, json!({})).await;
    bench.provenance =
        Provenance::Chat { surface: "console".into(), rule: "fix".into(), note: SourceNote::Usual };
    let person = Arc::new(Person::default());
    bench.relay = person.clone();
    let result = bench.run("OUTSIDE-4").await;
    assert!(!outside.join("x.txt").exists());
    let told =
        told_of_tool(daemon, "OUTSIDE-4").expect("the tool was tried, and the model told what came of it");
    assert!(told.contains("external_directory"), "{told}");
    assert_eq!(person.asked(), Vec::<Value>::new(), "it is denied, not asked: {result:?}");
    let system =
        daemon.model().seen().iter().any(|it| it.body.to_string().contains("typed in a chat (console)"));
    assert!(system, "the agent is told where the task came from");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_reaches_the_model_beside_the_prompt() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(Script::default().reply("NOTED-5", "noted"));
    let mut bench = bench(daemon, &directory, json!({})).await;
    let note = SourceNote::Text("Asked for by the night watch.".into());
    bench.provenance = Provenance::Chat { surface: "telegram".into(), rule: "fix".into(), note };
    bench.run("NOTED-5").await.unwrap();
    let seen = daemon.model().seen();
    let seen = seen.iter().find(|it| it.prompt.contains("NOTED-5") && !it.title).unwrap();
    assert!(seen.body.to_string().contains("Asked for by the night watch."), "{}", seen.body);
    assert!(!seen.prompt.contains("night watch"), "{}", seen.prompt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_becomes_too_long_is_summed_up_and_the_turn_goes_on_to_its_end() {
    let call = testkit::Call {
        tool: "bash".into(),
        arguments: json!({ "command": "echo hi > out.txt", "description": "say hi" }),
    };
    let once = |tools_done, answer| Turn {
        prompt: Some("LONG-17".into()),
        tools_done: Some(tools_done),
        times: Some(1),
        answer,
    };
    let overflow = "This model's maximum context length is 10 tokens";
    let script = Script::default()
        .turn(once(0, Answer::Tools { text: "looking".into(), calls: vec![call] }))
        .turn(once(1, Answer::error(400, overflow)))
        .reply("", "went on to the end");
    let daemon = RealDaemon::start(script).await.unwrap();
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let bench = bench(&daemon, &directory, json!({ "deadline_secs": 20 })).await;
    let result = bench.run("LONG-17").await.unwrap();
    assert_eq!((result.success, reply(&result)), (true, "went on to the end"));
    assert_ne!(result.output["response"]["info"]["parentID"], result.output["message_id"]);
    assert_eq!(result.output["files"][0]["path"], "out.txt", "what was done before counts too");
    assert_eq!(result.output["tokens"]["input"], 30, "the summary costs too");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let option = |label: &str| json!({ "label": label, "description": label });
    let questions = json!({ "questions": [
        { "question": "Which?", "header": "Pick", "options": [option("A"), option("B")], "multiple": true },
        { "question": "Why?", "header": "Say", "options": [option("C")] },
    ] });
    daemon
        .model()
        .add(Script::default().call("QUESTION-5", 0, "question", questions).reply("QUESTION-5", "thanks"));
    let mut bench = bench(daemon, &directory, json!({})).await;
    let answers = vec![vec!["A".to_owned(), "B".to_owned()], vec!["C".to_owned()]];
    let person = Person::who_answers([QuestionReply::Answers { answers }]);
    bench.relay = person.clone();
    assert_eq!(reply(&bench.run("QUESTION-5").await.unwrap()), "thanks");
    assert_eq!(person.asked()[0]["questions"][0]["multiple"], true);
}

fn delegating(parent: &str, child: &str) -> Script {
    let task =
        json!({ "description": "look", "prompt": format!("{child} do it"), "subagent_type": "general" });
    bash(child, "echo child > child.txt").call(parent, 0, "task", task).reply(parent, "all done")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_agents_ask_is_answered() {
    // Rules of a session that ask do not reach its sub-agents; the daemon's own do.
    let adjust = |spec: &mut opencode_daemons::Spec| spec.config["permission"] = json!({ "bash": "ask" });
    let daemon = RealDaemon::with(delegating("PARENT-6", "CHILD-6"), adjust).await.unwrap();
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let mut bench = bench(&daemon, &directory, json!({})).await;
    let person = Person::who_says([PermissionReply::Once]);
    bench.relay = person.clone();
    let (result, seen) = bench.watch("PARENT-6").await;
    let result = result.unwrap();
    assert_eq!(reply(&result), "all done");
    assert!(directory.join("child.txt").exists());
    assert_ne!(person.asked()[0]["session_id"], result.output["session_id"]);
    assert!(seen.iter().any(|it| matches!(it, Progress::SubAgentStarted { .. })), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_must_ask_cannot_let_a_sub_agent_do_it_unasked() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(delegating("PARENT-16", "CHILD-16"));
    let bench = bench(daemon, &directory, json!({ "permissions": { "bash": "ask" } })).await;
    let result = bench.run("PARENT-16").await;
    assert!(!directory.join("child.txt").exists(), "{result:?}");
    let seen = daemon.model().seen();
    let asked = seen.iter().find(|it| it.prompt.contains("PARENT-16") && !it.title).expect("the agent ran");
    let tools: Vec<&str> = asked.body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["function"]["name"].as_str())
        .collect();
    assert!(
        tools.contains(&"bash") && !tools.contains(&"task"),
        "sub-agents are not even offered: {tools:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_during_a_command_ends_it() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_is_the_reason() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    for status in [400, 401] {
        let prompt = format!("PROVIDER-8-{status}");
        let why = format!("no luck with {status}");
        daemon.model().add(Script::default().answer(&prompt, Answer::error(status, &why)));
        let error = bench(daemon, &directory, json!({})).await.run(&prompt).await.unwrap_err();
        let ConnectorError::Failed { reason, reference } = error else { panic!("{error:?}") };
        assert!(reason.contains(&why) && reason.contains(&status.to_string()), "{reason}");
        assert!(reference.session_id.is_some() && reference.message_id.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_for_ever_ends_the_turn_at_the_limit_without_progress() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    for status in [429, 500] {
        let prompt = format!("PROVIDER-9-{status}");
        daemon.model().add(Script::default().answer(&prompt, Answer::error(status, "come back later")));
        let bench = bench(daemon, &directory, json!({ "no_progress_secs": 4, "parallel_turns": true })).await;
        let (result, seen) = bench.watch(&prompt).await;
        let error = result.unwrap_err();
        let ConnectorError::Stopped { cause: StopCause::NoProgress, reason, .. } = error else {
            panic!("{error:?}")
        };
        assert!(reason.contains("has stopped") && reason.contains("kept failing"), "{reason}");
        assert!(seen.iter().any(|it| matches!(it, Progress::Retry { attempt: 1, .. })), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_or_agent_is_named_and_the_session_is_not_poisoned() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(Script::default().reply("FINE-10", "fine"));
    let bench = bench(daemon, &directory, json!({})).await;
    let first = bench.run("FINE-10").await.unwrap();
    let go_on = |extra: Value| {
        let mut input = json!({ "session_id": first.output["session_id"], "prompt": "FINE-10 again" });
        input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        bench.execute("continue_session", input)
    };
    let error = go_on(json!({ "model": "scripted/nope" })).await.unwrap_err();
    let ConnectorError::Refused { reason } = &error else { panic!("{error:?}") };
    assert!(reason.contains("Model not found: scripted/nope") && reason.contains("remembers"), "{reason}");
    assert_eq!(reply(&go_on(json!({})).await.unwrap()), "fine", "the next turn names the model that worked");

    let error = go_on(json!({ "agent": "nope" })).await.unwrap_err();
    let ConnectorError::Refused { reason } = &error else { panic!("{error:?}") };
    assert!(reason.contains("Agent not found") && reason.contains("build"), "{reason}");
    assert_eq!(reply(&go_on(json!({})).await.unwrap()), "fine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_session_with_an_unknown_model_goes_on_with_the_default() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(Script::default().reply("FRESH-11", "fresh"));
    let bench = bench(daemon, &directory, json!({})).await;
    let input = json!({ "prompt": "FRESH-11", "model": "scripted/nope" });
    let error = bench.execute("run_task", input).await.unwrap_err();
    assert!(error.to_string().contains("Model not found"), "{error}");
    let session = bench.notes.last().unwrap().0["session_id"].clone();
    let input = json!({ "session_id": session, "prompt": "FRESH-11" });
    assert_eq!(reply(&bench.execute("continue_session", input).await.unwrap()), "fresh");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_session_are_told_apart() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let wrong = Bench::new(&daemon.base_url(), json!({ "password": "wrong" })).await;
    let error = wrong.run("x").await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::Unauthorized { reason } if !reason.contains("wrong")),
        "{error:?}"
    );
    let bench = bench(daemon, &directory, json!({})).await;
    let input = json!({ "session_id": "ses_nope", "prompt": "x" });
    let error = bench.execute("continue_session", input).await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::Refused { reason } if reason.contains("Session not found")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_during_a_turn_and_started_again_fails_the_turn_and_keeps_the_session() {
    let script = bash("SLEEP-12", "touch running; sleep 600").reply("AFTER-12", "back again");
    let mut daemon = RealDaemon::start(script).await.unwrap();
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    // On a machine with much to do, a daemon takes long for its first answers.
    let config = json!({ "password": daemon.password().expose_secret(), "directory": directory });
    let mut bench = patient(&daemon, config, Duration::from_mins(3)).await;
    bench.deadline = Duration::from_mins(5);
    let running = directory.join("running");
    let (result, ()) = tokio::join!(bench.run("SLEEP-12"), async {
        eventually("the command runs", || running.exists()).await;
        daemon.kill9().await;
        daemon.restart().await.unwrap();
    });
    let error = result.unwrap_err();
    let ConnectorError::Failed { reason, reference } = error else { panic!("{error:?}") };
    assert!(reason.contains("nothing runs any more"), "{reason}");
    let input = json!({ "session_id": reference.session_id, "prompt": "AFTER-12" });
    assert_eq!(reply(&bench.execute("continue_session", input).await.unwrap()), "back again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_for_good_leaves_the_outcome_unknown() {
    let mut daemon = RealDaemon::start(bash("SLEEP-13", "touch running; sleep 600")).await.unwrap();
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let bench = bench(&daemon, &directory, json!({})).await;
    let running = directory.join("running");
    let began = Instant::now();
    let (result, ()) = tokio::join!(bench.run("SLEEP-13"), async {
        eventually("the command runs", || running.exists()).await;
        daemon.kill9().await;
    });
    let error = result.unwrap_err();
    assert!(matches!(error, ConnectorError::OutcomeUnknown { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_mins(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_turns_in_ten_sessions_at_once_are_each_answered_with_their_own() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    for number in 0..50 {
        let prompt = format!("MANY-14-{number}-END");
        let answer = Answer::text(&format!("answer {number}"));
        daemon.model().add(Script::default().turn(Turn {
            prompt: Some(prompt),
            tools_done: None,
            times: None,
            answer,
        }));
    }
    let bench = bench(daemon, &directory, json!({ "parallel_turns": true })).await;
    let began = Instant::now();
    let session = async |first: usize| {
        let mut session = Value::Null;
        for number in first..first + 5 {
            let prompt = format!("MANY-14-{number}-END");
            let result = if session.is_null() {
                bench.run(&prompt).await.unwrap()
            } else {
                let input = json!({ "session_id": session, "prompt": prompt });
                bench.execute("continue_session", input).await.unwrap()
            };
            assert_eq!(reply(&result), format!("answer {number}"));
            session = result.output["session_id"].clone();
        }
    };
    // The five turns of a session wait for each other inside the connector too.
    let all = (0..10).map(|number| session(number * 5));
    futures_util::future::join_all(all).await;
    println!("50 turns in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_of_one_session_sent_at_once_are_answered_one_by_one() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let mut script = Script::default();
    for number in 0..5 {
        script = script.reply(&format!("SAME-15-{number}"), &format!("same {number}"));
    }
    daemon.model().add(script);
    let bench = bench(daemon, &directory, json!({ "parallel_turns": true })).await;
    let first = bench.run("SAME-15-0").await.unwrap();
    let turns = (1..5).map(|number| {
        let input =
            json!({ "session_id": first.output["session_id"], "prompt": format!("SAME-15-{number}") });
        bench.execute("continue_session", input)
    });
    let replies = futures_util::future::join_all(turns).await;
    for (index, result) in replies.into_iter().enumerate() {
        assert_eq!(reply(&result.unwrap()), format!("same {}", index + 1));
    }
}
