//! `runs`: what ran, what runs, and stopping it.

mod after;
pub(super) mod standing;

use std::io::Write as _;
use std::time::Duration;

use after::What;
use clap::Subcommand;
use connector_engine::transcript::Line;
use connector_engine::{CancelOutcome, cancel_run};
use connector_files::AbsolutePath;
use connector_gate::clock::rfc3339;
use connector_gate::ids::{RunId, StepId};
use connector_gate::people::named;
use connector_ledger::events::{self, EventRow};
use connector_ledger::runs::{self, RunRow, RunState};
use connector_ledger::steps::{self, Queued, StepRow};
use connector_ledger::{LedgerError, Tx, audit};
use connector_surface::text::one_line;
use schemars::JsonSchema;
use serde::Serialize;
use standing::Standing;

use super::{Common, caller, path};
use crate::console::render;
use crate::exit::{Exit, Failure};
use crate::view;

/// How often the ledger is looked at for news.
pub(super) const LOOK: Duration = Duration::from_millis(100);

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
        /// With what its agents said and did, as far as it is kept
        #[arg(long)]
        transcript: bool,
    },
    /// Stop a run in whatever state it is
    Cancel {
        /// The run, such as 3
        id: RunId,
    },
    /// Bring a run's branch into the files of its workspace: all of it, or nothing
    Apply {
        /// The run, such as 3
        id: RunId,
    },
    /// Take what a run did back out of the files of its workspace: all of it, or nothing
    Undo {
        /// The run, such as 3
        id: RunId,
    },
    /// Commit what a run did on the branch that its workspace is on, whether it is applied already or not
    Commit {
        /// The run, such as 3
        id: RunId,
    },
    /// Push a run's branch to the remote of its workspace, never over history
    Push {
        /// The run, such as 3
        id: RunId,
        /// The configuration that names the remote [default: host.toml here, or your own]
        #[arg(short, long, value_name = "FILE", value_parser = path::absolute())]
        config: Option<AbsolutePath>,
        /// The branch at the remote, if it is to be called otherwise there
        #[arg(long, value_name = "BRANCH")]
        to: Option<String>,
    },
    /// Remove a run's branch and working tree, if they are as it left them
    Discard {
        /// The run, such as 3
        id: RunId,
    },
    /// Print what happens to a run, or to all of them, as it happens
    Follow {
        /// The run, such as 3; its end ends this
        id: Option<RunId>,
    },
}

/// A run with everything it came from and came to.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WholeRun")]
pub(super) struct Whole {
    pub(super) run: RunRow,
    event: Option<EventRow>,
    pub(super) steps: Vec<StepRow>,
    /// The approved steps' places in the queue.
    queue: Vec<Queued>,
    /// What the steps that go on do now.
    now: Vec<Standing>,
}

impl Whole {
    /// What there is of run `id`; nothing if it is not in the ledger.
    pub(super) fn of(tx: &Tx<'_>, id: RunId) -> Result<Option<Self>, LedgerError> {
        let Some(run) = runs::get(tx, id)? else { return Ok(None) };
        let steps = steps::of_run(tx, id)?;
        let queue = steps::queued_of_run(tx, id)?;
        let now = standing::of_steps(tx, &steps)?;
        Ok(Some(Self { event: events::get(tx, run.event_id)?, steps, queue, now, run }))
    }
}

impl Runs {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Self::List { limit } => list(common, limit).await,
            Self::Show { id, transcript } => show(common, id, transcript).await,
            Self::Cancel { id } => stop(common, id).await,
            Self::Apply { id } => after::run(common, id, What::Apply).await,
            Self::Undo { id } => after::run(common, id, What::Undo).await,
            Self::Commit { id } => after::run(common, id, What::Commit).await,
            Self::Push { id, config, to } => after::run(common, id, What::Push { config, to }).await,
            Self::Discard { id } => after::run(common, id, What::Discard).await,
            Self::Follow { id } => follow(common, id).await,
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

pub(super) fn line(run: &RunRow) -> String {
    let why = run
        .reason
        .as_deref()
        .map(|why| format!("  {}", connector_surface::text::one_line(why)))
        .unwrap_or_default();
    let (id, state) = (run.id.to_string(), run.state.as_str());
    format!("{id:<5} {state:<10} {}  {} by {}{why}", rfc3339(run.created_at), run.rule, run.requester)
}

/// A run, with its transcript where that is asked for.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    whole: Whole,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<Vec<Line>>,
}

async fn show(common: &Common, id: RunId, transcript: bool) -> Result<Exit, Failure> {
    let kept = transcript.then(|| common.transcripts()).transpose()?;
    let ledger = common.existing_ledger()?;
    let told = ledger.read(move |tx| {
        let Some(whole) = Whole::of(tx, id)? else { return Ok(None) };
        let transcript = kept.map(|kept| kept.of_run(tx, id)).transpose()?;
        Ok(Some(Told { whole, transcript }))
    });
    let Some(told) = told.await? else {
        return Err(Failure::usage(format!("there is no run {id}; see `runs list`")));
    };
    common.print(&told, |told| {
        let lines = told.transcript.iter().flatten().map(|line| format!("\n{}", line.words()));
        let lines: String = lines.collect();
        let head = if told.transcript.is_some() { "\n\ntranscript" } else { "" };
        format!("{}{head}{lines}", describe(&told.whole))
    })?;
    Ok(Exit::Done)
}

pub(super) fn describe(whole: &Whole) -> String {
    let mut text = line(&whole.run);
    for step in &whole.steps {
        text.push_str(&format!("\n\n{} {} · {}  {}", step.id, step.connector, step.action, step.state));
        let now = whole.now.iter().find(|now| now.step == step.id);
        text.push_str(&format!("\n  digest {}", step.digest));
        if let Some(by) = &step.decided_by {
            text.push_str(&format!(
                "\n  decided by {} at {}",
                step.people.named(by),
                step.decided_at.map(rfc3339).unwrap_or_default()
            ));
        }
        text.push_str(&format!(
            "\n  input  {}",
            connector_surface::text::visible(
                &connector_surface::attachments::without_content(&step.input).to_string()
            )
        ));
        match now {
            Some(now) => text.push_str(&format!("\n{}", now.words())),
            None => text.push_str(&format!("\n{}", render::result(&view::result(step)))),
        }
    }
    text
}

async fn stop(common: &Common, id: RunId) -> Result<Exit, Failure> {
    let by = caller();
    let (known, outcome) =
        common.existing_ledger()?.write(move |tx| Ok((runs::get(tx, id)?, cancel_run(tx, id, &by)?))).await?;
    let Some(before) = known else {
        return Err(Failure::usage(format!("there is no run {id}; see `runs list`")));
    };
    let answer = serde_json::json!({ "run": id, "outcome": word(outcome) });
    common.print(&answer, |_| match (outcome, before.state) {
        (CancelOutcome::Withdrawn, _) => format!("run {id} is withdrawn"),
        (CancelOutcome::Stopping, _) => {
            format!("run {id} is told to stop; `runs follow {id}` shows how it ends")
        }
        (CancelOutcome::NothingToDo, RunState::Active) => format!("run {id} was told to stop before"),
        (CancelOutcome::NothingToDo, state) => format!("run {id} had ended already: {}", state.as_str()),
    })?;
    Ok(if outcome == CancelOutcome::NothingToDo { Exit::Failed } else { Exit::Done })
}

pub(super) fn word(outcome: CancelOutcome) -> &'static str {
    match outcome {
        CancelOutcome::Withdrawn => "withdrawn",
        CancelOutcome::Stopping => "stopping",
        CancelOutcome::NothingToDo => "nothing_to_do",
    }
}

/// Prints the audit's rows about runs: of one run from its beginning to its end, of all from now on.
async fn follow(common: &Common, id: Option<RunId>) -> Result<Exit, Failure> {
    let ledger = common.existing_ledger()?;
    let run = match id {
        Some(id) => ledger.read(move |tx| runs::get(tx, id)).await?,
        None => None,
    };
    if let (Some(id), None) = (id, &run) {
        return Err(Failure::usage(format!("there is no run {id}; see `runs list`")));
    }
    let mut seen = if id.is_some() { 0 } else { ledger.read(audit::last).await? };
    let mut output = anstream::stdout();
    let mut shown: Vec<String> = Vec::new();
    loop {
        let version = ledger.data_version().await?;
        let (rows, last, state) = ledger.read(move |tx| news(tx, id, seen)).await?;
        seen = last;
        let now = ledger.read(move |tx| standing::of_run(tx, id)).await?;
        for row in rows {
            let line = if common.json {
                connector_surface::text::escaped_json(&serde_json::to_string(&row)?)
            } else {
                happened(&row)
            };
            writeln!(output, "{line}")?;
        }
        let now: Vec<String> = now.iter().map(Standing::words).collect();
        for line in now.iter().filter(|line| !common.json && !shown.contains(line)) {
            writeln!(output, "{line}")?;
        }
        shown = now;
        output.flush()?;
        match state {
            Some(RunState::Active) | None => {}
            Some(RunState::Succeeded) => return Ok(Exit::Done),
            Some(_) => return Ok(Exit::Failed),
        }
        while ledger.data_version().await? == version {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The rows since `seen` that are asked for, the last row there is, and the state of the run.
pub(super) fn news(
    tx: &Tx<'_>,
    id: Option<RunId>,
    seen: i64,
) -> Result<(Vec<audit::Row>, i64, Option<RunState>), LedgerError> {
    let last = audit::last(tx)?;
    let rows = match id {
        Some(run) => audit::of_run(tx, run, seen)?,
        None => audit::after(tx, seen, u32::MAX)?.into_iter().filter(|row| row.entry.run.is_some()).collect(),
    };
    let state = match id {
        Some(run) => runs::get(tx, run)?.map(|row| row.state),
        None => None,
    };
    Ok((rows, last, state))
}

/// A row of the audit in a line.
pub(super) fn happened(row: &audit::Row) -> String {
    let entry = &row.entry;
    let of = match (entry.run, entry.index) {
        (Some(run), Some(index)) => StepId { run, index }.to_string(),
        (Some(run), None) => run.to_string(),
        (None, _) => String::new(),
    };
    let text = |name: &str| entry.detail.get(name).and_then(serde_json::Value::as_str);
    let more =
        text("reason").or_else(|| text("state")).or_else(|| text("session_id")).or_else(|| text("rule"));
    let more = more.map(|more| format!("  {}", one_line(more))).unwrap_or_default();
    let by = named(&entry.actor, text("person"));
    format!("{}  {of:<7} {} by {}{more}", rfc3339(entry.at), entry.kind, one_line(&by))
}
