//! `[webhooks]`: where requests from outside come in, and how each shows whose it is.

use std::collections::BTreeMap;

use connector_files::AbsolutePath;
use connector_rules::HookPath;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::Loopback;

/// Requests from outside that fire rules with a trigger of type `Webhook`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhooksConfig {
    /// A port of this machine where requests are taken, such as `127.0.0.1:4403`; a reverse proxy brings them there.
    pub listen: Option<Loopback>,
    /// The longest body, in bytes.
    #[schemars(range(min = 1, max = 26_214_400))]
    pub max_bytes: usize,
    /// How far the time that a request was signed at may be from now, in seconds.
    #[schemars(range(min = 1, max = 3600))]
    pub tolerance_secs: u64,
    /// How long the same body is the same delivery where a request has no id, in seconds.
    #[schemars(range(min = 1, max = 604_800))]
    pub repeat_secs: u64,
    /// The webhooks, by the paths that rules name.
    #[schemars(with = "BTreeMap<String, HookConfig>")]
    pub paths: BTreeMap<HookPath, HookConfig>,
}

impl WebhooksConfig {
    /// No body is longer, whatever is configured: GitHub's are not.
    pub const MOST_BYTES: u64 = 25 << 20;
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            listen: None,
            max_bytes: 1 << 20,
            tolerance_secs: 300,
            repeat_secs: 600,
            paths: BTreeMap::new(),
        }
    }
}

/// One webhook.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookConfig {
    /// How a request shows whose it is.
    pub verify: Verify,
    /// What only the sender knows too: `env:VARIABLE`, or `file:PATH` of a file that nobody else may read.
    #[serde(default)]
    pub secret: Option<SecretSource>,
    /// The header with the signature or the token, where it is not the usual one.
    #[serde(default)]
    pub header: Option<String>,
    /// The header with the delivery's own id, where it is not the usual one.
    #[serde(default)]
    pub id_header: Option<String>,
    /// The headers that rules may read, beside `x-github-event` and `x-gitlab-event`.
    #[serde(default)]
    pub headers: Vec<String>,
}

/// How a request shows whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// By the HMAC-SHA256 of its body, as GitHub and Gitea sign it.
    Github,
    /// By Standard Webhooks, as Svix and many others sign.
    Standard,
    /// By the secret itself in a header, as GitLab sends it.
    Token,
    /// It does not: whoever reaches the port is heard.
    None,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum SecretSource {
    /// In a variable of the host's environment.
    Variable(String),
    /// In a file.
    File(AbsolutePath),
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Variable(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(AbsolutePath::of_base(path))),
            // What stands there may be the secret itself.
            _ => Err(serde::de::Error::custom(
                "a secret is named and not written here: `env:VARIABLE`, or `file:PATH`",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use connector_files::Base;

    use super::*;

    fn read(text: &str) -> Result<WebhooksConfig, String> {
        let base = Base::new(AbsolutePath::new("/etc/host").unwrap(), Some("/home/anna".into()));
        base.reading(|| toml::from_str(text)).map_err(|error: toml::de::Error| error.to_string())
    }

    fn secret(written: &str) -> Result<Option<SecretSource>, String> {
        let text = format!("[paths.\"/ci\"]\nverify = \"github\"\nsecret = \"{written}\"\n");
        read(&text).map(|config| config.paths.into_values().next().and_then(|hook| hook.secret))
    }

    #[test]
    fn a_secret_is_named_and_not_written_down() {
        let file = |path: &str| Some(SecretSource::File(AbsolutePath::new(path).unwrap()));
        assert_eq!(secret("env:CI").unwrap(), Some(SecretSource::Variable("CI".to_owned())));
        assert_eq!(secret("file:ci.secret").unwrap(), file("/etc/host/ci.secret"));
        assert_eq!(secret("file:~/ci.secret").unwrap(), file("/home/anna/ci.secret"));
        for written in ["hunter2-hunter2-hunter2", "env:", "file:", "Env:CI", ""] {
            assert!(secret(written).unwrap_err().contains("is named and not written here"), "{written}");
        }
    }

    #[test]
    fn how_a_request_is_checked_must_be_said() {
        assert!(read("[paths.\"/ci\"]\n").unwrap_err().contains("verify"));
        assert!(read("[paths.\"/ci\"]\nverify = \"none\"\n").is_ok());
        assert!(
            read("[paths.\"/../ci\"]\nverify = \"none\"\n").unwrap_err().contains("no path of a webhook")
        );
    }
}
