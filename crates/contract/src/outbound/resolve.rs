//! Names are resolved once, filtered, and pinned.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Mutex;

/// Remembers the first answer for each name.
#[derive(Debug, Default)]
pub(super) struct PinnedResolver {
    pinned: Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>,
}

impl Resolve for PinnedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let pinned = Arc::clone(&self.pinned);
        Box::pin(async move {
            let name = name.as_str().to_ascii_lowercase();
            if let Some(found) = pinned.lock().await.get(&name) {
                return Ok(Box::new(found.clone().into_iter()) as Addrs);
            }
            // Looked up without the lock, so that one slow name delays no other.
            #[expect(clippy::disallowed_methods, reason = "this is the one place that resolves names")]
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.filter(|address| acceptable(&name, address.ip())).collect();
            if found.is_empty() {
                return Err(Box::new(io::Error::other(format!(
                    "`{name}` has no address that it may stand for"
                )))
                .into());
            }
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
}
