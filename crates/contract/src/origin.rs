//! Where a plugin may speak to: scheme, host and port, and nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// An `http` or `https` origin, normalised: lower-case host, IPv6 in its
/// shortest form, the port filled in.
///
/// Origins are equal when they are written the same after that: `localhost`,
/// `127.0.0.1` and `[::1]` are three origins. Parsing and printing are inverse.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    scheme: Scheme,
    host: Host<String>,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
}

/// Why a text is not an origin. Never quotes userinfo.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Empty or only blanks.
    #[error("the url is empty; write something like http://127.0.0.1:4096")]
    Empty,
    /// No `http://` or `https://` in front.
    #[error("the url has no scheme; write http:// or https:// in front of the host")]
    NoScheme,
    /// Another scheme.
    #[error("the scheme `{0}` is not supported; use http or https")]
    Scheme(String),
    /// Not a URL at all.
    #[error("the url cannot be read ({0})")]
    Syntax(String),
    /// Blanks, control characters or backslashes, which parsers disagree about.
    #[error("the url contains {0:?}, which does not belong there")]
    Character(char),
    /// `user:password@`.
    #[error("the url carries a user name or password; use the `password` setting instead")]
    UserInfo,
    /// A path other than `/`.
    #[error("the url has the path `{0}`; only scheme, host and port are allowed")]
    Path(String),
    /// `?…`
    #[error("the url has a query; only scheme, host and port are allowed")]
    Query,
    /// `#…`
    #[error("the url has a fragment; only scheme, host and port are allowed")]
    Fragment,
    /// Port 0.
    #[error("port 0 is not a port one can connect to")]
    PortZero,
    /// `0.0.0.0` or `[::]`.
    #[error("{0} is an address to listen on, not one to connect to; use 127.0.0.1")]
    Unspecified(String),
}

impl Origin {
    /// Whether it is this machine by its very name: `127.0.0.0/8`, `::1`, or
    /// `localhost`.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        }
    }

    /// Whether it is `https`.
    pub fn is_encrypted(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Whether a secret may be sent to it: encrypted, or never leaving the machine.
    pub fn is_confidential(&self) -> bool {
        self.is_encrypted() || self.is_loopback()
    }

    /// `host:port`, as capabilities name it.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The host alone, IPv6 in brackets.
    pub fn host(&self) -> String {
        self.host.to_string()
    }

    /// The host where it is a name and not an address.
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Domain(name) => Some(name),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }

    /// The port, whether or not it was written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The origin of a request's URI, or `None` if it has none or is not plain
    /// (userinfo, another scheme).
    pub fn of(uri: &http::Uri) -> Option<Self> {
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        format!("{scheme}://{authority}").parse().ok()
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text.trim().is_empty() {
            return Err(OriginError::Empty);
        }
        if let Some(odd) = text.chars().find(|c| c.is_whitespace() || c.is_control() || *c == '\\') {
            return Err(OriginError::Character(odd));
        }
        let (scheme, _) = text.split_once("://").ok_or(OriginError::NoScheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "" => return Err(OriginError::NoScheme),
            other => return Err(OriginError::Scheme(other.to_owned())),
        };
        let url = Url::parse(text).map_err(|error| OriginError::Syntax(error.to_string()))?;
        refuse_extras(text, &url)?;
        let host = url.host().ok_or_else(|| OriginError::Syntax("no host".to_owned()))?.to_owned();
        refuse_unspecified(&host)?;
        match url.port_or_known_default() {
            None | Some(0) => Err(OriginError::PortZero),
            Some(port) => Ok(Self { scheme, host, port }),
        }
    }
}

fn refuse_extras(text: &str, url: &Url) -> Result<(), OriginError> {
    // An empty `user@` parses to no user name at all, so the text is asked too.
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err(OriginError::UserInfo);
    }
    if url.query().is_some() {
        return Err(OriginError::Query);
    }
    if url.fragment().is_some() {
        return Err(OriginError::Fragment);
    }
    // `/.` normalises away, and is no more an origin than `/x` is.
    let written = text.splitn(4, '/').nth(3).unwrap_or_default();
    if url.path() != "/" || !written.is_empty() {
        return Err(OriginError::Path(format!("/{written}")));
    }
    Ok(())
}

fn refuse_unspecified(host: &Host<String>) -> Result<(), OriginError> {
    let unspecified = match host {
        Host::Domain(_) => false,
        Host::Ipv4(address) => address.is_unspecified(),
        Host::Ipv6(address) => address.is_unspecified(),
    };
    if unspecified { Err(OriginError::Unspecified(host.to_string())) } else { Ok(()) }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl TryFrom<String> for Origin {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn these_are_origins_and_this_is_how_they_are_written() {
        for (text, normal) in [
            ("http://127.0.0.1:4096", "http://127.0.0.1:4096"),
            ("http://127.0.0.1:4096/", "http://127.0.0.1:4096"),
            ("HTTP://LocalHost:4096", "http://localhost:4096"),
            ("http://localhost", "http://localhost:80"),
            ("https://Example.ORG", "https://example.org:443"),
            ("http://[0:0:0:0:0:0:0:1]:4096", "http://[::1]:4096"),
            ("http://127.1:4096", "http://127.0.0.1:4096"),
            ("http://bücher.example:1", "http://xn--bcher-kva.example:1"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), normal, "{text}");
        }
    }

    #[test]
    fn these_are_not_origins() {
        use OriginError as E;
        for (text, error) in [
            ("", E::Empty),
            ("  ", E::Empty),
            ("127.0.0.1:4096", E::NoScheme),
            ("localhost:4096", E::NoScheme),
            ("://x", E::NoScheme),
            ("ftp://127.0.0.1", E::Scheme("ftp".into())),
            ("file:///etc/passwd", E::Scheme("file".into())),
            ("http://user:pw@127.0.0.1:4096", E::UserInfo),
            ("http://@127.0.0.1:4096", E::UserInfo),
            ("http://127.0.0.1:4096@evil.example/", E::UserInfo),
            ("http://127.0.0.1:4096/api", E::Path("/api".into())),
            ("http://127.0.0.1:4096/.", E::Path("/.".into())),
            ("http://127.0.0.1:4096/x/..", E::Path("/x/..".into())),
            ("http://127.0.0.1:4096?", E::Query),
            ("http://127.0.0.1:4096/?a=b", E::Query),
            ("http://127.0.0.1:4096#top", E::Fragment),
            ("http://127.0.0.1:0", E::PortZero),
            ("http://0.0.0.0:4096", E::Unspecified("0.0.0.0".into())),
            ("http://[::]:4096", E::Unspecified("[::]".into())),
            (" http://127.0.0.1", E::Character(' ')),
            ("http://127.0.0.1\t:80", E::Character('\t')),
            ("http:\\\\127.0.0.1", E::Character('\\')),
            ("http://127.0.0.1\\@evil.example", E::Character('\\')),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(error), "{text:?}");
        }
        for text in ["http://", "http://:4096", "http://127.0.0.1:99999", "http://[::1", "http://a b"] {
            assert!(text.parse::<Origin>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_error_never_quotes_a_password() {
        let error = "http://user:hunter2@127.0.0.1".parse::<Origin>().unwrap_err();
        assert!(!error.to_string().contains("hunter2") && !format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (text, loopback) in [
            ("http://127.0.0.1:1", true),
            ("http://127.9.9.9:1", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("http://localhost.:1", false),
            ("http://localhost.example:1", false),
            ("http://[::ffff:127.0.0.1]:1", false),
            ("http://10.0.0.1:1", false),
            ("http://example.org:1", false),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn names_and_addresses_of_one_machine_are_different_origins() {
        let origins = ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1", "https://127.0.0.1:1"];
        let set: std::collections::HashSet<Origin> =
            origins.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(set.len(), 4);
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(host in "[a-z][a-z0-9]{0,9}(\\.[a-z]{2,5})?", port in 1u16.., tls: bool) {
            let text = format!("{}://{host}:{port}", if tls { "https" } else { "http" });
            let origin: Origin = text.parse().unwrap();
            prop_assert_eq!(origin.to_string(), text.clone());
            prop_assert_eq!(Origin::of(&format!("{text}/a?b").parse().unwrap()), Some(origin));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            if let Ok(origin) = text.parse::<Origin>() {
                prop_assert_eq!(origin.to_string().parse::<Origin>(), Ok(origin));
            }
        }
    }
}
