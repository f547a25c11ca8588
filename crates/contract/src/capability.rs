//! What a plugin asks to be allowed.

use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Origin;

/// One power that a manifest asks for. A plugin has none that is not granted.
///
/// Written as text, as a grant names it, it is `NetworkOutbound(127.0.0.1:4096)`,
/// `FilesystemRead(/a/path)`, `FilesystemWrite(/a/path)`, `KeychainRead(name)` or
/// `ShellExec`. Each has exactly one spelling, so two are the same power only
/// when they are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", try_from = "Written")]
pub enum Capability {
    /// HTTP to exactly one `host:port`, no wildcards.
    NetworkOutbound {
        /// `host:port` as [`Origin::authority`] writes it.
        host: String,
    },
    /// Reading below a path.
    FilesystemRead {
        /// An absolute path.
        path: String,
    },
    /// Writing below a path.
    FilesystemWrite {
        /// An absolute path.
        path: String,
    },
    /// Reading one secret.
    KeychainRead {
        /// The secret's name.
        key: String,
    },
    /// Starting processes.
    ShellExec,
}

impl Capability {
    /// The capability that speaking to `origin` takes.
    pub fn outbound_to(origin: &Origin) -> Self {
        Self::NetworkOutbound { host: origin.authority() }
    }

    /// Whether it names something exactly: a `host:port` in its normal form, a path
    /// from the root without detours, a secret with a name.
    pub fn check(&self) -> Result<(), CapabilityError> {
        match self {
            Self::NetworkOutbound { host } => check_authority(host),
            Self::FilesystemRead { path } | Self::FilesystemWrite { path } => check_path(path),
            Self::KeychainRead { key } if key.is_empty() || key.contains(char::is_control) => {
                Err(CapabilityError::Key)
            }
            Self::KeychainRead { .. } | Self::ShellExec => Ok(()),
        }
    }
}

/// As a manifest writes it. `ShellExec` has braces so that unknown fields beside it are errors too.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Written {
    NetworkOutbound { host: String },
    FilesystemRead { path: String },
    FilesystemWrite { path: String },
    KeychainRead { key: String },
    ShellExec {},
}

impl TryFrom<Written> for Capability {
    type Error = CapabilityError;

    fn try_from(written: Written) -> Result<Self, CapabilityError> {
        let capability = match written {
            Written::NetworkOutbound { host } => Self::NetworkOutbound { host: with_port(host) },
            Written::FilesystemRead { path } => Self::FilesystemRead { path },
            Written::FilesystemWrite { path } => Self::FilesystemWrite { path },
            Written::KeychainRead { key } => Self::KeychainRead { key },
            Written::ShellExec {} => Self::ShellExec,
        };
        capability.check().map(|()| capability)
    }
}

/// Why a text or a declaration is not a capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// None of the five.
    #[error(
        "`{0}` is no capability; there are NetworkOutbound(host:port), FilesystemRead(path), FilesystemWrite(path), KeychainRead(name) and ShellExec"
    )]
    Unknown(String),
    /// Not a host and a port, or not as they are written.
    #[error("`{written}` is not one host and port; write {expected}")]
    Host {
        /// What is there.
        written: String,
        /// What should be.
        expected: String,
    },
    /// Not from the root, or with detours.
    #[error("`{0}` is not a path from the root without `.`, `..` or doubled slashes")]
    Path(String),
    /// No name, or one that cannot be shown.
    #[error("a secret is read by its name, which is not empty and has no control characters")]
    Key,
}

/// A host without a port has that of its scheme, which is `https` where none is written: so
/// Springtale's manifests name them.
fn with_port(host: String) -> String {
    let url = if host.contains("://") { host.clone() } else { format!("https://{host}") };
    let bare = !host.is_empty() && !host.contains(['*', '/', '@', '?', '#']) && !has_port(&host);
    match url.parse::<Origin>() {
        Ok(origin) if bare || host.contains("://") => origin.authority(),
        _ => host,
    }
}

fn has_port(host: &str) -> bool {
    let after_address = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    after_address.contains(':')
}

fn check_authority(host: &str) -> Result<(), CapabilityError> {
    // Only the authority counts, and it is the same for both schemes once the port is written.
    let normal = format!("http://{host}").parse::<Origin>().map(|origin| origin.authority()).ok();
    if normal.as_deref() == Some(host) && !host.contains('*') {
        return Ok(());
    }
    let expected = normal
        .filter(|normal| !normal.contains('*') && host.contains(':'))
        .unwrap_or_else(|| "something like 127.0.0.1:4096, without wildcards".to_owned());
    Err(CapabilityError::Host { written: host.to_owned(), expected })
}

fn check_path(text: &str) -> Result<(), CapabilityError> {
    let normal: std::path::PathBuf = Path::new(text).components().collect();
    let detours = Path::new(text).components().any(|part| part == Component::ParentDir);
    let plain = text.starts_with('/') && !detours && !text.contains(char::is_control);
    if plain && normal.as_os_str() == text { Ok(()) } else { Err(CapabilityError::Path(text.to_owned())) }
}

impl FromStr for Capability {
    type Err = CapabilityError;

    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        if text == "ShellExec" {
            return Ok(Self::ShellExec);
        }
        let unknown = || CapabilityError::Unknown(text.to_owned());
        let (kind, rest) = text.split_once('(').ok_or_else(unknown)?;
        let of = rest.strip_suffix(')').ok_or_else(unknown)?.to_owned();
        let capability = match kind {
            "NetworkOutbound" => Self::NetworkOutbound { host: of },
            "FilesystemRead" => Self::FilesystemRead { path: of },
            "FilesystemWrite" => Self::FilesystemWrite { path: of },
            "KeychainRead" => Self::KeychainRead { key: of },
            _ => return Err(unknown()),
        };
        capability.check().map(|()| capability)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkOutbound { host } => write!(f, "NetworkOutbound({host})"),
            Self::FilesystemRead { path } => write!(f, "FilesystemRead({path})"),
            Self::FilesystemWrite { path } => write!(f, "FilesystemWrite({path})"),
            Self::KeychainRead { key } => write!(f, "KeychainRead({key})"),
            Self::ShellExec => f.write_str("ShellExec"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_capability_has_one_spelling() {
        for text in [
            "NetworkOutbound(127.0.0.1:4096)",
            "NetworkOutbound([::1]:4096)",
            "NetworkOutbound(api.example.org:443)",
            "NetworkOutbound(localhost:80)",
            "FilesystemRead(/)",
            "FilesystemRead(/a/b (copy))",
            "FilesystemWrite(/a/.hidden)",
            "KeychainRead(token)",
            "ShellExec",
        ] {
            assert_eq!(text.parse::<Capability>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "Everything",
            "shellexec",
            "ShellExec()",
            "ShellExec ",
            "NetworkOutbound",
            "NetworkOutbound()",
            "NetworkOutbound(127.0.0.1:4096",
            "NetworkOutbound(127.0.0.1:4096) ",
            " NetworkOutbound(127.0.0.1:4096)",
            "NetworkOutbound(127.0.0.1)",
            "NetworkOutbound(127.1:4096)",
            "NetworkOutbound(127.0.0.1:04096)",
            "NetworkOutbound(Example.org:443)",
            "NetworkOutbound(*:443)",
            "NetworkOutbound(*.example.org:443)",
            "NetworkOutbound(127.0.0.1:*)",
            "NetworkOutbound(127.0.0.1:0)",
            "NetworkOutbound(0.0.0.0:80)",
            "NetworkOutbound(::1:4096)",
            "NetworkOutbound(me@127.0.0.1:4096)",
            "NetworkOutbound(127.0.0.1:4096/x)",
            "NetworkOutbound(http://127.0.0.1:4096)",
            "FilesystemRead()",
            "FilesystemRead(a)",
            "FilesystemRead(~/a)",
            "FilesystemRead(/a/../b)",
            "FilesystemRead(/a/./b)",
            "FilesystemRead(/a//b)",
            "FilesystemRead(/a/)",
            "FilesystemWrite(/a\0b)",
            "KeychainRead()",
            "KeychainRead(a\nb)",
        ] {
            assert!(text.parse::<Capability>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_host_that_is_nearly_right_is_corrected() {
        let error = "NetworkOutbound(Example.org:443)".parse::<Capability>().unwrap_err();
        assert_eq!(error.to_string(), "`Example.org:443` is not one host and port; write example.org:443");
    }

    proptest! {
        #[test]
        fn what_is_parsed_is_printed_as_it_was(text in "(NetworkOutbound|FilesystemRead|KeychainRead)\\([a-z0-9:./*()\\[\\] -]{0,20}\\)|\\PC{0,40}") {
            if let Ok(capability) = text.parse::<Capability>() {
                prop_assert_eq!(capability.to_string(), text);
                prop_assert_eq!(capability.check(), Ok(()));
            }
        }
    }
}
