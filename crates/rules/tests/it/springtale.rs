//! Rules written for Springtale.

use connector_rules::{Catalog, Code, LintPolicy, lint};
use serde_json::json;

use crate::support::{fired, message, one};

const THEIRS: &str = r#"
id = "0b6f0a9e-8f5e-4f4e-9d51-0c8a5f3b7c11"
name = "moved"
description = "written for Springtale"
status = "enabled"
version = 3

[trigger]
type = "ConnectorEvent"
connector = "connector-telegram"
event = "message_received"

[[conditions]]
type = "And"
conditions = [
  { type = "Contains", field = "text", value = "/fix" },
  { type = "Or", conditions = [
    { type = "Regex", field = "text", pattern = "^/fix\\b" },
    { type = "FieldEquals", field = "chat.id", value = 7 },
  ] },
]

[[conditions]]
type = "DayOfWeek"
days = [1, 2, 3, 4, 5]

[[actions]]
type = "RunConnector"
connector = "connector-opencode"
action = "run_task"
[actions.params]
prompt = "${trigger.text}"

[[actions]]
type = "SendMessage"
text = "done"
"#;

#[test]
fn their_spelling_means_what_ours_does() {
    let set = one(THEIRS);
    assert_eq!(fired(&set, &message(json!({"text": "/fix it"}))), ["moved"]);
    assert!(fired(&set, &message(json!({"text": "please /fix it"}))).is_empty());
    let in_chat = json!({"text": "please /fix it", "chat": {"id": 7}});
    assert_eq!(fired(&set, &message(in_chat)), ["moved"]);
}

#[test]
fn printing_a_rule_writes_it_in_our_spelling() {
    insta::assert_snapshot!(one(THEIRS).rules()[0].definition().print().unwrap());
}

#[test]
fn the_linter_names_our_spelling_for_each_of_theirs() {
    let findings = lint(&one(THEIRS), &Catalog::default(), &LintPolicy::default());
    let aliases: Vec<_> = findings
        .iter()
        .filter(|one| one.code == Code::Alias)
        .map(|one| {
            let help = one.help.as_deref().unwrap_or_default();
            format!("{}: {}; {help}", one.start().line, one.message)
        })
        .collect();
    insta::assert_snapshot!(aliases.join("\n"));
}

#[test]
fn a_draft_does_not_fire() {
    let draft = THEIRS.replace("\"enabled\"", "\"draft\"");
    assert!(fired(&one(&draft), &message(json!({"text": "/fix it"}))).is_empty());
}
