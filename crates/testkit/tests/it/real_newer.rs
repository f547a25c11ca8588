//! The real server of 2.x, as tests use it.

use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::fake::Generation;
use testkit::{RealDaemon, Script};

use crate::client::call;

async fn ask(daemon: &RealDaemon, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
    let password = daemon.password();
    let url = format!("{}{path}", daemon.base_url());
    let (status, answer) = call(method, &url, Some(password.expose_secret()), body.as_ref()).await;
    assert!((200..300).contains(&status), "{path}: {status} {answer}");
    answer
}

/// Runs one prompt to its end; the rows of its session.
async fn turn(daemon: &RealDaemon, directory: &Path, text: &str) -> Value {
    let create = json!({ "location": { "directory": directory } });
    let session = ask(daemon, reqwest::Method::POST, "/api/session", Some(create)).await;
    let path = format!("/api/session/{}", session["data"]["id"].as_str().unwrap());
    let prompt = json!({ "text": text, "delivery": "queue" });
    ask(daemon, reqwest::Method::POST, &format!("{path}/prompt"), Some(prompt)).await;
    let ended = async {
        loop {
            let rows = ask(daemon, reqwest::Method::GET, &format!("{path}/message?order=asc"), None).await;
            if rows["data"].as_array().unwrap().iter().any(|row| row["type"] == "idle") {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), ended).await.unwrap()
}

#[tokio::test]
async fn a_2_x_server_runs_a_script_that_is_written_for_1_x() {
    let daemon = RealDaemon::shared_on(Generation::V2).await;
    let directory = daemon.workspace(&[]).unwrap();
    let file = directory.join("made.txt");
    let write = json!({ "filePath": file, "content": "by the agent\n" });
    let bash = json!({ "command": "cp made.txt copy.txt", "description": "Copies" });
    let script = Script::default()
        .call("NEWER-FILE", 0, "write", write)
        .call("NEWER-FILE", 1, "bash", bash)
        .reply("NEWER-FILE", "made it");
    daemon.model().add(script);

    let rows = turn(daemon, &directory, "NEWER-FILE please").await;

    assert!(rows.to_string().contains("made it"), "{rows}");
    assert_eq!(std::fs::read_to_string(directory.join("copy.txt")).unwrap(), "by the agent\n");
    let key =
        daemon.model().seen().iter().find(|seen| seen.prompt.contains("NEWER-FILE")).unwrap().key.clone();
    assert_eq!(key.as_deref(), Some("none"), "the model is the scripted one");
}

#[tokio::test]
async fn the_server_that_is_fetched_is_the_pinned_one_and_is_fetched_once() {
    let fetched = testkit::real::opencode_of(Generation::V2).await.unwrap();
    assert_eq!(fetched, testkit::real::opencode_of(Generation::V2).await.unwrap());
    let daemon = RealDaemon::shared_on(Generation::V2).await;
    let info = ask(daemon, reqwest::Method::GET, "/api/info", None).await;
    assert_eq!(info["version"], fetched.version.as_str());
    // As the host finds one that it is told of.
    let environment = opencode_daemons::Environment::of_this_process();
    let path = Some(fetched.path.to_string_lossy().into_owned());
    let from = opencode_daemons::Locate { path, ..opencode_daemons::Locate::new(environment) };
    let found = opencode_daemons::install::find(&from).await.unwrap().unwrap();
    assert_eq!(found.version, fetched.version);
}
