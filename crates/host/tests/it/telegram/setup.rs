//! From a token to a host that answers.

use testkit::telegram::{FakeTelegram, TOKEN};

use crate::terminal::User;

#[test]
fn setup_finds_out_who_writes_and_the_token_stands_in_no_file() {
    let telegram = FakeTelegram::start().unwrap();
    let user = User::new().with_variable("TELEGRAM_BOT_TOKEN", TOKEN);
    let into = user.home.path().join("bot").display().to_string();
    let workspace = user.home.path().display().to_string();
    telegram.write(4_711, 4_711, "hello");
    let base = telegram.base_url();
    let ended =
        user.run(&["telegram", "setup", "--into", &into, "--workspace", &workspace, "--api-base", &base]);
    assert_eq!(ended.code(), 0, "{}", ended.text());
    assert!(ended.text().contains("user id 4711"), "{}", ended.text());
    assert_eq!(telegram.unacknowledged(), 0);
    assert!(telegram.screen(4_711)[0].text.contains("/fix the failing test"));
    let written = std::fs::read_to_string(format!("{into}/host.toml")).unwrap();
    assert!(written.contains("allow_users = [4711]") && written.contains("\"telegram:4711\""), "{written}");
    let key = TOKEN.split_once(':').unwrap().1;
    assert!(!written.contains(key) && !ended.text().contains(key));

    let again =
        user.run(&["telegram", "setup", "--into", &into, "--workspace", &workspace, "--api-base", &base]);
    assert_eq!(again.code(), 2, "{}", again.text());
    assert!(again.text().contains("is there already"), "{}", again.text());
}

#[test]
fn a_token_that_telegram_does_not_know_is_said_at_once() {
    let telegram = FakeTelegram::start().unwrap();
    let wrong = "7000000001:WRONG-TOKEN-nobody-may-ever-see";
    let user = User::new().with_variable("TELEGRAM_BOT_TOKEN", wrong);
    let into = user.home.path().display().to_string();
    let base = telegram.base_url();
    let ended = user.run(&["telegram", "setup", "--into", &into, "--workspace", &into, "--api-base", &base]);
    assert_eq!(ended.code(), 1, "{}", ended.text());
    assert!(ended.text().contains("(401)") && !ended.text().contains("WRONG"), "{}", ended.text());
}

#[test]
fn the_bundled_rules_pass_their_own_tests() {
    let user = User::new();
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/telegram");
    let ended = user.run(&["rules", "test", "--rules", rules]);
    assert_eq!(ended.code(), 0, "{}", ended.text());
    assert!(ended.text().contains("12 passed, 0 failed"), "{}", ended.text());
}

#[test]
fn the_bundled_rule_is_the_seeds() {
    let rule = include_str!("../../../rules/telegram/fix.toml");
    let (rule, _) = rule.split_once("[[tests]]").unwrap();
    let lines: Vec<&str> = rule.lines().filter(|line| !line.is_empty()).collect();
    let seed = r#"[rule]
name = "fix-on-demand"
[trigger]
type = "ConnectorEvent"
connector = "connector-telegram"
event = "message_received"
[[conditions]]
type = "FieldContains"
field = "trigger.text"
value = "/fix"
[[actions]]
type = "RunConnector"
connector = "connector-opencode"
action = "run_task"
[actions.params]
prompt = "${trigger.text}"
title = "telegram-requested fix""#;
    assert_eq!(lines, seed.lines().collect::<Vec<_>>());
}
