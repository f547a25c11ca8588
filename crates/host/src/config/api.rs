//! `[api]`: where programs of this machine reach a running host.

use std::fmt;
use std::net::SocketAddr;

use connector_files::AbsolutePath;
use connector_gate::policy::Actor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The HTTP API of a running host.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Whether it is at `api.sock` in the state directory, where this user's own programs speak to it as the user.
    pub socket: bool,
    /// A port of this machine where it is too, such as `127.0.0.1:4402`, for whoever carries the token.
    pub listen: Option<Loopback>,
    /// The file of that token, which nobody else may read; one is made in the state directory where this is not
    /// given.
    pub token_file: Option<AbsolutePath>,
    /// The name of whoever carries the token: it acts as the account `api:NAME`.
    pub client: ClientName,
    /// The connector whose messages are submitted, as rules name it.
    pub connector: String,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            socket: true,
            listen: None,
            token_file: None,
            client: ClientName("client".to_owned()),
            connector: "connector-console".to_owned(),
        }
    }
}

/// A port of this machine: there is no way to offer it to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Loopback(pub SocketAddr);

impl TryFrom<String> for Loopback {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        connector_connections::loopback(&text).map(Self)
    }
}

/// A program's name, which cannot be taken for more than a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct ClientName(String);

impl ClientName {
    /// The account that it is on `surface`.
    pub fn account(&self, surface: &str) -> Actor {
        Actor::new(surface, &self.0)
    }
}

impl TryFrom<String> for ClientName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(letters) {
            return Err("a client's name is made of up to 64 letters, digits, `-` and `_`".to_owned());
        }
        Ok(Self(text))
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_name_is_a_name_and_nothing_else() {
        for name in ["client", "claude-desktop", "CI_2"] {
            let parsed = ClientName::try_from(name.to_owned()).unwrap();
            assert_eq!(parsed.account("mcp").as_str(), format!("mcp:{name}"));
        }
        for name in ["", "a:b", "cli:anna", "a b", "ännchen", "a\n", "../a", &"a".repeat(65)] {
            assert!(ClientName::try_from(name.to_owned()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn only_a_port_of_this_machine_is_listened_at() {
        let read = |listen: &str| toml::from_str::<ApiConfig>(&format!("listen = \"{listen}\"\n"));
        assert!(read("127.0.0.1:0").is_ok() && read("4402").is_ok());
        for listen in ["0.0.0.0:1", "192.168.1.2:80", "example.org:80", ""] {
            assert!(read(listen).is_err(), "{listen}");
        }
    }
}
