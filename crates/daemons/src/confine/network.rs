//! What of the network a daemon and its agent's commands reach.

use connector_egress::{HostPattern, Policy};
use serde::{Deserialize, Serialize};

use super::namespaces::PROXY;

/// How far the network goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// As far as this machine's.
    Open,
    /// To the hosts and ports that are named, through the egress proxy.
    #[default]
    Limited,
    /// Nowhere, the models aside.
    Off,
}

impl Access {
    /// As it is configured.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Limited => "limited",
            Self::Off => "off",
        }
    }
}

/// What is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// How far it goes.
    pub access: Access,
    /// The hosts that are named.
    pub hosts: Vec<HostPattern>,
    /// The ports of this machine's loopback that are named.
    pub loopback: Vec<u16>,
}

impl Network {
    /// The policy of the egress proxy of a daemon that asks `models` by itself.
    pub(crate) fn policy(&self, models: Vec<HostPattern>) -> Policy {
        let mut policy = Policy { hosts: models, ..Policy::default() };
        match self.access {
            Access::Open => policy.open = true,
            Access::Limited => {
                policy.hosts.extend(self.hosts.iter().cloned());
                policy.loopback.clone_from(&self.loopback);
            }
            Access::Off => {}
        }
        policy
    }

    /// The ports of loopback that are passed on to as they are.
    pub(crate) fn loopback_ports(&self) -> &[u16] {
        if self.access == Access::Limited { &self.loopback } else { &[] }
    }

    /// The ports that commands reach in the network of their own.
    pub(super) fn command_ports(&self) -> Vec<u16> {
        std::iter::once(PROXY).chain(self.loopback_ports().iter().copied()).collect()
    }
}

/// The variables by which programs find an HTTP proxy, in both of the cases that are in use, and yarn of today by its own. What
/// is on loopback is asked itself. npm, and what of it is in opencode, takes a refusal for a bad connection, and would try again for a minute
/// and a half.
pub(super) fn proxy_variables(port: u16) -> Vec<(&'static str, String)> {
    let address = format!("http://127.0.0.1:{port}");
    let proxies =
        ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "YARN_HTTP_PROXY", "YARN_HTTPS_PROXY"];
    let around = ["NO_PROXY", "no_proxy"];
    let others = [
        ("NODE_USE_ENV_PROXY", "1"),
        ("npm_config_fetch_retry_mintimeout", "100"),
        ("npm_config_fetch_retry_maxtimeout", "1000"),
    ];
    proxies
        .into_iter()
        .map(|name| (name, address.clone()))
        .chain(around.map(|name| (name, "127.0.0.1,localhost,::1".to_owned())))
        .chain(others.map(|(name, value)| (name, value.to_owned())))
        .collect()
}
