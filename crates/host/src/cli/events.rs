//! `events`: what came in, and what each fired.

use clap::Subcommand;
use connector_gate::clock::rfc3339;
use connector_ledger::events::{self, EventRow};
use connector_ledger::runs::{self, RunRow, RunState};
use connector_ledger::steps::{self, StepRow};
use connector_ledger::{LedgerError, Tx};
use connector_surface::text::one_line;
use schemars::JsonSchema;
use serde::Serialize;

use super::Common;
use crate::console::render;
use crate::exit::{Exit, Failure};
use crate::view;

/// `events`
#[derive(Debug, Subcommand)]
pub(super) enum Events {
    /// The latest events, newest first, and the runs that each fired
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// One event, and what became of it
    Show {
        /// The event, such as 3
        id: i64,
    },
}

/// An event, its runs and their steps: what came of a message.
#[derive(Serialize, JsonSchema)]
pub(super) struct Outcome {
    pub(super) event: EventRow,
    /// Whether rules have looked at it.
    pub(super) handled: bool,
    runs: Vec<Run>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FiredRun")]
struct Run {
    #[serde(flatten)]
    row: RunRow,
    steps: Vec<StepRow>,
}

impl Events {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        let ledger = common.existing_ledger()?;
        match self {
            Self::List { limit } => {
                let listed = ledger
                    .read(move |tx| {
                        let ids = events::latest(tx, limit)?;
                        ids.into_iter()
                            .filter_map(|id| Outcome::of(tx, id).transpose())
                            .collect::<Result<Vec<_>, _>>()
                    })
                    .await?;
                common.print(&listed, |listed| {
                    if listed.is_empty() {
                        return "nothing came in yet".to_owned();
                    }
                    listed.iter().map(Outcome::line).collect::<Vec<_>>().join("\n")
                })?;
            }
            Self::Show { id } => {
                let Some(outcome) = ledger.read(move |tx| Outcome::of(tx, id)).await? else {
                    return Err(Failure::usage(format!("there is no event {id}; see `events list`")));
                };
                common.print(&outcome, Outcome::describe)?;
            }
        }
        Ok(Exit::Done)
    }
}

impl Outcome {
    /// What there is of event `id`; nothing if it is not in the ledger.
    pub(super) fn of(tx: &Tx<'_>, id: i64) -> Result<Option<Self>, LedgerError> {
        let Some(event) = events::get(tx, id)? else { return Ok(None) };
        let rows = runs::of_event(tx, id)?;
        let runs = rows.into_iter().map(|row| Ok(Run { steps: steps::of_run(tx, row.id)?, row }));
        Ok(Some(Self {
            event,
            handled: events::is_handled(tx, id)?,
            runs: runs.collect::<Result<_, LedgerError>>()?,
        }))
    }

    /// Whether nothing more comes of it.
    pub(super) fn has_ended(&self) -> bool {
        self.handled && self.runs.iter().all(|run| run.row.state != RunState::Active)
    }

    /// The runs that it fired.
    pub(super) fn runs(&self) -> impl Iterator<Item = (&RunRow, &[StepRow])> {
        self.runs.iter().map(|run| (&run.row, run.steps.as_slice()))
    }

    /// The worst of what its runs came to.
    pub(super) fn exit(&self) -> Exit {
        let of = |state: RunState| match state {
            RunState::Succeeded => Exit::Done,
            RunState::Denied | RunState::Expired => Exit::Denied,
            RunState::Active | RunState::Failed | RunState::Cancelled | RunState::Unknown => Exit::Failed,
        };
        let exits: Vec<Exit> = self.runs.iter().map(|run| of(run.row.state)).collect();
        let worst = [Exit::Failed, Exit::Denied].into_iter().find(|exit| exits.contains(exit));
        worst.unwrap_or(if exits.is_empty() { Exit::Nothing } else { Exit::Done })
    }

    fn line(&self) -> String {
        let text = self.event.payload["text"].as_str().unwrap_or_default();
        let runs: Vec<String> =
            self.runs.iter().map(|run| format!("run {} {}", run.row.id, run.row.state.as_str())).collect();
        let came = match (self.handled, runs.is_empty()) {
            (false, _) => "not looked at yet".to_owned(),
            (true, true) => "no rule fired".to_owned(),
            (true, false) => runs.join(", "),
        };
        let EventRow { id, event, requester, .. } = &self.event;
        let at = rfc3339(self.event.received_at);
        format!("{id:<5} {at}  {event} by {requester}  {}  → {came}", one_line(text))
    }

    /// The event in a line, and the result of each step.
    pub(super) fn describe(&self) -> String {
        let mut text = self.line();
        for step in self.runs.iter().flat_map(|run| &run.steps) {
            text.push_str(&format!("\n{}", render::result(&view::result(step))));
        }
        text
    }
}
