//! What an agent may do by itself, in a person's words.
//!
//! A target has the rules that the host knows: the connector's bound (`permissions`) and what
//! `host.toml` gives the daemon (`opencode_permissions`). The strictest of them holds for each kind;
//! an agent's own rules and opencode's configuration may be stricter still.

use std::collections::BTreeMap;

use connector_contract::Target;
use serde_json::{Map, Value, json};

/// The settings of a target that hold rules, the bound first.
const LAYERS: [&str; 2] = ["permissions", "opencode_permissions"];

/// A kind, as opencode does it without rules, and the words for each of the three.
const KINDS: [(&str, usize, [&str; 3]); 5] = [
    ("edit", 0, ["may edit", "asks before edits", "edits nothing"]),
    ("bash", 0, ["may run commands", "asks before commands", "runs no commands"]),
    ("webfetch", 0, ["may fetch from the web", "asks before fetches", "fetches nothing"]),
    (
        "external_directory",
        1,
        ["may leave the directory", "asks before it leaves the directory", "never leaves the directory"],
    ),
    ("task", 0, ["may start sub-agents", "asks before sub-agents", "starts no sub-agents"]),
];

/// `target` with the permission rules that its daemon is given, in opencode's own form.
pub fn under(mut target: Target, rules: &Map<String, Value>) -> Target {
    let rules = match (rules.get("permissions"), rules.get("permission")) {
        (Some(rules), _) => rules.clone(),
        (None, Some(Value::Object(rules))) => {
            // Every daemon is denied this.
            rules
                .iter()
                .filter(|(kind, _)| *kind != "execute")
                .map(|(kind, rule)| (kind.clone(), rule.clone()))
                .collect()
        }
        (None, _) => Value::Null,
    };
    if rules.as_object().is_none_or(|rules| !rules.is_empty()) && !rules.is_null() {
        target.settings.insert(LAYERS[1].to_owned(), rules);
    }
    target
}

/// The rules themselves, a line for each setting that holds some.
pub fn whole(settings: &BTreeMap<String, Value>) -> Vec<String> {
    let held = LAYERS.iter().filter_map(|key| Some((key, settings.get(*key)?)));
    held.map(|(key, rules)| format!("{key} {}", json!(rules))).collect()
}

/// Whether `key` of a target's settings is told by [`words`].
pub fn tells(key: &str) -> bool {
    LAYERS.contains(&key)
}

/// What the agent may do at most; nothing where a target has no rules.
pub fn words(settings: &BTreeMap<String, Value>) -> Option<String> {
    let layers: Vec<&Value> = LAYERS.iter().filter_map(|key| settings.get(*key)).collect();
    if layers.is_empty() {
        return None;
    }
    if layers.iter().any(|layer| !layer.is_object()) {
        return Some("what its rules say; `approvals show` has them".to_owned());
    }
    let told = KINDS.iter().map(|(kind, default, words)| {
        // The daemon's configuration takes the place of opencode's own; the bound only tightens.
        let of = |key: &str, names: &[&str]| settings.get(key).and_then(|layer| general(layer, names));
        // Which alone knows other names of edits: a daemon of 1.x asks about all of them as `edit`.
        let bound: &[&str] = if *kind == "edit" { &["edit", "write", "patch"] } else { &[*kind] };
        let strictest = of(LAYERS[1], &[*kind]).unwrap_or(*default).max(of(LAYERS[0], bound).unwrap_or(0));
        let except = layers.iter().any(|layer| layer.get(*kind).is_some_and(has_patterns));
        format!("{}{}", words[strictest], if except { " (with exceptions)" } else { "" })
    });
    let told = told.collect::<Vec<_>>().join("; ");
    Some(format!("at most: {told}. Stricter where the agent or opencode's configuration is"))
}

/// How strict a layer is in general about a kind that has these names in it, if it says so.
fn general(layer: &Value, names: &[&str]) -> Option<usize> {
    let of = |rule: &Value| match rule {
        Value::Object(patterns) => patterns.get("*").and_then(strictness),
        action => strictness(action),
    };
    let strictest = names.iter().filter_map(|name| layer.get(*name).and_then(of)).max();
    strictest.or_else(|| layer.get("*").and_then(of))
}

fn has_patterns(rule: &Value) -> bool {
    rule.as_object().is_some_and(|patterns| patterns.keys().any(|pattern| pattern != "*"))
}

fn strictness(action: &Value) -> Option<usize> {
    ["allow", "ask", "deny"].iter().position(|word| action == word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(bound: Value, daemon: Value) -> String {
        let layers = [("permissions", bound), ("opencode_permissions", daemon)];
        let given = layers.into_iter().filter(|(_, layer)| !layer.is_null());
        words(&given.map(|(key, layer)| (key.to_owned(), layer)).collect()).unwrap_or_default()
    }

    #[test]
    fn rules_are_told_in_a_persons_words() {
        let chat = json!({
            "bash": "ask", "doom_loop": "deny", "external_directory": "deny", "task": "deny", "webfetch": "ask",
        });
        insta::assert_snapshot!(told(chat.clone(), Value::Null), @"at most: may edit; asks before commands; asks before fetches; never leaves the directory; starts no sub-agents. Stricter where the agent or opencode's configuration is");
        insta::assert_snapshot!(told(chat.clone(), json!({ "bash": "deny", "edit": "deny" })), @"at most: edits nothing; runs no commands; asks before fetches; never leaves the directory; starts no sub-agents. Stricter where the agent or opencode's configuration is");
        insta::assert_snapshot!(told(chat, json!({ "bash": "allow", "external_directory": "allow" })), @"at most: may edit; asks before commands; asks before fetches; never leaves the directory; starts no sub-agents. Stricter where the agent or opencode's configuration is");
        insta::assert_snapshot!(told(Value::Null, json!({ "bash": { "*": "ask", "git *": "allow" }, "external_directory": "allow" })), @"at most: may edit; asks before commands (with exceptions); may fetch from the web; may leave the directory; may start sub-agents. Stricter where the agent or opencode's configuration is");
        insta::assert_snapshot!(told(json!({ "*": "deny", "write": "ask" }), Value::Null), @"at most: asks before edits; runs no commands; fetches nothing; never leaves the directory; starts no sub-agents. Stricter where the agent or opencode's configuration is");
        for (bound, daemon, words) in [
            (Value::Null, json!({ "write": "deny", "patch": "deny" }), "may edit"),
            (Value::Null, json!({ "edit": "ask", "write": "deny" }), "asks before edits"),
            (json!({ "write": "deny" }), Value::Null, "edits nothing"),
        ] {
            let told = told(bound, daemon);
            assert!(told.starts_with(&format!("at most: {words};")), "{told}");
        }
        insta::assert_snapshot!(told(Value::Null, Value::Null), @"");
    }
}
