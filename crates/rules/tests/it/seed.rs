//! The rule file of the connector's reference, byte for byte.

use connector_rules::{Action, Next, RunEnd, StepOutcome};
use serde_json::json;

use crate::support::{fired, message, one, scope};

const SEED: &str = include_str!("../fixtures/seed.toml");

#[test]
fn the_reference_rule_fires_on_its_command() {
    let set = one(SEED);
    let asked = message(json!({ "text": "/fix the login test" }));
    assert_eq!(fired(&set, &asked), ["fix-on-demand"]);
}

#[test]
fn the_reference_rule_is_silent_on_anything_else() {
    let set = one(SEED);
    assert!(fired(&set, &message(json!({ "text": "hello" }))).is_empty());
    assert!(fired(&set, &message(json!({}))).is_empty());
    let mut elsewhere = message(json!({ "text": "/fix it" }));
    elsewhere.connector = "connector-slack".to_owned();
    assert!(fired(&set, &elsewhere).is_empty());
}

#[test]
fn the_reference_rule_hands_over_the_text_as_it_was_typed() {
    let set = one(SEED);
    let rule = set.get("fix-on-demand").unwrap();
    let typed = "/fix what `${trigger.text}` and ${now} print";
    let event = message(json!({ "text": typed }));
    let scope = scope(rule, &event, &[]);
    let Next::Run(step) = rule.next(&scope) else {
        panic!("the first step comes first");
    };
    assert!(matches!(
        &step.action,
        Action::RunConnector { connector, action, .. }
            if connector == "connector-opencode" && action == "run_task"
    ));
    assert_eq!(step.resolve(&scope).unwrap(), json!({ "prompt": typed, "title": "telegram-requested fix" }));
}

#[test]
fn a_run_of_the_reference_rule_ends_with_its_only_step() {
    let set = one(SEED);
    let rule = set.get("fix-on-demand").unwrap();
    let event = message(json!({ "text": "/fix it" }));
    let done = [StepOutcome::succeeded(&rule.steps()[0], json!({}))];
    assert_eq!(rule.next(&scope(rule, &event, &done)), Next::Finished(RunEnd::Succeeded));
    let failed = [StepOutcome::failed(&rule.steps()[0], "the daemon is away")];
    assert_eq!(
        rule.next(&scope(rule, &event, &failed)),
        Next::Finished(RunEnd::Failed { step: "step1".to_owned() })
    );
}
