//! What an address is: public, or one that only who named it may reach.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Some machine of the internet.
    Public,
    /// This machine.
    Loopback,
    /// A machine on the same link, or a cloud's metadata service.
    Link,
    /// A private network.
    Private,
    /// Nobody in particular: unspecified, multicast, broadcast, reserved.
    Nobody,
}

impl Scope {
    /// Of `address`; of the IPv4 address within it, where it is one of those that carry one.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => match carried(v6) {
                Some(v4) => of_v4(v4),
                None => of_v6(v6),
            },
        }
    }

    /// Whether a pattern that names such an address opens it. This machine's ports have a list of their own.
    pub(crate) fn can_be_named(self) -> bool {
        matches!(self, Self::Public | Self::Private | Self::Link)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Loopback => "an address of this machine",
            Self::Link => "an address of the local link",
            Self::Private => "an address of a private network",
            Self::Nobody => "an address of nobody in particular",
        })
    }
}

fn of_v4(address: Ipv4Addr) -> Scope {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Scope::Loopback,
        // Zero is this machine for a connection, and reserved for everything else.
        (0, ..) if address.is_unspecified() => Scope::Loopback,
        (169, 254, _) => Scope::Link,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) | (198, 18..=19, _) => {
            Scope::Private
        }
        // For documentation: where one of these answers, it is of a network that uses them as its own.
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Scope::Private,
        (0 | 224.., ..) | (192, 0, 0) => Scope::Nobody,
        _ => Scope::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Scope {
    let first = address.segments()[0];
    match first {
        _ if address.is_loopback() || address.is_unspecified() => Scope::Loopback,
        0xfe80..=0xfebf => Scope::Link,
        0xfc00..=0xfdff | 0xfec0..=0xfeff => Scope::Private,
        0x2001 if matches!(address.segments()[1], 0 | 0xdb8) => Scope::Nobody,
        0x2000..=0x3fff => Scope::Public,
        _ => Scope::Nobody,
    }
}

/// The IPv4 address that packets to this one may end at: compatible and translated addresses (`::a.b.c.d`,
/// `64:ff9b::a.b.c.d`), and 6to4.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0 | 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0 | 1, .., high, low]
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}
