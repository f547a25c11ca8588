//! `approvals`: what waits, and deciding it from another terminal.

use clap::Subcommand;

use super::{Common, caller};
use crate::clock::{Clock, rfc3339};
use crate::console::render;
use crate::exit::{Exit, Failure};
use crate::gate::state::StepState;
use crate::ids::StepId;
use crate::ledger::steps::decide::{Decision, Tap, Tapped, decide};
use crate::ledger::steps::{self, StepRow};
use crate::text::{one_line, shortened};

/// `approvals`
#[derive(Debug, Subcommand)]
pub(super) enum Approvals {
    /// What waits for a decision, oldest first
    List,
    /// One card in full, with its whole digest
    Show {
        /// The step, such as 3.1
        id: StepId,
    },
    /// Let a step run
    Approve(Choice),
    /// Refuse a step
    Deny(Choice),
}

/// Which card is decided.
#[derive(Debug, clap::Args)]
pub(super) struct Choice {
    /// The step, such as 3.1
    id: StepId,
    /// Decide only if the card's digest begins like this
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
}

impl Approvals {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Self::List => list(common).await,
            Self::Show { id } => show(common, id).await,
            Self::Approve(choice) => tap(common, choice, Decision::Approve).await,
            Self::Deny(choice) => tap(common, choice, Decision::Deny).await,
        }
    }
}

async fn list(common: &Common) -> Result<Exit, Failure> {
    let ledger = common.existing_ledger()?;
    let rows = ledger.read(|tx| steps::in_state(tx, StepState::Waiting, 10_000)).await?;
    common.print(&rows, |rows| {
        if rows.is_empty() {
            return "nothing waits".to_owned();
        }
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

fn line(row: &StepRow) -> String {
    let prompt = row.input.get("prompt").and_then(serde_json::Value::as_str).unwrap_or_default();
    let until =
        row.expires_at.map_or_else(|| "not shown yet".to_owned(), |at| format!("until {}", rfc3339(at)));
    format!(
        "{:<7} {}  {} · {}  by {}  {until}\n        {}",
        row.id.to_string(),
        row.digest.short(),
        row.connector,
        row.action,
        row.requester,
        shortened(&one_line(prompt), 100)
    )
}

async fn show(common: &Common, id: StepId) -> Result<Exit, Failure> {
    let ledger = common.existing_ledger()?;
    let row = ledger.read(move |tx| steps::get(tx, id)).await?;
    let Some(row) = row else {
        return Err(Failure::usage(format!("there is no step {id}; see `approvals list`")));
    };
    common.print(&row, |row| {
        format!("{}\nstate  {}\ndigest {}", render::card(row, Clock::System.now()), row.state, row.digest)
    })?;
    Ok(Exit::Done)
}

async fn tap(common: &Common, choice: Choice, decision: Decision) -> Result<Exit, Failure> {
    let ledger = common.existing_ledger()?;
    let approver = caller();
    let answer = ledger
        .write(move |tx| {
            let digest = match &choice.digest {
                Some(digest) => digest.to_ascii_lowercase(),
                // Whoever names no digest decides about the row as it is now.
                None => {
                    steps::get(tx, choice.id)?.map(|row| row.digest.as_str().to_owned()).unwrap_or_default()
                }
            };
            decide(tx, &Tap { step: choice.id, digest, approver, chat: None, decision })
        })
        .await?;
    common.print(&answer, |answer| words(choice.id, answer))?;
    Ok(match answer {
        Tapped::Approved | Tapped::Counted { .. } | Tapped::Denied => Exit::Done,
        Tapped::NoSuchCard => Exit::Usage,
        _ => Exit::Failed,
    })
}

fn words(step: StepId, answer: &Tapped) -> String {
    let mut text = crate::chat::describe(step, answer);
    if matches!(answer, Tapped::Approved) {
        text.push_str("; it runs as soon as a host does");
    }
    text
}
