//! An independent client against the real daemon: what MCP promises, it gets.

use std::path::Path;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{Answer, RealDaemon, Script};

use crate::client::drive;

/// The environment that points the program at the daemon, in this directory.
fn environment(daemon: &RealDaemon, directory: &Path) -> Value {
    json!({
        "CONNECTOR_OPENCODE_BASE_URL": daemon.base_url(),
        "CONNECTOR_OPENCODE_PASSWORD": daemon.password().expose_secret(),
        "CONNECTOR_OPENCODE_DIRECTORY": directory,
    })
}

/// The places in a schema where a type is no single name, or where `null` is a choice.
fn unions(schema: &Value) -> Vec<String> {
    let Some(map) = schema.as_object() else { return Vec::new() };
    let is_union = |key: &str, value: &Value| {
        (key == "type" && value.is_array()) || matches!(key, "anyOf" | "oneOf") || value == "null"
    };
    let here =
        map.iter().filter(|(key, value)| is_union(key, value)).map(|(key, value)| format!("{key}: {value}"));
    here.chain(map.values().flat_map(unions)).collect()
}

fn task(prompt: &str) -> Value {
    json!({ "name": "run_task", "arguments": { "prompt": prompt } })
}

fn bash(prompt: &str, command: &str) -> Script {
    let arguments = json!({ "command": command, "description": "a command" });
    Script::default().call(prompt, 0, "bash", arguments).reply(prompt, &format!("ran {prompt}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tools_are_listed_with_schemas_and_honest_annotations() {
    let seen = drive(&[], json!({ "CONNECTOR_OPENCODE_ASKS": "reject" }), json!({})).await;
    assert_eq!(seen["errors"], json!([]));
    assert_eq!(seen["server"]["name"], "connector-opencode");
    assert!(seen["stderr"].as_str().unwrap().contains("walls"), "what holds is said: {}", seen["stderr"]);
    let names: Vec<&str> =
        seen["tools"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    let tasks = ["start_task", "task_status", "task_result", "cancel_task"];
    assert_eq!(names[..3], ["run_task", "continue_session", "describe_daemon"]);
    assert_eq!(names[3..], tasks);
    for tool in seen["tools"].as_array().unwrap() {
        let reads =
            ["describe_daemon", "task_status", "task_result"].iter().any(|name| tool["name"] == *name);
        let waits = ["run_task", "continue_session"].iter().any(|name| tool["name"] == *name);
        assert_eq!(tool["annotations"]["readOnlyHint"], reads, "{tool}");
        if !reads {
            let annotations = json!({ "readOnlyHint": false, "destructiveHint": true, "idempotentHint": false, "openWorldHint": true });
            assert_eq!(tool["annotations"], annotations);
        }
        if waits {
            assert_eq!(tool["outputSchema"]["properties"]["session_id"]["type"], "string");
        }
        assert_eq!(tool["inputSchema"]["additionalProperties"], false);
        assert!(tool["title"].as_str().is_some_and(|title| title.contains(' ')), "{tool}");
        assert_eq!(unions(&tool["inputSchema"]), Vec::<String>::new(), "some models' clients refuse them");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_reports_progress_and_its_output_fits_its_schema() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(bash("MCP-1", "echo hi > out.txt"));
    let seen = drive(&[], environment(daemon, &directory), json!({ "call": task("MCP-1") })).await;
    // The SDK takes up a notification after the answer that arrived with it, and then no longer knows
    // what it was about: no fault of the order on the wire.
    let late = |error: &&Value| !error.to_string().contains("progress notification for an unknown token");
    let errors: Vec<_> = seen["errors"].as_array().unwrap().iter().filter(late).collect();
    assert!(errors.is_empty(), "{errors:?} {}", seen["stderr"]);
    // The SDK has validated it against the schema, or there were no result.
    let output = &seen["result"]["structuredContent"];
    assert_eq!(output["reply"], "ran MCP-1", "{seen:#}");
    assert_eq!(output["files"][0]["path"], "out.txt");
    // What a client hands to its model: the reply, what changed, how to go on; nothing of the daemon's own.
    let text = seen["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("ran MCP-1\n"), "{text}");
    assert!(text.contains("out.txt") && text.contains(output["session_id"].as_str().unwrap()), "{text}");
    assert!(!text.contains("parentID"), "{text}");
    let progress = seen["progress"].as_array().unwrap();
    let counts: Vec<f64> = progress.iter().map(|it| it["progress"].as_f64().unwrap()).collect();
    assert!(counts.is_sorted_by(|one, next| one < next), "{counts:?}");
    let words: Vec<&str> = progress.iter().filter_map(|it| it["message"].as_str()).collect();
    assert!(words.iter().any(|it| it.starts_with("bash")), "{words:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_ends_what_the_agent_runs() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(bash("MCP-2", "echo $$ > pid; exec sleep 1000"));
    let plan = json!({ "call": task("MCP-2"), "stopWhen": directory.join("pid") });
    // The client waits until the command's process is gone before it goes on.
    let seen = drive(&[], environment(daemon, &directory), plan).await;
    assert!(seen["refused"]["message"].as_str().unwrap().contains("enough"), "{seen:#}");
    assert_eq!(seen["result"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_ends_what_the_agent_runs() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(bash("MCP-3", "echo $$ > pid; exec sleep 1000"));
    let pid = directory.join("pid");
    let plan = json!({ "call": task("MCP-3"), "stopWhen": pid, "hangUp": true });
    drive(&[], environment(daemon, &directory), plan).await;
    // The program confirmed the abort before it left, and the client waited for that.
    let pid = std::fs::read_to_string(pid).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists() || !cfg!(target_os = "linux"));
}

#[tokio::test(flavor = "multi_thread")]
async fn permission_requests_are_forms_and_each_answer_is_heeded() {
    let daemon = RealDaemon::shared().await;
    for (number, answer, runs) in [
        (1, json!({ "action": "accept", "content": { "decision": "once" } }), true),
        (2, json!({ "action": "accept", "content": { "decision": "reject", "reason": "not today" } }), false),
        (3, json!({ "action": "decline" }), false),
        (4, Value::Null, false),
    ] {
        let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
        let prompt = format!("MCP-4-{number}");
        daemon.model().add(bash(&prompt, "echo hi > out.txt"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[permissions]\nbash = \"ask\"\n").unwrap();
        let args = ["--config", file.path().to_str().unwrap()];
        let plan = json!({ "call": task(&prompt), "elicit": answer });
        let seen = drive(&args, environment(daemon, &directory), plan).await;
        assert_eq!(seen["result"]["structuredContent"]["reply"], format!("ran {prompt}"), "{seen:#}");
        assert_eq!(directory.join("out.txt").exists(), runs, "{answer}");
        if answer.is_null() {
            assert_eq!(seen["forms"], json!([]), "a client that cannot elicit is not asked");
            continue;
        }
        let form = &seen["forms"][0];
        assert!(form["message"].as_str().unwrap().contains("echo hi > out.txt"), "{form}");
        let decisions = &form["requestedSchema"]["properties"]["decision"]["enum"];
        assert_eq!(*decisions, json!(["once", "session", "reject"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_forms_and_their_answers_reach_the_agent() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let option = |label: &str| json!({ "label": label, "description": "" });
    let question = json!({ "questions": [{ "question": "Which colour?", "header": "Colour",
        "options": [option("red"), option("green")] }] });
    daemon.model().add(Script::default().call("MCP-5", 0, "question", question).reply("MCP-5", "asked"));
    let answer = json!({ "action": "accept", "content": { "answer_1": "green" } });
    let plan = json!({ "call": task("MCP-5"), "elicit": answer });
    let seen = drive(&[], environment(daemon, &directory), plan).await;
    assert_eq!(seen["result"]["structuredContent"]["reply"], "asked", "{seen:#}");
    assert_eq!(
        seen["forms"][0]["requestedSchema"]["properties"]["answer_1"]["enum"],
        json!(["red", "green"])
    );
    let told =
        daemon.model().seen().iter().any(|it| {
            it.prompt.contains("MCP-5") && it.tools_done == 1 && it.body.to_string().contains("green")
        });
    assert!(told, "the model is told the answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_a_result_that_says_what_to_assume() {
    // Port 9 discards; nothing listens there.
    let env = json!({ "CONNECTOR_OPENCODE_BASE_URL": "http://127.0.0.1:9" });
    let seen = drive(&[], env, json!({ "call": task("MCP-6") })).await;
    assert_eq!(seen["errors"], json!([]));
    assert_eq!(seen["result"]["isError"], true, "{seen:#}");
    let problem = &seen["result"]["_meta"]["connector-opencode/error"];
    assert_eq!(problem["consequence"], "nothing_started");
    assert_eq!(problem["kind"], "unavailable");
    assert!(seen["result"]["content"][0]["text"].as_str().unwrap().contains("Nothing was started."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_there_is_not_is_a_protocol_error() {
    let call = json!({ "name": "rm", "arguments": {} });
    let seen = drive(&[], json!({ "CONNECTOR_OPENCODE_ASKS": "reject" }), json!({ "call": call })).await;
    assert_eq!(seen["refused"]["code"], -32602, "{seen:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_of_an_error_is_in_no_result() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let secret =
        format!("acme-live-{:016x}", u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    daemon.model().add(Script::default().answer("MCP-LEAK", Answer::error(401, &secret)));
    let seen = drive(&[], environment(daemon, &directory), json!({ "call": task("MCP-LEAK") })).await;
    assert!(seen["result"].to_string().contains("401"), "{seen:#}");
    assert!(!seen.to_string().contains(&secret), "{seen:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_what_terms_a_task_would_run_is_told_and_nothing_is_begun() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let call = json!({ "name": "describe_daemon", "arguments": {} });
    let seen = drive(&[], environment(daemon, &directory), json!({ "call": call })).await;
    let told = &seen["result"]["structuredContent"];
    assert_eq!((&told["generation"], &told["runs_code"]), (&json!("1.x"), &json!(false)), "{seen:#}");
    assert_eq!(told["model"], daemon.model().config()["model"], "{seen:#}");
}
