//! Whatever a layer below denies or asks about stays so, whichever way work comes in; on real
//! daemons of both generations.
//!
//! The ways in differ for the plugin by one thing: whether work is local (console, command line) or
//! a chat's (Telegram, cron, another host's rule). Layers, kinds, ways and actions are paired, not
//! multiplied. One daemon of each generation serves the whole table.

use std::path::Path;

use connector_contract::ask::PermissionReply;
use connector_contract::{ConnectorError, Provenance, SourceNote};
use opencode_daemons::Spec;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::fake::{Faults, Fixture, Generation};
use testkit::{RealDaemon, Script};

use crate::real::bench;
use crate::support::{Person, fake};

const BOTH: [Generation; 2] = [Generation::V1, Generation::V2];

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Done, and nobody was asked.
    Done,
    /// Done after somebody was asked.
    Asked,
    /// Not done, and nobody was asked.
    Not,
}

/// How the attempt comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Run,
    /// In a session that a local task began.
    Continue,
    /// By a sub-agent.
    SubAgent,
}

use How::{Continue, Run, SubAgent};
use Seen::{Asked, Done, Not};

/// What the agent attempts.
#[derive(Debug, Clone, Copy)]
enum Try {
    Write,
    /// A command that makes the file of this name.
    Touch(&'static str),
}

use Try::{Touch, Write};

struct Row {
    name: &'static str,
    /// The workspace's own `opencode.json`.
    workspace: Value,
    /// The connector's configuration.
    config: Value,
    surface: Option<&'static str>,
    how: How,
    attempt: Try,
    seen: Seen,
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    let row = |name, workspace, config, surface, how, attempt, seen| Row {
        name,
        workspace,
        config,
        surface,
        how,
        attempt,
        seen,
    };
    let none = || json!({});
    let (telegram, cron) = (Some("telegram"), Some("cron"));
    let reader = || json!({ "agent": "reader" });
    let plan = || json!({ "agent": "plan" });
    let deny_edit = || json!({ "permission": { "edit": "deny" } });
    let ask_edit = || json!({ "permission": { "edit": "ask" } });
    vec![
        // The user's configuration denies `touch never*`.
        row("user/telegram", none(), none(), telegram, Run, Touch("never.txt"), Not),
        row("user/local", none(), none(), None, Run, Touch("never.txt"), Not),
        row("user/continue", none(), none(), cron, Continue, Touch("never.txt"), Not),
        row(
            "user/connector-allows",
            none(),
            json!({ "permissions": { "bash": "allow" } }),
            telegram,
            Run,
            Touch("never.txt"),
            Not,
        ),
        // An agent's own rules.
        row("plan/telegram", none(), plan(), telegram, Run, Write, Not),
        row("plan/cron", none(), plan(), cron, Run, Write, Not),
        row("plan/continue", none(), plan(), telegram, Continue, Write, Not),
        row("reader/telegram", none(), reader(), telegram, Run, Write, Not),
        row("reader/local", none(), reader(), None, Run, Write, Not),
        row("reader/continue", none(), reader(), telegram, Continue, Write, Not),
        row(
            "reader/connector-allows",
            none(),
            json!({ "agent": "reader", "permissions": { "edit": "allow" } }),
            telegram,
            Run,
            Write,
            Not,
        ),
        // The workspace's configuration.
        row("workspace/telegram", deny_edit(), none(), telegram, Run, Write, Not),
        row("workspace/local", deny_edit(), none(), None, Run, Write, Not),
        row("workspace/continue", deny_edit(), none(), telegram, Continue, Write, Not),
        row("workspace-asks/telegram", ask_edit(), none(), telegram, Run, Write, Asked),
        row("workspace-asks/cron", ask_edit(), none(), cron, Continue, Write, Asked),
        // The connector's.
        row(
            "connector/local",
            none(),
            json!({ "permissions": { "bash": "deny" } }),
            None,
            Run,
            Touch("made.txt"),
            Not,
        ),
        row(
            "connector/write",
            none(),
            json!({ "permissions": { "write": "deny" } }),
            telegram,
            Run,
            Write,
            Not,
        ),
        row(
            "connector/exception",
            none(),
            json!({ "permissions": { "bash": { "*": "deny", "touch made*": "allow" } } }),
            telegram,
            Run,
            Touch("made.txt"),
            Done,
        ),
        row(
            "connector/exception-denied-below",
            none(),
            json!({ "permissions": { "bash": { "*": "deny", "touch *": "allow" } } }),
            telegram,
            Run,
            Touch("never.txt"),
            Not,
        ),
        // What a chat is asked, and what it may.
        row("chat/bash", none(), none(), telegram, Run, Touch("made.txt"), Asked),
        row("chat/bash/continue", none(), none(), telegram, Continue, Touch("made.txt"), Asked),
        row("chat/edit", none(), none(), telegram, Run, Write, Done),
        row("chat/edit/cron", none(), none(), cron, Continue, Write, Done),
        row("local/bash", none(), none(), None, Run, Touch("made.txt"), Done),
        // Sub-agents.
        row("chat/sub-agent", none(), none(), telegram, SubAgent, Write, Not),
        row("plan/sub-agent", none(), plan(), telegram, SubAgent, Write, Not),
        row(
            "connector/sub-agent",
            none(),
            json!({ "permissions": { "edit": "deny", "task": "allow" } }),
            telegram,
            SubAgent,
            Write,
            Not,
        ),
        row("user/sub-agent", none(), none(), None, SubAgent, Touch("never.txt"), Not),
        row("local/sub-agent", none(), none(), None, SubAgent, Write, Done),
    ]
}

/// A daemon whose user denies some commands and has a read-only agent of their own.
async fn daemon(generation: Generation) -> RealDaemon {
    let adjust = |spec: &mut Spec| {
        spec.config["permission"] = json!({ "bash": { "touch never*": "deny" } });
        let reader = json!({ "mode": "primary", "permission": { "edit": "deny" } });
        spec.config["agent"] = json!({ "reader": reader });
    };
    RealDaemon::with_on(generation, Script::default(), adjust).await.unwrap()
}

fn from(surface: &str) -> Provenance {
    Provenance::Chat { surface: surface.into(), rule: "fix".into(), note: SourceNote::None }
}

async fn try_it(daemon: &RealDaemon, number: usize, row: &Row) -> Seen {
    let workspace = row.workspace.to_string();
    let directory = daemon.workspace(&[("a.txt", "a\n"), ("opencode.json", &workspace)]).unwrap();
    let prompt = format!("TIGHT-{number}-{}-END", row.name);
    daemon.model().add(script(&prompt, row, &directory));
    let mut bench = bench(daemon, &directory, row.config.clone()).await;
    let person = Person::who_says((0..4).map(|_| PermissionReply::Once));
    bench.relay = person.clone();
    let session = match row.how {
        Continue => Some(begun(daemon, &directory, number).await),
        Run | SubAgent => None,
    };
    if let Some(surface) = row.surface {
        bench.provenance = from(surface);
    }
    let (action, input) = match session {
        Some(session) => ("continue_session", json!({ "session_id": session, "prompt": prompt })),
        None => ("run_task", json!({ "prompt": prompt })),
    };
    // A turn that was refused may end as a failure: what counts is what was done.
    let _ = bench.execute(action, input).await;
    let file = match row.attempt {
        Write => "made.txt",
        Touch(file) => file,
    };
    match (directory.join(file).exists(), person.asked().is_empty()) {
        (true, true) => Done,
        (true, false) => Asked,
        (false, true) => Not,
        (false, false) => panic!("{}: asked, answered and not done: {:?}", row.name, person.asked()),
    }
}

/// A session that a local task began, whose rules allow what the daemon's own allow.
async fn begun(daemon: &RealDaemon, directory: &Path, number: usize) -> Value {
    let prompt = format!("BEGUN-{number}-END");
    daemon.model().add(Script::default().reply(&prompt, "begun"));
    let local = bench(daemon, directory, json!({})).await;
    local.run(&prompt).await.unwrap().output["session_id"].clone()
}

fn script(prompt: &str, row: &Row, directory: &Path) -> Script {
    let (tool, arguments) = match row.attempt {
        Write => ("write", json!({ "filePath": directory.join("made.txt"), "content": "made\n" })),
        Touch(file) => ("bash", json!({ "command": format!("touch {file}"), "description": "makes a file" })),
    };
    let script = Script::default();
    if row.how != SubAgent {
        return script.call(prompt, 0, tool, arguments).reply(prompt, "tried");
    }
    let child = prompt.replace("TIGHT", "CHILD");
    let task = json!({ "description": "does it", "prompt": child, "subagent_type": "general" });
    let script = script.call(&child, 0, tool, arguments).reply(&child, "tried");
    script.call(prompt, 0, "task", task).reply(prompt, "told")
}

async fn table(generation: Generation) {
    let daemon = daemon(generation).await;
    let mut wrong = Vec::new();
    for (number, row) in rows().iter().enumerate() {
        let seen = try_it(&daemon, number, row).await;
        if seen != row.seen {
            wrong.push(format!("{}: {seen:?}, not {:?}", row.name, row.seen));
        }
    }
    assert!(wrong.is_empty(), "{generation:?}: {wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_layer_denies_or_asks_about_stays_so_on_1_x() {
    table(Generation::V1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_layer_denies_or_asks_about_stays_so_on_2_x() {
    table(Generation::V2).await;
}

#[tokio::test]
async fn a_session_from_a_chat_is_allowed_nothing_by_a_rule_of_ours() {
    for generation in BOTH {
        for agent in [None, Some("plan"), Some("nobody")] {
            let (fake, mut bench) =
                fake(Fixture::of(generation, "text"), Faults::default(), json!({ "agent": agent })).await;
            bench.provenance = from("telegram");
            let _ = bench.run("go").await;
            let created = fake.bodies(generation.create()).remove(0);
            let rules = created["permission"].as_array().or(created["permissions"].as_array()).unwrap();
            let allowing = |rule: &&Value| rule["action"] == "allow" || rule["effect"] == "allow";
            assert_eq!(rules.iter().find(allowing), None, "{generation:?} {agent:?} {rules:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_goes_around_every_rule_is_offered_to_no_agent_of_ours() {
    let daemon = RealDaemon::shared_on(Generation::V2).await;
    for surface in [None, Some("telegram")] {
        let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
        let prompt = format!("EXECUTE-{surface:?}-END");
        let child = format!("EXECUTE-CHILD-{surface:?}-END");
        let task = json!({ "description": "looks", "prompt": child, "subagent_type": "general" });
        let script = Script::default().call(&prompt, 0, "task", task).reply(&prompt, "ok");
        daemon.model().add(script.reply(&child, "ok"));
        let mut bench = bench(daemon, &directory, json!({ "permissions": { "task": "allow" } })).await;
        if let Some(surface) = surface {
            bench.provenance = from(surface);
        }
        bench.run(&prompt).await.unwrap();
        for prompt in [prompt, child] {
            let offered = offered(daemon, &prompt);
            assert!(offered.iter().any(|tool| tool == "read"), "{prompt}: {offered:?}");
            assert!(!offered.iter().any(|tool| tool == "execute"), "{prompt}: {offered:?}");
        }
    }
}

fn offered(daemon: &RealDaemon, prompt: &str) -> Vec<String> {
    let seen = daemon.model().seen();
    let body = seen.iter().find(|it| it.prompt.contains(prompt) && !it.title).map(|it| it.body.clone());
    let tools = body.unwrap()["tools"].as_array().unwrap().clone();
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_was_saved_for_good_refuses_work_that_would_be_asked_about() {
    let daemon = RealDaemon::shared_on(Generation::V2).await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    saved(daemon, &directory).await;
    let touch = json!({ "command": "touch saved.txt", "description": "makes a file" });
    daemon.model().add(Script::default().call("SAVED-2-END", 0, "bash", touch).reply("SAVED-2-END", "ran"));

    let mut strict = bench(daemon, &directory, json!({})).await;
    strict.provenance = from("telegram");
    let told = strict.execute("describe_daemon", json!({})).await.unwrap().output;
    assert!(told["refused"] == true && told["saved"].to_string().contains("shell `touch"), "{told}");
    let error = strict.run("SAVED-2-END").await.unwrap_err();
    assert!(matches!(&error, ConnectorError::Refused { reason } if reason.contains("touch")), "{error:?}");
    assert!(!directory.join("saved.txt").exists());

    let mut shown = bench(daemon, &directory, json!({ "saved_rules": "show" })).await;
    shown.provenance = from("telegram");
    let told = shown.execute("describe_daemon", json!({})).await.unwrap().output;
    assert!(told["refused"] == false && told["saved"].to_string().contains("shell `touch"), "{told}");
    shown.run("SAVED-2-END").await.unwrap();
    assert!(directory.join("saved.txt").exists(), "a saved permission passes what the session asks about");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_says_on_what_terms_a_task_would_run_and_begins_nothing() {
    for generation in BOTH {
        let daemon = RealDaemon::shared_on(generation).await;
        let model = daemon.model().config()["model"].as_str().unwrap().to_owned();
        let own = json!({ "mine": { "mode": "primary", "model": "scripted/of-mine" } });
        let denied = json!({ "agent": own, "permission": { "execute": "deny" } }).to_string();
        for (config, open) in [("{}", true), (denied.as_str(), false)] {
            let directory = daemon.workspace(&[("a.txt", "a\n"), ("opencode.json", config)]).unwrap();
            let mut bench = bench(daemon, &directory, json!({})).await;
            bench.provenance = from("telegram");
            let told = bench.execute("describe_daemon", json!({})).await.unwrap().output;
            assert_eq!((&told["model"], &told["model_of_agent"]), (&json!(model), &json!(false)), "{told}");
            assert_eq!(
                told["runs_code"],
                json!(open && generation == Generation::V2),
                "{generation:?} {told}"
            );
            assert_eq!(told["saved"].is_array(), generation == Generation::V2, "{told}");
            if !open {
                let told = bench.execute("describe_daemon", json!({ "agent": "mine" })).await.unwrap().output;
                let named = (told["model"].as_str(), told["model_of_agent"].as_bool());
                assert_eq!(named, (Some("scripted/of-mine"), Some(true)), "{generation:?} {told}");
            }
        }
    }
}

/// Grants `touch` for good, as a person at opencode's own interface would.
async fn saved(daemon: &RealDaemon, directory: &Path) {
    let touch = json!({ "command": "touch first.txt", "description": "makes a file" });
    daemon.model().add(Script::default().call("SAVED-1-END", 0, "bash", touch).reply("SAVED-1-END", "ran"));
    let ask = json!([{ "action": "shell", "resource": "*", "effect": "ask" }]);
    let body = json!({ "location": { "directory": directory }, "permissions": ask });
    let session = api(daemon, "POST", "/api/session", Some(body)).await["data"]["id"].clone();
    let session = format!("/api/session/{}", session.as_str().unwrap());
    let prompt = json!({ "text": "SAVED-1-END", "delivery": "queue" });
    api(daemon, "POST", &format!("{session}/prompt"), Some(prompt)).await;
    let asked = async {
        loop {
            let waiting = api(daemon, "GET", &format!("{session}/permission"), None).await;
            if let Some(id) = waiting["data"][0]["id"].as_str() {
                return id.to_owned();
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let id = tokio::time::timeout(std::time::Duration::from_mins(1), asked).await.unwrap();
    let always = json!({ "decision": "always" });
    api(daemon, "POST", &format!("{session}/permission/{id}/reply"), Some(always)).await;
}

async fn api(daemon: &RealDaemon, method: &str, path: &str, body: Option<Value>) -> Value {
    use connector_contract::{Grant, OutboundHttp, Reach};
    let grant = Grant::new(daemon.base_url().parse().unwrap(), Reach::Loopback).unwrap();
    let http = OutboundHttp::new([grant]).unwrap();
    let password = format!("opencode:{}", daemon.password().expose_secret());
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", daemon.base_url()))
        .header("authorization", format!("Basic {}", data_encoding::BASE64.encode(password.as_bytes())))
        .header("content-type", "application/json")
        .body(body.map(|body| body.to_string()).unwrap_or_default().into())
        .unwrap();
    let answer = http.send(request).await.unwrap();
    let bytes = answer.bytes(1 << 20).await.unwrap();
    if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_directory_is_not_worked_in_with_a_model_that_nobody_configured() {
    let daemon = RealDaemon::shared_on(Generation::V2).await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(Script::default().reply("COLD-END", "by the configured model"));
    let mut bench = bench(daemon, &directory, json!({})).await;
    bench.provenance = from("telegram");
    let result = bench.run("COLD-END").await.unwrap();
    assert_eq!(result.output["reply"], "by the configured model");
    let session =
        api(daemon, "GET", &format!("/api/session/{}", result.output["session_id"].as_str().unwrap()), None)
            .await;
    let model = &session["data"]["model"];
    assert!(model.is_null() || model["id"] == "scripted", "{session}");
}
