//! `runs`: what ran, what runs, and stopping it.

use clap::Subcommand;
use serde::Serialize;

use super::{Common, caller};
use crate::clock::rfc3339;
use crate::console::render;
use crate::engine::{CancelOutcome, cancel};
use crate::exit::{Exit, Failure};
use crate::ids::RunId;
use crate::ledger::events::{self, EventRow};
use crate::ledger::runs::{self, RunRow};
use crate::ledger::steps::{self, StepRow};

/// `runs`
#[derive(Debug, Subcommand)]
pub(super) enum Runs {
    /// The latest runs, newest first
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// One run: its event, its steps, what they were given and what they returned
    Show {
        /// The run, such as 3
        id: RunId,
    },
    /// Stop a run in whatever state it is
    Cancel {
        /// The run, such as 3
        id: RunId,
    },
}

/// A run with everything it came from and came to.
#[derive(Serialize)]
struct Whole {
    run: RunRow,
    event: Option<EventRow>,
    steps: Vec<StepRow>,
}

impl Runs {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Self::List { limit } => list(common, limit).await,
            Self::Show { id } => show(common, id).await,
            Self::Cancel { id } => stop(common, id).await,
        }
    }
}

async fn list(common: &Common, limit: u32) -> Result<Exit, Failure> {
    let rows = common.existing_ledger()?.read(move |tx| runs::latest(tx, limit)).await?;
    common.print(&rows, |rows| {
        if rows.is_empty() {
            return "nothing ran yet".to_owned();
        }
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

fn line(run: &RunRow) -> String {
    let why =
        run.reason.as_deref().map(|why| format!("  {}", crate::text::one_line(why))).unwrap_or_default();
    let (id, state) = (run.id.to_string(), run.state.as_str());
    format!("{id:<5} {state:<10} {}  {} by {}{why}", rfc3339(run.created_at), run.rule, run.requester)
}

async fn show(common: &Common, id: RunId) -> Result<Exit, Failure> {
    let whole = common
        .existing_ledger()?
        .read(move |tx| {
            let Some(run) = runs::get(tx, id)? else { return Ok(None) };
            Ok(Some(Whole { event: events::get(tx, run.event_id)?, steps: steps::of_run(tx, id)?, run }))
        })
        .await?;
    let Some(whole) = whole else {
        return Err(Failure::usage(format!("there is no run {id}; see `runs list`")));
    };
    common.print(&whole, describe)?;
    Ok(Exit::Done)
}

fn describe(whole: &Whole) -> String {
    let mut text = line(&whole.run);
    for step in &whole.steps {
        text.push_str(&format!("\n\n{} {} · {}  {}", step.id, step.connector, step.action, step.state));
        text.push_str(&format!("\n  digest {}", step.digest));
        if let Some(by) = &step.decided_by {
            text.push_str(&format!(
                "\n  decided by {by} at {}",
                step.decided_at.map(rfc3339).unwrap_or_default()
            ));
        }
        text.push_str(&format!("\n  input  {}", crate::text::visible(&step.input.to_string())));
        text.push_str(&format!("\n{}", render::result(step)));
    }
    text
}

async fn stop(common: &Common, id: RunId) -> Result<Exit, Failure> {
    let by = caller();
    let outcomes = common
        .existing_ledger()?
        .write(move |tx| {
            steps::of_run(tx, id)?.iter().map(|step| Ok((step.id, cancel(tx, step.id, &by)?))).collect()
        })
        .await;
    let outcomes: Vec<(crate::ids::StepId, CancelOutcome)> = outcomes?;
    let done = outcomes.iter().any(|(_, outcome)| *outcome != CancelOutcome::NothingToDo);
    let shown: Vec<(String, &str)> =
        outcomes.iter().map(|(step, outcome)| (step.to_string(), word(*outcome))).collect();
    common.print(&shown, |shown| match shown.len() {
        0 => format!("there is no run {id}, or it has no step yet"),
        _ => shown.iter().map(|(step, word)| format!("{step} {word}")).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(if done { Exit::Done } else { Exit::Failed })
}

fn word(outcome: CancelOutcome) -> &'static str {
    match outcome {
        CancelOutcome::Withdrawn => "is withdrawn",
        CancelOutcome::Stopping => "is told to stop",
        CancelOutcome::NothingToDo => "had ended already",
    }
}
