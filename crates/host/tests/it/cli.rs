//! The binary as people use it, with the real opencode daemon.

use rustix::process::Signal;
use serde_json::json;
use testkit::model::{Script, ScriptedModel};
use testkit::scratch;

use crate::terminal::{User, opencode, processes_below};

/// A repository with one file.
fn repository(user: &User) -> String {
    let directory = user.home.path().join("app");
    std::fs::create_dir(&directory).unwrap();
    scratch::repository(&directory, &[("hello.txt", "hello\n")]).unwrap();
    directory.display().to_string()
}

fn model() -> ScriptedModel {
    let script = Script::default()
        .call("write it", 0, "write", json!({ "filePath": "new.txt", "content": "new\n" }))
        .reply("write it", "It is written.")
        .reply("now the docs", "The docs too.")
        .call("sleep long", 0, "bash", json!({ "command": "sleep 300", "description": "sleeps" }))
        .reply("sleep long", "Slept.")
        .call("ask me", 0, "bash", json!({ "command": "echo asked > asked.txt", "description": "asks" }))
        .reply("ask me", "I was allowed.");
    ScriptedModel::start(script).unwrap()
}

#[tokio::test]
async fn a_task_is_typed_approved_done_and_continued_in_its_session() {
    let model = model();
    let user = User::new().with_opencode_config(&model.config());
    let (workspace, opencode) = (repository(&user), opencode().await);
    let mut chat = user.start(&["chat", "--workspace", &workspace, "--opencode", &opencode]);
    chat.expect("type /fix");
    chat.type_line("y");
    chat.expect("nothing waits");
    chat.type_line("what is this?");
    chat.expect("no rule answers that");
    chat.type_line("/continue before anything");
    chat.expect("no session to continue");
    chat.type_line("/fix write it");
    chat.expect("approval needed · 1.1");
    chat.expect("write it");
    assert!(!std::fs::exists(format!("{workspace}/new.txt")).unwrap());

    chat.type_line("y");
    chat.expect("1.1 is approved");
    chat.expect("✔ 1.1 done");
    chat.expect("It is written.");
    let file = chat.expect("new.txt  +1 −0");
    let session = chat.expect("session ses_");
    assert!(file.contains("added"), "{file}");
    assert_eq!(std::fs::read_to_string(format!("{workspace}/new.txt")).unwrap(), "new\n");

    chat.type_line("/continue now the docs");
    chat.expect("continue_session");
    chat.type_line("y");
    chat.expect("The docs too.");
    assert_eq!(chat.expect("session ses_"), session, "it went on in the same session");
    chat.type_line("/fix write it");
    chat.expect("approval needed · 3.1");
    chat.type_line("n");
    chat.expect("3.1 is refused");
    chat.type_line("/quit");
    assert_eq!(chat.finish().0, 0);
    assert_eq!(processes_below(user.home.path()), []);

    let runs = user.run(&["runs", "list", "--json"]).json();
    let states: Vec<&str> =
        runs.as_array().unwrap().iter().map(|run| run["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["denied", "succeeded", "succeeded"]);
    assert_eq!(user.run(&["audit", "verify", "--json"]).json()["verdict"], "intact");
    let shown = user.run(&["runs", "show", "1"]).text();
    assert!(shown.contains("It is written.") && shown.contains("decided by console"), "{shown}");
}

#[tokio::test]
async fn a_card_survives_sigkill_and_its_task_runs_once() {
    let model = model();
    let user = User::new().with_opencode_config(&model.config());
    let (workspace, opencode) = (repository(&user), opencode().await);
    let arguments = ["chat", "--workspace", &workspace, "--opencode", &opencode];
    let mut chat = user.start(&arguments);
    chat.type_line("/fix write it");
    chat.expect("approval needed · 1.1");
    let digest = chat.expect("digest");
    chat.expect("└─");
    chat.kill9();
    let waiting = user.run(&["approvals", "list", "--json"]).json();
    assert_eq!(waiting[0]["id"], "1.1");

    let mut again = user.start(&arguments);
    again.expect("approval needed · 1.1");
    assert_eq!(again.expect("digest"), digest);
    again.type_line("y");
    again.expect("✔ 1.1 done");
    again.type_line("/quit");
    assert_eq!(again.finish().0, 0);

    let asked = model
        .seen()
        .iter()
        .filter(|seen| seen.prompt.contains("write it") && seen.tools_done == 0 && !seen.title)
        .count();
    assert_eq!(asked, 1, "the agent was given the task once");
    assert_eq!(processes_below(user.home.path()), []);
}

#[tokio::test]
async fn ctrl_c_stops_what_runs_and_then_leaves() {
    let model = model();
    let user = User::new().with_opencode_config(&model.config());
    let (workspace, opencode) = (repository(&user), opencode().await);
    let mut chat = user.start(&["chat", "--workspace", &workspace, "--opencode", &opencode]);
    chat.type_line("/fix sleep long");
    chat.expect("└─");
    chat.type_line("y");
    chat.expect("· bash");
    chat.signal(Signal::INT);
    chat.expect("is told to stop");
    let stopped = chat.expect("■ 1.1 stopped");
    assert!(stopped.contains("cancelled"), "{stopped}");
    chat.signal(Signal::INT);
    assert_eq!(chat.wait(), 0);
    assert_eq!(processes_below(user.home.path()), []);
}

#[tokio::test]
async fn the_agents_own_permission_request_is_answered_in_the_chat() {
    let model = model();
    let mut config = model.config();
    config["permission"] = json!({ "bash": "ask" });
    let user = User::new().with_opencode_config(&config);
    let (workspace, opencode) = (repository(&user), opencode().await);
    let mut chat = user.start(&["chat", "--workspace", &workspace, "--opencode", &opencode]);
    chat.type_line("/fix ask me");
    chat.expect("└─");
    chat.type_line("y");
    chat.expect("may it use bash?");
    chat.expect("echo asked > asked.txt");
    chat.expect("└─ once 1");
    chat.type_line("once");
    chat.expect("I was allowed.");
    assert!(std::fs::exists(format!("{workspace}/asked.txt")).unwrap());
    chat.type_line("/quit");
    assert_eq!(chat.finish().0, 0);
}

#[tokio::test]
async fn without_a_terminal_messages_are_sent_and_decided_from_the_command_line() {
    let model = model();
    let user = User::new().with_opencode_config(&model.config());
    let (workspace, opencode) = (repository(&user), opencode().await);
    let home = user.home.path();
    std::fs::create_dir(home.join("rules")).unwrap();
    std::fs::write(home.join("rules/fix.toml"), include_str!("../../../rules/tests/fixtures/seed.toml"))
        .unwrap();
    let me = whoami::username().unwrap();
    let config = format!(
        "rules = \"rules\"\nopencode = \"{opencode}\"\n[gate]\napprovers = [\"cli:{me}\"]\n\
         [workspaces.app]\ndirectory = \"{workspace}\"\n\
         [connectors.connector-opencode]\nworkspace = \"app\"\n"
    );
    std::fs::write(home.join("host.toml"), config).unwrap();
    let mut host = user.start(&["run", "-c", home.join("host.toml").to_str().unwrap()]);
    host.expect("host is running");

    let message = ["send", "--as", "connector-telegram", "--id", "m1", "/fix write it"];
    assert_eq!(user.run(&message).code(), 0);
    assert!(user.run(&message).text().contains("was there already"));
    host.expect("waits for approval");
    let card = user.run(&["approvals", "show", "1.1"]).text();
    assert!(card.contains("/fix write it") && card.contains(&workspace), "{card}");
    let wrong = user.run(&["approvals", "approve", "1.1", "--digest", "000000000000"]);
    assert_eq!(wrong.code(), 1, "{}", wrong.text());
    let approved = user.run(&["approvals", "approve", "1.1"]);
    assert_eq!(approved.code(), 0, "{}", approved.text());
    host.expect("succeeded");
    assert_eq!(user.run(&["approvals", "approve", "1.1"]).code(), 1);
    let run = user.run(&["runs", "show", "1", "--json"]).json();
    assert_eq!(run["steps"][0]["output"]["reply"], "It is written.");
    assert_eq!(run["steps"][0]["decided_by"], format!("cli:{me}"));

    host.signal(Signal::TERM);
    assert_eq!(host.wait(), 0);
    assert_eq!(processes_below(home), []);
}

#[tokio::test]
async fn the_demo_needs_a_terminal_or_a_yes() {
    let user = User::new();
    let ended = user.run(&["demo"]);
    assert_eq!(ended.code(), 2);
    assert!(ended.text().contains("--yes"), "{}", ended.text());
}

#[tokio::test]
async fn the_demo_fixes_the_test_and_leaves_nothing_running() {
    let user = User::new();
    let opencode = opencode().await;
    // The README's words, by this build instead of a release, and with somebody who says yes.
    let (_, shown) = include_str!("../../../../README.md").split_once("\ncargo run --release -- ").unwrap();
    let shown = shown.lines().next().unwrap().split('#').next().unwrap().split_whitespace();
    let arguments: Vec<_> = shown.chain(["--yes", "--opencode", &opencode]).collect();
    let ended = user.run(&arguments);
    let text = ended.text();
    assert_eq!(ended.code(), 0, "{text}");
    let (before, after) = text.split_once("approval needed").unwrap();
    assert!(
        before.contains("ℹ fail 1") && after.contains("ℹ fail 0") && after.contains("ℹ pass 2"),
        "{text}"
    );
    assert!(
        after.contains("+  return items.reduce((sum, item) => sum + item.price * item.quantity, 0);"),
        "{text}"
    );
    assert_eq!(processes_below(user.home.path()), []);
}

#[tokio::test]
async fn a_terminal_that_goes_away_leaves_nothing_running() {
    let model = model();
    let user = User::new().with_opencode_config(&model.config());
    let (workspace, opencode) = (repository(&user), opencode().await);
    let mut chat = user.start(&["chat", "--workspace", &workspace, "--opencode", &opencode]);
    chat.type_line("/fix sleep long");
    chat.expect("└─");
    chat.type_line("y");
    chat.expect("· bash");
    chat.signal(Signal::HUP);
    chat.wait();
    assert_eq!(processes_below(user.home.path()), []);
    let run = user.run(&["runs", "show", "1", "--json"]).json();
    assert_eq!(run["steps"][0]["state"], "cancelled");
}
