//! Clients that nobody here wrote, over both transports: each lists, makes calls at once of which one is silent for
//! longer than the client waits, answers an ask, declines one, is not asked, and cancels a call.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{RealDaemon, Script};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::client::BINARY;
use crate::install::{self, CLIENTS};
use crate::served::{Served, TOKEN};

/// A client. Each fetches a task whose command is silent for longer than the client waits for a message; some wait
/// on while there is progress, and get the same from a call.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    waits_on: bool,
}

const TYPESCRIPT: Kind = Kind { name: "TS", waits_on: true };
const PYTHON: Kind = Kind { name: "PY", waits_on: false };
const FASTMCP: Kind = Kind { name: "FM", waits_on: false };

/// In seconds: how long the command of a task says nothing, and how long the client waits meanwhile.
const TASK: (u32, u32) = (8, 6);

/// The same of a call. There is progress every ten seconds.
const CALL: (u32, u32) = (17, 15);

/// How long a client waits for anything else, in seconds: it is a busy machine's time, and no client's default.
const PATIENT: u32 = 240;

/// A program that reads a plan and prints what it saw.
async fn program(kind: Kind) -> (PathBuf, PathBuf, PathBuf) {
    let script = |name| Path::new(CLIENTS).join(name);
    match kind.name {
        "PY" => (install::python().await.join("bin/python"), script("python.py"), PathBuf::new()),
        "FM" => (install::python().await.join("bin/python"), script("fast.py"), PathBuf::new()),
        _ => ("node".into(), script("typescript.cjs"), install::typescript().await.to_owned()),
    }
}

pub(crate) fn environment(daemon: &RealDaemon, directory: &Path) -> Value {
    json!({
        "CONNECTOR_OPENCODE_BASE_URL": daemon.base_url(),
        "CONNECTOR_OPENCODE_PASSWORD": daemon.password().expose_secret(),
        "CONNECTOR_OPENCODE_DIRECTORY": directory,
        "CONNECTOR_OPENCODE_PARALLEL_TURNS": "true",
    })
}

/// Commands of the agent's are asked about.
pub(crate) fn asking() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[permissions]\nbash = \"ask\"\n").unwrap();
    file
}

pub(crate) fn command(prompt: &str, command: &str) -> Script {
    let arguments = json!({ "command": command, "description": "a command", "timeout": 100_000 });
    Script::default().call(prompt, 0, "bash", arguments).reply(prompt, &format!("ran {prompt}"))
}

/// One client over one transport, and what it has to have seen.
async fn all_that_is_promised(kind: Kind, http: bool) {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let prompt = |what: &str| format!("{}-{}-{what}", kind.name, if http { "HTTP" } else { "STDIO" });
    let pid = directory.join("pid");
    for (what, line) in [
        ("task", format!("sleep {}", TASK.0)),
        ("slow", format!("sleep {}", CALL.0)),
        ("yes", "echo hi > yes.txt".to_owned()),
        ("no", "echo hi > no.txt".to_owned()),
        ("unable", "echo hi > unable.txt".to_owned()),
        ("cancel", "echo $$ > pid; exec sleep 1000".to_owned()),
    ] {
        daemon.model().add(command(&prompt(what), &line));
    }
    let call = |what: &str, elicits: bool| {
        let limit = match what {
            "task" => TASK.1,
            "slow" => CALL.1,
            _ => PATIENT,
        };
        json!({ "key": what, "elicits": elicits, "tool": if what == "task" { "start_task" } else { "run_task" },
            "arguments": { "prompt": prompt(what) }, "fetch": what == "task", "limit": limit,
            "cancelWhen": if what == "cancel" { json!(pid) } else { Value::Null } })
    };
    let mut calls = ["task", "yes", "no", "cancel"].map(|what| call(what, true)).to_vec();
    calls.extend(kind.waits_on.then(|| call("slow", true)));
    calls.push(call("unable", false));
    let (program, script, place) = program(kind).await;
    let file = asking();
    let arguments = ["--config", file.path().to_str().unwrap()];
    let environment = environment(daemon, &directory);
    let mut plan = json!({ "place": place, "declined": "no.txt", "calls": calls });
    let served = if http { Some(Served::start(&arguments, &environment).await) } else { None };
    if let Some(served) = &served {
        plan["url"] = json!(served.url);
        plan["token"] = json!(TOKEN);
    } else {
        plan["command"] = json!(BINARY);
        plan["args"] = json!(arguments);
        plan["env"] = environment;
    }
    let seen = drive(&program, &script, &plan).await;
    let text = |what: &str| seen["results"][what]["text"].as_str().unwrap_or_default().to_owned();
    let tools = [
        "run_task",
        "continue_session",
        "describe_daemon",
        "start_task",
        "task_status",
        "task_result",
        "cancel_task",
    ];
    assert_eq!(seen["tools"], json!(tools), "{seen:#}");
    for what in ["task", "yes", "no", "unable"].into_iter().chain(kind.waits_on.then_some("slow")) {
        assert!(text(what).starts_with(&format!("ran {}", prompt(what))), "{what}: {seen:#}");
    }
    assert!(directory.join("yes.txt").exists() && seen["forms"].as_u64().unwrap() >= 3, "{seen:#}");
    for (what, why) in [("no", "declined"), ("unable", "nobody can be asked")] {
        assert!(!directory.join(format!("{what}.txt")).exists(), "{seen:#}");
        assert!(text(what).contains("Refused to the agent") && text(what).contains(why), "{what}: {seen:#}");
    }
    assert!(seen["results"]["cancel"]["failed"].is_string(), "{seen:#}");
    ended(&pid).await;
    if let Some(served) = served {
        let (status, said) = served.stop().await;
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(!said.contains(TOKEN), "{said}");
    }
}

/// Waits until the process that wrote its number there is gone.
pub(crate) async fn ended(pid: &Path) {
    let number = std::fs::read_to_string(pid).unwrap();
    let process = Path::new("/proc").join(number.trim());
    let until = Instant::now() + Duration::from_secs(30);
    while process.exists() {
        assert!(Instant::now() < until, "what the agent ran goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the client is a program of somebody else's")]
pub(crate) async fn drive(program: &Path, script: &Path, plan: &Value) -> Value {
    let mut client = tokio::process::Command::new(program)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(plan.to_string().as_bytes()).await.unwrap();
    let output =
        tokio::time::timeout(Duration::from_mins(8), client.wait_with_output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {} {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

async fn over_both(kind: Kind) {
    for http in [false, true] {
        all_that_is_promised(kind, http).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk_gets_all_that_is_promised() {
    over_both(TYPESCRIPT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_gets_all_that_is_promised() {
    over_both(PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fastmcp_gets_all_that_is_promised() {
    over_both(FASTMCP).await;
}
