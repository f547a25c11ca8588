//! The host that rules are for, as far as its configuration describes it.
//!
//! Connectors are made from the configuration to learn what they declare and
//! what they would touch; they get no way out, and no daemon is started.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use connector_contract::{
    ActionDecl, ActionResult, Connector, ConnectorError, ConnectorFactory as _, Context, EventHandler,
    Manifest, Provenance, Subscription, Target, TriggerDecl, chain,
};
use connector_opencode::OpencodeFactory;
use connector_rules::{Catalog, Diagnostics, LintPolicy, RuleSet, SourceFile};
use connector_telegram::TelegramFactory;
use opencode_daemons::Environment;

use serde_json::{Map, Value, json};

use super::super::{chat, path};
use super::Sources;
use crate::assemble;
use crate::catalog::{self, Reach};
use crate::config::{self, HostConfig, TelegramSurface};
use crate::exit::Failure;
use crate::gate::policy::GateConfig;
use crate::git::{self, Git};
use crate::instance::{Instance, Provider, Ready};
use crate::managed;
use crate::own_model::Source;
use crate::packages::{self, Used};
use crate::powers;

/// Has the form of a bot's token, for where the real one is not set.
const STAND_IN: &str = "1:not-a-token-not-a-token";

/// Why a connector does nothing here.
const NOT_CALLED: &str = "nothing is called to look at rules";

/// Rules and the host they are for.
pub(super) struct Known {
    /// The texts of the rules.
    pub(super) files: Vec<SourceFile>,
    /// The connectors, which cannot be called.
    pub(super) instances: Vec<Instance>,
    /// The gate.
    pub(super) gate: GateConfig,
    /// What the connectors declare.
    pub(super) catalog: Catalog,
    /// Connectors whose workspace is gone, and what is missing.
    unusable: BTreeMap<String, String>,
}

/// Why there is an answer without a call.
struct NotCalled;

#[async_trait]
impl Provider for NotCalled {
    async fn ready(&self) -> Result<Ready, String> {
        Err(NOT_CALLED.to_owned())
    }
}

impl Known {
    /// What `sources` say, or else `host.toml`.
    pub(super) async fn load(sources: &Sources) -> Result<Self, Failure> {
        let config = sources.config.clone().or_else(|| {
            // Where there is none, rules can be looked at without.
            let usual = path::config(None).ok()?;
            usual.exists().then_some(usual)
        });
        let Some(config) = config else {
            let Some(rules) = &sources.rules else {
                return Err(Failure::usage("say where the rules are: --rules DIR, or -c host.toml"));
            };
            return Self::without_config(rules).await;
        };
        let config = HostConfig::load(&config).map_err(|error| Failure::usage(chain(&error)))?;
        let rules = sources.rules.as_ref().unwrap_or(&config.rules);
        Self::of(rules, &config).await
    }

    async fn without_config(rules: &Path) -> Result<Self, Failure> {
        let name = OpencodeFactory::default().name().to_owned();
        let described = chat::described(&Map::new()).await?;
        let mut catalog = catalog::surfaces();
        catalog.connectors.insert(name.clone(), catalog::of(described.as_ref(), Reach::Admitted));
        let instance = Instance { name, workspace: None, described, provider: Arc::new(NotCalled) };
        let git = catalog::of(git::described().as_ref(), Reach::Admitted);
        catalog.connectors.insert(git::NAME.to_owned(), git);
        Self::with(rules, vec![instance], catalog, GateConfig::default())
    }

    async fn of(rules: &Path, config: &HostConfig) -> Result<Self, Failure> {
        let (mut instances, mut surfaces) = (Vec::new(), catalog::surfaces());
        if let Some(given) = &config.surfaces.telegram {
            let declared = catalog::telegram(admitted(&given.config));
            surfaces.connectors.insert(given.connector.clone(), declared);
            instances.push(telegram(given).await?);
        }
        let workspaces = (&config.opencode, &config.workspaces);
        // It is not called here, and has no place to keep anything in.
        let git = Git::new(workspaces, Environment::of_this_process(), Path::new("/")).instance();
        let git = git.map_err(|error| Failure::usage(chain(&error)))?;
        surfaces.connectors.insert(git.name.clone(), catalog::of(git.described.as_ref(), Reach::Admitted));
        instances.push(Instance { provider: Arc::new(NotCalled), ..git });
        for (name, given) in &config.connectors {
            let usage = |error| Failure::usage(chain(&error));
            let instance = match packages::used(config, name, given).map_err(usage)? {
                Used::Opencode => instance(name, given, config).await?,
                Used::Package(package) => {
                    packaged(packages::instance(name, given.clone(), &package, None).map_err(usage)?)
                }
            };
            let declared = catalog::of(instance.described.as_ref(), Reach::Admitted);
            surfaces.connectors.insert(name.clone(), declared);
            instances.push(instance);
        }
        Ok(Self {
            unusable: unusable(config),
            ..Self::with(rules, instances, surfaces, config.gate.clone())?
        })
    }

    fn with(
        rules: &Path,
        instances: Vec<Instance>,
        catalog: Catalog,
        gate: GateConfig,
    ) -> Result<Self, Failure> {
        let files = assemble::rule_files(rules).map_err(|error| Failure::usage(chain(&error)))?;
        Ok(Self { files, instances, gate, catalog, unusable: BTreeMap::new() })
    }

    /// The rules, or what is wrong with them.
    pub(super) fn parse(&self) -> Result<RuleSet, Diagnostics> {
        RuleSet::parse(self.files.iter().cloned())
    }

    /// The rules; mistakes in them are a mistake of the caller.
    pub(super) fn rules(&self) -> Result<RuleSet, Failure> {
        self.parse().map_err(|wrong| {
            Failure::usage(format!("the rules have mistakes; see `rules lint`\n{}", wrong.render(false)))
        })
    }

    /// What the gate lets pass.
    pub(super) fn policy(&self) -> LintPolicy {
        LintPolicy { unusable: self.unusable.clone(), ..catalog::policy(&self.gate) }
    }
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

/// Whom Telegram lets in: without a list of users, anybody in the chats that are allowed.
fn admitted(config: &Map<String, Value>) -> Reach {
    let lists = |key: &str| config.get(key).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if lists("allow_chats") && !lists("allow_users") { Reach::Anybody } else { Reach::Admitted }
}

/// Telegram as `run` would make it, except that it cannot be called and needs no token for it.
async fn telegram(given: &TelegramSurface) -> Result<Instance, Failure> {
    let mut settings = given.config.clone();
    if config::resolve_environment(&mut settings, &Environment::of_this_process()).is_err() {
        let secrets = settings.iter_mut().filter(|(_, value)| value.as_str().is_some_and(is_environment));
        secrets.for_each(|(_, value)| *value = json!(STAND_IN));
    }
    let connector = TelegramFactory.create(Value::Object(settings)).await;
    let connector =
        connector.map_err(|error| Failure::usage(format!("[surfaces.telegram]: {}", chain(&error))))?;
    Ok(Instance {
        name: given.connector.clone(),
        workspace: None,
        described: Arc::new(Described {
            connector: connector.into(),
            terms: None,
            rules: Map::new(),
            own_model: None,
        }),
        provider: Arc::new(NotCalled),
    })
}

fn is_environment(value: &str) -> bool {
    value.starts_with("env:")
}

/// The instance as `run` would make it, except that it cannot be called.
pub(in crate::cli) async fn instance(
    name: &str,
    given: &config::Instance,
    config: &HostConfig,
) -> Result<Instance, Failure> {
    let mut settings = given.config.clone();
    // A secret that is not set here changes nothing of what can be looked at.
    let _ = config::resolve_environment(&mut settings, &Environment::of_this_process());
    let workspace = given.workspace.as_ref().map(|workspace| {
        let found = config.workspaces.get(workspace);
        found.ok_or_else(|| {
            Failure::usage(format!("[connectors.{name}]: there is no [workspaces.{workspace}]"))
        })
    });
    let workspace = workspace.transpose()?;
    if let Some(model) = config.routing.coding(workspace) {
        settings.entry("model").or_insert_with(|| json!(model));
    }
    match workspace {
        Some(known) => {
            let directory = known.directory.canonicalize().unwrap_or_else(|_| known.directory.to_path_buf());
            settings.insert("directory".to_owned(), json!(directory));
        }
        None => {
            settings.insert("allow_remote".to_owned(), json!(given.allow_remote));
        }
    }
    let connector = chat::described(&settings)
        .await
        .map_err(|failure| Failure { text: format!("[connectors.{name}]: {}", failure.text), ..failure })?;
    let terms = workspace.map(|known| config.opencode.terms(known));
    let rules = workspace.map(|known| config.opencode.permission_rules(known)).unwrap_or_default();
    let own_model =
        workspace.map(|known| Source::of(Environment::of_this_process(), &config.opencode, Some(known)));
    Ok(Instance {
        name: name.to_owned(),
        workspace: given.workspace.clone(),
        described: Arc::new(Described { connector, terms, rules, own_model }),
        provider: Arc::new(NotCalled),
    })
}

/// The instance of a package, except that it cannot be called.
fn packaged(instance: Instance) -> Instance {
    let rules = Map::new();
    let described =
        Arc::new(Described { connector: instance.described, terms: None, rules, own_model: None });
    Instance { described, provider: Arc::new(NotCalled), ..instance }
}

/// What a connector declares, and nothing that it does.
struct Described {
    connector: Arc<dyn Connector>,
    /// On what terms its tasks run, if the host starts its daemon.
    terms: Option<Map<String, Value>>,
    /// The permission rules of its daemon.
    rules: Map<String, Value>,
    /// Where its daemon finds the model of a prompt that names none.
    own_model: Option<Source>,
}

#[async_trait]
impl Connector for Described {
    fn triggers(&self) -> &[TriggerDecl] {
        self.connector.triggers()
    }

    fn actions(&self) -> &[ActionDecl] {
        self.connector.actions()
    }

    fn manifest(&self) -> &Manifest {
        self.connector.manifest()
    }

    async fn execute(&self, _: &str, _: Value, _: &Context) -> Result<ActionResult, ConnectorError> {
        Err(ConnectorError::Unavailable { reason: NOT_CALLED.to_owned(), source: None })
    }

    fn check(&self, action: &str, input: &Value) -> Result<(), ConnectorError> {
        self.connector.check(action, input)
    }

    fn target(&self, action: &str, input: &Value, provenance: &Provenance) -> Target {
        let target = self.connector.target(action, input, provenance);
        match &self.terms {
            Some(terms) => {
                let target = match &self.own_model {
                    Some(own) => own.tell(target, input),
                    None => target,
                };
                powers::under(managed::within(target, terms), &self.rules)
            }
            None => target,
        }
    }

    async fn on_event(&self, _: &str, _: EventHandler) -> Result<Subscription, ConnectorError> {
        Err(ConnectorError::Unavailable { reason: NOT_CALLED.to_owned(), source: None })
    }

    async fn remove_event(&self, _: &Subscription) -> Result<(), ConnectorError> {
        Ok(())
    }
}
