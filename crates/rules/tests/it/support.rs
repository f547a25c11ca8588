//! What several tests need.

use connector_rules::{Event, Rule, RuleSet, Scope, SourceFile, StepOutcome, Timestamp};
use serde_json::Value;

/// A set of one rule.
pub(crate) fn one(text: &str) -> RuleSet {
    match RuleSet::parse([SourceFile::new("rule.toml", text)]) {
        Ok(set) => set,
        Err(wrong) => panic!("the rule does not load:\n{}", wrong.render(false)),
    }
}

/// The diagnostics of a rule that does not load.
pub(crate) fn refused(text: &str) -> connector_rules::Diagnostics {
    match RuleSet::parse([SourceFile::new("rule.toml", text)]) {
        Ok(_) => panic!("the rule loads:\n{text}"),
        Err(wrong) => wrong,
    }
}

pub(crate) fn message(payload: Value) -> Event {
    Event {
        id: "evt_1".to_owned(),
        connector: "connector-telegram".to_owned(),
        event: "message_received".to_owned(),
        payload,
        reply: None,
    }
}

pub(crate) fn now() -> Timestamp {
    "2026-01-05T10:00:00Z".parse().unwrap()
}

pub(crate) fn scope<'a>(rule: &'a Rule, event: &'a Event, steps: &'a [StepOutcome]) -> Scope<'a> {
    Scope { event, rule: rule.name(), run_id: "run_1", now: now(), steps }
}

/// The names of the rules that an event fires.
pub(crate) fn fired(set: &RuleSet, event: &Event) -> Vec<String> {
    set.matching(event, now()).map(|rule| rule.name().to_owned()).collect()
}
