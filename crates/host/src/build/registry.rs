//! Registry of what this binary contains: connectors, by the names that `use` knows them by, and surfaces, by
//! those of their sections.

use std::sync::Arc;

use connector_contract::ConnectorFactory;
use connector_engine::followers;
use connector_engine::instance::{Fixed, Instance, Provider, Ready};
use connector_gate::people::Account;
use connector_opencode::OpencodeFactory;
use connector_rules::ChatAddress;
use connector_rules::{Catalog, CatalogConnector};
use connector_surface::Surface;
use connector_surface::log::COMMAND_LINE;
use futures_util::future::BoxFuture;
use opencode_daemons::Environment;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use super::{PlanError, matrix, telegram};
use crate::config::SurfaceSection;
use crate::told::Attached;
use crate::{catalog, console, git};

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

/// Entry of a surface in the registry: a chat, and the connector that rules know its messages and actions by.
#[derive(Clone, Copy)]
pub struct SurfaceEntry {
    /// Its name: its section is `[surfaces.NAME]`, and its accounts are `NAME:…`.
    pub name: &'static str,
    /// What its platform calls itself.
    pub title: &'static str,
    /// What stands behind the colon of an account.
    pub account: Account,
    /// The name of its connector where its section says no other.
    pub connector: &'static str,
    /// JSON Schema of its connector's keys in `host.toml`.
    pub keys: fn(&mut SchemaGenerator) -> Value,
    /// What its section is called in the schema's definitions.
    pub definition: &'static str,
    /// What its connector declares, and whom it lets in; without a section anybody.
    pub declared: fn(Option<&SurfaceSection>) -> CatalogConnector,
    /// Its connector's instance, which cannot be called and needs no secret.
    pub described:
        for<'a> fn(&'a SurfaceSection, &'a Environment) -> BoxFuture<'a, Result<Instance, PlanError>>,
    /// Whether a section lets it write to a chat that did not ask; otherwise what it lacks.
    pub admits: fn(&SurfaceSection, &str) -> Result<(), String>,
    /// Whether a host could be started with a section.
    pub check: fn(&SurfaceSection) -> Result<(), PlanError>,
    /// What a look at its platform finds, for `doctor`. Nothing is changed there.
    pub examine: for<'a> fn(&'a SurfaceSection) -> Examining<'a>,
    /// Makes the surface and its connector's instance. Nothing is called.
    pub make: fn(&SurfaceSection) -> Result<SurfaceParts, PlanError>,
}

/// What a look at a platform finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// As it should be.
    Good(String),
    /// It may not be as it is meant.
    Doubtful(String),
}

/// A look at a platform.
pub type Examining<'a> = BoxFuture<'a, Result<Vec<Seen>, PlanError>>;

/// What a section of a surface is made into.
pub struct SurfaceParts {
    /// The surface.
    pub surface: Arc<dyn Surface>,
    /// Its connector's instance.
    pub instance: Instance,
}

/// Registry of what a host may be built from.
#[derive(Clone, Copy)]
pub struct Registry {
    /// The connectors of instances. Those that the host itself has instances of, git and those of its
    /// surfaces, are not among them.
    pub connectors: &'static [ConnectorEntry],
    /// The surfaces that a configuration may have.
    pub surfaces: &'static [SurfaceEntry],
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

/// Telegram.
pub const TELEGRAM: SurfaceEntry = SurfaceEntry {
    name: crate::telegram::NAME,
    title: "Telegram",
    account: Account::Number,
    connector: connector_telegram::NAME,
    keys: keys_of::<connector_telegram::Config>,
    definition: "TelegramSurface",
    declared: telegram::declared,
    described: |section, environment| Box::pin(telegram::described(section, environment)),
    admits: telegram::admits,
    check: telegram::check,
    // What is wrong there is told by the host that runs.
    examine: |_| Box::pin(std::future::ready(Ok(Vec::new()))),
    make: telegram::make,
};

/// Matrix.
pub const MATRIX: SurfaceEntry = SurfaceEntry {
    name: connector_matrix::surface::NAME,
    title: "Matrix",
    account: Account::Name("@USER:SERVER"),
    connector: connector_matrix::NAME,
    keys: keys_of::<connector_matrix::Config>,
    definition: "MatrixSurface",
    declared: matrix::declared,
    described: |section, environment| Box::pin(matrix::described(section, environment)),
    admits: matrix::admits,
    check: matrix::check,
    examine: |section| Box::pin(matrix::examined(section)),
    make: matrix::make,
};

/// What this binary contains.
pub const STANDARD: Registry = Registry { connectors: &[OPENCODE, HTTP], surfaces: &[TELEGRAM, MATRIX] };

impl Registry {
    /// The entry of the connector `name`.
    pub fn connector(&self, name: &str) -> Option<&'static ConnectorEntry> {
        self.connectors.iter().find(|entry| entry.name == name)
    }

    /// Whether no package and no instance of one may be called `name`.
    pub fn is_reserved(&self, name: &str) -> bool {
        let of_surface = self.surfaces.iter().any(|entry| entry.connector == name);
        self.connector(name).is_some() || of_surface || [catalog::CONSOLE, git::NAME].contains(&name)
    }

    /// The surfaces that `sections` has, in the registry's order.
    pub fn surfaces_of<'a>(
        &self,
        sections: &'a crate::config::Surfaces,
    ) -> impl Iterator<Item = (&'static SurfaceEntry, &'a SurfaceSection)> + use<'a> {
        self.surfaces.iter().filter_map(|entry| Some((entry, sections.get(entry.name)?)))
    }

    /// Whether a surface that is configured may tell a chat that did not ask.
    pub fn admits(&self, sections: &crate::config::Surfaces, chat: &ChatAddress) -> Result<(), String> {
        let mut surfaces = self.surfaces_of(sections);
        if let Some((entry, section)) = surfaces.find(|(entry, _)| entry.name == chat.surface()) {
            return (entry.admits)(section, chat.chat());
        }
        let known = self.surfaces_of(sections).map(|(entry, _)| entry.name).collect();
        Err(followers::unknown(chat.surface(), known))
    }

    /// The surfaces that accounts can be of, in the order of their names: the host's own, and those of chats.
    pub fn accounts(&self) -> Vec<(&'static str, Account)> {
        let (client, user) = (Account::Name("CLIENT"), Account::Name("USER"));
        let own = [("api", client), (COMMAND_LINE, user), (console::NAME, Account::None), ("mcp", client)];
        let mut all = own.to_vec();
        all.extend(self.surfaces.iter().map(|entry| (entry.name, entry.account)));
        all.sort_by_key(|(name, _)| *name);
        all
    }

    /// What a host has whatever its configuration says: the console, and each surface until the configuration says
    /// who is admitted there.
    pub(crate) fn catalog(&self) -> Catalog {
        let of_surfaces = self.surfaces.iter().map(|entry| (entry.connector, (entry.declared)(None)));
        let console = (catalog::CONSOLE, catalog::chat(catalog::Reach::Admitted));
        let all = of_surfaces.chain([console]).map(|(name, connector)| (name.to_owned(), connector));
        Catalog { connectors: all.collect() }
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
    fn a_second_surface_has_its_accounts_and_its_connector() {
        const OTHER: SurfaceEntry = SurfaceEntry {
            name: "other",
            account: Account::Name("HANDLE"),
            connector: "connector-other",
            ..TELEGRAM
        };
        let registry = Registry { surfaces: &[TELEGRAM, OTHER], ..STANDARD };
        assert!(registry.is_reserved("connector-other") && !STANDARD.is_reserved("connector-other"));
        assert!(registry.catalog().connectors.contains_key("connector-other"));
        let accounts = registry.accounts();
        assert!(accounts.is_sorted_by_key(|(name, _)| *name), "{accounts:?}");
        assert!(accounts.contains(&("other", Account::Name("HANDLE"))));
        let without = Registry { surfaces: &[TELEGRAM], ..STANDARD };
        assert_eq!(accounts.len(), without.accounts().len() + 1);
    }

    #[test]
    fn an_entry_has_the_name_of_its_factory_and_of_its_manifest() {
        for entry in STANDARD.connectors {
            assert_eq!((entry.factory)().name(), entry.name);
            assert_eq!(Manifest::parse(entry.manifest).unwrap().name, entry.name);
        }
    }
}
