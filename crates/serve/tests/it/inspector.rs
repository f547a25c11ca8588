//! The inspector's command line as a client: one process for each request.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use testkit::RealDaemon;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::client::BINARY;
use crate::clients::{asking, command, ended, environment};
use crate::install;
use crate::served::{Served, TOKEN};

/// The server as the inspector is told of it.
enum Way<'a> {
    Pipe(&'a Value, &'a [&'a str]),
    Wire(&'a str),
}

/// Starts the inspector for one request.
async fn start(home: &Path, way: &Way<'_>, request: &[&str]) -> Child {
    let program = install::inspector().await.join("node_modules/.bin/mcp-inspector");
    #[expect(clippy::disallowed_methods, reason = "the client is a program of somebody else's")]
    let mut inspector = Command::new("node");
    inspector.arg(program).args(["--cli", "--format", "json", "-q"]).env("HOME", home);
    inspector.args(request);
    match way {
        Way::Pipe(environment, arguments) => {
            for (name, value) in environment.as_object().unwrap() {
                inspector.args(["-e", &format!("{name}={}", value.as_str().unwrap())]);
            }
            inspector.arg("--").arg(BINARY).args(*arguments);
        }
        Way::Wire(url) => {
            inspector.args(["--transport", "http", "--server-url", url]);
            inspector.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
        }
    }
    inspector
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn answer(child: Child) -> Value {
    let output: Output =
        tokio::time::timeout(Duration::from_mins(2), child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspectors_command_line_gets_all_that_is_promised() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let home = tempfile::tempdir().unwrap();
    let file = asking();
    let asks = ["--config", file.path().to_str().unwrap()];
    let environment = environment(daemon, &directory);
    let served = Served::start(&[], &environment).await;
    let asking = Served::start(&asks, &environment).await;
    for (kind, quiet, asked) in [
        ("PIPE", Way::Pipe(&environment, &[]), Way::Pipe(&environment, &asks)),
        ("WIRE", Way::Wire(&served.url), Way::Wire(&asking.url)),
    ] {
        let prompt = |what: &str| format!("IN-{kind}-{what}");
        let pid = directory.join(format!("{kind}.pid"));
        for (what, line) in [
            ("first", "echo hi".to_owned()),
            ("slow", "sleep 5".to_owned()),
            ("other", "echo hi".to_owned()),
            ("unable", format!("echo hi > {kind}.txt")),
            ("cancel", format!("echo $$ > {kind}.pid; exec sleep 1000")),
        ] {
            daemon.model().add(command(&prompt(what), &line));
        }
        let input = |what: &str| json!({ "prompt": prompt(what) }).to_string();
        let tools = answer(start(home.path(), &quiet, &["--method", "tools/list"]).await).await;
        assert!(tools.to_string().contains("\"task_result\""), "{tools}");
        let call = |what: &str| {
            ["--method", "tools/call", "--tool-name", "run_task", "--tool-args-json"]
                .map(str::to_owned)
                .into_iter()
                .chain([input(what)])
                .collect::<Vec<String>>()
        };
        let begin = async |way: &Way<'_>, what: &str| {
            let call = call(what);
            start(home.path(), way, &call.iter().map(String::as_str).collect::<Vec<_>>()).await
        };
        // It gives up after a minute whatever it is told, so no more is asked for at once than has to be.
        for together in [&["first"][..], &["slow", "other"]] {
            let mut started = Vec::new();
            for what in together {
                started.push((what, begin(&quiet, what).await));
            }
            for (what, child) in started {
                let result = answer(child).await.to_string();
                assert!(result.contains(&format!("ran {}", prompt(what))), "{what}: {result}");
            }
        }
        let unable = answer(begin(&asked, "unable").await).await.to_string();
        assert!(unable.contains("Refused to the agent"), "{unable}");
        assert!(!directory.join(format!("{kind}.txt")).exists());
        let mut cancelled = begin(&quiet, "cancel").await;
        let until = Instant::now() + Duration::from_mins(1);
        while std::fs::read_to_string(&pid).unwrap_or_default().trim().is_empty() {
            assert!(Instant::now() < until, "the command does not run");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let id = Pid::from_raw(i32::try_from(cancelled.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(id, Signal::INT).unwrap();
        tokio::time::timeout(Duration::from_mins(1), cancelled.wait()).await.unwrap().unwrap();
        if kind == "PIPE" {
            ended(&pid).await;
        }
    }
    for server in [served, asking] {
        assert_eq!(server.stop().await.0.code(), Some(0));
    }
    ended(&directory.join("WIRE.pid")).await;
}
