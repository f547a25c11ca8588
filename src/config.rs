//! The connector's section of a host's configuration.

use std::time::Duration;

use connector_contract::{ConnectorError, Origin, Provenance};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::ModelRef;
use crate::permissions::Permissions;

/// Configuration as it is written; [`Config::check`] makes [`Settings`] of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Origin of the running `opencode serve`: scheme, host and port.
    pub base_url: String,
    /// The daemon's `OPENCODE_SERVER_PASSWORD`, or `OPENCODE_PASSWORD` of 2.x, which
    /// always has one. The user is always `opencode`.
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "Option<String>", extend("x-secret" = true))]
    pub password: Option<SecretString>,
    /// `provider/model` for every prompt; absent means the daemon's default.
    pub model: Option<ModelRef>,
    /// The daemon's agent for every prompt; absent means its default.
    pub agent: Option<String>,
    /// The directory the agent works in; absent means the daemon's own, which one of 2.x
    /// is not asked to use: it must be given one.
    pub directory: Option<String>,
    /// Allows a `base_url` that is not on this machine.
    pub allow_remote: bool,
    /// What happens to the agent's permission requests and questions.
    pub asks: AskPolicy,
    /// How long one ask waits for its answer before it is rejected.
    #[schemars(range(min = 1))]
    pub ask_timeout_secs: u64,
    /// How long a turn may take in all; an input may say less or more.
    #[schemars(range(min = 1))]
    pub deadline_secs: u64,
    /// How long a turn may go without any sign of work of its own.
    #[schemars(range(min = 1))]
    pub no_progress_secs: u64,
    /// A bound on what the agent may do by itself; absent means none for local work and
    /// a strict one for work from a chat. It only tightens what opencode's configuration
    /// and the agent say: what those ask about or deny stays so, also where this says
    /// `allow`. Rules that ask deny sub-agents (`task`) unless they name it, since a
    /// sub-agent would not have to ask.
    pub permissions: Option<Permissions>,
    /// What becomes of work whose rules ask about something that was granted for good in
    /// the project ("always", on 2.x), so that nobody would be asked; absent means
    /// `refuse` for work from a chat, and `show` for local work.
    pub saved_rules: Option<SavedRules>,
    /// Tells the agent, outside the prompt, when the work came from a chat.
    pub name_source: bool,
    /// Lets several turns run in one directory at the same time.
    pub parallel_turns: bool,
    /// Who is taken for an opencode daemon.
    pub probe: Probe,
    /// Caps.
    pub limits: Limits,
}

/// The longest list of changed files in an output, in bytes of JSON.
pub(crate) const FILES_BYTES: usize = 256 << 10;
/// The longest output, in bytes of JSON: a host keeps none of a longer one.
const OUTPUT_BYTES: usize = 4 << 20;

/// Caps, in bytes. `response_bytes` three times, `patch_bytes` twice and 320 KiB are
/// together at most 4 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The longest prompt.
    pub prompt_bytes: usize,
    /// The files that go with a prompt, together.
    pub files_bytes: usize,
    /// The longest `response` in an output, and the longest `reply`; longer ones
    /// are cut, with a marker.
    pub response_bytes: usize,
    /// The longest `patch` in an output; longer ones are cut, with a marker.
    pub patch_bytes: usize,
    /// The longest event; longer ones are skipped.
    pub event_bytes: usize,
    /// The longest answer that is read.
    pub body_bytes: usize,
}

impl Limits {
    /// Whether an output fits: with `reply` and `patch` escaped, and room for the rest.
    fn fit(&self) -> bool {
        const REST: usize = 64 << 10;
        let texts = self.response_bytes.saturating_mul(3).saturating_add(self.patch_bytes.saturating_mul(2));
        texts <= OUTPUT_BYTES - FILES_BYTES - REST
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            prompt_bytes: 256 << 10,
            files_bytes: 8 << 20,
            response_bytes: 1 << 20,
            patch_bytes: 256 << 10,
            event_bytes: 4 << 20,
            body_bytes: 64 << 20,
        }
    }
}

/// Who is taken for an opencode daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// Who says so, and of a version that is known to be safe.
    #[default]
    Strict,
    /// Also who does not say who it is: it is spoken to as a daemon of 1.x, with a warning in the log.
    Lenient,
}

/// What becomes of work that saved permissions would let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SavedRules {
    /// It runs, and what was granted is not asked about.
    Show,
    /// It does not run.
    Refuse,
}

/// What happens to the agent's permission requests and questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AskPolicy {
    /// They go to a person.
    #[default]
    Relay,
    /// They are rejected.
    Reject,
    /// Permissions are granted once each; questions, which take a person, are rejected.
    Allow,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: "http://127.0.0.1:4096".to_owned(),
            password: None,
            model: None,
            agent: None,
            directory: None,
            allow_remote: false,
            asks: AskPolicy::default(),
            ask_timeout_secs: 15 * 60,
            deadline_secs: 60 * 60,
            no_progress_secs: 15 * 60,
            permissions: None,
            saved_rules: None,
            name_source: true,
            parallel_turns: false,
            probe: Probe::Strict,
            limits: Limits::default(),
        }
    }
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) origin: Origin,
    pub(crate) password: Option<SecretString>,
    pub(crate) model: Option<ModelRef>,
    pub(crate) agent: Option<String>,
    pub(crate) directory: Option<String>,
    pub(crate) asks: AskPolicy,
    pub(crate) ask_timeout: Duration,
    pub(crate) deadline: Duration,
    pub(crate) no_progress: Duration,
    pub(crate) permissions: Option<Permissions>,
    pub(crate) saved_rules: Option<SavedRules>,
    pub(crate) name_source: bool,
    pub(crate) parallel_turns: bool,
    pub(crate) probe: Probe,
    pub(crate) limits: Limits,
}

impl Config {
    pub(crate) fn check(self) -> Result<Settings, ConnectorError> {
        let origin: Origin = self.base_url.parse().map_err(|error| invalid("base_url", &error))?;
        if !origin.is_loopback() && !self.allow_remote {
            return Err(invalid(
                "base_url",
                &format!(
                    "{origin} is not on this machine; set `allow_remote = true` if prompts and file contents may go there"
                ),
            ));
        }
        if self.password.is_some() && !origin.is_confidential() {
            return Err(invalid("password", &format!("it would travel unencrypted to {origin}; use https")));
        }
        if let Some(agent) = &self.agent {
            check_name(agent).map_err(|reason| invalid("agent", &reason))?;
        }
        if let Some(directory) = &self.directory
            && (!directory.starts_with('/') && !directory.contains(":\\")
                || directory.chars().any(char::is_control))
        {
            return Err(invalid("directory", &"it must be an absolute path without control characters"));
        }
        for (key, secs) in [
            ("ask_timeout_secs", self.ask_timeout_secs),
            ("deadline_secs", self.deadline_secs),
            ("no_progress_secs", self.no_progress_secs),
        ] {
            check_secs(secs).map_err(|reason| invalid(key, &reason))?;
        }
        if let Some(pattern) = self.permissions.as_ref().and_then(Permissions::unexpanded) {
            let reason = format!("`{pattern}` would match nothing; write the home directory out: `/home/…`");
            return Err(invalid("permissions", &reason));
        }
        if !self.limits.fit() {
            let reason = "`response_bytes` three times and `patch_bytes` twice are more than 3776 KiB";
            return Err(invalid("limits", &reason));
        }
        Ok(Settings {
            origin,
            password: self.password,
            model: self.model,
            agent: self.agent,
            directory: self.directory,
            asks: self.asks,
            ask_timeout: Duration::from_secs(self.ask_timeout_secs),
            deadline: Duration::from_secs(self.deadline_secs),
            no_progress: Duration::from_secs(self.no_progress_secs),
            permissions: self.permissions,
            saved_rules: self.saved_rules,
            name_source: self.name_source,
            parallel_turns: self.parallel_turns,
            probe: self.probe,
            limits: self.limits,
        })
    }
}

impl Settings {
    pub(crate) fn saved_rules(&self, provenance: &Provenance) -> SavedRules {
        self.saved_rules.unwrap_or(match provenance {
            Provenance::Local => SavedRules::Show,
            Provenance::Chat { .. } => SavedRules::Refuse,
        })
    }

    /// The bound on what a session for work from `provenance` may do, if any.
    pub(crate) fn permissions_for(&self, provenance: &Provenance) -> Option<Permissions> {
        let own = self.permissions.clone().map(Permissions::sealed);
        own.or_else(|| match provenance {
            Provenance::Local => None,
            Provenance::Chat { .. } => Some(Permissions::for_chat()),
        })
    }
}

/// A week is longer than any turn, and short enough to add to any clock.
pub(crate) fn check_secs(secs: u64) -> Result<(), String> {
    const WEEK: u64 = 7 * 24 * 60 * 60;
    if (1..=WEEK).contains(&secs) { Ok(()) } else { Err(format!("expected 1 to {WEEK} seconds")) }
}

pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        return Err("expected a name of at most 256 bytes without control characters".to_owned());
    }
    Ok(())
}

/// Reads a secret and never repeats what it read: serde's own words for a value of
/// another type quote it.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    struct Secret;
    impl<'de> Visitor<'de> for Secret {
        type Value = Option<SecretString>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.into()))
        }
        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
            inner.deserialize_any(self)
        }
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Err(E::custom(NO_STRING))
        }
        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Err(E::custom(NO_STRING))
        }
        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Err(E::custom(NO_STRING))
        }
        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Err(E::custom(NO_STRING))
        }
    }
    deserializer.deserialize_any(Secret)
}

/// What is wrong with a secret that is a number or a boolean.
const NO_STRING: &str = "`password`: expected a string; write it in quotes";

fn invalid(key: &str, reason: &dyn std::fmt::Display) -> ConnectorError {
    ConnectorError::InvalidConfig { reason: format!("`{key}`: {reason}") }
}
