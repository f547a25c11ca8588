//! `daemons`: the daemons of workspaces, through the host that runs or without one.

use std::io::Write as _;
use std::path::Path;

use clap::Subcommand;
use connector_contract::chain;
use connector_files::AbsolutePath;
use opencode_daemons::Environment;
use opencode_daemons::pool::{self, OnExit};
use opencode_daemons::registry::{self, Ended};

use super::{Common, path, serve};
use crate::config::HostConfig;
use crate::exit::{Exit, Failure};
use crate::managed;
use crate::managed::control::{self, Answer, Request, Standing};

/// `daemons`
#[derive(Debug, Subcommand)]
pub(super) enum Daemons {
    /// Show how each daemon stands
    List,
    /// Start a workspace's daemon ahead of its use
    Start {
        #[command(flatten)]
        which: Which,
    },
    /// End a workspace's daemon and everything it started
    Stop {
        /// The workspace
        name: String,
        /// Even while a task uses it
        #[arg(long)]
        force: bool,
    },
    /// End a workspace's daemon and start it again
    Restart {
        #[command(flatten)]
        which: Which,
        /// Even while a task uses it
        #[arg(long)]
        force: bool,
    },
    /// Show what became of a workspace's daemons, over their restarts
    Logs {
        /// The workspace
        name: String,
        /// Show what they printed themselves, which may hold anything, keys included
        #[arg(long)]
        printed: bool,
        /// How many lines
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        lines: usize,
    },
}

/// A workspace, and where it is configured in case no host runs.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The workspace
    name: String,
    /// The configuration, used when no host runs [default: host.toml here, or your own]
    #[arg(short, long, value_name = "FILE", value_parser = path::absolute())]
    config: Option<AbsolutePath>,
}

impl Daemons {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let host = common.state()?;
        let state = managed::directory(&host);
        let standings = match self {
            Self::List => list(&state).await?,
            Self::Start { which } => start(&host, &state, &which).await?,
            Self::Stop { name, force } => stop(&state, &name, force).await?,
            Self::Restart { which, force } => {
                stop(&state, &which.name, force).await?;
                start(&host, &state, &which).await?
            }
            Self::Logs { name, printed, lines } => return logs(common, &state, (&name, printed), lines),
        };
        common.print(&standings, |standings| match standings.len() {
            0 => "no daemon is known here".to_owned(),
            _ => standings.iter().map(line).collect::<Vec<_>>().join("\n"),
        })?;
        Ok(Exit::Done)
    }
}

async fn list(state: &Path) -> Result<Vec<Standing>, Failure> {
    match asked(state, Request::List).await? {
        Some(standings) => Ok(standings),
        None => Ok(control::without_host(state)?),
    }
}

async fn start(host: &Path, state: &Path, which: &Which) -> Result<Vec<Standing>, Failure> {
    if let Some(standings) = asked(state, Request::Start { workspace: which.name.clone() }).await? {
        return Ok(standings);
    }
    let file = path::config(which.config.as_ref())?;
    let mut config = HostConfig::load(&file).map_err(|error| Failure::usage(chain(&error)))?;
    // Nobody stays to look after it: the next host does.
    config.opencode.on_exit = OnExit::Keep;
    let daemons = serve::pool((&file, &config), host, &Environment::of_this_process()).await?;
    let leased = daemons.pool().lease(&which.name, |_| {}).await.map(drop);
    daemons.stop().await;
    leased?;
    Ok(control::without_host(state)?)
}

async fn stop(state: &Path, name: &str, force: bool) -> Result<Vec<Standing>, Failure> {
    if let Some(standings) = asked(state, Request::Stop { workspace: name.to_owned(), force }).await? {
        return Ok(standings);
    }
    match registry::end(state, name).await? {
        Ended::Held => Err(Failure::failed(format!(
            "another process holds the daemon of workspace `{name}` and does not answer; end that one"
        ))),
        Ended::Before if !log_of(state, name)?.is_empty() => Ok(control::without_host(state)?),
        Ended::Before => Err(unknown(name)),
        Ended::Now => Ok(control::without_host(state)?),
    }
}

fn logs(common: &Common, state: &Path, (name, printed): (&str, bool), lines: usize) -> Result<Exit, Failure> {
    let mut log = log_of(state, name)?;
    if log.is_empty() {
        return Err(unknown(name));
    }
    let kept = pool::printed_in(state, name);
    if printed {
        log = kept.tail(lines)?;
    } else if kept.path().exists() {
        let path = kept.path().display();
        writeln!(anstream::stderr(), "what opencode printed is in {path}; --printed shows it")?;
    }
    log.drain(..log.len().saturating_sub(lines));
    common.print(&log, |log| connector_surface::text::visible(&log.join("\n")))?;
    Ok(Exit::Done)
}

fn log_of(state: &Path, name: &str) -> Result<Vec<String>, Failure> {
    Ok(pool::log_in(state, name).tail(usize::MAX)?)
}

fn unknown(name: &str) -> Failure {
    Failure::usage(format!("no daemon of a workspace `{name}` ever ran here; see `daemons list` and --state"))
}

/// What the running host answers; nothing when none runs.
async fn asked(state: &Path, request: Request) -> Result<Option<Vec<Standing>>, Failure> {
    match control::ask(state, &request).await? {
        None => Ok(None),
        Some(Answer::Daemons(standings)) => Ok(Some(standings)),
        Some(Answer::Refused(reason)) => Err(Failure::failed(reason)),
    }
}

fn line(standing: &Standing) -> String {
    let mut line = format!("{:<20} {:<8}", standing.workspace, standing.phase);
    if let Some(port) = standing.port {
        line.push_str(&format!("  port {port}"));
    }
    if let Some(pid) = standing.pid {
        line.push_str(&format!("  pid {pid}"));
    }
    if let Some(version) = &standing.version {
        line.push_str(&format!("  opencode {version}"));
    }
    if standing.leases > 0 {
        line.push_str(&format!("  works for {}", standing.leases));
    }
    line.push_str(&format!("  {}", standing.directory.display()));
    line
}
