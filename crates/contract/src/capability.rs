//! What a plugin asks to be allowed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Origin;

/// One power that a manifest asks for. A plugin has none that is not granted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
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
