//! Plan of a host: its connector instances as the configuration describes them.

mod described;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use connector_contract::{Connector, ConnectorError, Origin, OriginError, Reach, chain};
use connector_engine::instance::{Instance, Ready, grant};
use connector_files::Log;
use connector_plugins::package::Granted;
use connector_rules::{Catalog, CatalogConnector};
use opencode_daemons::Environment;
use opencode_daemons::pool::WorkspaceConfig;
use serde_json::{Map, Value, json};

use super::PlanError;
use super::packages::{self, Used};
use super::registry::{ConnectorEntry, Registry};
use crate::catalog;
use crate::config::{self, HostConfig};
use crate::git::{self, Git};
use crate::isolation::{ConnectorIsolation, said};
use crate::managed::{Daemons, Managed};
pub(super) use described::{Described, not_called};

/// What becomes of a setting that is `env:VAR` where VAR is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// The plan fails.
    Fails,
    /// It stays as it is written: no secret changes what there is to look at.
    Stays,
}

/// Plan of a host.
pub struct Plan {
    /// Every instance, which cannot be called.
    pub instances: Vec<Instance>,
    /// What they declare, by the names rules know them by.
    pub catalog: Catalog,
    /// Those whose workspace is gone, with what is missing.
    pub unusable: BTreeMap<String, String>,
}

impl Plan {
    /// The plan that `config` describes. Directories of workspaces and files of packages are looked at.
    ///
    /// # Errors
    ///
    /// The first of what is wrong in the configuration, in words that name its section.
    pub async fn of(config: &HostConfig, registry: &Registry) -> Result<Self, PlanError> {
        let environment = Environment::of_this_process();
        let (mut instances, mut catalog) = (Vec::new(), registry.catalog());
        for (entry, given) in registry.surfaces_of(&config.surfaces) {
            catalog
                .connectors
                .insert(given.connector(entry.connector).to_owned(), (entry.declared)(Some(given)));
            instances.push((entry.described)(given, &environment).await?);
        }
        // It is not called here, and has no place to keep anything in.
        let git = Git::new((&config.opencode, &config.workspaces), environment.clone(), Path::new("/"));
        let git = git.instance().map_err(|error| PlanError(chain(&error)))?;
        let mut others = vec![not_called(git)];
        for (name, given) in &config.connectors {
            let planned = Planned::of((config, registry), (name, given), (&environment, Unset::Stays));
            others.push(planned.await?.described());
        }
        catalog.connectors.extend(others.iter().map(declared));
        instances.extend(others);
        Ok(Self { instances, catalog, unusable: unusable(config) })
    }

    /// The plan of a host without a configuration: each connector of `registry` as it is without settings.
    ///
    /// # Errors
    ///
    /// A connector that takes no empty configuration.
    pub async fn without_config(registry: &Registry) -> Result<Self, PlanError> {
        let mut instances = Vec::new();
        for entry in registry.connectors.iter().filter(|entry| entry.base_url.is_some()) {
            let connector = create(entry, Map::new()).await.map_err(|error| PlanError(chain(&error)))?;
            instances.push(Described::plain(connector).instance(entry.name, None));
        }
        let mut catalog = registry.catalog();
        catalog.connectors.extend(instances.iter().map(declared));
        let git = catalog::of(git::described().as_ref(), catalog::Reach::Admitted);
        catalog.connectors.insert(git::NAME.to_owned(), git);
        Ok(Self { instances, catalog, unusable: BTreeMap::new() })
    }
}

fn declared(instance: &Instance) -> (String, CatalogConnector) {
    (instance.name.clone(), catalog::of(instance.described.as_ref(), catalog::Reach::Admitted))
}

/// The connectors whose workspace is not there.
fn unusable(config: &HostConfig) -> BTreeMap<String, String> {
    let gone = config.connectors.iter().filter_map(|(name, given)| {
        let workspace = given.workspace.as_ref()?;
        let directory = &config.workspaces.get(workspace)?.directory;
        let reason =
            format!("the directory of its workspace `{workspace}`, {}, is not there", directory.display());
        (!directory.is_dir()).then(|| (name.clone(), reason))
    });
    gone.collect()
}

/// Plan of one instance.
pub struct Planned {
    name: String,
    described: Described,
    makes: Makes,
}

/// How an instance is made.
enum Makes {
    Attached(Attached),
    /// At the daemon of a workspace.
    Managed {
        entry: &'static ConnectorEntry,
        isolation: ConnectorIsolation,
        workspace: String,
        settings: Map<String, Value>,
    },
    /// In processes of a package.
    Packaged {
        package: Box<Granted>,
        given: config::Instance,
    },
}

impl Planned {
    /// The plan of `[connectors.NAME]`.
    ///
    /// # Errors
    ///
    /// What is wrong in that section, in words that name it.
    pub async fn of(
        (config, registry): (&HostConfig, &Registry),
        (name, given): (&str, &config::Instance),
        (environment, unset): (&Environment, Unset),
    ) -> Result<Self, PlanError> {
        let mut given = given.clone();
        let resolved = config::resolve_environment(&mut given.config, environment);
        if unset == Unset::Fails {
            resolved.map_err(|error| PlanError::of(name, chain(&error)))?;
        }
        let used = packages::used(registry, config, (name, &given));
        match used.map_err(|error| PlanError(chain(&error)))? {
            Used::BuiltIn(entry) => Self::built_in(entry, config, (name, given), environment).await,
            Used::Package(package) => {
                let made = packages::instance(name, given.clone(), &package, None);
                let described = Described::plain(made.map_err(|error| PlanError(chain(&error)))?.described);
                let makes = Makes::Packaged { package, given };
                Ok(Self { name: name.to_owned(), described, makes })
            }
        }
    }

    async fn built_in(
        entry: &'static ConnectorEntry,
        config: &HostConfig,
        (name, mut given): (&str, config::Instance),
        environment: &Environment,
    ) -> Result<Self, PlanError> {
        let fault = |reason: String| PlanError::of(name, reason);
        let workspace = workspace_of(entry, config, (name, &given))?;
        let model = config.routing.coding(workspace).filter(|_| entry.drives_workspaces);
        if let Some(model) = model {
            given.config.entry("model").or_insert_with(|| json!(model));
        }
        let (makes, settings) = match workspace {
            None => {
                let attached = Attached::of_section(entry, (name, given))?;
                let settings = attached.settings.clone();
                (Makes::Attached(attached), settings)
            }
            Some(known) => {
                // One that is not there now is told by the tasks that want it: the others go on.
                let directory = &known.directory;
                let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
                let mut settings = given.config;
                settings.insert("directory".to_owned(), json!(directory));
                let (isolation, workspace) = (given.isolation, given.workspace.unwrap_or_default());
                (Makes::Managed { entry, isolation, workspace, settings: settings.clone() }, settings)
            }
        };
        let connector = create(entry, settings).await.map_err(|error| fault(chain(&error)))?;
        let described = match workspace {
            Some(known) => Described::of_workspace(connector, (&config.opencode, known), environment.clone()),
            None => Described::plain(connector),
        };
        Ok(Self { name: name.to_owned(), described, makes })
    }

    /// The instance, which cannot be called.
    pub fn described(self) -> Instance {
        let workspace = match self.makes {
            Makes::Managed { workspace, .. } => Some(workspace),
            Makes::Attached(_) | Makes::Packaged { .. } => None,
        };
        self.described.instance(&self.name, workspace)
    }

    /// What is missing here of the isolation that it is to have, in words for people.
    ///
    /// # Errors
    ///
    /// It must not run without.
    pub fn missing_isolation(&self) -> Result<Option<String>, PlanError> {
        let isolation = match &self.makes {
            Makes::Attached(attached) => attached.isolation,
            Makes::Managed { isolation, .. } => *isolation,
            Makes::Packaged { .. } => {
                return packages::missing_walls()
                    .map_or(Ok(None), |missing| Err(PlanError::of(&self.name, missing)));
            }
        };
        isolation.check().map_err(PlanError)
    }

    /// Whether it drives a workspace's daemon.
    pub fn drives_workspace(&self) -> bool {
        matches!(self.makes, Makes::Managed { .. })
    }

    /// What it is made of if it is at an origin that somebody else runs.
    pub(crate) fn attached(&self) -> Option<&Attached> {
        match &self.makes {
            Makes::Attached(attached) => Some(attached),
            Makes::Managed { .. } | Makes::Packaged { .. } => None,
        }
    }

    /// The instance. What processes of its connector say is kept in the state directory `state`; one that
    /// drives a workspace's daemon takes it from `daemons`.
    pub(crate) async fn make(self, state: &Path, daemons: Option<&Daemons>) -> Result<Instance, PlanError> {
        let (log, name) = (said(state, &self.name), self.name);
        let fault = |error: &ConnectorError| PlanError::of(&name, chain(error));
        match self.makes {
            Makes::Packaged { package, given } => packages::instance(&name, given, &package, Some(log))
                .map_err(|error| PlanError(chain(&error))),
            Makes::Attached(attached) => {
                let ready = attached.ready(Some(log)).await.map_err(|error| fault(&error))?;
                Ok(attached.instance(&name, ready))
            }
            Makes::Managed { entry, isolation, workspace, settings } => {
                let daemons = daemons.ok_or_else(|| PlanError::of(&name, "there are no daemons"))?;
                let factory = isolation.factory((entry.factory)(), Some(log));
                let managed = Managed::new(daemons, &workspace, factory, settings).await;
                Ok(managed.map_err(|error| fault(&error))?.instance(&name, &workspace))
            }
        }
    }
}

/// The workspace whose daemon an instance drives.
fn workspace_of<'c>(
    entry: &ConnectorEntry,
    config: &'c HostConfig,
    (name, given): (&str, &config::Instance),
) -> Result<Option<&'c WorkspaceConfig>, PlanError> {
    let Some(workspace) = &given.workspace else { return Ok(None) };
    if !entry.drives_workspaces {
        let reason = format!("{} drives no workspace's daemon; leave `workspace` out", entry.name);
        return Err(PlanError::of(name, reason));
    }
    let Some(known) = config.workspaces.get(workspace) else {
        return Err(PlanError::of(name, format!("there is no [workspaces.{workspace}]")));
    };
    if given.config.contains_key("base_url") {
        return Err(PlanError::of(name, "give a workspace or a base_url, not both"));
    }
    Ok(Some(known))
}

impl ConnectorEntry {
    /// An instance called `name`, in this process and without settings, at the origin `base_url` of this machine.
    ///
    /// # Errors
    ///
    /// `base_url` is no such origin, or the connector has to have settings.
    pub async fn instance(&'static self, name: &str, base_url: &str) -> Result<Instance, PlanError> {
        let attached = Attached::new(self, Map::new(), base_url, (false, ConnectorIsolation::InProcess));
        let attached = attached.map_err(|error| PlanError::of(name, format!("base_url: {error}")))?;
        let ready = attached.ready(None).await.map_err(|error| PlanError::of(name, chain(&error)))?;
        Ok(attached.instance(name, ready))
    }
}

/// Plan of an instance at an origin that somebody else runs.
pub(crate) struct Attached {
    entry: &'static ConnectorEntry,
    origin: Origin,
    reach: Reach,
    isolation: ConnectorIsolation,
    /// `base_url` and the password included.
    settings: Map<String, Value>,
}

impl Attached {
    /// The plan of one at `base_url`, with these settings besides.
    pub(crate) fn new(
        entry: &'static ConnectorEntry,
        mut settings: Map<String, Value>,
        base_url: &str,
        (allow_remote, isolation): (bool, ConnectorIsolation),
    ) -> Result<Self, OriginError> {
        let origin = base_url.parse()?;
        settings.insert("base_url".to_owned(), json!(base_url));
        settings.insert("allow_remote".to_owned(), json!(allow_remote));
        let reach = if allow_remote { Reach::Remote } else { Reach::Loopback };
        Ok(Self { entry, origin, reach, isolation, settings })
    }

    fn of_section(
        entry: &'static ConnectorEntry,
        (name, given): (&str, config::Instance),
    ) -> Result<Self, PlanError> {
        text(name, &given.config, "password")?;
        let Some(base_url) = text(name, &given.config, "base_url")?.or(entry.base_url) else {
            return Err(PlanError::of(name, "say its `base_url`"));
        };
        let base_url = base_url.to_owned();
        let attached = Self::new(entry, given.config, &base_url, (given.allow_remote, given.isolation));
        attached.map_err(|error| PlanError::of(name, format!("base_url: {error}")))
    }

    /// Its connector, with the way out to its origin and nowhere else. What its process says is kept in `said`.
    pub(crate) async fn ready(&self, said: Option<Log>) -> Result<Ready, ConnectorError> {
        let factory = self.isolation.factory((self.entry.factory)(), said);
        let connector = factory.create(Value::Object(self.settings.clone())).await?;
        let http = grant(connector.as_ref(), &self.origin, self.reach)?;
        Ok(Ready { connector: connector.into(), http })
    }

    /// A setting of its connector.
    pub(crate) fn setting(&self, key: &str) -> Option<&Value> {
        self.settings.get(key)
    }

    /// The instance called `name`, which is ready.
    pub(crate) fn instance(&self, name: &str, ready: Ready) -> Instance {
        let described = Arc::clone(&ready.connector);
        let provider = (self.entry.provider)(ready);
        Instance { name: name.to_owned(), workspace: None, described, provider }
    }
}

/// A text of a connector's configuration. What is there and no text is never left out.
fn text<'c>(name: &str, config: &'c Map<String, Value>, key: &str) -> Result<Option<&'c str>, PlanError> {
    match config.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(PlanError::of(name, format!("`{key}` takes a text in quotes"))),
    }
}

/// A connector for what it declares, in this process; it is never called.
async fn create(
    entry: &ConnectorEntry,
    settings: Map<String, Value>,
) -> Result<Arc<dyn Connector>, ConnectorError> {
    Ok((entry.factory)().create(Value::Object(settings)).await?.into())
}
