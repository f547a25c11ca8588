//! Reading what a connector is given.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Decodes `value`, a connector's settings or an action's input.
///
/// # Errors
///
/// Words that name the key, as in `` `tools.edit`: invalid type: integer, expected a string ``, and quote no
/// text or number of `value`: one in the wrong place may be a secret. Keys are quoted, and cut where they are long.
pub fn decode<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (at, reason) = (error.path().to_string(), unquoted(&error.inner().to_string()));
        // A key that is missing or unknown is named by the reason.
        let named = at == "." || reason.contains(&format!("`{at}`"));
        short(if named { reason } else { format!("`{at}`: {reason}") })
    })
}

/// What serde says before a value of a wrong type or name, which it quotes in backticks.
const BEFORE_A_VALUE: [&str; 5] = ["unknown variant", "integer", "floating point", "boolean", "character"];
/// The longest reason, in characters.
const LONGEST: usize = 400;

/// The text of an error without the values that it quotes: from the first quotation mark to the last, since
/// what is quoted may contain some, and in backticks after serde's words for a value.
pub fn unquoted(reason: &str) -> String {
    let mut text = match (reason.find('"'), reason.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}\"…\"{}", &reason[..first], &reason[last + 1..])
        }
        _ => reason.to_owned(),
    };
    for word in BEFORE_A_VALUE {
        let Some((before, rest)) = text.split_once(&format!("{word} `")) else { continue };
        // A name that has a backtick of its own ends where the expected ones begin.
        let end = rest.find("`, expected").or_else(|| rest.rfind('`'));
        let Some(end) = end else { continue };
        text = format!("{before}{word}{}", &rest[end + 1..]);
    }
    text
}

fn short(mut text: String) -> String {
    if let Some((cut, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(cut);
        text.push('…');
    }
    text
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
        #[serde(default)]
        mode: Mode,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Slow,
        Fast,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "read by the derive alone")]
    struct Tool {
        limit: u8,
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_key_and_not_quoted() {
        for (value, words) in [
            (json!({ "base_url": 7 }), "`base_url`: invalid type: integer, expected a string"),
            (
                json!({ "base_url": "a", "tools": [{ "limit": 1 }, { "limit": "s3\"cret" }] }),
                "`tools[1].limit`: invalid type: string \"…\", expected u8",
            ),
            (
                json!({ "base_url": "a", "mode": "s3c`ret" }),
                "`mode`: unknown variant, expected `slow` or `fast`",
            ),
            (json!({ "base_url": 8462.5 }), "`base_url`: invalid type: floating point, expected a string"),
            (json!({ "base_url": true }), "`base_url`: invalid type: boolean, expected a string"),
            (json!({}), "missing field `base_url`"),
            (json!({ "base_url": "a", "tools": [{}] }), "`tools[0]`: missing field `limit`"),
            (
                json!({ "base_url": "a", "base_ur": "s3cret" }),
                "unknown field `base_ur`, expected one of `base_url`, `tools`, `mode`",
            ),
            (json!("s3cret"), "invalid type: string \"…\", expected struct Settings"),
        ] {
            assert_eq!(decode::<Settings>(value.clone()).unwrap_err(), words, "{value}");
        }
        assert!(decode::<Settings>(json!({ "base_url": "a" })).is_ok());
        let long = decode::<Settings>(json!({ "base_url": "a", "k".repeat(1 << 20): 1 })).unwrap_err();
        assert!(long.starts_with("unknown field `kkk") && long.len() < 500, "{long:.100} {}", long.len());
    }
}
