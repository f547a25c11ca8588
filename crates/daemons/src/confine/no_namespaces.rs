//! No namespaces: this system has none.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) const ENTER: &str = "--launch-within-namespaces";
pub(crate) const MODELS: u16 = 1022;
pub(crate) const PROXY: u16 = 1023;
pub(super) const OWN_PROC: &str = "/.proc";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Namespaces {
    pub(super) network: bool,
    pub(super) command_ports: Vec<u16>,
    pub(super) tmp: Option<PathBuf>,
    pub(super) private: Vec<PathBuf>,
    pub(super) tried: Vec<PathBuf>,
}

/// What a system does not let an ordinary program have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// All of them.
    All,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this system has no namespaces")
    }
}

/// What keeps daemons from having namespaces.
pub fn missing(_launcher: &Path) -> Option<Missing> {
    Some(Missing::All)
}

/// What is never said, since nobody listens.
#[derive(Debug)]
pub(crate) struct Control(std::convert::Infallible);

impl Control {
    pub(crate) fn pair() -> std::io::Result<(Self, std::process::Stdio)> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn exchange(
        &self,
        _daemon: &std::net::TcpListener,
        _ports: &[u16],
    ) -> std::io::Result<Vec<std::net::TcpListener>> {
        match self.0 {}
    }

    pub(crate) fn go(self) -> std::io::Result<()> {
        match self.0 {}
    }
}
