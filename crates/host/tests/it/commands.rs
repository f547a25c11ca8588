//! The commands about the ledger, beside a host that runs.

use connector_gate::decision::Decision;
use connector_gate::policy::{Actor, GateConfig};
use connector_ledger::{keep, steps};

use crate::terminal::User;
use crate::world::{ANNA, Plan, World};

/// Runs a command while the host of this process goes on.
async fn run(
    user: &std::sync::Arc<User>,
    arguments: &'static [&'static str],
) -> (i32, String, serde_json::Value) {
    let user = std::sync::Arc::clone(user);
    let ended = tokio::task::spawn_blocking(move || user.run(arguments)).await.unwrap();
    let json = serde_json::from_slice(&ended.0.stdout).unwrap_or_default();
    (ended.code(), ended.text(), json)
}

/// Whoever runs the commands of this test.
fn caller() -> Actor {
    Actor::new("cli", &whoami::username().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_works_beside_a_running_host() {
    let user = std::sync::Arc::new(User::new());
    let gate = GateConfig { approvers: vec![Actor::from_text(ANNA), caller()], ..GateConfig::default() };
    let world = World::start(&user.state(), 1_000, Plan { gate, ..Plan::default() });
    world.say("1", "/fix it").await;
    let card = world.card().await;
    world.until_delivered(card.id).await;

    let (code, text, listed) = run(&user, &["approvals", "list", "--json"]).await;
    assert_eq!((code, listed[0]["digest"].as_str()), (0, Some(card.digest.as_str())));
    let token = world.step(card.id).await.token;
    assert!(!text.contains(&token), "the card's secret is nobody's to see");
    let (code, text, _) = run(&user, &["approvals", "approve", "1.1", "--digest", "a"]).await;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("12 hexadecimal digits"), "{text}");

    let (code, _, cancelled) = run(&user, &["runs", "cancel", "1", "--json"]).await;
    assert_eq!((code, cancelled["outcome"].as_str()), (0, Some("withdrawn")));
    let (code, text, _) = run(&user, &["runs", "follow", "1"]).await;
    assert_eq!(code, 1, "it did not succeed: {text}");
    assert!(text.contains("1.1     asked by host") && text.contains("run_ended"), "{text}");
    let (code, text, _) = run(&user, &["runs", "cancel", "1"]).await;
    assert_eq!(code, 1);
    assert!(text.contains("had ended already: cancelled"), "{text}");
    let (code, text, _) = run(&user, &["runs", "cancel", "9"]).await;
    assert_eq!(code, 2);
    assert!(text.contains("no run 9"), "{text}");

    let (code, _, verdict) = run(&user, &["audit", "verify", "--json"]).await;
    assert_eq!((code, verdict["verdict"].as_str()), (0, Some("intact")));
    let (code, text, _) = run(&user, &["audit", "verify", "--head", "00"]).await;
    assert_eq!(code, 1);
    assert!(text.contains("noted down"), "{text}");
    let (code, text, _) = run(&user, &["audit", "export", "--jsonl"]).await;
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, rows[0]["kind"].as_str()), (0, Some("event")));

    let (code, text, _) = run(&user, &["ledger", "check"]).await;
    assert_eq!(code, 0, "{text}");
    let (code, text, _) = run(&user, &["approvals", "revoke", "1"]).await;
    assert_eq!(code, 2);
    assert!(text.contains("no allowance 1"), "{text}");
    assert!(world.audit_is_intact().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_allowed_is_listed_and_can_be_taken_back() {
    let user = std::sync::Arc::new(User::new());
    let gate = GateConfig { approvers: vec![caller()], ..GateConfig::default() };
    let world = World::start(
        &user.state(),
        jiff::Timestamp::now().as_millisecond(),
        Plan { gate, ..Plan::default() },
    );
    world.say("1", "/fix it").await;
    let card = world.card().await;
    world.until_delivered(card.id).await;
    let (code, text, _) = run(&user, &["approvals", "approve", "1.1", "--session"]).await;
    assert_eq!(code, 0, "{text}");
    world.result(1).await;
    let (_, _, listed) = run(&user, &["approvals", "list", "--json"]).await;
    assert_eq!(listed[0]["allowance"]["session_id"], "ses_1");
    assert_eq!(run(&user, &["approvals", "revoke", "1"]).await.0, 0);
    assert_eq!(run(&user, &["approvals", "revoke", "1"]).await.0, 1);
    let (_, text, _) = run(&user, &["approvals", "list", "--allowed"]).await;
    assert_eq!(text.trim(), "nothing is allowed");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_ledger_is_copied_and_pruned_and_stays_sound() {
    let user = std::sync::Arc::new(User::new());
    let world = World::start(&user.state(), 1_000, Plan::default());
    world.say("1", "/fix it").await;
    world.tap(&world.card().await, ANNA, Decision::Deny).await;
    world.result(1).await;
    world.until_ended(1).await;
    let copy: &'static str = user.home.path().join("copy.sqlite").display().to_string().leak();
    let arguments: &'static [&'static str] = vec!["ledger", "backup", copy, "--json"].leak();
    let (code, text, copied) = run(&user, arguments).await;
    assert_eq!(code, 0, "{text}");
    assert!(copied["bytes"].as_u64().unwrap() > 0);
    assert_ne!(run(&user, arguments).await.0, 0, "it overwrites nothing");

    let (code, text, pruned) = run(&user, &["ledger", "prune", "--older-than-days", "30", "--json"]).await;
    assert_eq!((code, pruned["runs"].as_u64()), (0, Some(1)), "{text}");
    let findings = world.read(keep::check).await;
    assert_eq!(findings.problems, Vec::<String>::new());
    assert_eq!(world.read(|tx| steps::waiting(tx, "screen", "main")).await, (0, 0));
    assert_eq!(run(&user, &["ledger", "prune", "--older-than-days", "0"]).await.0, 2);
    world.stop().await;
}
