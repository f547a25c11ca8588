//! The same turns on releases of opencode 1.x across its life, with a scripted model.
//!
//! The oldest release that can be had runs with every test; the others are a command of their own,
//! since each is an install of about 150 MB:
//!
//! ```sh
//! cargo test -p connector-opencode --test it -- --ignored releases --nocapture
//! ```

use connector_contract::ask::PermissionReply;
use connector_contract::{ConnectorError, Progress, StopCause, ToolOutcome};
use serde_json::json;
use testkit::{Answer, RealDaemon, Script};

use crate::real::{bash, bench, reply};
use crate::support::{Person, eventually};

/// The first published release from 1.1.7 on that the registry still has.
const OLDEST: &str = "1.1.11";
/// The last of each line since, and one in whose line the events did not name their session yet.
const OTHERS: [&str; 8] = ["1.1.65", "1.2.15", "1.2.27", "1.3.2", "1.14.41", "1.15.13", "1.17.19", "1.18.33"];
/// From here on the changed files are always told.
const TELLS_OF_FILES: semver::Version = semver::Version::new(1, 14, 41);
/// Has CVE-2026-22812.
const UNSAFE: &str = "1.0.185";

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_release_runs_every_turn() {
    every_turn(OLDEST).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "installs eight releases of opencode, about 150 MB each"]
async fn the_last_of_each_line_runs_every_turn() {
    for release in OTHERS {
        every_turn(release).await;
        println!("{release}: text, edit, ask, provider's error, abort, tool progress, no-progress limit");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "installs a release of opencode, about 150 MB"]
async fn a_release_with_the_hole_is_not_started() {
    let error = RealDaemon::of_release(UNSAFE, Script::default()).await.err().unwrap();
    let text = connector_contract::chain(&error);
    assert!(text.contains("CVE-2026-22812") && text.contains(UNSAFE), "{text}");
}

async fn every_turn(release: &str) {
    let daemon = RealDaemon::of_release(release, Script::default()).await.unwrap();
    assert_eq!(daemon.opencode().version, release);
    text(&daemon).await;
    edit(&daemon).await;
    ask(&daemon).await;
    provider_error(&daemon).await;
    abort(&daemon).await;
    tool_progress(&daemon).await;
    no_progress_limit(&daemon).await;
}

async fn text(daemon: &RealDaemon) {
    daemon.model().add(Script::default().reply("TEXT", "a text"));
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let result = bench(daemon, &directory, json!({})).await.run("TEXT").await.unwrap();
    assert_eq!(reply(&result), "a text");
    assert_eq!(result.output["response"]["info"]["parentID"], result.output["message_id"]);
    assert!(result.output["tokens"]["input"].as_u64().unwrap() > 0, "{}", result.output["tokens"]);
}

async fn edit(daemon: &RealDaemon) {
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let write = json!({ "filePath": directory.join("b.txt"), "content": "one\ntwo\n" });
    daemon.model().add(Script::default().call("EDIT", 0, "write", write).reply("EDIT", "written"));
    let result = bench(daemon, &directory, json!({})).await.run("EDIT").await.unwrap();
    assert_eq!(reply(&result), "written");
    assert_eq!(std::fs::read_to_string(directory.join("b.txt")).unwrap(), "one\ntwo\n");
    // Earlier releases look at the directory when the agent has already begun: what it changed may
    // be missing from their record.
    if daemon.opencode().version.parse::<semver::Version>().unwrap() >= TELLS_OF_FILES {
        let file = json!([{ "path": "b.txt", "additions": 2, "deletions": 0, "status": "added" }]);
        assert_eq!(result.output["files"], file);
    }
}

async fn ask(daemon: &RealDaemon) {
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(bash("ASK", "echo hi > out.txt"));
    let mut bench = bench(daemon, &directory, json!({ "permissions": { "bash": "ask" } })).await;
    let person = Person::who_says([PermissionReply::Once]);
    bench.relay = person.clone();
    let result = bench.run("ASK").await.unwrap();
    assert_eq!(reply(&result), "ran ASK");
    assert!(directory.join("out.txt").exists());
    assert_eq!(person.asked().len(), 1);
}

async fn provider_error(daemon: &RealDaemon) {
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(Script::default().answer("PROVIDER", Answer::error(400, "no luck today")));
    let error = bench(daemon, &directory, json!({})).await.run("PROVIDER").await.unwrap_err();
    let ConnectorError::Failed { reason, .. } = error else { panic!("{error:?}") };
    assert!(reason.contains("answered 400"), "{reason}");
}

async fn abort(daemon: &RealDaemon) {
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(bash("SLEEP", "echo $$ > pid; sleep 600"));
    let bench = bench(daemon, &directory, json!({})).await;
    let pid = directory.join("pid");
    let (result, ()) = tokio::join!(bench.run("SLEEP"), async {
        eventually("the command runs", || std::fs::read_to_string(&pid).is_ok_and(|it| !it.is_empty())).await;
        bench.cancel.cancel();
    });
    let error = result.unwrap_err();
    assert!(matches!(error, ConnectorError::Stopped { cause: StopCause::Cancelled, .. }), "{error:?}");
    let process = format!("/proc/{}", std::fs::read_to_string(&pid).unwrap().trim());
    eventually("the command is gone", || !std::path::Path::new(&process).exists()).await;
}

async fn tool_progress(daemon: &RealDaemon) {
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    daemon.model().add(bash("PROGRESS", "echo hi > out.txt"));
    let (result, seen) = bench(daemon, &directory, json!({})).await.watch("PROGRESS").await;
    assert_eq!(reply(&result.unwrap()), "ran PROGRESS");
    let started = |it: &Progress| matches!(it, Progress::ToolStarted { tool, .. } if tool == "bash");
    let ended = |it: &Progress| matches!(it, Progress::ToolFinished { tool, outcome: ToolOutcome::Completed, .. } if tool == "bash");
    assert!(seen.iter().any(started) && seen.iter().any(ended), "{seen:?}");
}

/// A model that speaks for longer than the limit makes progress all the while; one that says nothing
/// is stopped at it.
async fn no_progress_limit(daemon: &RealDaemon) {
    const LIMIT: u64 = 6;
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    // The first turn in a directory takes long to begin on a machine with much to do.
    bench(daemon, &directory, json!({})).await.run("TEXT").await.unwrap();
    let chunks: Vec<String> = (0..60).map(|word| format!("w{word} ")).collect();
    let whole = chunks.concat();
    daemon.model().add(Script::default().answer("SPEAKS", Answer::Text { chunks, delay_ms: 200 }));
    daemon.model().add(Script::default().answer("SILENT", Answer::Hang { text: String::new() }));
    let config = json!({ "no_progress_secs": LIMIT });
    let result = bench(daemon, &directory, config.clone()).await.run("SPEAKS").await.unwrap();
    assert_eq!(reply(&result), whole.trim());
    let error = bench(daemon, &directory, config).await.run("SILENT").await.unwrap_err();
    assert!(matches!(error, ConnectorError::Stopped { cause: StopCause::NoProgress, .. }), "{error:?}");
    daemon.model().release();
}
