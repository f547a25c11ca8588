//! The real daemon, as tests use it.

use serde_json::json;
use testkit::{RealDaemon, Script};

use crate::client::{prompt, reply, say, session};

#[tokio::test]
async fn a_shared_daemon_runs_a_real_tool_in_the_directory_named() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[]).unwrap();
    let file = directory.join("made.txt");
    let write = json!({ "filePath": file, "content": "by the agent\n" });
    daemon
        .model()
        .add(Script::default().call("MAKE-A-FILE", 0, "write", write).reply("MAKE-A-FILE", "made it"));

    let (status, message) = prompt(daemon, &directory, "MAKE-A-FILE please").await;

    assert_eq!(status, 200, "{message}");
    assert_eq!(reply(&message), "made it");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "by the agent\n");
}

#[tokio::test]
async fn two_tests_share_the_daemon_and_see_their_own_turns() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[]).unwrap();
    daemon.model().add(Script::default().reply("SHARED-TWO", "second"));
    let (_, message) = prompt(daemon, &directory, "SHARED-TWO").await;
    assert_eq!(reply(&message), "second");
    assert_eq!(RealDaemon::shared().await.pid(), daemon.pid());
}

#[tokio::test]
async fn a_killed_daemon_comes_back_with_its_address_and_its_sessions() {
    let mut daemon = RealDaemon::start(Script::saying("still here")).await.unwrap();
    let (address, first) = (daemon.base_url(), daemon.pid());
    let directory = daemon.directory();
    let id = session(&daemon, &directory).await;
    daemon.kill9().await;
    daemon.restart().await.unwrap();

    assert_eq!(daemon.base_url(), address);
    assert_ne!(daemon.pid(), first);
    let (status, message) = say(&daemon, &directory, &id, "go on").await;
    assert_eq!((status, reply(&message).as_str()), (200, "still here"));
}

#[tokio::test]
async fn the_agents_commands_see_the_daemons_allow_list_and_not_this_process() {
    let daemon = RealDaemon::shared().await;
    let directory = daemon.workspace(&[]).unwrap();
    let bash = json!({ "command": "env > seen.txt", "description": "Shows the environment" });
    daemon.model().add(Script::default().call("SHOW-ENV", 0, "bash", bash).reply("SHOW-ENV", "shown"));
    let (_, message) = prompt(daemon, &directory, "SHOW-ENV").await;
    assert_eq!(reply(&message), "shown");
    let seen = std::fs::read_to_string(directory.join("seen.txt")).unwrap();
    // cargo sets these for this process; where its home is, the allow list lets through.
    #[expect(
        clippy::disallowed_methods,
        reason = "it is the environment of this process that is not to be seen"
    )]
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    assert!(here.is_some());
    let of_cargo = ["CARGO_MANIFEST_DIR=", "CARGO_PKG_NAME="];
    assert!(seen.contains("PATH=") && of_cargo.iter().all(|name| !seen.contains(name)), "{seen}");
}
