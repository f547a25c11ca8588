//! What holds, and what is missing.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One wall around a plugin process. Each can be missing on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wall {
    /// Landlock, files: Linux 5.13.
    Files,
    /// Landlock, TCP ports: Linux 6.7.
    Ports,
    /// Landlock, signals and abstract sockets: Linux 6.12.
    Scope,
    /// The filter of system calls.
    Calls,
}

impl Wall {
    /// Every wall.
    pub const ALL: [Self; 4] = [Self::Files, Self::Ports, Self::Scope, Self::Calls];

    /// What is open without it.
    pub fn without(self) -> &'static str {
        match self {
            Self::Files => "files can be opened",
            Self::Ports => "every TCP port can be reached",
            Self::Scope => "processes of the same user could be signalled, were it not for the other walls",
            Self::Calls => "programs can be started, and other kinds of socket opened",
        }
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "files",
            Self::Ports => "ports",
            Self::Scope => "scope",
            Self::Calls => "calls",
        })
    }
}

/// Which walls hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The walls that hold.
    pub walls: BTreeSet<Wall>,
}

impl Held {
    /// The walls that do not hold.
    pub fn missing(&self) -> impl Iterator<Item = Wall> {
        Wall::ALL.into_iter().filter(|wall| !self.walls.contains(wall))
    }

    /// Whether every wall holds.
    pub fn is_whole(&self) -> bool {
        self.missing().next().is_none()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            return f.write_str("every wall holds");
        }
        let missing: Vec<_> = self.missing().map(|wall| format!("{wall} ({})", wall.without())).collect();
        write!(f, "missing: {}", missing.join(", "))
    }
}

/// Which walls this kernel can hold. Nothing is confined by asking.
pub fn kernel() -> Held {
    #[cfg(target_os = "linux")]
    let walls = crate::linux::kernel();
    #[cfg(not(target_os = "linux"))]
    let walls = BTreeSet::new();
    Held { walls }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_what_it_leaves_open() {
        let held = Held { walls: [Wall::Files, Wall::Scope, Wall::Calls].into() };
        assert!(!held.is_whole());
        assert_eq!(held.to_string(), "missing: ports (every TCP port can be reached)");
        assert_eq!(Held { walls: Wall::ALL.into() }.to_string(), "every wall holds");
    }
}
