//! Secrets that a configuration holds.

use opencode_daemons::Environment;
use secrecy::SecretString;
use serde_json::Value;

/// Gathers what a setting says is secret, at any depth: values of variables, and of keys that name a secret.
pub(crate) fn gather(key: &str, value: &Value, environment: &Environment, secrets: &mut Vec<SecretString>) {
    match value {
        Value::Object(fields) => {
            for (own, value) in fields {
                gather(&format!("{key}.{own}"), value, environment, secrets);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(key, item, environment, secrets)),
        Value::String(text) => {
            let key = key.to_ascii_lowercase();
            let secret = ["password", "token", "secret", "key", "authorization"];
            let named = secret.iter().any(|name| key.contains(name));
            let secret = match text.strip_prefix("env:") {
                Some(name) => environment.get(name).and_then(|it| it.to_str()),
                None => Some(text.as_str()).filter(|_| named),
            };
            // The secret of `Bearer SECRET` is told of without its scheme too.
            let bare = secret.and_then(|secret| secret.split_once(' ')).map(|(_, bare)| bare.trim());
            let bare = bare.filter(|bare| !bare.contains(char::is_whitespace));
            secrets.extend(secret.into_iter().chain(bare).map(SecretString::from));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_setting_names_as_secret_or_takes_from_a_variable_is_gathered_at_any_depth() {
        let environment = Environment::default().with("VALUE", "of-a-variable");
        for (key, value, found) in [
            ("password", json!("hunter2-hunter2"), vec!["hunter2-hunter2"]),
            ("model", json!("a/b"), vec![]),
            ("url", json!("env:VALUE"), vec!["of-a-variable"]),
            ("url", json!("env:UNSET"), vec![]),
            ("headers", json!({ "api_key": "sk-1", "accept": "x" }), vec!["sk-1"]),
            ("apiKey", json!("sk-2"), vec!["sk-2"]),
            (
                "headers",
                json!({ "Authorization": "Bearer sk-2", "X-Api-Key": "sk-3", "token": "one of three" }),
                vec!["Bearer sk-2", "sk-2", "sk-3", "one of three"],
            ),
            ("tokens", json!([{ "a": "one" }, "two"]), vec!["one", "two"]),
            ("port", json!(1), vec![]),
        ] {
            let mut secrets = Vec::new();
            gather(key, &value, &environment, &mut secrets);
            let secrets: Vec<&str> = secrets.iter().map(SecretString::expose_secret).collect();
            assert_eq!(secrets, found, "{key} = {value}");
        }
    }
}
