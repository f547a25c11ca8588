//! Names are resolved once, filtered, and pinned.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::Grant;

/// The addresses that the names of granted origins stand for, looked up ahead: for
/// a process that must not, or cannot, look up names itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pins(BTreeMap<String, Vec<IpAddr>>);

impl Pins {
    /// Looks up every name among `grants`, once. An origin that is written as an
    /// address needs no pin.
    ///
    /// # Errors
    /// When a name has no address, or none that it may stand for.
    pub async fn look_up(grants: &[Grant]) -> io::Result<Self> {
        let mut pins = BTreeMap::new();
        for name in grants.iter().filter_map(|grant| grant.origin().name()) {
            let found = look_up(name).await?;
            pins.insert(name.to_owned(), found.iter().map(SocketAddr::ip).collect());
        }
        Ok(Self(pins))
    }

    fn into_resolver(self) -> HashMap<String, Vec<SocketAddr>> {
        let sockets = |name: &str, addresses: Vec<IpAddr>| {
            let fine = addresses.into_iter().filter(|address| acceptable(name, *address));
            fine.map(|address| SocketAddr::new(address, 0)).collect()
        };
        self.0.into_iter().map(|(name, addresses)| (name.clone(), sockets(&name, addresses))).collect()
    }
}

/// Remembers the first answer for each name.
#[derive(Debug, Default)]
pub(super) struct PinnedResolver {
    pinned: Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>,
    /// Whether the pins are all there is.
    sealed: bool,
}

impl PinnedResolver {
    /// Knows `pins` and never looks anything up.
    pub(super) fn sealed(pins: Pins) -> Self {
        Self { pinned: Arc::new(Mutex::new(pins.into_resolver())), sealed: true }
    }
}

async fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that resolves names")]
    let found = tokio::net::lookup_host((name, 0)).await?;
    let found: Vec<SocketAddr> = found.filter(|address| acceptable(name, address.ip())).collect();
    if found.is_empty() {
        return Err(io::Error::other(format!("`{name}` has no address that it may stand for")));
    }
    Ok(found)
}

impl Resolve for PinnedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (pinned, sealed) = (Arc::clone(&self.pinned), self.sealed);
        Box::pin(async move {
            let name = name.as_str().to_ascii_lowercase();
            if let Some(found) = pinned.lock().await.get(&name) {
                return Ok(Box::new(found.clone().into_iter()) as Addrs);
            }
            if sealed {
                return Err(io::Error::other(format!("`{name}` is not pinned")).into());
            }
            // Looked up without the lock, so that one slow name delays no other.
            let found = look_up(&name).await?;
            let addresses = pinned.lock().await.entry(name).or_insert(found).clone();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// `localhost` stands for this machine and every other name for another one:
/// a public name that resolves to loopback or to a link's own addresses is
/// rebinding, or a mistake.
fn acceptable(name: &str, address: IpAddr) -> bool {
    let address = address.to_canonical();
    if name == "localhost" {
        return address.is_loopback();
    }
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_stand_for_these_addresses_only() {
        for (name, address, fine) in [
            ("localhost", "127.0.0.1", true),
            ("localhost", "::1", true),
            ("localhost", "10.0.0.1", false),
            ("example.org", "93.184.215.14", true),
            ("example.org", "10.0.0.1", true),
            ("example.org", "127.0.0.1", false),
            ("example.org", "::ffff:127.0.0.1", false),
            ("example.org", "::1", false),
            ("example.org", "0.0.0.0", false),
            ("example.org", "169.254.169.254", false),
            ("example.org", "fe80::1", false),
            ("example.org", "224.0.0.1", false),
        ] {
            assert_eq!(acceptable(name, address.parse().unwrap()), fine, "{name} {address}");
        }
    }

    #[tokio::test]
    async fn the_first_answer_is_pinned() {
        let resolver = PinnedResolver::default();
        let pin: SocketAddr = "127.0.0.9:0".parse().unwrap();
        resolver.pinned.lock().await.insert("localhost".to_owned(), vec![pin]);
        let found: Vec<SocketAddr> = resolver.resolve("LOCALHOST".parse().unwrap()).await.unwrap().collect();
        assert_eq!(found, [pin]);
    }

    #[tokio::test]
    async fn a_sealed_resolver_knows_its_pins_and_looks_nothing_up() {
        let pins = Pins(BTreeMap::from([
            ("daemon.example".to_owned(), vec!["10.1.2.3".parse().unwrap()]),
            ("rebound.example".to_owned(), vec!["127.0.0.1".parse().unwrap()]),
        ]));
        let resolver = PinnedResolver::sealed(pins);
        let found: Vec<SocketAddr> =
            resolver.resolve("daemon.example".parse().unwrap()).await.unwrap().collect();
        assert_eq!(found, ["10.1.2.3:0".parse().unwrap()]);
        assert_eq!(resolver.resolve("rebound.example".parse().unwrap()).await.unwrap().count(), 0);
        let refused = resolver.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert!(refused.to_string().contains("`localhost` is not pinned"), "{refused}");
    }

    #[tokio::test]
    async fn pins_are_looked_up_for_names_and_not_for_addresses() {
        let grant = |origin: &str| Grant::new(origin.parse().unwrap(), crate::Reach::Loopback).unwrap();
        let pins = Pins::look_up(&[grant("http://localhost:1"), grant("http://127.0.0.1:2")]).await.unwrap();
        assert_eq!(pins.0.keys().collect::<Vec<_>>(), ["localhost"]);
        assert!(pins.0["localhost"].iter().all(IpAddr::is_loopback));
    }
}
