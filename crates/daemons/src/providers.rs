//! The model providers of a daemon: where each is, and its key, which the daemon itself does not get.
//!
//! They come from the user's configuration of opencode, from what a host lays over it, from the variables
//! that are passed, and from the keys that opencode stored at a login. A repository's own configuration
//! is not asked: it would choose where the user's keys go. The daemon is configured to
//! find each of them at its [model proxy](connector_egress), with a token in place of the key; a provider
//! whose address is not known gets no key, and is [said](Providers::unreached) by name.

mod configured;
mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use connector_egress::{HostPattern, ModelPlan, Provider, Secret};
use serde_json::{Map, Value, json};

use crate::daemon::{Home, Spec};
use crate::environment::Environment;
use crate::keys::{self, Logins};
use crate::user_config;
use configured::{Configured, resolved};
use known::{KNOWN, Known};

/// The providers of one daemon.
#[derive(Debug, Default)]
pub(crate) struct Providers {
    all: Vec<Provider>,
    /// The variables whose values are keys of these, which the daemon does not get.
    taken: BTreeSet<String>,
    unreached: Vec<Unreached>,
    /// Those with a login that opencode renews.
    logins: BTreeSet<String>,
    /// Whether what a host lays over opencode's configuration is in the form of 2.x.
    newer: bool,
}

/// A model provider whose key the proxy cannot use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// opencode's name for it.
    pub provider: String,
    /// What has its key.
    pub key_in: String,
    /// Why it is not used.
    pub why: WhyNot,
}

/// Why a key is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyNot {
    /// Nobody says where its provider is.
    Address,
    /// opencode speaks to that provider itself, with a login that it renews.
    Login,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, key_in, why } = self;
        match why {
            WhyNot::Address => write!(
                f,
                "the key of `{provider}` ({key_in}) is not used, since its address is not known: set \
                 `provider.{provider}.options.baseURL` in opencode's configuration"
            ),
            WhyNot::Login => write!(
                f,
                "what is configured for `{provider}` ({key_in}) is not used within walls, since opencode speaks to it \
                 with a login that it renews: set its `apiKey`, or `logins = \"refuse\"`"
            ),
        }
    }
}

/// What is gathered of one provider.
#[derive(Default)]
struct Gathered {
    configured: Configured,
    stored: Option<String>,
    passed: Option<String>,
    key_in: String,
}

/// The variables that hold the keys of model providers whose address is known, and what belongs to those
/// addresses.
pub fn variables() -> impl Iterator<Item = &'static str> {
    let names = KNOWN.iter().flat_map(|known| known.keys.iter().copied().chain(in_address(known.address)));
    names.collect::<BTreeSet<_>>().into_iter()
}

/// The providers with a key that a daemon of `environment` that is passed `pass` could not use.
pub fn unreached(environment: &Environment, pass: &[String], config: &Value) -> Vec<Unreached> {
    let home = environment.get("HOME").map(PathBuf::from).unwrap_or_default();
    let mut spec = Spec::new("opencode", ".", environment.clone());
    (spec.home, spec.pass, spec.config) = (Home::Own(home), pass.to_vec(), config.clone());
    Providers::gathered(&spec).unreached
}

impl Providers {
    /// The files of the user's settings.
    pub(crate) const FILES: [&str; 3] = configured::FILES;

    /// The text of one of these without the keys in it.
    pub(crate) fn without_keys(text: &str) -> Result<String, String> {
        configured::without_keys(text)
    }

    /// The files that the text of one of these in the directory `base` names.
    pub(crate) fn files(text: &str, environment: &Environment, base: &Path) -> Vec<PathBuf> {
        configured::files(text, environment, base)
    }

    /// Takes the keys out of what is laid over opencode's configuration.
    pub(crate) fn strip(config: &mut Value) {
        configured::strip(config);
    }

    /// Of a daemon within walls; none without them, where nothing would keep a key from the agent.
    pub(crate) fn of(spec: &Spec) -> Self {
        if spec.confinement.is_some() { Self::gathered(spec) } else { Self::default() }
    }

    fn gathered(spec: &Spec) -> Self {
        let mut found: BTreeMap<String, Gathered> = BTreeMap::new();
        let base = user_configuration(spec);
        let mut config = base.as_deref().map_or_else(|| json!({}), configured::of_user);
        crate::daemon::lay_over(&mut config, &spec.config);
        for (id, configured) in configured::providers(&config) {
            found.entry(id).or_default().configured = configured;
        }
        let mut taken = passed(spec, &mut found);
        let mut logins = BTreeSet::new();
        for (id, entry) in keys::stored(spec).iter().flat_map(Map::iter) {
            match (entry["type"].as_str(), entry["key"].as_str()) {
                (Some("api"), Some(key)) => {
                    let gathered = found.entry(id.clone()).or_default();
                    (gathered.stored, gathered.key_in) =
                        (Some(key.to_owned()), "its stored login".to_owned());
                }
                (Some("oauth"), _) if spec.logins == Logins::Allow => drop(logins.insert(id.clone())),
                _ => {}
            }
        }
        let (mut all, mut unreached) = (Vec::new(), Vec::new());
        for (id, gathered) in found {
            // opencode renews that login itself, and speaks to its provider itself.
            if logins.contains(&id) && gathered.configured.key.is_none() {
                if !gathered.configured.headers.is_empty() {
                    let key_in = HEADERS.to_owned();
                    unreached.push(Unreached { provider: id, key_in, why: WhyNot::Login });
                }
                continue;
            }
            let key_in = gathered.key_in();
            match gathered.provider(&id, spec, base.as_deref(), &mut taken) {
                Some(Ok(provider)) => all.push(provider),
                Some(Err(())) => unreached.push(Unreached { provider: id, key_in, why: WhyNot::Address }),
                None => {}
            }
        }
        if keys::passed_whole(spec) {
            taken.insert(keys::VARIABLE.to_owned());
        }
        let to_commands = spec.confinement.iter().flat_map(|confinement| &confinement.pass_to_commands);
        let to_commands: BTreeSet<&String> = to_commands.collect();
        taken.retain(|name| spec.pass.contains(name) && !to_commands.contains(name));
        Self { all, taken, unreached, logins, newer: spec.config.get("providers").is_some() }
    }

    /// Whether there is nothing to reach.
    pub(crate) fn are_none(&self) -> bool {
        self.all.is_empty()
    }

    /// The hosts that the daemon asks by itself: those of logins that it renews; where it has no other model, what
    /// opencode offers for nothing; and the list of models.
    pub(crate) fn direct_hosts(&self) -> Vec<HostPattern> {
        let nothing = self.all.is_empty() && self.logins.is_empty();
        let mut hosts: Vec<String> =
            known::OF_OPENCODE.iter().filter(|_| nothing).map(|host| (*host).to_owned()).collect();
        hosts.extend(known::LISTS_OF_MODELS.map(str::to_owned));
        for login in &self.logins {
            let address = Known::of(login).and_then(|known| known.address.parse::<url::Url>().ok());
            hosts.extend(address.and_then(|address| address.host_str().map(str::to_owned)));
            let own = known::LOGINS.iter().filter(|(id, _)| id == login);
            hosts.extend(own.flat_map(|(_, hosts)| hosts.iter().map(|host| (*host).to_owned())));
        }
        hosts.iter().filter_map(|host| host.parse().ok()).collect()
    }

    /// Whether the daemon does not get this variable.
    pub(crate) fn take(&self, variable: &str) -> bool {
        self.taken.contains(variable)
    }

    /// What the model proxy is told.
    pub(crate) fn plan(&self, token: &Secret) -> ModelPlan {
        ModelPlan { token: token.clone(), providers: self.all.clone() }
    }

    /// What is laid over opencode's configuration, for a model proxy at `address`.
    pub(crate) fn overlay(&self, address: &str, token: &str) -> Value {
        let one = |provider: &Provider| {
            let mut options =
                json!({ "baseURL": format!("{address}/{}", provider.segment), "apiKey": token });
            if !provider.headers.is_empty() {
                let headers = provider.headers.iter().map(|(name, _)| (name.clone(), json!("")));
                options["headers"] = Value::Object(headers.collect());
            }
            let kind = if self.newer { "settings" } else { "options" };
            (provider.name.clone(), json!({ kind: options }))
        };
        let providers: Map<String, Value> = self.all.iter().map(one).collect();
        if providers.is_empty() {
            return json!({});
        }
        json!({ if self.newer { "providers" } else { "provider" }: providers })
    }

    /// Everything that decides what the proxy does, its secrets included.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.all.iter().flat_map(|provider| {
            let headers = provider.headers.iter().flat_map(|(name, value)| [name.as_str(), value.expose()]);
            let key = provider.key.as_ref().map_or("", Secret::expose);
            [provider.name.as_str(), provider.upstream.as_str(), key].into_iter().chain(headers)
        })
    }

    /// What must not be shown.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.all.iter().flat_map(|provider| {
            provider.key.iter().chain(provider.headers.iter().map(|(_, value)| value)).map(Secret::expose)
        })
    }
}

/// What has a key, where that is no variable and no login.
const HEADERS: &str = "its headers in opencode's configuration";
const CONFIGURED: &str = "opencode's configuration";

impl Gathered {
    fn key_in(&self) -> String {
        match &self.configured {
            Configured { key: Some(_), .. } => CONFIGURED.to_owned(),
            Configured { headers, .. } if self.key_in.is_empty() && !headers.is_empty() => HEADERS.to_owned(),
            _ => self.key_in.clone(),
        }
    }

    /// Nothing if opencode's own ways do for it; an error if it has a key and no address.
    fn provider(
        self,
        id: &str,
        spec: &Spec,
        base: Option<&Path>,
        taken: &mut BTreeSet<String>,
    ) -> Option<Result<Provider, ()>> {
        let base = base.unwrap_or(Path::new("/"));
        let mut resolve = |text: &str| {
            let (text, names) = resolved(text, &spec.environment, base);
            taken.extend(names);
            text
        };
        let key = self.configured.key.map(|key| resolve(&key)).filter(|key| !key.is_empty());
        let headers: Vec<_> = self
            .configured
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), Secret::from(resolve(value))))
            .collect();
        let key = key.or(self.stored).or(self.passed);
        let own = self.configured.address.map(|address| resolved(&address, &spec.environment, base).0);
        // A header may be a key as well.
        let any = key.is_some() || !headers.is_empty();
        let known = || expanded(Known::of(id).filter(|_| any)?.address, &spec.environment);
        match own.or_else(known).and_then(|address| address.parse().ok()) {
            Some(upstream) => Some(Ok(Provider {
                name: id.to_owned(),
                segment: segment(id),
                upstream,
                key: key.map(Secret::from),
                headers,
            })),
            None => any.then_some(Err(())),
        }
    }
}

/// Gathers the keys among the variables that are passed, and says which they are.
fn passed(spec: &Spec, found: &mut BTreeMap<String, Gathered>) -> BTreeSet<String> {
    let mut taken = BTreeSet::new();
    for known in KNOWN {
        let mut set = known.keys.iter().filter(|name| spec.pass.iter().any(|pass| pass == *name));
        taken.extend(set.clone().map(|name| (*name).to_owned()));
        let first = set.find_map(|name| {
            let value = spec.environment.get(name)?.to_str()?;
            (!value.is_empty()).then_some((name, value))
        });
        if let Some((name, value)) = first {
            let gathered = found.entry(known.id.to_owned()).or_default();
            (gathered.passed, gathered.key_in) = (Some(value.to_owned()), (*name).to_owned());
        }
    }
    taken
}

/// The directory of the user's configuration, where the daemon has it.
fn user_configuration(spec: &Spec) -> Option<PathBuf> {
    match &spec.home {
        Home::Isolated(home) => Some(home.join(".config/opencode")),
        Home::User | Home::Own(_) => user_config::of_user(spec),
    }
}

/// The variables that an address has in it.
fn in_address(address: &'static str) -> impl Iterator<Item = &'static str> {
    address.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
}

/// The address with the values of its variables; nothing if one is not set.
fn expanded(address: &'static str, environment: &Environment) -> Option<String> {
    in_address(address).try_fold(address.to_owned(), |address, name| {
        let value = environment.get(name)?.to_str().filter(|value| !value.is_empty())?;
        Some(address.replace(&format!("{{{name}}}"), value))
    })
}

/// A segment of a path that no other provider's name comes to.
fn segment(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    id.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!(".{byte:02x}") })
        .collect()
}

#[cfg(test)]
mod tests;
