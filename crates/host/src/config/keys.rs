//! Keys of a `host.toml` that nothing reads, each with the one that was probably meant.

use std::fmt;
use std::ops::Range;

use connector_rules::suggest;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::schema;

/// A key that nothing reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// Where in the text it stands.
    pub span: Range<usize>,
    /// The whole key: `gate.expiry_sec`.
    pub key: String,
    /// What to write instead, or what there is.
    pub help: String,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no key `{}`; {}", self.key, self.help)
    }
}

/// Every such key of `text`, in its order; none where it is no TOML.
pub fn unknown_keys(text: &str) -> Vec<UnknownKey> {
    let Ok(table) = DeTable::parse(text) else { return Vec::new() };
    let mut found = Vec::new();
    walk(table.get_ref(), schema(), "", &mut found);
    found.sort_by_key(|unknown| unknown.span.start);
    found
}

fn walk(table: &DeTable<'_>, shape: &Value, path: &str, found: &mut Vec<UnknownKey>) {
    let shape = chosen(resolved(shape), table);
    let Some(shape) = shape.as_object() else { return };
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let whole = joined(path, name);
        match below(shape, name) {
            Some(shape) => match value.get_ref() {
                DeValue::Table(table) => walk(table, shape, &whole, found),
                DeValue::Array(items) => {
                    let items = items
                        .iter()
                        .enumerate()
                        .filter_map(|(at, item)| Some((format!("{whole}.{at}"), item.get_ref().as_table()?)));
                    let shape = resolved(shape);
                    for (whole, item) in items {
                        walk(item, &shape["items"], &whole, found);
                    }
                }
                _ => {}
            },
            None if shape.get("additionalProperties") == Some(&Value::Bool(false)) => {
                found.push(UnknownKey { span: key.span(), help: help(shape, name), key: whole });
            }
            None => {}
        }
    }
}

/// What is said of `key` in a table of this shape.
pub(super) fn below<'s>(shape: &'s Map<String, Value>, key: &str) -> Option<&'s Value> {
    let named = shape.get("properties").and_then(|keys| keys.get(key));
    named.or_else(|| shape.get("additionalProperties").filter(|any| any.is_object()))
}

/// The schema that a reference is to.
pub(super) fn resolved(shape: &Value) -> &Value {
    let path = shape.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
    path.and_then(|path| schema().pointer(path)).unwrap_or(shape)
}

/// The branch that what the table says chooses; the shape itself where it leaves no choice.
fn chosen<'s>(shape: &'s Value, table: &DeTable<'_>) -> &'s Value {
    let Some(condition) = shape.get("if") else { return shape };
    if let Some(kind) = condition.get("type") {
        return resolved(&shape[if kind == "object" { "then" } else { "else" }]);
    }
    let mut wanted = condition["properties"].as_object().into_iter().flatten();
    let holds = wanted.all(|(key, wanted)| {
        let found = table.get(key.as_str()).and_then(|found| found.get_ref().as_str());
        found == wanted["const"].as_str()
    });
    // One of several connectors is chosen from the first to the last.
    chosen(resolved(&shape[if holds { "then" } else { "else" }]), table)
}

fn help(shape: &Map<String, Value>, key: &str) -> String {
    let known: Vec<&str> = shape
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, _)| &**key)
        .collect();
    suggest(key, known.iter().copied()).unwrap_or_else(|| {
        let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
        format!("there is {}", known.join(", "))
    })
}

pub(super) fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<(String, String)> {
        let told = |it: UnknownKey| (text[it.span.clone()].to_owned(), it.to_string());
        unknown_keys(text).into_iter().map(told).collect()
    }

    #[test]
    fn each_misspelt_key_is_found_where_it_stands_with_what_was_meant() {
        for (text, key, words) in [
            ("rulse = \"r\"", "rulse", "there is no key `rulse`; did you mean `rules`?"),
            ("[gate]\nexpiry_sec = 1", "expiry_sec", "did you mean `expiry_secs`?"),
            ("[[gate.policy]]\nactoin = \"a\"", "actoin", "`gate.policy.0.actoin`; did you mean `action`?"),
            ("[workspaces.app]\ndirectroy = \"/a\"", "directroy", "did you mean `directory`?"),
            ("[opencode]\nmax_server = 1", "max_server", "did you mean `max_servers`?"),
            ("[opencode.workspaces.a]\n", "workspaces", "there is no key `opencode.workspaces`"),
            ("[connectors.connector-opencode]\nmodle = \"a/b\"", "modle", "did you mean `model`?"),
            ("[connectors.a]\nuse = \"connector-opencode\"\nask = 1", "ask", "did you mean `asks`?"),
            (
                "[connectors.a]\nuse = \"connector-opencode\"\nlimits = { prompt = 1 }",
                "prompt",
                "`connectors.a.limits.prompt`; did you mean `prompt_bytes`?",
            ),
            ("[surfaces.telegram]\nbot_tokn = \"s\"", "bot_tokn", "did you mean `bot_token`?"),
            ("[surfaces.matrix]\nrooms = []", "rooms", "there is `"),
            ("[surfaces.irc]\n", "irc", "there is `telegram`, `matrix`"),
            ("[people.ann]\naccount = []", "account", "did you mean `accounts`?"),
            ("[routing.task_overrides]\nwriting = 'a/b'", "writing", "there is `coding`"),
            ("[plugin_trust]\nkey = {}", "key", "did you mean `keys`?"),
        ] {
            let told = told(text);
            assert_eq!(told.len(), 1, "{text}: {told:?}");
            assert_eq!(told[0].0, key, "{text}");
            assert!(told[0].1.contains(words), "{text}: {}", told[0].1);
        }
    }

    #[test]
    fn all_of_them_are_found_in_their_order() {
        let keys: Vec<_> = told("[gate]\nb = 1\n[x]\ny = 1\n").into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["b", "x"]);
    }

    #[test]
    fn what_is_of_a_package_or_of_opencode_itself_is_left_to_them() {
        for text in [
            "[connectors.weather]\nuse = \"plugin:connector-weather\"\nstation = 1",
            "[connectors.connector-weather]\nstation = 1",
            "[workspaces.a]\ndirectory = \"/a\"\nextra_config = { provider = { x = 1 } }",
            "[opencode.permissions]\nbash = \"ask\"",
            "opencode = \"/bin/opencode\"",
            "[connectors.connector-opencode.permissions]\nbash = { \"git *\" = \"allow\" }",
        ] {
            assert_eq!(told(text), [], "{text}");
        }
    }
}
