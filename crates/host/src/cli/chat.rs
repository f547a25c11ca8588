//! `chat`: the console chat about a repository of one's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use connector_contract::{Provenance, chain};
use connector_engine::ScheduleChat;
use connector_engine::instance::Instance;
use connector_files::AbsolutePath;
use connector_gate::clock::Clock;
use connector_gate::digest::TOLD;
use connector_gate::policy::GateConfig;
use connector_surface::MAIN_CHAT;
use opencode_api::PASSWORD_VARIABLES;
use opencode_daemons::confine::Access;
use opencode_daemons::pool::{Confine, Isolation, Others, WorkspaceConfig};
use opencode_daemons::{Environment, Home, HostPattern, PoolConfig, providers};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::{Common, caller, demo, path, service, terminal};
use crate::assemble::{self, Parts};
use crate::build::Attached;
use crate::build::registry::OPENCODE;
use crate::console::{self, Console};
use crate::exit::{Exit, Failure};
use crate::isolation::ConnectorIsolation;
use crate::managed::{self, Daemons, Managed};
use crate::own_model;
use crate::places::Places;
use crate::reload::Watch;
use crate::told;

/// The name of the one connector instance a chat has.
pub(super) const INSTANCE: &str = "connector-opencode";

/// Keys of model providers that no proxy stands before: a daemon within walls gets them only if they are named.
const UNPROXIED_KEYS: [&str; 1] = ["AWS_BEARER_TOKEN_BEDROCK"];

/// `chat`
#[derive(Debug, clap::Args)]
pub(super) struct ChatArgs {
    /// The repository to work on; its daemon is started here, with your own opencode configuration
    #[arg(long, value_name = "DIR", required_unless_present = "base_url", value_parser = path::absolute())]
    workspace: Option<AbsolutePath>,
    /// A running daemon to attach to, such as `http://127.0.0.1:4096`; its password is read from
    /// `OPENCODE_PASSWORD`, or else from `OPENCODE_SERVER_PASSWORD`, or from where your own background
    /// service of 2.x keeps it; one of 2.x needs `--workspace` too
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Allow a daemon that is not on this machine
    #[arg(long)]
    allow_remote: bool,
    /// A directory of rules [default: the built-in /fix and /continue]
    #[arg(long, value_name = "DIR", value_parser = path::absolute())]
    rules: Option<AbsolutePath>,
    /// The connector whose messages you type, so that a rule for it can be tried
    #[arg(long = "as", value_name = "NAME", default_value = "connector-console")]
    connector: String,
    /// The model, as provider/model [default: the daemon's]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The agent [default: the daemon's]
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// The opencode binary, or env:VAR [default: `opencode` on PATH, else installed by npm]
    #[arg(long, value_name = "PATH")]
    opencode: Option<String>,
    /// Whether the daemon and its agent are confined to the repository
    #[arg(long, value_name = "WHEN", default_value = "on", value_parser = walls(), conflicts_with = "base_url")]
    confine: Confine,
    /// What the daemon and its agent reach of the network, the models aside: everything, the hosts that are
    /// named, or nothing [default: the hosts that are named, where the system can hold that]
    #[arg(long, value_name = "HOW-FAR", value_parser = network(), conflicts_with = "base_url")]
    network: Option<Access>,
    /// A host that is reached, such as `example.org` or `*.example.org:8443`; can be given several times
    #[arg(long = "host", value_name = "HOST", conflicts_with = "base_url")]
    hosts: Vec<HostPattern>,
    /// A port of this machine that is reached; can be given several times
    #[arg(long, value_name = "PORT", conflicts_with = "base_url")]
    loopback: Vec<u16>,
    /// A variable that the daemon gets and its agent's commands do not; those with the key of a
    /// well-known model provider are used without it, and not even the daemon gets them; can be given
    /// several times
    #[arg(long, value_name = "NAME", conflicts_with = "base_url")]
    pass: Vec<String>,
    /// Give each task a working tree and a branch of its own
    #[arg(long, conflicts_with = "base_url")]
    worktrees: bool,
    /// Where the connector's calls are performed: in a process of its own, only if it is wholly
    /// confined, or in this one
    #[arg(long, value_name = "WHERE", default_value = "process", value_parser = isolation())]
    isolation: ConnectorIsolation,
    /// How long a card waits, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    expiry: u64,
}

impl ChatArgs {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let state = common.state()?;
        let environment = Environment::of_this_process();
        if let (None, Some(workspace)) = (&self.base_url, &self.workspace) {
            let workspace = existing_directory(workspace)?;
            let settings = WorkspaceConfig { confine: Some(self.confine), ..WorkspaceConfig::default() };
            // Before anything is made there.
            self.check_places(
                (&state, None),
                &managed::config::for_directory(&workspace, settings).1,
                &environment,
            )?;
        }
        super::own_state(&state)?;
        if let Some(rules) = &self.rules {
            super::own_rules(rules)?;
        }
        let watch = self.rules.as_deref().map(Watch::new);
        let rules = match &self.rules {
            Some(directory) => assemble::rules_in(directory),
            None => assemble::built_in_rules(&self.connector),
        }
        .map_err(|error| Failure::usage(chain(&error)))?;
        let unused = match self.confine {
            _ if self.base_url.is_some() => Vec::new(),
            Confine::Off => Vec::new(),
            Confine::On | Confine::Required => unused_keys(&environment, &self.pass),
        };
        let password = self.base_url.as_deref().and_then(|url| password(url, &environment));
        let (instance, mut daemons) = self.instance(&state, environment).await?;
        let secrets = daemons.iter().flat_map(Daemons::secrets).cloned();
        let secrets = secrets.chain(password.map(SecretString::from)).collect();
        let workspace = instance.workspace.clone().unwrap_or_default();
        let beforehand = beforehand(&instance, self.model.is_none()).await;
        let console = Arc::new(Console::new(Box::new(anstream::stdout())));
        let gate = GateConfig {
            approvers: vec![Console::user(), caller()],
            expiry_secs: self.expiry,
            ..GateConfig::default()
        };
        let parts = Parts {
            rules,
            instances: vec![instance],
            surfaces: vec![console.clone()],
            gate,
            secrets,
            ..Parts::default()
        };
        let engine =
            assemble::engine(&state, Clock::System, parts).map_err(|error| Failure::usage(chain(&error)))?;
        let here = ScheduleChat { surface: console::NAME.to_owned(), chat: MAIN_CHAT.to_owned() };
        engine.schedules_report_to(here).map_err(|error| Failure::usage(chain(&error)))?;
        let watching = watch
            .map(|watch| tokio::spawn(watch.keep_current(engine.clone(), Arc::default(), told_at(&console))));
        let chat =
            crate::chat::Chat { engine: engine.clone(), console, connector: self.connector, workspace };
        if let Some(daemons) = &mut daemons {
            daemons.answer_commands(Others::Leave);
            if let Some(missing) = managed::missing_walls(self.confine) {
                chat.console.print(&missing)?;
            }
        }
        for unused in unused {
            chat.console.print(&unused)?;
        }
        if let Some(missing) = self.isolation.missing() {
            chat.console.print(&missing)?;
        }
        for line in beforehand {
            chat.console.print(&line)?;
        }
        chat.console.print("type /fix and what is to be done; /help says the rest")?;
        let inputs = terminal::inputs()?;
        let mut running = tokio::spawn(async move { engine.run().await });
        let (ended, outcome) = tokio::select! {
            outcome = chat.run(inputs) => (None, outcome),
            ended = &mut running => (Some(ended), Ok(())),
        };
        if let Some(watching) = watching {
            watching.abort();
        }
        chat.engine.stop(Duration::from_secs(15)).await;
        if let Some(daemons) = daemons {
            daemons.stop().await;
        }
        match ended {
            Some(ended) => ended??,
            None => running.await??,
        }
        outcome?;
        Ok(Exit::Done)
    }

    /// Nothing that decides about the agent, or that the host runs, may be where it writes.
    fn check_places(
        &self,
        (state, opencode): (&Path, Option<&Path>),
        pool: &PoolConfig,
        environment: &Environment,
    ) -> Result<(), Failure> {
        let mut places = Places::of_host(state, environment);
        if let Some(opencode) = opencode {
            places = places.with("opencode's binary", opencode);
        }
        if let Some(rules) = &self.rules {
            places = places.with("the directory of rules", rules.to_path_buf());
        }
        super::check_places(&places, pool)
    }

    /// The settings of the connector that are the same for both kinds of daemon.
    fn config(&self) -> Map<String, Value> {
        let mut config = Map::new();
        let texts = [("model", &self.model), ("agent", &self.agent)];
        for (key, value) in
            texts.into_iter().filter_map(|(key, value)| value.as_ref().map(|value| (key, value)))
        {
            config.insert(key.to_owned(), json!(value));
        }
        config
    }

    async fn instance(
        &self,
        state: &Path,
        environment: Environment,
    ) -> Result<(Instance, Option<Daemons>), Failure> {
        let mut config = self.config();
        let said = Some(crate::isolation::said(state, INSTANCE));
        let workspace = self.workspace.as_ref().map(existing_directory).transpose()?;
        if let Some(directory) = &workspace {
            config.insert("directory".to_owned(), json!(directory));
        }
        let usage = |error: &(dyn std::error::Error + 'static)| Failure::usage(chain(error));
        if let Some(base_url) = &self.base_url {
            if let Some(password) = password(base_url, &environment) {
                config.insert("password".to_owned(), json!(password));
            }
            let given = (self.allow_remote, self.isolation);
            let attached = Attached::new(&OPENCODE, config, base_url, given);
            let attached = attached.map_err(|error| Failure::usage(format!("--base-url: {error}")))?;
            self.isolation.check().map_err(Failure::usage)?;
            let ready = attached.ready(said).await.map_err(|error| usage(&error))?;
            return Ok((attached.instance(INSTANCE, ready), None));
        }
        let Some(directory) = workspace else {
            return Err(Failure::usage("choose a repository with --workspace"));
        };
        demo::check_walls(self.confine)?;
        self.isolation.check().map_err(Failure::usage)?;
        let opencode = demo::locate(self.opencode.clone(), environment.clone(), Some(state)).await?;
        if let Some(unshown) = demo::check_opencode(&opencode, self.confine)? {
            demo::say(unshown)?;
        }
        let name =
            directory.file_name().map_or_else(|| "root".into(), |name| name.to_string_lossy().into_owned());
        let workspace = WorkspaceConfig {
            pass: provider_keys(&environment).chain(self.pass.iter().cloned()).collect(),
            confine: Some(self.confine),
            network: self.network,
            hosts: self.hosts.clone(),
            loopback: self.loopback.clone(),
            isolation: if self.worktrees { Isolation::Worktree } else { Isolation::None },
            ..WorkspaceConfig::default()
        };
        let (key, mut pool) = managed::config::for_directory(&directory, workspace);
        pool.second = opencode.is_of_2();
        pool.no_namespaces = managed::no_namespaces();
        self.check_places((state, Some(&opencode.path)), &pool, &environment)?;
        let daemons = Daemons::new(&pool, opencode.path, Home::User, environment, state);
        let daemons = daemons.map_err(|error| usage(&error))?;
        let factory = self.isolation.factory((OPENCODE.factory)(), said);
        let managed = Managed::new(&daemons, &key, factory, config).await;
        let instance = managed.map_err(|error| usage(&error))?.instance(INSTANCE, &name);
        Ok((instance, Some(daemons)))
    }
}

/// The password of a running daemon, as it is given, or else that of the user's own service.
fn password(base_url: &str, environment: &Environment) -> Option<String> {
    let given = password_of(environment).map(str::to_owned);
    given.or_else(|| service::password(base_url, environment))
}

/// The password of a running daemon, where 2.x and then where 1.x has it.
fn password_of(environment: &Environment) -> Option<&str> {
    PASSWORD_VARIABLES
        .into_iter()
        .rev()
        .filter_map(|name| environment.get(name)?.to_str())
        .find(|password| !password.is_empty())
}

/// What is worth knowing of the daemon before anything runs, as a card will say it.
async fn beforehand(instance: &Instance, of_model: bool) -> Vec<String> {
    let (input, from) = (Value::Null, Provenance::Local);
    let mut target = instance.target("", &input, &from);
    let told = instance.provider.told(&target, &input, &from).await;
    target.settings.insert(TOLD.to_owned(), Value::Object(told));
    let model = of_model.then(|| format!("model: {}", own_model::line(&target.settings)));
    let rest = told::fields(&target.settings).into_iter().map(|(what, words)| format!("{what}: {words}"));
    model.into_iter().chain(rest).collect()
}

/// Says at the console what became of a change of the rules.
fn told_at(console: &Arc<Console>) -> impl Fn(&str, bool) + Send + use<> {
    let console = Arc::clone(console);
    move |text, _| {
        // A terminal that is gone is noticed by the chat.
        let _ = console.print(text);
    }
}

/// The words that `--confine` takes.
fn walls() -> impl TypedValueParser<Value = Confine> {
    PossibleValuesParser::new(["on", "off", "required"]).map(|word| match word.as_str() {
        "off" => Confine::Off,
        "required" => Confine::Required,
        _ => Confine::On,
    })
}

/// The words that `--network` takes.
fn network() -> impl TypedValueParser<Value = Access> {
    PossibleValuesParser::new([Access::Open, Access::Limited, Access::Off].map(Access::word)).map(|word| {
        match word.as_str() {
            "open" => Access::Open,
            "off" => Access::Off,
            _ => Access::Limited,
        }
    })
}

/// The words that `--isolation` takes.
fn isolation() -> impl TypedValueParser<Value = ConnectorIsolation> {
    PossibleValuesParser::new(ConnectorIsolation::WORDS)
        .map(|word| ConnectorIsolation::of(&word).unwrap_or_default())
}

/// The canonical path of a directory that must be there.
pub(super) fn existing_directory(path: &AbsolutePath) -> Result<AbsolutePath, Failure> {
    let canonical = path.canonicalize().map_err(|error| {
        Failure::usage(format!("the workspace {} cannot be used: {error}", path.display()))
    })?;
    match AbsolutePath::new(canonical).filter(|canonical| canonical.is_dir()) {
        Some(canonical) => Ok(canonical),
        None => Err(Failure::usage(format!("the workspace {} is not a directory", path.display()))),
    }
}

/// The variables by which people give opencode their models' keys, and nothing else.
fn provider_keys(environment: &Environment) -> impl Iterator<Item = String> {
    providers::variables().filter(|name| environment.get(name).is_some()).map(str::to_owned)
}

/// What to say of the keys that the daemon does not get, neither itself nor through a proxy.
fn unused_keys(environment: &Environment, pass: &[String]) -> Vec<String> {
    let set = |name: &&str| environment.get(name).is_some() && !pass.iter().any(|pass| pass == name);
    let unproxied = UNPROXIED_KEYS.into_iter().filter(set).map(|name| {
        format!("{name} is not used: no proxy stands before its provider; --pass {name} gives it to the daemon itself")
    });
    let all: Vec<String> = provider_keys(environment).chain(pass.iter().cloned()).collect();
    unproxied
        .chain(providers::unreached(environment, &all, &json!({})).iter().map(ToString::to_string))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_daemons_password_is_read_where_2x_has_it_and_then_where_1x_has_it() {
        let (one, two) = (("OPENCODE_SERVER_PASSWORD", "one"), ("OPENCODE_PASSWORD", "two"));
        let none = ("OPENCODE_PASSWORD", "");
        for (set, password) in [
            (vec![], None),
            (vec![one], Some("one")),
            (vec![two], Some("two")),
            (vec![one, two], Some("two")),
            (vec![one, none], Some("one")),
        ] {
            let with = |all: Environment, (name, value): (&str, &str)| all.with(name, value);
            let environment = set.iter().copied().fold(Environment::default(), with);
            assert_eq!(password_of(&environment), password, "{set:?}");
        }
    }

    #[test]
    fn a_daemon_is_given_the_keys_of_model_providers_and_no_others() {
        let names = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "STRIPE_API_KEY", "AWS_SECRET_ACCESS_KEY"];
        let environment = names.into_iter().chain(["GOOGLE_APPLICATION_CREDENTIALS"]).map(|name| (name, "x"));
        let passed: Vec<_> = provider_keys(&environment.collect()).collect();
        assert_eq!(passed, ["ANTHROPIC_API_KEY", "OPENAI_API_KEY"]);
    }

    #[test]
    fn a_key_that_is_not_used_is_said_by_name_with_what_to_do() {
        let names = ["OPENAI_API_KEY", "AZURE_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"];
        let environment: Environment = names.into_iter().map(|name| (name, "x")).collect();
        let said = unused_keys(&environment, &[]);
        insta::assert_snapshot!(said.join("\n"), @r"
        AWS_BEARER_TOKEN_BEDROCK is not used: no proxy stands before its provider; --pass AWS_BEARER_TOKEN_BEDROCK gives it to the daemon itself
        the key of `azure` (AZURE_API_KEY) is not used, since its address is not known: set `provider.azure.options.baseURL` in opencode's configuration
        ");
    }
}
