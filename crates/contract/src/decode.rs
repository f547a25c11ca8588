//! Reading what a connector is given.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Decodes `value`, a connector's settings or an action's input.
///
/// # Errors
///
/// Words that name the key, as in `` `tools.edit`: invalid type: integer `7`, expected a string ``, and quote none of the
/// texts in `value`: one in the wrong place may be a secret.
pub fn decode<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (at, reason) = (error.path().to_string(), unquoted(&error.inner().to_string()));
        // A key that is missing or unknown is named by the reason.
        let named = at == "." || reason.contains(&format!("`{at}`"));
        if named { reason } else { format!("`{at}`: {reason}") }
    })
}

/// The text of an error without what it quotes: from the first quotation mark to the last, since
/// what is quoted may contain some.
pub fn unquoted(reason: &str) -> String {
    match (reason.find('"'), reason.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}\"…\"{}", &reason[..first], &reason[last + 1..])
        }
        _ => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read by the derive alone")]
    struct Settings {
        base_url: String,
        #[serde(default)]
        tools: Vec<Tool>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "read by the derive alone")]
    struct Tool {
        limit: u8,
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_key_and_not_quoted() {
        for (value, words) in [
            (json!({ "base_url": 7 }), "`base_url`: invalid type: integer `7`, expected a string"),
            (
                json!({ "base_url": "a", "tools": [{ "limit": 1 }, { "limit": "s3\"cret" }] }),
                "`tools[1].limit`: invalid type: string \"…\", expected u8",
            ),
            (json!({}), "missing field `base_url`"),
            (json!({ "base_url": "a", "tools": [{}] }), "`tools[0]`: missing field `limit`"),
            (
                json!({ "base_url": "a", "base_ur": "s3cret" }),
                "unknown field `base_ur`, expected `base_url` or `tools`",
            ),
            (json!("s3cret"), "invalid type: string \"…\", expected struct Settings"),
        ] {
            assert_eq!(decode::<Settings>(value.clone()).unwrap_err(), words, "{value}");
        }
        assert!(decode::<Settings>(json!({ "base_url": "a" })).is_ok());
    }
}
