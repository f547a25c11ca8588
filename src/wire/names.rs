//! Kinds of rules in a daemon's own names.

use crate::permissions::WireRule;

/// Where several of our kinds are one of theirs, what that one may do is what each of
/// them may: the strictest wins. The rules come where the last of the kinds stood.
pub(super) fn as_known(rules: Vec<WireRule>, theirs: fn(&str) -> &str) -> Vec<WireRule> {
    let mut kinds: Vec<(String, Vec<WireRule>)> = Vec::new();
    for rule in rules {
        match kinds.iter_mut().find(|(kind, _)| *kind == rule.permission) {
            Some((_, known)) => known.push(rule),
            None => kinds.push((rule.permission.clone(), vec![rule])),
        }
    }
    let mut merged: Vec<(String, Vec<WireRule>)> = Vec::new();
    for (kind, mut rules) in kinds {
        let kind = theirs(&kind).to_owned();
        for rule in &mut rules {
            rule.permission.clone_from(&kind);
        }
        if let Some(at) = merged.iter().position(|(known, _)| *known == kind) {
            rules = strictest(merged.remove(at).1, rules);
        }
        merged.push((kind, rules));
    }
    merged.into_iter().flat_map(|(_, rules)| rules).collect()
}

/// Rules for the same patterns are merged one by one. Of others the stricter come
/// last and so win, whatever their pattern: that may forbid more than either list
/// does, and never allows more.
fn strictest(mut one: Vec<WireRule>, other: Vec<WireRule>) -> Vec<WireRule> {
    if one.iter().map(|rule| &rule.pattern).eq(other.iter().map(|rule| &rule.pattern)) {
        for (rule, other) in one.iter_mut().zip(other) {
            if other.action > rule.action {
                rule.action = other.action;
            }
        }
    } else {
        one.extend(other);
        one.sort_by_key(|rule| rule.action);
    }
    one
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::permissions::Permissions;

    #[test]
    fn kinds_that_2_x_does_not_tell_apart_get_the_strictest_of_their_rules() {
        for (rules, expected) in [
            (json!({ "edit": "deny", "write": "allow" }), "edit * deny"),
            (json!({ "edit": "allow", "write": "deny", "patch": "ask" }), "edit * deny"),
            (json!({ "edit": "allow", "patch": "ask" }), "edit * ask"),
            (json!({ "bash": "deny", "shell": "allow", "task": "ask" }), "subagent * ask, shell * deny"),
            (
                json!({ "edit": { "*": "ask", "docs/*": "allow" }, "write": { "*": "deny", "docs/*": "allow" } }),
                "edit * deny, edit docs/* allow",
            ),
            (
                json!({ "edit": { "*": "deny", "docs/*": "allow" }, "write": "allow" }),
                "edit docs/* allow, edit * allow, edit * deny",
            ),
            (
                json!({ "edit": "allow", "write": { "secret/*": "deny" }, "webfetch": "ask" }),
                "edit * allow, edit secret/* deny, webfetch * ask",
            ),
            (json!({ "edit": { "*": "ask", "docs/*": "allow" } }), "edit * ask, edit docs/* allow"),
        ] {
            let permissions: Permissions = serde_json::from_value(rules.clone()).unwrap();
            let shown = |rule: WireRule| {
                let action: Value = json!(rule.action);
                format!("{} {} {}", rule.permission, rule.pattern, action.as_str().unwrap())
            };
            let got: Vec<String> =
                as_known(permissions.wire(), crate::wire::v2::theirs).into_iter().map(shown).collect();
            assert_eq!(got.join(", "), expected, "{rules}");
        }
    }
}
