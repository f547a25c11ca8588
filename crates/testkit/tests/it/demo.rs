//! The demo's data against the real agent and the real test runner.

use std::path::Path;
use std::process::{Command, Stdio};

use testkit::{RealDaemon, Script, demo, scratch};

use crate::client::{prompt, reply};

fn tests_pass(directory: &Path) -> bool {
    #[expect(clippy::disallowed_methods, reason = "the demo's own test is run as a person would")]
    let mut command = Command::new(demo::TEST[0]);
    command.args(&demo::TEST[1..]).current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

#[tokio::test]
async fn the_agent_makes_the_failing_test_pass_by_one_edit() {
    let daemon = RealDaemon::start(Script::default()).await.unwrap();
    let directory = daemon.home().with_file_name("demo");
    demo::repository(&directory).unwrap();
    assert!(!tests_pass(&directory), "the demo's test must fail at first");
    daemon.model().add(demo::script(&directory));

    let (status, message) = prompt(&daemon, &directory, &format!("Fix {}", demo::PROMPT)).await;

    assert_eq!(status, 200, "{message}");
    assert!(reply(&message).contains("both tests pass"), "{message}");
    assert!(tests_pass(&directory));
    assert_eq!(scratch::git(&directory, &["diff", "--name-only"]).unwrap(), "src/basket.js\n");
    assert!(daemon.model().misses().is_empty());
    let ran =
        daemon.model().seen().iter().any(|seen| {
            seen.body.to_string().contains("# pass 2") || seen.body.to_string().contains("pass 2")
        });
    assert!(ran, "the agent saw its own test run pass");
}
