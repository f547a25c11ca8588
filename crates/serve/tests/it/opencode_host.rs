//! opencode as the MCP host of the program, over both transports.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::{RealDaemon, Script};

use crate::client::BINARY;
use crate::clients::{asking, command, drive, ended, environment};
use crate::install::{self, CLIENTS};
use crate::served::{Served, TOKEN};

/// How long opencode waits for a message of an MCP server's, in milliseconds.
const PATIENCE: u32 = 15_000;

#[tokio::test(flavor = "multi_thread")]
async fn opencode_as_the_host_waits_for_what_is_silent_is_told_what_was_refused_and_cancels() {
    let inner = RealDaemon::shared().await;
    let directory = inner.workspace(&[("a.txt", "a\n")]).unwrap();
    let quiet = environment(inner, &directory);
    let file = asking();
    let asks = ["--config", file.path().to_str().unwrap()];
    let served = Served::start(&[], &quiet).await;
    let asking = Served::start(&asks, &quiet).await;
    let local = |arguments: &[&str]| {
        let command = [&[BINARY], arguments].concat();
        json!({ "type": "local", "command": command, "environment": quiet, "timeout": PATIENCE })
    };
    let remote = |url: &str| {
        json!({ "type": "remote", "url": url, "oauth": false, "timeout": PATIENCE,
            "headers": { "Authorization": format!("Bearer {TOKEN}") } })
    };
    let servers = json!({ "pipe": local(&[]), "wire": remote(&served.url), "askpipe": local(&asks),
        "askwire": remote(&asking.url) });
    let outer = RealDaemon::with(Script::default(), |spec| {
        spec.config["mcp"] = servers;
        spec.config["experimental"] = json!({ "mcp_timeout": PATIENCE });
    });
    let outer = outer.await.unwrap();

    let mut calls = Vec::new();
    let pid = |server: &str| -> PathBuf { directory.join(format!("{server}.pid")) };
    for (what, server, line) in [
        ("slow", "pipe", "sleep 17".to_owned()),
        ("slow", "wire", "sleep 17".to_owned()),
        ("unable", "askpipe", "echo hi > unable.txt".to_owned()),
        ("unable", "askwire", "echo hi > unable.txt".to_owned()),
        ("cancel", "pipe", "echo $$ > pipe.pid; exec sleep 1000".to_owned()),
        ("cancel", "wire", "echo $$ > wire.pid; exec sleep 1000".to_owned()),
    ] {
        let key = format!("{what}-{server}");
        let (asked, told) = (format!("OUTER-{key}-end"), format!("INNER-{key}-end"));
        inner.model().add(command(&told, &line));
        let input = json!({ "prompt": told });
        outer.model().add(
            Script::default()
                .call(&asked, 0, &format!("{server}_run_task"), input)
                .reply(&asked, &format!("did {key}")),
        );
        let stop = if what == "cancel" { json!(pid(server)) } else { Value::Null };
        calls.push(
            json!({ "key": key, "elicits": false, "tool": "run_task", "arguments": { "prompt": asked },
            "fetch": false, "limit": 240, "cancelWhen": stop }),
        );
    }
    let of_its_own = outer.workspace(&[("b.txt", "b\n")]).unwrap();
    let plan = json!({ "place": install::typescript().await, "declined": "-", "calls": calls,
        "command": BINARY, "args": [], "env": environment(&outer, &of_its_own) });
    let seen = drive(Path::new("node"), &Path::new(CLIENTS).join("typescript.cjs"), &plan).await;

    let result_of = |key: &str| {
        let prompt = format!("OUTER-{key}-end");
        let told = outer.model().seen();
        let told = told.iter().filter(|it| it.prompt.contains(&prompt) && it.tools_done == 1);
        told.map(|it| it.body.to_string()).collect::<String>()
    };
    for server in ["pipe", "wire"] {
        let (slow, unable) = (format!("slow-{server}"), format!("unable-ask{server}"));
        for key in [&slow, &unable] {
            let text = seen["results"][key]["text"].as_str().unwrap_or_default();
            assert!(text.starts_with(&format!("did {key}")), "{key}: {seen:#}");
        }
        assert!(result_of(&slow).contains(&format!("ran INNER-{slow}-end")), "{}", result_of(&slow));
        assert!(result_of(&unable).contains("Refused to the agent"), "{}", result_of(&unable));
        assert!(seen["results"][format!("cancel-{server}")]["failed"].is_string(), "{seen:#}");
        ended(&pid(server)).await;
    }
    assert!(!directory.join("unable.txt").exists());
    for server in [served, asking] {
        assert_eq!(server.stop().await.0.code(), Some(0));
    }
}
