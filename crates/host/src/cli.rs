//! The command line: arguments in, exit code out.

mod api;
mod approvals;
mod audit;
mod chat;
mod config;
mod daemons;
mod demo;
mod doctor;
mod events;
mod ledger;
mod log;
mod matrix;
mod mcp;
mod pairing;
mod path;
mod plugins;
mod rules;
mod runs;
mod send;
mod serve;
mod service;
mod service_manager;
mod setup;
mod telegram;
mod terminal;
mod webhooks;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use connector_engine::transcript::Transcripts;
use connector_files::{AbsolutePath, Redactor};
use connector_gate::clock::Clock;
use connector_gate::policy::Actor;
use connector_ledger::Ledger;
use etcetera::BaseStrategy as _;
use opencode_daemons::{Environment, PoolConfig};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::exit::{Exit, Failure};
use crate::{assemble, places};

/// Hands coding tasks from a chat to an opencode daemon, once somebody approved exactly what will run.
#[derive(Debug, Parser)]
#[command(name = "connector-host", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// Where the ledger is kept [default: the platform's state directory]
    #[arg(long, global = true, value_name = "DIR", env = "CONNECTOR_HOST_STATE", value_parser = path::absolute())]
    state: Option<AbsolutePath>,
    /// Print JSON for other programs instead of text; logs, too, are JSON lines
    #[arg(long, global = true)]
    json: bool,
    /// What to log on standard error, such as `debug` or `info,opencode_daemons=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "CONNECTOR_HOST_LOG")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole walk on a small repository, with nothing configured
    Demo(demo::Demo),
    /// Chat at this terminal about a repository of yours
    Chat(chat::ChatArgs),
    /// Run the host without a terminal, from a configuration file
    Run(serve::Serve),
    /// Send a message to the host, as an event of the surface `cli`
    Send(send::Send),
    /// List and show what came in, and what each fired
    #[command(subcommand)]
    Events(events::Events),
    /// Serve the host to programs as MCP tools
    Mcp(mcp::McpServer),
    /// Describe the HTTP API of a running host
    #[command(subcommand)]
    Api(api::ApiCommand),
    /// List, show and decide what waits for approval
    #[command(subcommand)]
    Approvals(approvals::Approvals),
    /// Lint, test, dry-run and explain rules
    #[command(subcommand)]
    Rules(rules::Rules),
    /// Check the configuration, and explain its keys
    #[command(subcommand)]
    Config(config::Config),
    /// List, show, follow and cancel runs, and apply, commit, push or discard what they left
    #[command(subcommand)]
    Runs(runs::Runs),
    /// Set Telegram up
    #[command(subcommand)]
    Telegram(telegram::Telegram),
    /// Set Matrix up
    #[command(subcommand)]
    Matrix(matrix::Matrix),
    /// List, start, stop and look into the daemons of workspaces
    #[command(subcommand)]
    Daemons(daemons::Daemons),
    /// List, verify and grant the packages of connectors
    #[command(subcommand)]
    Plugins(plugins::Plugins),
    /// Check what a host needs here: opencode, walls, ports, git, disk, models
    Doctor(doctor::Doctor),
    /// Verify and export the audit
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Check, copy and prune the ledger
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(command) = arguments.command else {
        let _ = write!(anstream::stderr(), "{}", Arguments::command().render_help().ansi());
        return Exit::Usage.code();
    };
    log(&command, &arguments.common);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(Err(error.into())),
    };
    let outcome = runtime.block_on(dispatch(command, arguments.common));
    // A thread that waits for a line from the terminal must not hold the process.
    runtime.shutdown_background();
    report(outcome)
}

async fn dispatch(command: Command, common: Common) -> Result<Exit, Failure> {
    match command {
        Command::Demo(demo) => demo.run().await,
        Command::Chat(chat) => chat.run(&common).await,
        Command::Run(serve) => serve.run(&common).await,
        Command::Send(send) => send.run(&common).await,
        Command::Mcp(mcp) => mcp.run(&common).await,
        Command::Api(api) => api.run(),
        Command::Events(events) => events.run(&common).await,
        Command::Approvals(approvals) => approvals.run(&common).await,
        Command::Rules(rules) => rules.run(&common).await,
        Command::Config(config) => config.run(&common).await,
        Command::Runs(runs) => runs.run(&common).await,
        Command::Telegram(telegram) => telegram.run(&common).await,
        Command::Matrix(matrix) => matrix.run(&common).await,
        Command::Daemons(daemons) => daemons.run(&common).await,
        Command::Plugins(plugins) => plugins.run(&common),
        Command::Doctor(doctor) => doctor.run(&common).await,
        Command::Audit(audit) => audit.run(&common).await,
        Command::Ledger(ledger) => ledger.run(&common).await,
    }
}

fn report(outcome: Result<Exit, Failure>) -> ExitCode {
    match outcome {
        Ok(exit) => exit.code(),
        Err(failure) => {
            if !failure.text.is_empty() {
                let _ = writeln!(anstream::stderr(), "error: {}", failure.text);
            }
            failure.exit.code()
        }
    }
}

fn log(command: &Command, common: &Common) {
    let default = match command {
        Command::Run(_) => "info",
        _ => "error",
    };
    let filter = common.log.as_deref().unwrap_or(default);
    let style = log::Style::of_standard_error(common.json, &Environment::of_this_process());
    log::subscriber(filter, style, std::io::stderr).init();
}

impl Common {
    /// The state directory.
    fn state(&self) -> Result<AbsolutePath, Failure> {
        if let Some(given) = &self.state {
            return Ok(given.clone());
        }
        let base = etcetera::choose_base_strategy()
            .map_err(|_| Failure::usage("there is no home directory; choose one with --state"))?;
        let state = base.state_dir().unwrap_or_else(|| base.data_dir()).join("connector-host");
        AbsolutePath::new(state)
            .ok_or_else(|| Failure::usage("the home directory has no absolute path; choose one with --state"))
    }

    /// The ledger of a host that ran here before.
    fn existing_ledger(&self) -> Result<Ledger, Failure> {
        let state = self.state()?;
        if !state.join("ledger.sqlite").exists() {
            let text =
                format!("no host has run with the state directory {} yet; see --state", state.display());
            return Err(Failure::usage(text));
        }
        Ok(Ledger::open_existing(&state, Clock::System)?)
    }

    /// What is kept of the agents of the host that ran here.
    fn transcripts(&self) -> Result<Transcripts, Failure> {
        Ok(Transcripts::new(&self.state()?, Redactor::default()))
    }

    /// Prints `value` as JSON, or what `text` makes of it.
    fn print<T: serde::Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let printed = if self.json {
            connector_surface::text::escaped_json(&serde_json::to_string_pretty(value)?)
        } else {
            text(value)
        };
        writeln!(anstream::stdout(), "{}", printed.trim_end())?;
        Ok(())
    }
}

/// The state directory, made its owner's alone.
fn own_state(state: &AbsolutePath) -> Result<(), Failure> {
    if let Some(mended) = places::own_state(state).map_err(Failure::usage)? {
        tracing::warn!("{mended}");
    }
    Ok(())
}

/// The rules, which nobody else may change.
fn own_rules(directory: &AbsolutePath) -> Result<(), Failure> {
    let files = assemble::rule_paths(directory).unwrap_or_default();
    let all = std::iter::once(directory.as_path()).chain(files.iter().map(PathBuf::as_path));
    own("a rule", all)
}

/// What decides, which nobody else may change.
fn own<'a>(what: &str, paths: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    let mended = places::own_decisive(what, paths).map_err(Failure::usage)?;
    for mended in mended {
        tracing::warn!("{mended}");
    }
    Ok(())
}

/// Refuses what is where an agent of these workspaces may write.
fn check_places(places: &places::Places, pool: &PoolConfig) -> Result<(), Failure> {
    let misplaced = places.misplaced(&places::doors(pool));
    if misplaced.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = misplaced.iter().map(ToString::to_string).collect();
    Err(Failure::usage(lines.join("\n")))
}

/// Whoever runs this command, as an approver: `cli:USER`.
fn caller() -> Actor {
    Actor::new("cli", &whoami::username().unwrap_or_else(|_| "unknown".to_owned()))
}
