//! MCP servers that a daemon starts: none needs its password, which opencode hands to each with its own environment.

use opencode_api::PASSWORD_VARIABLES;
use serde_json::{Value, json};

/// Empties the password in the environment of each of these settings' servers that is a program; says whether there was any.
pub(crate) fn without_password(settings: &mut Value) -> bool {
    let servers = settings.get_mut("mcp").and_then(Value::as_object_mut);
    let mut any = false;
    for server in servers.into_iter().flat_map(|servers| servers.values_mut()) {
        let Some(server) = server.as_object_mut().filter(|it| it.contains_key("command")) else { continue };
        let environment = server.entry("environment").or_insert_with(|| json!({}));
        // One of another form is opencode's to refuse.
        let Some(environment) = environment.as_object_mut() else { continue };
        for name in PASSWORD_VARIABLES {
            environment.insert(name.to_owned(), json!(""));
            any = true;
        }
    }
    any
}

/// The same of a text; as it was where it has none.
pub(crate) fn text_without_password(text: String) -> String {
    let parsed = jsonc_parser::parse_to_serde_value::<Value>(&text, &jsonc_parser::ParseOptions::default());
    let Ok(mut settings) = parsed else { return text };
    if !without_password(&mut settings) {
        return text;
    }
    serde_json::to_string_pretty(&settings).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_that_settings_start_is_handed_the_password_and_nothing_else_changes() {
        for (text, expected) in [
            (
                r#"{"mcp":{"a":{"type":"local","command":["x"],"environment":{"K":"{env:K}"}}}}"#,
                Some(json!({ "K": "{env:K}" })),
            ),
            (r#"{"mcp":{"a":{"type":"local","command":["x"]}}, /* more */}"#, Some(json!({}))),
            (
                r#"{"mcp":{"a":{"type":"local","command":["x"],"environment":{"OPENCODE_PASSWORD":"mine"}}}}"#,
                Some(json!({})),
            ),
            (r#"{"mcp":{"a":{"type":"remote","url":"https://x.example"}}}"#, None),
            (r#"{"mcp":{"a":{"enabled":false}}}"#, None),
            ("{ // none\n}", None),
            ("not JSON", None),
        ] {
            let after = text_without_password(text.to_owned());
            let Some(mut expected) = expected else {
                assert_eq!(after, text);
                continue;
            };
            for name in PASSWORD_VARIABLES {
                expected[name] = json!("");
            }
            let after: Value = serde_json::from_str(&after).unwrap();
            assert_eq!(after["mcp"]["a"]["environment"], expected, "{text}");
            assert_eq!(after["mcp"]["a"]["command"], json!(["x"]));
        }
    }
}
