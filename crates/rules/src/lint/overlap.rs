//! Rules that can never fire, and rules that do what another does already.

use std::collections::HashMap;

use super::{Catalog, Lint};
use crate::condition::Condition;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::rule::{Action, Rule};
use crate::ruleset::RuleSet;

impl Lint<'_> {
    pub(super) fn check_reachable(&mut self) {
        let rule = self.rule;
        if let Some((index, why)) = contradiction(rule.conditions()) {
            let index = index.to_string();
            let path = ["conditions", index.as_str()];
            self.error(Code::Unreachable, &path, format!("no event can fire this rule: {why}"), None);
        }
        for (at, step) in rule.steps().iter().enumerate() {
            if let Some((_, why)) = contradiction(&step.when) {
                let at = at.to_string();
                let path = ["actions", at.as_str(), "when"];
                let message = format!("step `{}` never runs: {why}", step.label());
                self.error(Code::Unreachable, &path, message, None);
            }
        }
    }
}

/// The place of a condition that cannot hold beside the others, and why.
fn contradiction(conditions: &[Condition]) -> Option<(usize, String)> {
    let flat = flatten(conditions);
    for (place, one) in &flat {
        if is_empty(one) {
            return Some((*place, format!("{one} cannot hold")));
        }
        for (other_place, other) in &flat {
            if excludes(one, other) {
                let place = *place.max(other_place);
                return Some((place, format!("{one}, and {other}")));
            }
        }
    }
    None
}

/// The conditions that must all hold, with the place of the outermost one of each.
fn flatten(conditions: &[Condition]) -> Vec<(usize, &Condition)> {
    fn push<'a>(place: usize, one: &'a Condition, flat: &mut Vec<(usize, &'a Condition)>) {
        match one {
            Condition::All { conditions } => conditions.iter().for_each(|one| push(place, one, flat)),
            other => flat.push((place, other)),
        }
    }
    let mut flat = Vec::new();
    for (place, one) in conditions.iter().enumerate() {
        push(place, one, &mut flat);
    }
    flat
}

fn is_empty(condition: &Condition) -> bool {
    match condition {
        Condition::FieldIn { values, .. } => values.is_empty(),
        Condition::DayOfWeek { days, .. } => days.is_empty(),
        Condition::Any { conditions } => conditions.iter().all(is_empty),
        _ => false,
    }
}

/// Whether two conditions cannot both hold. Says no where it is not sure.
fn excludes(one: &Condition, other: &Condition) -> bool {
    if let Condition::Not { condition } = other {
        return implies(one, condition);
    }
    if one.field().is_none() || one.field() != other.field() {
        return false;
    }
    match one {
        Condition::FieldEquals { value, .. } => !other.accepts(value),
        Condition::FieldIn { values, .. } => values.iter().all(|value| !other.accepts(value)),
        Condition::FieldStartsWith { value, .. } => matches!(
            other,
            Condition::FieldStartsWith { value: second, .. }
                if !value.starts_with(second.as_str()) && !second.starts_with(value.as_str())
        ),
        _ => false,
    }
}

/// Whether `other` holds whenever `one` does. Says no where it is not sure.
fn implies(one: &Condition, other: &Condition) -> bool {
    if one == other {
        return true;
    }
    match other {
        Condition::All { conditions } => return conditions.iter().all(|part| implies(one, part)),
        Condition::Any { conditions } => return conditions.iter().any(|part| implies(one, part)),
        _ => {}
    }
    if one.field().is_none() || one.field() != other.field() {
        return false;
    }
    match (one, other) {
        (Condition::FieldEquals { value, .. }, _) => other.accepts(value),
        (Condition::FieldIn { values, .. }, _) => {
            !values.is_empty() && values.iter().all(|value| other.accepts(value))
        }
        (Condition::FieldExists { .. }, _) => false,
        // Only a null would not be there, and nothing else accepts a null.
        (_, Condition::FieldExists { .. }) => true,
        (
            Condition::FieldStartsWith { value: longer, .. },
            Condition::FieldStartsWith { value: shorter, .. },
        ) => longer.starts_with(shorter.as_str()),
        // A text that begins with something contains it.
        (
            Condition::FieldStartsWith { value: longer, .. },
            Condition::FieldContains { value: shorter, .. },
        ) => longer.contains(shorter.as_str()),
        _ => false,
    }
}

/// Whether every event that fires `one` also fires `other`. Says no where it is not sure.
fn covers(other: &Rule, one: &Rule) -> bool {
    let have = flatten(one.conditions());
    let need = flatten(other.conditions());
    need.iter().all(|(_, need)| have.iter().any(|(_, have)| implies(have, need)))
}

/// Findings about pairs of rules, each with the place of the rule it is about in the set.
pub(super) fn between_rules(set: &RuleSet, catalog: &Catalog) -> Vec<(usize, Diagnostic)> {
    let mut by_event: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (at, rule) in set.rules().iter().enumerate().filter(|(_, rule)| rule.enabled()) {
        by_event.entry(rule.listens_to()).or_default().push(at);
    }
    let mut findings = Vec::new();
    for group in by_event.values() {
        for (later, at) in group.iter().enumerate() {
            let rule = &set.rules()[*at];
            let others = group.iter().enumerate().filter(|(place, _)| *place != later);
            let found = others
                .into_iter()
                .find_map(|(place, other)| compare(rule, &set.rules()[*other], place < later, catalog));
            findings.extend(found.map(|finding| (*at, finding)));
        }
    }
    findings
}

/// What there is to say about `rule` because of `other`.
fn compare(rule: &Rule, other: &Rule, other_is_first: bool, catalog: &Catalog) -> Option<Diagnostic> {
    if !covers(other, rule) {
        return None;
    }
    let mutual = covers(rule, other);
    if mutual && !other_is_first {
        return None;
    }
    let warn = |code, message: String| {
        Diagnostic::new(Severity::Warning, code, &rule.source, rule.place(&["rule", "name"]), message)
            .related("the other rule", &other.source, other.place(&["rule", "name"]))
    };
    if mutual && rule.definition().actions == other.definition().actions {
        let message = format!("`{}` does the same as `{}`", rule.name(), other.name());
        return Some(warn(Code::DuplicateRule, message).help("remove one of them"));
    }
    let (connector, action) = shared_call(rule, other, catalog)?;
    let message = format!(
        "every event that fires `{}` also fires `{}`, and both run `{connector}.{action}`",
        rule.name(),
        other.name()
    );
    let help = format!("give `{}` a condition that leaves these events out", other.name());
    Some(warn(Code::ShadowedRule, message).help(help))
}

/// A mutating action that both rules run.
fn shared_call<'a>(one: &'a Rule, other: &Rule, catalog: &Catalog) -> Option<(&'a str, &'a str)> {
    one.steps().iter().find_map(|step| {
        let Action::RunConnector { connector, action, .. } = &step.action else {
            return None;
        };
        let harmless = catalog.action(connector, action).is_some_and(|declared| declared.read_only);
        let also = other.steps().iter().any(|step| {
            matches!(&step.action, Action::RunConnector { connector: c, action: a, .. }
                if c == connector && a == action)
        });
        (also && !harmless).then_some((connector.as_str(), action.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::path::{Path, Root};

    fn text() -> Path {
        Path { root: Root::Trigger, keys: vec!["text".to_owned()] }
    }

    fn equals(value: &str) -> Condition {
        Condition::FieldEquals { field: text(), value: Value::from(value) }
    }

    fn starts(value: &str) -> Condition {
        Condition::FieldStartsWith { field: text(), value: value.to_owned() }
    }

    #[test]
    fn what_implies_another_is_seen() {
        let contains = Condition::FieldContains { field: text(), value: "fix".to_owned() };
        let exists = Condition::FieldExists { field: text() };
        for (one, other, expected) in [
            (&equals("/fix"), &starts("/f"), true),
            (&starts("/fix it"), &starts("/fix"), true),
            (&starts("/fix"), &starts("/fix it"), false),
            (&starts("/fix"), &contains, true),
            (&contains, &starts("/fix"), false),
            (&contains, &exists, true),
            (&exists, &contains, false),
        ] {
            assert_eq!(implies(one, other), expected, "{one} => {other}");
        }
    }
}
