//! `doctor`: what a host needs here, looked at one by one. Starts no daemon and installs nothing.

mod doors;
mod limits;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_contract::{Provenance, SourceNote, chain};
use connector_engine::instance::Ready;
use connector_files::AbsolutePath;
use opencode_daemons::install::{self, Locate};
use opencode_daemons::keys;
use opencode_daemons::pool::{Confine, Isolation, WorkspaceConfig, preferred_port};
use opencode_daemons::{Environment, Logins, Opencode, PoolConfig, providers, version};
use serde::Serialize;

use super::{Common, path};
use crate::build::packages::{self, Used};
use crate::build::registry::{OPENCODE, STANDARD, Seen};
use crate::build::{Planned, Unset};
use crate::config::{HostConfig, Verify};
use crate::exit::{Exit, Failure};
use crate::isolation::ConnectorIsolation;
use crate::managed;
use crate::managed::control::{self, Answer, Request, Standing};
use crate::own_model::{Named, Source};
use crate::webhook::Hook;
use crate::{assemble, config, places, told, troubles, watch};

/// How long a daemon that somebody else runs may take to answer.
const ANSWERS: Duration = Duration::from_secs(5);

/// Less room than this is a warning.
const ROOM: u64 = 1 << 30;

/// `doctor`
#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    /// The configuration to look at [default: host.toml, if it is there]
    #[arg(short, long, value_name = "FILE", value_parser = path::absolute())]
    config: Option<AbsolutePath>,
    /// Print every place that the walls leave open, for whom, and why
    #[arg(long)]
    doors: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    verdict: Verdict,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Doubtful,
    Bad,
}

impl Doctor {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let usual = || path::config(None).ok().filter(|file| file.is_file());
        let file = self.config.clone().or_else(usual);
        let config = file.as_ref().map(HostConfig::load).transpose();
        let config = config.map_err(|error| Failure::usage(chain(&error)))?;
        let state = common.state()?;
        let environment = Environment::of_this_process();
        let home = environment.get("HOME").map(Path::new);
        let mut pool = config.as_ref().map_or_else(PoolConfig::default, |config| {
            managed::config::pool(&config.opencode, &config.workspaces, home)
        });
        let host = connector_ledger::lock::holder(&state).map_err(|error| error.to_string());
        let (standings, held) = standings(&state).await;
        let (about_opencode, binary) = opencode(&pool, &environment, &state).await;
        pool.second = binary.as_ref().is_some_and(Opencode::is_of_2);
        let around = doors::around(&environment, &state, binary.as_ref());
        if self.doors {
            common.print(&doors::rows(&pool, &around)?, |rows| doors::text(rows))?;
            return Ok(Exit::Done);
        }
        let mut findings =
            vec![about_opencode, process(config.as_ref()), git(&environment).await, disk(&state)];
        if pool.workspaces.is_empty() {
            findings.push(walls("walls", pool.confine, false));
            findings.push(model("model", config.as_ref(), (&pool, None), &environment));
            findings.extend(unreached("keys", (&pool, None), &environment));
        }
        findings.extend(logins(&pool, &environment));
        if let Err(error) = pool.check() {
            findings.push(Finding::bad("configuration", chain(&error)));
        }
        findings.extend(config.iter().flat_map(packages));
        if let Some(config) = &config {
            findings.extend(attached(config, &environment).await);
            findings.extend(surfaces(config).await);
        }
        findings.extend(held.map(|error| Finding::bad("host", error)));
        findings.extend(told(troubles::of(&state), host != Ok(None)));
        if let (Some(file), Some(config)) = (&file, &config) {
            let mut places = super::serve::places(file, config, &state, &environment);
            if let Some(binary) = binary {
                places = places.with("opencode's binary", binary.path);
            }
            let misplaced = places.misplaced(&places::doors(&pool)).into_iter();
            findings.extend(misplaced.map(|misplaced| Finding::bad("places", misplaced.to_string())));
            findings.extend(doors::faults(&pool, &around));
            findings.extend(owned(file, config));
            findings.extend(people(config));
            findings.extend(webhooks(config, &environment));
            findings.extend(files(file, config, &state));
        }
        for (name, workspace) in &pool.workspaces {
            let (what, wanted) = (format!("walls of {name}"), managed::config::confine(&pool, name));
            findings.push(walls(&what, wanted, pool.unix_sockets(workspace)));
            let what = format!("model of {name}");
            findings.push(model(&what, config.as_ref(), (&pool, Some(workspace)), &environment));
            let what = format!("keys of {name}");
            findings.extend(unreached(&what, (&pool, Some(workspace)), &environment));
            let limits = pool.limits(name, workspace, (&managed::directory(&state), &host));
            findings.extend(limits::finding(name, &limits));
            findings.push(directory(name, workspace));
            findings.push(port(name, &workspace.directory, &standings));
        }
        common.print(&findings, |findings| findings.iter().map(line).collect::<Vec<_>>().join("\n"))?;
        let bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
        Ok(if bad { Exit::Failed } else { Exit::Done })
    }
}

impl Finding {
    fn new(what: impl Into<String>, verdict: Verdict, text: impl Into<String>) -> Self {
        Self { what: what.into(), verdict, text: text.into() }
    }

    fn good(what: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(what, Verdict::Good, text)
    }

    fn doubtful(what: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(what, Verdict::Doubtful, text)
    }

    fn bad(what: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(what, Verdict::Bad, text)
    }
}

/// What a host told of its parts. What one told that runs no longer, and had no time to take back, may be
/// over.
fn told(troubles: BTreeMap<String, String>, runs: bool) -> Vec<Finding> {
    let of_now = |(part, reason)| Finding::bad(part, reason);
    let of_before = |(part, reason)| {
        Finding::doubtful(part, format!("in an earlier run, of a host that runs no longer: {reason}"))
    };
    if runs {
        troubles.into_iter().map(of_now).collect()
    } else {
        troubles.into_iter().map(of_before).collect()
    }
}

fn line(finding: &Finding) -> String {
    let mark = match finding.verdict {
        Verdict::Good => "✔",
        Verdict::Doubtful => "!",
        Verdict::Bad => "✘",
    };
    format!("{mark} {:<22} {}", finding.what, finding.text)
}

/// How the daemons stand, and what keeps the host from saying so.
async fn standings(state: &Path) -> (Vec<Standing>, Option<String>) {
    let state = managed::directory(state);
    let held = match control::ask(&state, &Request::List).await {
        Ok(Some(Answer::Daemons(standings))) => return (standings, None),
        Ok(Some(Answer::Refused(reason))) => Some(reason),
        Ok(None) => None,
        Err(error) => Some(error.to_string()),
    };
    (control::without_host(&state).unwrap_or_default(), held)
}

async fn opencode(pool: &PoolConfig, environment: &Environment, state: &Path) -> (Finding, Option<Opencode>) {
    let mut from = Locate::new(environment.clone());
    from.path.clone_from(&pool.path);
    from.printed = state.is_dir().then(|| super::demo::installs(state));
    let found = match install::find(&from).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let text = "not installed; the first start installs it with npm";
            return (Finding::doubtful("opencode", text), None);
        }
        Err(error) => return (Finding::bad("opencode", chain(&error)), None),
    };
    let text = format!("{} at {}", found.version, found.path.display());
    let finding = match version::unshown_walls(&found.version) {
        None => Finding::good("opencode", text),
        Some(unshown) => Finding::doubtful("opencode", format!("{text}; {unshown}")),
    };
    (finding, Some(found))
}

/// The walls around the daemon of a workspace, as they are configured and as the kernel holds them.
fn walls(what: &str, wanted: Confine, open_sockets: bool) -> Finding {
    match managed::missing_walls(wanted) {
        None if open_sockets => Finding::doubtful(
            what,
            "this kernel holds them, but `unix_sockets` opens every socket of yours to its agent",
        ),
        None => Finding::good(what, "this kernel holds all of them"),
        Some(missing) if wanted == Confine::Required => Finding::bad(what, missing),
        Some(missing) => Finding::doubtful(what, missing),
    }
}

/// Where persons are counted of whom it is not known that they are different ones.
fn people(config: &HostConfig) -> Vec<Finding> {
    let rules = assemble::rules_in(&config.rules).unwrap_or_default();
    let doubts = assemble::doubtful_people(&rules, &config.gate);
    doubts.into_iter().map(|doubt| Finding::doubtful("people", doubt)).collect()
}

/// Whether what comes from outside finds its rules.
fn webhooks(config: &HostConfig, environment: &Environment) -> Vec<Finding> {
    let bad = |text: String| Finding::bad("webhooks", text);
    let rules = assemble::rules_in(&config.rules).unwrap_or_default();
    let mut findings: Vec<Finding> =
        super::webhooks::in_vain(&config.webhooks, &rules).into_iter().map(bad).collect();
    findings.extend(Hook::all(&config.webhooks, environment).err().map(|error| bad(chain(&error))));
    for (path, hook) in &config.webhooks.paths {
        if hook.verify == Verify::None {
            let text = format!("{path} takes what anybody sends who reaches its port");
            findings.push(Finding::doubtful("webhooks", text));
        }
    }
    findings
}

/// Whether the files that rules wait for can be watched.
fn files(file: &AbsolutePath, config: &HostConfig, state: &Path) -> Vec<Finding> {
    let places = super::serve::watched_places(file, &config.workspaces, state);
    let rules = assemble::rules_in(&config.rules).unwrap_or_default();
    let refused = watch::in_vain(rules.rules(), &places).into_iter();
    let missing = rules.rules().iter().filter(|rule| rule.enabled()).filter_map(|rule| {
        let path = places.resolved(rule.file_watch()?).ok().filter(|path| !path.exists())?;
        let text = format!("the rule {} waits for {}, which is not there yet", rule.name(), path.display());
        Some(Finding::doubtful("files", text))
    });
    refused.map(|text| Finding::bad("files", text)).chain(missing).collect()
}

/// What decides and could be changed by others. Nothing is mended here.
fn owned(file: &AbsolutePath, config: &HostConfig) -> Vec<Finding> {
    let rules = assemble::rule_paths(&config.rules).unwrap_or_default();
    let decisive = [file.to_path_buf(), config.rules.to_path_buf(), config.plugins_dir.to_path_buf()];
    let judge = |path: PathBuf| {
        let fault = connector_files::owned::judged(&path).err()?;
        Some(Finding::bad("owner and mode", format!("{} {}", path.display(), chain(&fault))))
    };
    decisive
        .into_iter()
        .chain(rules)
        .filter(|path| path.symlink_metadata().is_ok())
        .filter_map(judge)
        .collect()
}

/// Stored logins that only opencode can renew: what runs as a daemon reads them.
fn logins(pool: &PoolConfig, environment: &Environment) -> Option<Finding> {
    let renewed = keys::renewed_logins(environment).join(", ");
    let refused = |workspace: &WorkspaceConfig| workspace.logins.unwrap_or(pool.logins) == Logins::Refuse;
    let refuse = if pool.workspaces.is_empty() {
        pool.logins == Logins::Refuse
    } else {
        pool.workspaces.values().all(refused)
    };
    match (renewed.is_empty(), refuse) {
        (true, _) => None,
        (false, true) => Some(Finding::good("logins", format!("no daemon gets the login at {renewed}"))),
        (false, false) => Some(Finding::doubtful(
            "logins",
            format!(
                "opencode renews the login at {renewed} itself, so daemons have a copy of it: opencode's tools and \
                 plugins, which run as the daemon, can read it, and its commands cannot; `logins = \"refuse\"` keeps it out"
            ),
        )),
    }
}

/// The keys that a daemon of a workspace does not get, neither itself nor through a proxy.
fn unreached(
    what: &str,
    (pool, workspace): (&PoolConfig, Option<&WorkspaceConfig>),
    environment: &Environment,
) -> Vec<Finding> {
    let pass: Vec<_> = pool.pass.iter().chain(workspace.iter().flat_map(|own| &own.pass)).cloned().collect();
    let extra = workspace.and_then(|own| own.extra_config.clone()).or_else(|| pool.extra_config.clone());
    let unreached = providers::unreached(environment, &pass, &extra.unwrap_or_default());
    unreached.iter().map(|unreached| Finding::doubtful(what, unreached.to_string())).collect()
}

/// The walls around the connectors' own processes.
fn process(config: Option<&HostConfig>) -> Finding {
    let what = "connector processes";
    let mut wanted = config.into_iter().flat_map(|config| config.connectors.values());
    let required = wanted.any(|instance| instance.isolation == ConnectorIsolation::Required);
    match ConnectorIsolation::Process.missing() {
        None => Finding::good(what, "this kernel holds all of their walls"),
        Some(missing) if required => Finding::bad(what, missing),
        Some(missing) => Finding::doubtful(what, missing),
    }
}

/// Each connector that is a package's: `run` refuses one that may not run.
fn packages(config: &HostConfig) -> Vec<Finding> {
    let judge = |(name, given): (&String, &crate::config::Instance)| {
        let what = format!("connector {name}");
        let package = match packages::used(&STANDARD, config, (name, given)) {
            Ok(Used::BuiltIn(_)) => return None,
            Ok(Used::Package(package)) => package,
            Err(error) => return Some(Finding::bad(what, error.to_string())),
        };
        let able = packages::instance(name, given.clone(), &package, None);
        Some(match (able, packages::missing_walls()) {
            (Err(error), _) => Finding::bad(what, error.to_string()),
            (Ok(_), Some(missing)) => Finding::bad(what, missing),
            (Ok(_), None) => {
                let version = &package.manifest().version;
                Finding::good(
                    what,
                    format!("the package {} {version} may run as it was granted", package.name()),
                )
            }
        })
    };
    config.connectors.iter().filter_map(judge).collect()
}

/// What the daemons that somebody else runs say of themselves. Nothing is begun there.
async fn attached(config: &HostConfig, environment: &Environment) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, given) in config.connectors.iter().filter(|(_, given)| given.workspace.is_none()) {
        match packages::used(&STANDARD, config, (name, given)) {
            Ok(Used::BuiltIn(entry)) if entry.name == OPENCODE.name => {}
            _ => continue,
        }
        let what = format!("daemon of {name}");
        let (provider, agent) = match ready((name, given), config, environment).await {
            Ok(Some(ready)) => ready,
            Ok(None) => continue,
            Err(error) => {
                findings.push(Finding::bad(what, error));
                continue;
            }
        };
        let chat = Provenance::Chat { surface: String::new(), rule: String::new(), note: SourceNote::Usual };
        match told::describe(&provider, agent.as_deref(), &chat, ANSWERS).await {
            Err(why) => findings.push(Finding::doubtful(what, why)),
            Ok(description) => {
                let named = told::named(&description);
                let verdict = if named == Named::None { Verdict::Doubtful } else { Verdict::Good };
                findings.push(Finding::new(format!("model of {name}"), verdict, named.to_string()));
                findings.push(Finding::good(&what, format!("opencode {}", description.generation)));
                findings.extend(description.runs_code.then(|| Finding::doubtful(&what, told::RUNS_CODE)));
                findings.extend(told::saved(&description).map(|saved| Finding::doubtful(&what, saved)));
            }
        }
    }
    findings
}

/// What the platforms of surfaces say of the host's accounts there.
async fn surfaces(config: &HostConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (entry, given) in STANDARD.surfaces_of(&config.surfaces) {
        match (entry.examine)(given).await {
            Ok(seen) => findings.extend(seen.into_iter().map(|seen| match seen {
                Seen::Good(text) => Finding::good(entry.name, text),
                Seen::Doubtful(text) => Finding::doubtful(entry.name, text),
            })),
            Err(error) => findings.push(Finding::bad(entry.name, error.to_string())),
        }
    }
    findings
}

/// The connector of an instance at an origin that somebody else runs, and its agent; nothing for another instance.
async fn ready(
    instance: (&str, &config::Instance),
    config: &HostConfig,
    environment: &Environment,
) -> Result<Option<(Ready, Option<String>)>, String> {
    let planned = Planned::of((config, &STANDARD), instance, (environment, Unset::Fails));
    let planned = planned.await.map_err(|error| chain(&error))?;
    let Some(attached) = planned.attached() else { return Ok(None) };
    planned.missing_isolation().map_err(|error| chain(&error))?;
    let agent = attached.setting("agent").and_then(serde_json::Value::as_str).map(str::to_owned);
    attached.ready(None).await.map(|ready| Some((ready, agent))).map_err(|error| chain(&error))
}

async fn git(environment: &Environment) -> Finding {
    #[expect(clippy::disallowed_methods, reason = "git is asked for its version")]
    let mut command = tokio::process::Command::new("git");
    command.arg("--version").env_clear().envs(environment.allowed(&[]).iter()).kill_on_drop(true);
    match tokio::time::timeout(Duration::from_secs(5), command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            let printed = String::from_utf8_lossy(&output.stdout);
            match git_version(&printed) {
                Some(version) => Finding::good("git", format!("git version {version}")),
                None => Finding::doubtful("git", "does not print its version"),
            }
        }
        Ok(Ok(output)) => Finding::doubtful("git", format!("ends with {}", output.status)),
        Ok(Err(error)) => {
            Finding::doubtful("git", format!("{error}; agents work without it, but nothing is undone"))
        }
        Err(_) => Finding::doubtful("git", "does not answer"),
    }
}

/// The version in what git prints, which may be anything.
fn git_version(printed: &str) -> Option<&str> {
    let rest = printed.trim().strip_prefix("git version ")?;
    let version = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?.trim_end_matches('.');
    (version.contains('.') && version.len() <= 20).then_some(version)
}

fn disk(state: &Path) -> Finding {
    let there = state.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match opencode_daemons::disk::free(there) {
        Ok(free) => {
            let text = format!("{} MiB free for {}", free >> 20, state.display());
            Finding::new("disk", if free < ROOM { Verdict::Doubtful } else { Verdict::Good }, text)
        }
        Err(error) => Finding::doubtful("disk", format!("{}: {error}", there.display())),
    }
}

/// Whether anything names a model for a workspace or could reach one; whether it answers is seen at
/// the first task.
fn model(
    what: &str,
    config: Option<&HostConfig>,
    (pool, workspace): (&PoolConfig, Option<&WorkspaceConfig>),
    environment: &Environment,
) -> Finding {
    let to_daemon = pool.pass.iter().chain(workspace.iter().flat_map(|own| &own.pass));
    let to_commands =
        pool.pass_to_commands.iter().chain(workspace.iter().flat_map(|own| &own.pass_to_commands));
    let unset: Vec<_> = to_daemon
        .map(|name| ("pass", name))
        .chain(to_commands.map(|name| ("pass_to_commands", name)))
        .filter(|(_, name)| environment.get(name).is_none())
        .map(|(key, name)| format!("`{key}` names {name}, which is not set"))
        .collect();
    if !unset.is_empty() {
        return Finding::bad(what, unset.join("; "));
    }
    let instance = config.into_iter().zip(workspace).find_map(|(config, workspace)| {
        let its = |name: &String| {
            config.workspaces.get(name).is_some_and(|one| one.directory == workspace.directory)
        };
        config.connectors.values().find(|given| given.workspace.as_ref().is_some_and(its))
    });
    let given = |key: &str| instance?.config.get(key)?.as_str();
    let routed = config.and_then(|config| config.routing.coding(workspace));
    if let Some(model) = given("model").or(routed) {
        return Finding::good(what, model);
    }
    let named = Source::of(environment.clone(), pool, workspace).named(given("agent"));
    let text = named.to_string();
    match named {
        Named::Model { .. } => Finding::good(what, text),
        Named::None | Named::Unclear(_) => Finding::doubtful(what, text),
        Named::Invalid { .. } => Finding::bad(what, text),
    }
}

fn directory(name: &str, workspace: &WorkspaceConfig) -> Finding {
    let (what, path) = (format!("workspace {name}"), workspace.directory.as_path());
    if !path.is_dir() {
        return Finding::bad(what, format!("{} is not there", path.display()));
    }
    if path.join(".git").exists() {
        return Finding::good(what, path.display().to_string());
    }
    let inside = path.ancestors().skip(1).find(|above| above.join(".git").exists());
    if workspace.isolation == Isolation::Worktree {
        return match inside {
            Some(root) => Finding::good(what, format!("{} of {}", path.display(), root.display())),
            None => Finding::bad(
                what,
                format!("{} is in no git repository, which `isolation = \"worktree\"` needs", path.display()),
            ),
        };
    }
    Finding::doubtful(
        what,
        match inside {
            Some(root) => format!(
                "{} is below the repository {}, which its walls leave out: git does not work there",
                path.display(),
                root.display()
            ),
            None => {
                format!("{} is not a git repository: what an agent changes cannot be undone", path.display())
            }
        },
    )
}

fn port(name: &str, path: &Path, standings: &[Standing]) -> Finding {
    let what = format!("port of {name}");
    let port = preferred_port(&path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    if let Some(used) =
        standings.iter().find(|standing| standing.workspace == name).and_then(|known| known.port)
    {
        return Finding::good(what, format!("{used}, in use by its daemon"));
    }
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Finding::good(what, format!("{port} is free")),
        Err(error) => Finding::doubtful(what, format!("{port}: {error}; the next one is taken")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_a_daemon_can_read_is_said_to_be_until_it_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join(".local/share/opencode");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(
            data.join("auth.json"),
            r#"{"anthropic":{"type":"oauth"},"x":{"type":"api","key":"k"}}"#,
        )
        .unwrap();
        let environment = Environment::default().with("HOME", home.path());
        let pool = |settings: &str| -> PoolConfig { toml::from_str(settings).unwrap() };
        let found =
            |settings: &str| logins(&pool(settings), &environment).map(|found| (found.verdict, found.text));
        let (verdict, text) = found("").unwrap();
        assert!(verdict == Verdict::Doubtful && text.contains("the login at anthropic itself"), "{text}");
        let refused = Some((Verdict::Good, "no daemon gets the login at anthropic".to_owned()));
        assert_eq!(found("logins = 'refuse'"), refused);
        assert_eq!(found("[workspaces.w]\ndirectory = '/w'\nlogins = 'refuse'"), refused);
        assert!(logins(&pool(""), &Environment::default()).is_none());
        let unknown = unreached("keys", (&pool(""), None), &environment);
        assert!(unknown.iter().any(|found| found.text.contains("`x`")), "{unknown:?}");
    }

    #[test]
    fn of_what_git_prints_its_version_alone_is_told() {
        for (printed, told) in [
            ("git version 2.39.5\n", Some("2.39.5")),
            ("git version 2.51.0.windows.1", Some("2.51.0")),
            ("git version 2.39.5 (Apple Git-154)", Some("2.39.5")),
            ("git version hunter2", None),
            ("hunter2", None),
            ("", None),
        ] {
            assert_eq!(git_version(printed), told, "{printed}");
        }
    }

    #[test]
    fn what_a_host_told_that_runs_no_longer_is_of_an_earlier_run() {
        let troubles = || BTreeMap::from([("telegram".to_owned(), "the token is refused".to_owned())]);
        let found = |runs| told(troubles(), runs).pop().map(|found| (found.verdict, found.text));
        assert_eq!(found(true), Some((Verdict::Bad, "the token is refused".to_owned())));
        let text = "in an earlier run, of a host that runs no longer: the token is refused".to_owned();
        assert_eq!(found(false), Some((Verdict::Doubtful, text)));
    }

    #[test]
    fn walls_that_are_not_wanted_are_not_praised() {
        assert_eq!(walls("walls", Confine::Off, false).verdict, Verdict::Doubtful);
        assert!(walls("walls", Confine::Off, false).text.contains("confine is off"));
    }

    #[test]
    fn a_key_that_is_not_set_is_told_for_every_workspace_that_names_it_and_own_models_count() {
        let pool = |settings: &str| -> PoolConfig { toml::from_str(settings).unwrap() };
        let text = "model = 'a/b'\n[workspaces.w]\ndirectory = '/w'\npass = ['K']\n\
                    [workspaces.v]\ndirectory = '/v'\nmodel = 'c/d'\n\
                    [workspaces.u]\ndirectory = '/u'\npass_to_commands = ['T']";
        let pool = pool(text);
        let verdict = |name: &str, environment: &Environment| {
            let found = model("model", None, (&pool, pool.workspaces.get(name)), environment);
            (found.verdict, found.text)
        };
        let (none, set) = (Environment::default(), Environment::default().with("K", "k"));
        assert_eq!(verdict("w", &none), (Verdict::Bad, "`pass` names K, which is not set".to_owned()));
        let text = "`pass_to_commands` names T, which is not set".to_owned();
        assert_eq!(verdict("u", &none), (Verdict::Bad, text));
        assert_eq!(verdict("w", &set), (Verdict::Good, "a/b".to_owned()));
        assert_eq!(verdict("v", &none), (Verdict::Good, "c/d".to_owned()));
    }
}
