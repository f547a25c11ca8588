//! The same turns against the real daemons of both generations, with a scripted model: agent,
//! tools, files and commands are real.
//!
//! Each test runs on 1.18.33 and on 2.0.14, and all tests of a generation share one daemon, unless
//! they kill theirs. A test that can exist on one alone says why.

pub(crate) mod asks;
pub(crate) mod behind;
pub(crate) mod failures;
pub(crate) mod life;
pub(crate) mod long;
pub(crate) mod sessions;
pub(crate) mod turns;

use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_contract::{ActionResult, ConnectorError};
use connector_opencode::Timing;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::fake::Generation;
use testkit::{RealDaemon, Script};

use crate::support::Bench;

pub(crate) async fn bench(daemon: &RealDaemon, directory: &Path, mut config: Value) -> Bench {
    config["password"] = json!(daemon.password().expose_secret());
    config["directory"] = json!(directory);
    patient(&daemon.base_url(), config, Duration::from_secs(15)).await
}

/// A bench that gives a daemon up that is away for so long.
async fn patient(base_url: &str, config: Value, give_up: Duration) -> Bench {
    let timing = Timing { give_up, ..Timing::default() };
    let mut bench = Bench::with_timing(base_url, config, timing).await;
    bench.deadline = Duration::from_secs(100);
    bench
}

/// The shared daemon of a generation, and a repository of the test's own.
async fn place(generation: Generation) -> (&'static RealDaemon, PathBuf) {
    let daemon = RealDaemon::shared_on(generation).await;
    (daemon, daemon.workspace(&[("a.txt", "a\n")]).unwrap())
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

/// The names of the tools that the model was offered for `prompt`.
fn offered(daemon: &RealDaemon, prompt: &str) -> Vec<String> {
    let seen = daemon.model().seen();
    let asked = seen.iter().find(|it| it.prompt.contains(prompt) && !it.title).expect("the agent ran");
    let tools = asked.body["tools"].as_array().into_iter().flatten();
    tools.filter_map(|it| Some(it["function"]["name"].as_str()?.to_owned())).collect()
}

/// What `error` says, whatever it is.
fn words(error: &ConnectorError) -> String {
    connector_contract::chain(error)
}
