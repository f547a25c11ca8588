//! One host that may be reached, as an operator writes it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The ports of a pattern that names none.
const USUAL: [u16; 2] = [80, 443];

/// A host, or several, and the ports they may be reached on: `example.org` (80 and 443),
/// `*.example.org:443` (what is below it, and not itself), `example.org:*`, `10.1.2.3:8080`,
/// `[fd00::1]:443`, `10.1.0.0/16`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    hosts: Hosts,
    ports: Ports,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    Name(String),
    Below(String),
    Addresses(IpNet),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    Usual,
    Any,
    One(u16),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no host: {why}")]
pub struct PatternError {
    text: String,
    why: &'static str,
}

impl HostPattern {
    /// Whether it has `name`, which is in lower case, on `port`.
    pub(crate) fn has_name(&self, name: &str, port: u16) -> bool {
        let named = match &self.hosts {
            Hosts::Name(own) => own == name,
            Hosts::Below(above) => {
                name.strip_suffix(above.as_str()).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
            Hosts::Addresses(_) => false,
        };
        named && self.ports.have(port)
    }

    /// Whether it has `address` on `port`.
    pub(crate) fn has_address(&self, address: IpAddr, port: u16) -> bool {
        matches!(&self.hosts, Hosts::Addresses(net) if net.contains(&address)) && self.ports.have(port)
    }
}

impl Ports {
    fn have(self, port: u16) -> bool {
        match self {
            Self::Usual => USUAL.contains(&port),
            Self::Any => true,
            Self::One(one) => one == port,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::Any),
            _ if !text.bytes().all(|byte| byte.is_ascii_digit()) => None,
            _ => text.parse().ok().filter(|port| *port > 0).map(Self::One),
        }
    }
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let wrong = |why| PatternError { text: text.to_owned(), why };
        let (host, ports) =
            split(text).ok_or_else(|| wrong("brackets are for an IPv6 address, which stands in them"))?;
        let ports = match ports {
            None => Ports::Usual,
            Some(ports) => Ports::parse(ports).ok_or_else(|| wrong("its port is a number or `*`"))?,
        };
        Ok(Self { hosts: Hosts::parse(host).map_err(wrong)?, ports })
    }
}

/// The host and the text of its port.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').filter(|(host, _)| host.contains(':'))?;
        return match rest {
            "" => Some((host, None)),
            _ => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    match text.split_once(':') {
        Some((_, more)) if more.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

impl Hosts {
    fn parse(host: &str) -> Result<Self, &'static str> {
        if let Ok(net) = host.parse::<IpNet>() {
            return Ok(Self::Addresses(net.trunc()));
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Self::Addresses(address.to_canonical().into()));
        }
        let (name, below) = match host.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (host, false),
        };
        let label = |label: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !label.is_empty() && label.len() < 64 && label.bytes().all(plain)
        };
        let name = name.to_ascii_lowercase();
        if !name.split('.').all(label) {
            return Err(
                "a name has letters, digits and `-` between its dots; `*.` stands at its start alone",
            );
        }
        // What libraries read as an address would be asked for as one.
        if matches!(url::Host::parse(&name), Ok(url::Host::Ipv4(_)) | Err(_)) {
            return Err("it is an address in an unusual form");
        }
        if super::is_local(&name) {
            return Err("ports of this machine stand in `loopback`");
        }
        if below && !name.contains('.') {
            return Err("`*.` stands before a name with a dot in it");
        }
        Ok(if below { Self::Below(name) } else { Self::Name(name) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::Name(name) => write!(f, "{name}")?,
            Hosts::Below(name) => write!(f, "*.{name}")?,
            Hosts::Addresses(net) if net.prefix_len() < net.max_prefix_len() => match net {
                IpNet::V4(net) => write!(f, "{net}")?,
                IpNet::V6(net) => write!(f, "[{net}]")?,
            },
            Hosts::Addresses(net) => match net.addr() {
                IpAddr::V4(address) => write!(f, "{address}")?,
                IpAddr::V6(address) => write!(f, "[{address}]")?,
            },
        }
        match self.ports {
            Ports::Usual => Ok(()),
            Ports::Any => f.write_str(":*"),
            Ports::One(port) => write!(f, ":{port}"),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}
