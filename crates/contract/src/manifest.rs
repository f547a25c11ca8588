//! `connector.toml`: what a plugin says about itself.

use serde::{Deserialize, Serialize};

use crate::{ActionDecl, Capability, TriggerDecl};

/// A plugin's declaration of itself. Flat, so that Springtale can read it too;
/// unknown fields are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Manifest {
    /// The connector's name: `connector-` and a word.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Person or organisation.
    pub author: String,
    /// One sentence.
    pub description: String,
    /// What it needs to work.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// Events it can emit.
    #[serde(default)]
    pub triggers: Vec<TriggerDecl>,
    /// Actions it can perform.
    #[serde(default)]
    pub actions: Vec<ActionDecl>,
    /// What user data goes where.
    #[serde(default)]
    pub data_disclosure: Vec<DataDisclosure>,
    /// Algorithm of [`signature`](Self::signature): `ed25519`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_alg: Option<String>,
    /// Hexadecimal signature over the file without its signature line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// As a file writes it. What Springtale's say besides is read and not used: there are no roles here,
/// and what a WebAssembly module may do is not for a manifest to say where none is run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    version: String,
    author: String,
    description: String,
    #[serde(default)]
    capabilities: Vec<Capability>,
    #[serde(default)]
    triggers: Vec<TriggerDecl>,
    #[serde(default)]
    actions: Vec<ActionDecl>,
    #[serde(default)]
    data_disclosure: Vec<DataDisclosure>,
    #[serde(default, rename = "roles")]
    _roles: Vec<Role>,
    #[serde(default, rename = "wasm_hash")]
    _wasm_hash: Option<String>,
    signature_alg: Option<String>,
    signature: Option<String>,
}

/// A role of Springtale's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    #[serde(rename = "name")]
    _name: String,
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default, rename = "capabilities")]
    _capabilities: Vec<String>,
    #[serde(default, rename = "allowed_actions")]
    _allowed_actions: Vec<String>,
}

impl From<Written> for Manifest {
    fn from(written: Written) -> Self {
        Self {
            name: written.name,
            version: written.version,
            author: written.author,
            description: written.description,
            capabilities: written.capabilities,
            triggers: written.triggers,
            actions: written.actions,
            data_disclosure: written.data_disclosure,
            signature_alg: written.signature_alg,
            signature: written.signature,
        }
    }
}

/// One kind of data that leaves, why, and to where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataDisclosure {
    /// What data.
    pub data_type: String,
    /// Why.
    pub purpose: String,
    /// Where it goes.
    pub destination: String,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML, a missing field, or a field no manifest has.
    #[error("the manifest cannot be read")]
    Syntax(#[from] toml::de::Error),
    /// Two declarations share a name.
    #[error("the manifest declares {kind} `{name}` twice")]
    Duplicate {
        /// `action` or `trigger`.
        kind: &'static str,
        /// The name they share.
        name: String,
    },
}

impl Manifest {
    /// Reads a manifest from the text of a `connector.toml`.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text)?;
        unique("action", manifest.actions.iter().map(|action| action.name.as_str()))?;
        unique("trigger", manifest.triggers.iter().map(|trigger| trigger.name.as_str()))?;
        Ok(manifest)
    }

    /// The declaration of an action.
    pub fn action(&self, name: &str) -> Option<&ActionDecl> {
        self.actions.iter().find(|action| action.name == name)
    }
}

fn unique<'a>(kind: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), ManifestError> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(ManifestError::Duplicate { kind, name: name.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        "name = \"connector-x\"\nversion = \"1.0.0\"\nauthor = \"a\"\ndescription = \"d\"\n";

    #[test]
    fn a_manifest_survives_printing_and_parsing() {
        let text = format!(
            "{MINIMAL}[[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"127.0.0.1:4096\"\n\
             [[actions]]\nname = \"run\"\ndescription = \"runs\"\n"
        );
        let manifest = Manifest::parse(&text).unwrap();
        assert!(!manifest.actions[0].read_only, "an action may mutate unless it says otherwise");
        assert_eq!(Manifest::parse(&toml::to_string(&manifest).unwrap()).unwrap(), manifest);
    }

    #[test]
    fn a_manifest_of_springtales_is_read() {
        let text = format!(
            "{MINIMAL}wasm_hash = \"00ff\"\n\
             [[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"API.example.org\"\n\
             [[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"http://127.0.0.1\"\n\
             [[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"[::1]\"\n\
             [[capabilities]]\ntype = \"ShellExec\"\n\
             [[actions]]\nname = \"look\"\ndescription = \"looks\"\nread_only = true\npoll_interval_secs = 30\n\
             [[actions]]\nname = \"drop\"\ndescription = \"drops\"\ndestructive = true\n\
             [[actions]]\nname = \"wipe\"\ndescription = \"wipes\"\nread_only = true\ndestructive = true\n\
             [[roles]]\nname = \"x/auditor\"\nallowed_actions = [\"look*\"]\n"
        );
        let manifest = Manifest::parse(&text).unwrap();
        let capabilities: Vec<_> = manifest.capabilities.iter().map(ToString::to_string).collect();
        let hosts = ["api.example.org:443", "127.0.0.1:80", "[::1]:443"];
        let mut wanted: Vec<_> = hosts.map(|host| format!("NetworkOutbound({host})")).to_vec();
        wanted.push("ShellExec".to_owned());
        assert_eq!(capabilities, wanted);
        assert_eq!(
            manifest.actions.iter().map(|action| action.read_only).collect::<Vec<_>>(),
            [true, false, false]
        );
    }

    #[test]
    fn what_no_manifest_has_is_refused() {
        for line in [
            "wasm = true",
            "[[capabilities]]\ntype = \"Everything\"",
            "[[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"a:1\"\nport = 1",
            "[[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"*:1\"",
            "[[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"*.example.org\"",
            "[[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"\"",
            "[[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"a.example/x\"",
            "[[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"u@a.example\"",
            "[[roles]]\nname = \"x\"\nallowed = []",
            "[[capabilities]]\ntype = \"FilesystemRead\"\npath = \"a/../b\"",
            "[[capabilities]]\ntype = \"ShellExec\"\nsignature = \"00\"",
            "[[actions]]\nname = \"a\"\ndescription = \"\"\nreadonly = true",
            "[[actions]]\nname = \"a\"\ndescription = \"\"\n[[actions]]\nname = \"a\"\ndescription = \"\"",
        ] {
            assert!(Manifest::parse(&format!("{MINIMAL}{line}\n")).is_err(), "{line}");
        }
    }
}
