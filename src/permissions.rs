//! What the agent may do by itself, and what it must ask for.
//!
//! Permission rules are a bound: they only ever tighten what the daemon's own
//! configuration and the agent say ([`tighten`]). Without rules of the operator's
//! own, work that came from a chat gets [`Permissions::for_chat`].

mod glob;
pub(crate) mod tighten;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens when the agent wants to use a tool. Later ones are stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It does.
    Allow,
    /// It asks, and waits for the answer.
    Ask,
    /// It does not.
    Deny,
}

/// Rules by kind (see [`Permissions::sealed`] about `task`): `bash`, `edit`, `webfetch`, `external_directory`, `doom_loop`,
/// `question`, `*`, … Each is one action, or an action for each pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Permissions(pub BTreeMap<String, Rule>);

/// The rule of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Rule {
    /// For everything of this kind.
    All(Action),
    /// By pattern, such as `git *`. Longer patterns win over shorter ones.
    Patterns(BTreeMap<String, Action>),
}

/// One rule as the daemon takes it; of several that match, its last wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireRule {
    /// The kind.
    pub permission: String,
    /// What of it.
    pub pattern: String,
    /// What happens.
    pub action: Action,
}

impl Permissions {
    /// What work from a chat may do at most unless the operator says otherwise: edit
    /// inside the directory; ask before each command and each fetch; never leave
    /// the directory, never loop, no sub-agents, and no other agent in its place.
    pub fn for_chat() -> Self {
        let rules = [
            ("bash", Action::Ask),
            ("doom_loop", Action::Deny),
            ("external_directory", Action::Deny),
            ("plan_enter", Action::Deny),
            ("plan_exit", Action::Deny),
            ("webfetch", Action::Ask),
            ("websearch", Action::Ask),
        ];
        Self(rules.into_iter().map(|(kind, action)| (kind.to_owned(), Rule::All(action))).collect()).sealed()
    }

    /// The same without a way around: the daemon hands a sub-agent's session the
    /// rules that deny and not those that ask, so an agent that must ask could let
    /// a sub-agent do it unasked. Rules that ask therefore deny `task`, unless
    /// they name it themselves.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        let asks = |rule: &Rule| match rule {
            Rule::All(action) => *action == Action::Ask,
            Rule::Patterns(patterns) => patterns.values().any(|action| *action == Action::Ask),
        };
        if self.0.values().any(asks) {
            self.0.entry("task".to_owned()).or_insert(Rule::All(Action::Deny));
        }
        self
    }

    /// A pattern that would never match: a daemon expands a home directory in its own configuration alone.
    pub(crate) fn unexpanded(&self) -> Option<&str> {
        let is_one = |pattern: &&String| {
            pattern.as_str() == "~" || pattern.starts_with("~/") || pattern.starts_with("$HOME")
        };
        let patterns = self.0.values().filter_map(|rule| match rule {
            Rule::All(_) => None,
            Rule::Patterns(patterns) => patterns.keys().find(is_one),
        });
        patterns.map(String::as_str).next()
    }

    /// The rules in the order the daemon wants: general before particular.
    pub fn wire(&self) -> Vec<WireRule> {
        let mut rules = Vec::new();
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|(kind, _)| (kind.as_str() != "*", kind.len()));
        for (kind, rule) in kinds {
            let mut add = |pattern: &str, action| {
                rules.push(WireRule { permission: kind.clone(), pattern: pattern.to_owned(), action });
            };
            match rule {
                Rule::All(action) => add("*", *action),
                Rule::Patterns(patterns) => {
                    let mut patterns: Vec<_> = patterns.iter().collect();
                    patterns.sort_by_key(|(pattern, _)| pattern.len());
                    for (pattern, action) in patterns {
                        add(pattern, *action);
                    }
                }
            }
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_rules_come_before_particular_ones() {
        let permissions: Permissions = serde_json::from_value(serde_json::json!({
            "bash": { "git push *": "ask", "*": "deny", "git *": "allow" },
            "*": "ask",
        }))
        .unwrap();
        let wire: Vec<_> = permissions
            .wire()
            .into_iter()
            .map(|rule| format!("{} {}", rule.permission, rule.pattern))
            .collect();
        assert_eq!(wire, ["* *", "bash *", "bash git *", "bash git push *"]);
    }

    #[test]
    fn work_from_a_chat_never_leaves_the_directory() {
        let rules = Permissions::for_chat().wire();
        let action = |kind: &str| rules.iter().find(|rule| rule.permission == kind).map(|rule| rule.action);
        assert_eq!(action("external_directory"), Some(Action::Deny));
        assert_eq!(action("bash"), Some(Action::Ask));
    }

    #[test]
    fn rules_that_ask_leave_no_way_through_a_sub_agent() {
        use serde_json::json;
        let sealed = |rules: serde_json::Value| {
            let permissions: Permissions = serde_json::from_value(rules).unwrap();
            serde_json::to_value(permissions.sealed()).unwrap()["task"].clone()
        };
        assert_eq!(sealed(json!({ "bash": "ask" })), "deny");
        assert_eq!(sealed(json!({ "bash": { "git *": "allow", "*": "ask" } })), "deny");
        assert_eq!(sealed(json!({ "bash": "ask", "task": "allow" })), "allow");
        assert_eq!(sealed(json!({ "bash": "deny", "edit": "allow" })), json!(null));
    }

    #[test]
    fn an_unknown_action_is_refused() {
        for bad in [r#"{"bash":"maybe"}"#, r#"{"bash":{"*":"ALLOW"}}"#, r#"{"bash":true}"#] {
            assert!(serde_json::from_str::<Permissions>(bad).is_err(), "{bad}");
        }
    }
}
