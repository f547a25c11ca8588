//! Which hosts may be reached, at which addresses: a parsed value with two questions.
//!
//! A name is judged as it was asked for, and its addresses after they were looked up. What is on this
//! machine, on its link or in a private network is reached only where the address itself is named, so
//! that no name can come to stand for it.

mod address;
mod pattern;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use address::Scope;
pub use pattern::{HostPattern, PatternError};

/// What may be reached. Nothing else may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Every public address, whatever the name.
    #[serde(default)]
    pub open: bool,
    /// The hosts that are named.
    #[serde(default)]
    pub hosts: Vec<HostPattern>,
    /// The ports of this machine that are named.
    #[serde(default)]
    pub loopback: Vec<u16>,
}

/// Why a destination is refused, in words for who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No pattern has it.
    #[error("it is not among the hosts that may be reached")]
    NotNamed,
    /// A port of this machine that is not named.
    #[error("this machine's own ports are reached only if `loopback` names them")]
    Loopback,
    /// Its name stands for an address that must be named itself.
    #[error("it stands for {0}, which is reached only if that address is named")]
    Address(Scope),
    /// It is neither a name nor an address.
    #[error("it is no host's name")]
    Malformed,
}

/// A destination whose name is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// An address, or a name to be looked up once.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// An address or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address, its IPv4 form if it has one.
    Address(IpAddr),
    /// A name in lower case, without a dot at its end.
    Name(String),
}

impl Policy {
    /// Whether `host`, as it stands in a URL, may be reached on `port`. An address is judged wholly; the
    /// addresses of a name are for [`allows_address`](Self::allows_address).
    pub fn allows(&self, host: &str, port: u16) -> Result<Destination, Refusal> {
        let host = Host::parse(host).ok_or(Refusal::Malformed)?;
        match &host {
            Host::Address(address) => self.allows_address(None, *address, port)?,
            Host::Name(name) if is_local(name) => {
                if !self.loopback.contains(&port) {
                    return Err(Refusal::Loopback);
                }
            }
            Host::Name(name) => {
                if !self.open && !self.hosts.iter().any(|pattern| pattern.has_name(name, port)) {
                    return Err(Refusal::NotNamed);
                }
            }
        }
        Ok(Destination { host, port })
    }

    /// Whether `address` may be reached on `port`, where `name`, which is allowed, stands for it.
    pub fn allows_address(&self, name: Option<&str>, address: IpAddr, port: u16) -> Result<(), Refusal> {
        let address = address.to_canonical();
        let scope = Scope::of(address);
        if scope == Scope::Loopback {
            let of_this_machine = name.is_none_or(is_local);
            let named = of_this_machine && self.loopback.contains(&port);
            return if named { Ok(()) } else { Err(Refusal::Loopback) };
        }
        if name.is_some_and(is_local) {
            return Err(Refusal::Address(scope));
        }
        let named = self.hosts.iter().any(|pattern| pattern.has_address(address, port));
        match (scope, name) {
            _ if named && scope.can_be_named() => Ok(()),
            (Scope::Public, Some(_)) => Ok(()),
            (Scope::Public, None) if self.open => Ok(()),
            (Scope::Public, None) => Err(Refusal::NotNamed),
            (scope, _) => Err(Refusal::Address(scope)),
        }
    }
}

impl Host {
    /// Reads the host of a URL, of `host:port` or of a `Host` header, with or without the brackets of
    /// an IPv6 address.
    fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical()));
        }
        // The way that browsers and libraries read hosts: `0x7f.1` is an address.
        match url::Host::parse(text).ok()? {
            url::Host::Ipv4(address) => Some(Self::Address(address.into())),
            url::Host::Ipv6(address) => Some(Self::Address(IpAddr::from(address).to_canonical())),
            url::Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase();
                (!name.is_empty() && !name.starts_with('.')).then_some(Self::Name(name))
            }
        }
    }
}

/// The names that stand for this machine (RFC 6761).
fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
