//! `approvals`: what waits, and deciding it from another terminal.

mod asks;
mod grants;

use std::time::{Duration, Instant};

use clap::Subcommand;
use connector_contract::facts;
use connector_gate::clock::{Clock, rfc3339};
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::digest::SHORT;
use connector_gate::ids::StepId;
use connector_gate::people::named;
use connector_gate::state::StepState;
use connector_ledger::steps::allow::{self, Allowance};
use connector_ledger::steps::decide::{Vote, decide, votes};
use connector_ledger::steps::{self, StepRow};
use connector_ledger::{LedgerError, Tx};
use connector_surface::text::{one_line, shortened};
use schemars::JsonSchema;
use serde::Serialize;

use super::events::Outcome;
use super::runs::LOOK;
use super::{Common, caller};
use crate::console::render;
use crate::exit::{Exit, Failure};
use crate::powers;
use crate::view;
use grants::Standing;

/// `approvals`
#[derive(Debug, Subcommand)]
pub(super) enum Approvals {
    /// What waits for a decision, oldest first, and what is allowed for a session
    List {
        /// Only what is allowed for a session
        #[arg(long)]
        allowed: bool,
    },
    /// Wait until something waits for a decision, and print it; in JSON one array
    Wait {
        /// Only what this event fired, by its number from `send` or `events list`
        #[arg(long, value_name = "EVENT")]
        event: Option<i64>,
        /// Wait at most this many seconds
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
    },
    /// One card in full, with its whole digest
    Show {
        /// The step, such as 3.1
        id: StepId,
    },
    /// Let a step run
    Approve {
        #[command(flatten)]
        choice: Choice,
        /// Let later steps of the rule in the same session run too, until the allowance expires
        #[arg(long)]
        session: bool,
    },
    /// Refuse a step
    Deny(Choice),
    /// What agents want to know while they work, whole
    Asks,
    /// Answer what an agent wants to know
    Answer {
        /// The ask's number, from `approvals asks`
        ask: i64,
        /// `allow` or `reject`, or the answer to a question: option numbers or words, `;` between questions
        #[arg(value_name = "allow|reject|TEXT")]
        answer: String,
        /// With `reject`: why, which the agent is told
        why: Option<String>,
        /// Allow the very same again in its session, until it is revoked or expires
        #[arg(long)]
        session: bool,
    },
    /// What was allowed for a session in answer to agents, whole
    Grants,
    /// Take back what was allowed for a session
    Revoke {
        /// An allowance's number, from `approvals list`, or a grant's, such as g3, from `approvals grants`
        id: Standing,
    },
}

/// Which card is decided.
#[derive(Debug, clap::Args)]
pub(super) struct Choice {
    /// The step, such as 3.1
    id: StepId,
    /// Decide only if the card's digest begins like this; at least the 12 digits a card shows
    #[arg(long, value_name = "HEX", value_parser = digest)]
    digest: Option<String>,
}

/// A card as a list shows it. In JSON the list is one array: what waits first.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed {
    Waiting(Box<StepRow>),
    Allowed { allowance: Box<Allowance> },
}

/// A card with the votes on it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Card")]
pub(super) struct Whole {
    #[serde(flatten)]
    pub(super) row: StepRow,
    votes: Vec<Vote>,
}

impl Approvals {
    pub(super) async fn run(self, common: &Common) -> Result<Exit, Failure> {
        match self {
            Self::List { allowed } => list(common, allowed).await,
            Self::Wait { event, timeout } => wait(common, event, timeout.map(Duration::from_secs)).await,
            Self::Show { id } => show(common, id).await,
            Self::Approve { choice, session: false } => tap(common, choice, Decision::Approve).await,
            Self::Approve { choice, session: true } => tap(common, choice, Decision::AllowSession).await,
            Self::Deny(choice) => tap(common, choice, Decision::Deny).await,
            Self::Asks => asks::list(common).await,
            Self::Answer { ask, answer, why, session } => {
                asks::answer(common, ask, asks::Typed { answer, why, session }).await
            }
            Self::Grants => grants::list(common).await,
            Self::Revoke { id } => grants::revoke(common, id).await,
        }
    }
}

/// The digest that a decision names, as cards and lists show it.
pub(super) fn digest(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    if text.len() < SHORT || text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("a digest is given by its first {SHORT} hexadecimal digits or more"));
    }
    Ok(text)
}

async fn list(common: &Common, only_allowed: bool) -> Result<Exit, Failure> {
    let ledger = common.existing_ledger()?;
    let listed = ledger
        .read(move |tx| {
            let waiting =
                if only_allowed { Vec::new() } else { steps::in_state(tx, StepState::Waiting, 10_000)? };
            let allowed =
                allow::open(tx)?.into_iter().map(|one| Listed::Allowed { allowance: Box::new(one) });
            Ok(waiting
                .into_iter()
                .map(|row| Listed::Waiting(Box::new(row)))
                .chain(allowed)
                .collect::<Vec<_>>())
        })
        .await?;
    common.print(&listed, |listed| {
        if listed.is_empty() {
            return if only_allowed { "nothing is allowed" } else { "nothing waits" }.to_owned();
        }
        listed.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

/// Prints what waits as soon as anything does. Once all that `event` fired has ended, nothing will: then the
/// exit is that of what it came to.
async fn wait(common: &Common, event: Option<i64>, limit: Option<Duration>) -> Result<Exit, Failure> {
    let ledger = common.existing_ledger()?;
    let began = Instant::now();
    loop {
        let version = ledger.data_version().await?;
        let found = ledger
            .read(move |tx| {
                let Some(event) = event else {
                    return Ok(Some((steps::in_state(tx, StepState::Waiting, 10_000)?, None)));
                };
                let Some(outcome) = Outcome::of(tx, event)? else { return Ok(None) };
                let ended = outcome.has_ended().then(|| outcome.exit());
                Ok(Some((steps::waiting_of_event(tx, event, 10_000)?, ended)))
            })
            .await?;
        let Some((waiting, ended)) = found else {
            let event = event.unwrap_or_default();
            return Err(Failure::usage(format!(
                "there is no event {event}; `events list` has those there are"
            )));
        };
        if !waiting.is_empty() {
            common.print(&waiting, |rows| rows.iter().map(self::waiting).collect::<Vec<_>>().join("\n"))?;
            return Ok(Exit::Done);
        }
        if let Some(exit) = ended {
            common.print(&waiting, |_| "nothing waits: what the event fired has ended".to_owned())?;
            return Ok(exit);
        }
        while ledger.data_version().await? == version {
            if limit.is_some_and(|limit| began.elapsed() >= limit) {
                common.print(&waiting, |_| "nothing waits".to_owned())?;
                return Ok(Exit::Running);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn line(listed: &Listed) -> String {
    match listed {
        Listed::Waiting(row) => waiting(row),
        Listed::Allowed { allowance } => allowed(allowance),
    }
}

/// A card that waits, in two lines.
pub(super) fn waiting(row: &StepRow) -> String {
    let until =
        row.expires_at.map_or_else(|| "not shown yet".to_owned(), |at| format!("until {}", rfc3339(at)));
    format!(
        "{:<7} {}  {} · {}  by {}  {until}\n        {}",
        row.id.to_string(),
        row.digest.short(),
        row.connector,
        row.action,
        row.people.named(&row.requester),
        shortened(&one_line(facts::prompt(&row.input).unwrap_or_default()), 100)
    )
}

fn allowed(one: &Allowance) -> String {
    let session = one.session_id.as_deref().map_or_else(|| "a session to come".to_owned(), one_line);
    let by: Vec<&str> = one.allowed_by.iter().map(connector_gate::policy::Actor::as_str).collect();
    format!(
        "allowance {}  {session}  rule {} for {}  allowed on {} by {}  until {}\n        take it back with: approvals revoke {}",
        one.id,
        one.rule,
        one.requester,
        one.step,
        by.join(", "),
        rfc3339(one.expires_at),
        one.id
    )
}

impl Whole {
    /// The card of step `id`; nothing if it is not in the ledger.
    pub(super) fn of(tx: &Tx<'_>, id: StepId) -> Result<Option<Self>, LedgerError> {
        let Some(row) = steps::get(tx, id)? else { return Ok(None) };
        Ok(Some(Self { votes: votes(tx, &row)?, row }))
    }

    /// All of it, in words.
    pub(super) fn describe(&self) -> String {
        let Self { row, votes } = self;
        let rules = powers::whole(&row.target.settings);
        let rules = if rules.is_empty() { String::new() } else { format!("\n{}", rules.join("\n")) };
        format!(
            "{}\nstate  {}\ndigest {}{}{rules}",
            render::card(&view::card(row, Clock::System.now())),
            row.state,
            row.digest,
            one_line_each(row, votes),
        )
    }
}

async fn show(common: &Common, id: StepId) -> Result<Exit, Failure> {
    let ledger = common.existing_ledger()?;
    let found = ledger.read(move |tx| Whole::of(tx, id)).await?;
    let Some(whole) = found else {
        return Err(Failure::usage(format!("there is no step {id}; see `approvals list`")));
    };
    common.print(&whole, Whole::describe)?;
    Ok(Exit::Done)
}

/// Who may approve, and who said what, with whose accounts they are.
fn one_line_each(row: &StepRow, votes: &[Vote]) -> String {
    let approvers: Vec<String> = row.approvers.iter().map(|account| row.people.named(account)).collect();
    let approvers = if approvers.is_empty() { "nobody".to_owned() } else { approvers.join(", ") };
    let mut text = format!("\nmay approve  {}", one_line(&approvers));
    for vote in votes {
        let by = named(&vote.account, vote.person.as_deref());
        text.push_str(&format!("\nvote  {} by {} at {}", vote.decision, one_line(&by), rfc3339(vote.at)));
    }
    text
}

async fn tap(common: &Common, choice: Choice, decision: Decision) -> Result<Exit, Failure> {
    let ledger = common.existing_ledger()?;
    let approver = caller();
    let answer = ledger
        .write(move |tx| {
            let digest = match &choice.digest {
                Some(digest) => digest.clone(),
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

/// How a decision was answered, in words.
pub(super) fn words(step: StepId, answer: &Tapped) -> String {
    let mut text = connector_surface::words::decided(step, answer);
    if matches!(answer, Tapped::Approved) {
        text.push_str("; it runs as soon as a host does");
    }
    text
}
