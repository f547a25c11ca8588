//! What a turn does and tells.

use std::sync::Arc;

use connector_contract::{Progress, Provenance, SourceNote, ToolOutcome};
use serde_json::{Value, json};
use testkit::fake::Generation;
use testkit::{Answer, Script, Turn};

use super::{bash, bench, place, reply, told_of_tool};
use crate::support::Person;
use crate::wires::on_wires;

on_wires! {
    threaded {
        a_task_writes_a_file_and_a_second_turn_goes_on,
        the_reply_is_all_that_the_agent_said_and_what_it_did_not_say_is_said_of_it,
        files_reach_the_model_as_pictures_and_as_text,
        a_task_runs_a_command,
        a_command_that_fails_says_its_exit_code_and_its_last_line,
        a_chat_cannot_reach_outside_the_directory,
        a_note_reaches_the_model_beside_the_prompt,
    }
    only V1 because "the summary of a session is asked for otherwise, and nothing of 2.x's is recorded" {
        a_session_that_becomes_too_long_is_summed_up_and_the_turn_goes_on_to_its_end,
    }
}

async fn a_task_writes_a_file_and_a_second_turn_goes_on(generation: Generation) {
    let (daemon, directory) = place(generation).await;
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
    assert!(result.output["tokens"]["input"].as_u64().unwrap() >= 20, "{}", result.output["tokens"]);
    if generation == Generation::V1 {
        assert_eq!(result.output["response"]["info"]["parentID"], result.output["message_id"]);
    }
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

async fn the_reply_is_all_that_the_agent_said_and_what_it_did_not_say_is_said_of_it(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    let bench = bench(daemon, &directory, json!({})).await;
    let ended = |reasoning: &str, text: &str, finish: &str| Answer::Ended {
        reasoning: reasoning.into(),
        text: text.into(),
        finish: finish.into(),
    };
    let tool = if generation == Generation::V1 { "bash" } else { "shell" };
    let arguments = json!({ "command": "echo check", "description": "check" });
    let call = testkit::Call { tool: tool.into(), arguments };
    let look = Answer::Tools { text: "the bug is in parse()".into(), calls: vec![call] };
    for (number, first, last, said, remark) in [
        (1, Some(look.clone()), ended("", "it is fixed", "stop"), "the bug is in parse()\n\nit is fixed", ""),
        (2, Some(look), ended("", "", "stop"), "the bug is in parse()", "ended without a last word"),
        (3, None, ended("", "", "stop"), "", "the agent said nothing"),
        (4, None, ended("hm", "", "stop"), "", "the agent said nothing"),
        (5, None, ended("", "half a", "length"), "half a", "the answer was cut off"),
    ] {
        let prompt = format!("SAID-{number}");
        let turn =
            |tools_done, answer| Turn { prompt: Some(prompt.clone()), tools_done, times: None, answer };
        let after = usize::from(first.is_some());
        let script = Script { turns: first.map(|first| turn(Some(0), first)).into_iter().collect() };
        daemon.model().add(script.turn(turn(Some(after), last)));
        let result = bench.run(&prompt).await.unwrap();
        let told = result.output["remark"].as_str().unwrap_or_default();
        assert_eq!((result.success, reply(&result)), (true, said), "{prompt}");
        assert!(told.contains(remark) && told.is_empty() == remark.is_empty(), "{prompt}: {told}");
        assert!(result.message.ends_with(told), "{}", result.message);
    }
}

async fn files_reach_the_model_as_pictures_and_as_text(generation: Generation) {
    // The smallest picture there is: one pixel.
    const PIXEL: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let (daemon, directory) = place(generation).await;
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
    let messages = body["messages"].as_array().unwrap();
    let parts: Vec<&Value> = messages
        .iter()
        .filter(|it| it["role"] == "user")
        .filter_map(|it| it["content"].as_array())
        .flatten()
        .collect();
    assert!(parts.contains(&&json!({ "type": "text", "text": "FILES-1" })), "{parts:#?}");
    let picture = parts.iter().find(|part| part["type"] == "image_url").unwrap();
    assert_eq!(picture["image_url"]["url"], format!("data:image/png;base64,{PIXEL}"));
    let text = |part: &&Value| part["text"].as_str().is_some_and(|it| it.contains("the log says no"));
    assert!(parts.iter().any(text), "{parts:#?}");
}

async fn a_task_runs_a_command(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    daemon.model().add(bash("BASH-2", "echo hi > out.txt"));
    let result = bench(daemon, &directory, json!({})).await.run("BASH-2").await.unwrap();
    assert_eq!(reply(&result), "ran BASH-2");
    assert_eq!(result.output["files"][0]["path"], "out.txt");
}

async fn a_chat_cannot_reach_outside_the_directory(generation: Generation) {
    let (daemon, directory) = place(generation).await;
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
    told_of_tool(daemon, "OUTSIDE-4").expect("the tool was tried, and the model told what came of it");
    assert_eq!(person.asked(), Vec::<Value>::new(), "it is denied, not asked: {result:?}");
    let system =
        daemon.model().seen().iter().any(|it| it.body.to_string().contains("typed in a chat (console)"));
    assert!(system, "the agent is told where the task came from");
}

async fn a_note_reaches_the_model_beside_the_prompt(generation: Generation) {
    let (daemon, directory) = place(generation).await;
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

async fn a_command_that_fails_says_its_exit_code_and_its_last_line(generation: Generation) {
    let (daemon, directory) = place(generation).await;
    for (number, (command, told)) in
        [("echo first; echo 'no such thing' >&2; exit 3", "exit 3: no such thing"), ("exit 4", "exit 4")]
            .into_iter()
            .enumerate()
    {
        let prompt = format!("FAILING-{number}-END");
        daemon.model().add(bash(&prompt, command));
        let bench = bench(daemon, &directory, json!({})).await;
        let (result, seen) = bench.watch(&prompt).await;
        assert!(result.unwrap().success, "a command that fails is no failure of the task");
        let outcome = seen.iter().find_map(|progress| match progress {
            Progress::ToolFinished { outcome: ToolOutcome::Failed { reason }, .. } => Some(reason.as_str()),
            _ => None,
        });
        assert_eq!(outcome, Some(told), "{generation:?} {seen:#?}");
    }
}

async fn a_session_that_becomes_too_long_is_summed_up_and_the_turn_goes_on_to_its_end(
    generation: Generation,
) {
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
    let daemon = testkit::RealDaemon::start_on(generation, script).await.unwrap();
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let bench = bench(&daemon, &directory, json!({ "deadline_secs": 90 })).await;
    let result = bench.run("LONG-17").await.unwrap();
    assert_eq!((result.success, reply(&result)), (true, "looking\n\nwent on to the end"));
    assert_ne!(result.output["response"]["info"]["parentID"], result.output["message_id"]);
    assert_eq!(result.output["files"][0]["path"], "out.txt", "what was done before counts too");
    assert_eq!(result.output["tokens"]["input"], 30, "the summary costs too");
}
