//! `rules`: looking at rules before an agent does what they say.
//!
//! None of these commands calls a connector or starts a daemon. All but
//! `explain` leave the state directory alone; `explain` reads from it.

mod dry_run;
mod event_file;
mod explain;
mod known;
mod lint;
mod rehearsal;
mod test;

use std::io::Write as _;
use std::path::PathBuf;

use clap::Subcommand;
use connector_files::AbsolutePath;
use connector_rules::Timestamp;

use super::{Common, path};
use crate::exit::{Exit, Failure};
use known::Known;

/// `rules`
#[derive(Debug, Subcommand)]
pub(super) enum Rules {
    /// Report what is wrong or doubtful in the rules, with the lines shown
    Lint {
        #[command(flatten)]
        sources: Sources,
        /// Fail on warnings too
        #[arg(long)]
        deny_warnings: bool,
    },
    /// Run the `[[tests]]` beside the rules
    Test {
        #[command(flatten)]
        sources: Sources,
    },
    /// Show what an event would start: rules, inputs, cards and digests; nothing is called
    DryRun {
        #[command(flatten)]
        sources: Sources,
        /// The event as JSON, or as `runs show --json` prints it; `-` is standard input
        #[arg(long, value_name = "FILE")]
        event: PathBuf,
        /// The time at which it happens, such as 2026-01-31T09:00:00Z [default: now]
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
    },
    /// Say of each rule whether a recorded event fired it, or which condition failed first and why
    Explain {
        #[command(flatten)]
        sources: Sources,
        /// The event [default: list the latest events]
        #[arg(value_name = "EVENT_ID")]
        event: Option<i64>,
    },
    /// Print the JSON Schema of a rule file, for editors
    Schema,
}

/// Where the rules are, and what host they are for.
#[derive(Debug, clap::Args)]
pub(super) struct Sources {
    /// The directory of the rules [default: the configuration's]
    #[arg(long, value_name = "DIR", value_parser = path::absolute())]
    rules: Option<AbsolutePath>,
    /// The host's configuration [default: host.toml, if it is there]
    #[arg(short, long, value_name = "FILE", value_parser = path::absolute())]
    config: Option<AbsolutePath>,
}

impl Rules {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Self::Lint { sources, deny_warnings } => {
                lint::run(common, &Known::load(&sources).await?, deny_warnings)
            }
            Self::Test { sources } => test::run(common, &Known::load(&sources).await?),
            Self::DryRun { sources, event, at } => {
                dry_run::run(common, Known::load(&sources).await?, &event, at).await
            }
            Self::Explain { event: None, .. } => explain::list(common).await,
            Self::Explain { sources, event: Some(event) } => {
                explain::run(common, &Known::load(&sources).await?, event).await
            }
            Self::Schema => {
                let schema = serde_json::to_string_pretty(&connector_rules::schema())?;
                writeln!(anstream::stdout(), "{schema}")?;
                Ok(Exit::Done)
            }
        }
    }
}
