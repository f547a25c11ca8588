//! Webhooks: whether a request is from who it says, and which delivery it is.
//!
//! A [`Hook`] is one path of `[webhooks]` with its secret in hand. It is asked with headers, body and time, and
//! answers; it reads no socket and no clock. Signatures and tokens are compared in constant time.
//!
//! What it never does: say in an error what a secret, a signature or a body is.

mod proof;

use connector_contract::chain;
use connector_rules::{Event, HookPath, WEBHOOK};
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName};
use opencode_daemons::Environment;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::config::{HookConfig, SecretSource, Verify, WebhooksConfig};

pub use proof::{Proof, Refused};

/// The headers that rules may read of every webhook.
const PASSED: [&str; 2] = ["x-github-event", "x-gitlab-event"];

/// Headers that carry secrets, which no rule reads.
const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-gitlab-token"];

/// The longest id of a delivery, and value of a header that rules read.
const LONGEST: usize = 200;

/// One webhook, ready to take requests.
#[derive(Debug)]
pub struct Hook {
    /// Its path.
    pub path: HookPath,
    /// How a request shows whose it is.
    pub proof: Proof,
    /// The header with a delivery's own id.
    id_header: Option<HeaderName>,
    /// The headers that rules may read.
    passed: Vec<HeaderName>,
}

/// Which delivery a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The sender's own id, which a repeat has too.
    Named(String),
    /// The digest of the body, where the sender gives no id.
    Digest(String),
}

/// Why a webhook cannot be served; no secret is in it.
#[derive(Debug, thiserror::Error)]
#[error("[webhooks.paths.{path:?}]: {reason}")]
pub struct HookError {
    path: String,
    reason: String,
}

impl Hook {
    /// Every webhook that `config` has, or why one cannot be.
    pub fn all(config: &WebhooksConfig, environment: &Environment) -> Result<Vec<Self>, HookError> {
        let one = |(path, hook): (&HookPath, &HookConfig)| {
            Self::new(path, hook, environment).map_err(|reason| HookError { path: path.to_string(), reason })
        };
        config.paths.iter().map(one).collect()
    }

    fn new(path: &HookPath, config: &HookConfig, environment: &Environment) -> Result<Self, String> {
        let secret = config.secret.as_ref().map(|source| read(source, environment)).transpose()?;
        let header = config.header.as_deref().map(named).transpose()?;
        let proof = Proof::new(config.verify, secret, header)?;
        if config.verify == Verify::Standard && config.id_header.is_some() {
            return Err("`id_header` is not for `verify = \"standard\"`, whose id is signed".to_owned());
        }
        let shown = |key: &str, name: &str| {
            let name = named(name)?;
            if SECRET.contains(&name.as_str()) || proof.header() == Some(&name) {
                return Err(format!("`{key}` lets no secret through, and `{name}` is one"));
            }
            Ok(name)
        };
        let own = config.id_header.as_deref().map(|name| shown("id_header", name)).transpose()?;
        let usual = proof.id_header().map(HeaderName::from_static);
        let mut passed: Vec<HeaderName> = PASSED.map(HeaderName::from_static).to_vec();
        for name in &config.headers {
            passed.push(shown("headers", name)?);
        }
        Ok(Self { path: path.clone(), proof, id_header: own.or(usual), passed })
    }

    /// Which delivery a request is; `None` where its id is none that can be kept.
    pub fn delivery(&self, headers: &HeaderMap, body: &[u8]) -> Option<Delivery> {
        let standard = self.proof.delivery_id(headers);
        let of_header = || self.id_header.as_ref().and_then(|name| headers.get(name));
        match standard.or_else(of_header) {
            Some(id) => shown(id).map(Delivery::Named),
            None => Some(Delivery::Digest(HEXLOWER.encode(&Sha256::digest(body)))),
        }
    }

    /// The event that rules see of a request.
    pub fn event(&self, delivery: &Delivery, headers: &HeaderMap, body: Value) -> Event {
        let passed = |name: &HeaderName| {
            let value = shown(headers.get(name)?)?;
            Some((name.as_str().to_owned(), json!(value)))
        };
        let passed: Map<String, Value> = self.passed.iter().filter_map(passed).collect();
        let mut event = self.path.event(delivery.id(), &passed, body);
        // Whoever writes that is no button under a result.
        if let Some(fields) = event.payload.as_object_mut() {
            fields.remove(connector_engine::OF_RESULT);
        }
        event.id = delivery.platform_id(&self.path);
        event
    }

    /// What nobody may be shown.
    pub fn secret(&self) -> Option<&SecretString> {
        self.proof.secret()
    }
}

impl Delivery {
    fn id(&self) -> &str {
        match self {
            Self::Named(id) | Self::Digest(id) => id,
        }
    }

    /// Under what the ledger keeps it. One that has no id of its own is kept under the beginning of one.
    fn platform_id(&self, path: &HookPath) -> String {
        match self {
            Self::Named(id) => format!("{WEBHOOK}:{path}:id:{id}"),
            Self::Digest(digest) => format!("{WEBHOOK}:{path}:sha256:{digest}"),
        }
    }
}

/// A header's value, if it can be shown on one line and kept.
fn shown(value: &http::HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    (!text.is_empty() && text.len() <= LONGEST).then(|| text.to_owned())
}

fn named(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no name of a header"))
}

fn read(source: &SecretSource, environment: &Environment) -> Result<SecretString, String> {
    match source {
        SecretSource::Variable(name) => {
            let found = environment.get(name).and_then(|value| value.to_str());
            found
                .map(SecretString::from)
                .ok_or_else(|| format!("`secret` wants the environment variable {name}, which is not set"))
        }
        SecretSource::File(path) => {
            let secret = connector_connections::secret_file(path)
                .map_err(|error| format!("`secret` {}: {}", path.display(), chain(&error)))?;
            Ok(secret.trim_end_matches(['\r', '\n']).into())
        }
    }
}

#[cfg(test)]
mod tests;
