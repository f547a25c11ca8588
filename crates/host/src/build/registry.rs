//! Registry of the connectors that this binary contains, by the names that `use` knows them by.

use std::sync::Arc;

use connector_contract::ConnectorFactory;
use connector_opencode::OpencodeFactory;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::instance::{Fixed, Provider, Ready};
use crate::told::Attached;
use crate::{catalog, git};

/// Entry of a connector in the registry.
#[derive(Clone, Copy)]
pub struct ConnectorEntry {
    /// Its name: what `use` says, and that of an instance that says nothing.
    pub name: &'static str,
    /// Its `connector.toml`.
    pub manifest: &'static str,
    /// Makes its instances.
    pub factory: fn() -> Arc<dyn ConnectorFactory>,
    /// JSON Schema of its keys in `host.toml`.
    pub keys: fn(&mut SchemaGenerator) -> Value,
    /// What its keys are called in the schema's definitions.
    pub definition: &'static str,
    /// The origin it is granted where no `base_url` says another; none where one must.
    pub base_url: Option<&'static str>,
    /// Whether it drives the daemon of a workspace where `workspace` names one.
    pub drives_workspaces: bool,
    /// Provider of an instance at an origin that somebody else runs.
    pub provider: fn(Ready) -> Arc<dyn Provider>,
}

/// Registry of what a host may be built from.
#[derive(Clone, Copy)]
pub struct Registry {
    /// The connectors of instances. Those that the host itself has instances of, git and those of its
    /// surfaces, are not among them.
    pub connectors: &'static [ConnectorEntry],
}

/// The connector for opencode.
pub const OPENCODE: ConnectorEntry = ConnectorEntry {
    name: connector_opencode::NAME,
    manifest: connector_opencode::MANIFEST,
    factory: || Arc::new(OpencodeFactory::default()),
    keys: keys_of::<connector_opencode::Config>,
    definition: "OpencodeInstance",
    base_url: Some("http://127.0.0.1:4096"),
    drives_workspaces: true,
    provider: |ready| Arc::new(Attached::new(ready)),
};

/// The connector for an HTTP server.
pub const HTTP: ConnectorEntry = ConnectorEntry {
    name: connector_http::NAME,
    manifest: connector_http::MANIFEST,
    factory: || Arc::new(connector_http::HttpFactory),
    keys: keys_of::<connector_http::Config>,
    definition: "HttpInstance",
    base_url: None,
    drives_workspaces: false,
    provider: |ready| Arc::new(Fixed(ready)),
};

/// What this binary contains.
pub const STANDARD: Registry = Registry { connectors: &[OPENCODE, HTTP] };

impl Registry {
    /// The entry of the connector `name`.
    pub fn connector(&self, name: &str) -> Option<&'static ConnectorEntry> {
        self.connectors.iter().find(|entry| entry.name == name)
    }

    /// Whether no package and no instance of one may be called `name`.
    pub fn is_reserved(&self, name: &str) -> bool {
        let of_host = [catalog::TELEGRAM, catalog::CONSOLE, git::NAME];
        self.connector(name).is_some() || of_host.contains(&name)
    }

    /// The names of its connectors, as a text lists them.
    pub(crate) fn names(&self) -> String {
        self.connectors.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
    }
}

fn keys_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}

#[cfg(test)]
mod tests {
    use connector_contract::Manifest;

    use super::*;

    #[test]
    fn an_entry_has_the_name_of_its_factory_and_of_its_manifest() {
        for entry in STANDARD.connectors {
            assert_eq!((entry.factory)().name(), entry.name);
            assert_eq!(Manifest::parse(entry.manifest).unwrap().name, entry.name);
        }
    }
}
