//! What the proxies are told: a value, complete before anything listens.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;
use url::Url;

use crate::policy::Policy;

/// The proxies of one daemon. It holds keys: it is written to the process's standard input and to
/// nothing else, and its `Debug` shows none.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The model proxy.
    pub models: Option<ModelPlan>,
    /// The egress proxy.
    pub network: Option<NetworkPlan>,
    /// The ports of this machine's loopback that connections are passed on to as they are.
    #[serde(default)]
    pub loopback: Vec<u16>,
    /// The file that the [`Record`](crate::Record) is kept in; none is kept when absent.
    pub record: Option<PathBuf>,
}

/// A reverse proxy to model providers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPlan {
    /// What clients are given in place of a key.
    pub token: Secret,
    /// The providers, each below a path of its own.
    pub providers: Vec<Provider>,
}

/// One model provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its name, as usage is recorded under it.
    pub name: String,
    /// The first segment of the paths that lead to it.
    pub segment: String,
    /// Its own address, which the rest of the path is appended to.
    pub upstream: Url,
    /// What goes in the token's place; without one, the token is taken out.
    pub key: Option<Secret>,
    /// Headers that every request gets, in place of what the client sent under their names.
    #[serde(default)]
    pub headers: Vec<(String, Secret)>,
}

/// A forward proxy to named hosts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPlan {
    /// What may be reached.
    pub policy: Policy,
}

impl Plan {
    /// Whether there is nothing to serve.
    pub fn is_empty(&self) -> bool {
        self.models.is_none() && self.network.is_none() && self.loopback.is_empty()
    }
}

/// A text that is not shown. Comparing two takes the same time wherever they differ.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `text` is the same.
    pub fn is(&self, text: &[u8]) -> bool {
        self.expose().as_bytes().ct_eq(text).into()
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(SecretString::from(text.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_back_as_written_and_shows_no_secret() {
        let provider = Provider {
            name: "anthropic".into(),
            segment: "anthropic".into(),
            upstream: "https://api.anthropic.com/v1".parse().unwrap(),
            key: Some("sk-key".into()),
            headers: vec![("x-team".into(), "sk-team".into())],
        };
        let models = ModelPlan { token: "sk-token".into(), providers: vec![provider] };
        let plan = Plan { models: Some(models), record: Some("/state/record".into()), ..Plan::default() };
        let written = serde_json::to_string(&plan).unwrap();
        let read: Plan = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
        assert!(written.contains("sk-key"));
        let shown = format!("{plan:?}");
        assert!(shown.contains("anthropic") && !shown.contains("sk-"), "{shown}");
    }
}
