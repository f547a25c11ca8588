//! Reading: what came in, what ran, what waits.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_ledger::steps::{self, StepRow};
use connector_ledger::{LedgerError, Tx, asks, audit, events as rows, runs as run_rows};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::{Answer, Api, deadline, json};
use crate::cli::events::Outcome;
use crate::cli::{approvals, runs};

/// How many are listed when nobody says.
const LISTED: u32 = 20;

/// How many are listed at most.
const MOST: u32 = 200;

/// How many cards are listed.
const CARDS: u32 = 1_000;

/// How many of a list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Latest {
    /// How many, newest first; 20 when absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

/// How long to wait for an end.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    /// For how many seconds at most to wait until all that it fired has ended; 0 when absent.
    #[schemars(range(min = 0, max = 50))]
    wait_secs: Option<u64>,
}

/// Which cards.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cards {
    /// Only what this event fired.
    #[schemars(range(min = 1))]
    event: Option<i64>,
    /// For how many seconds at most to wait until something waits, or all that the event fired has ended; 0 when
    /// absent.
    #[schemars(range(min = 0, max = 50))]
    wait_secs: Option<u64>,
}

/// Which asks.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asks {
    /// For how many seconds at most to wait until an agent asks something; 0 when absent.
    #[schemars(range(min = 0, max = 50))]
    wait_secs: Option<u64>,
}

/// That the host runs, and who asks.
#[derive(Serialize, JsonSchema)]
pub(super) struct Health {
    /// Always `ok`; a host that is not does not answer so.
    status: &'static str,
    /// The host's version.
    version: &'static str,
    /// The account that this client acts as.
    account: Actor,
    /// The port of this machine that is listened at.
    #[serde(skip_serializing_if = "Option::is_none")]
    listens_at: Option<String>,
    /// The steps that run now.
    running: Vec<StepId>,
    /// The last row of the audit.
    last_seq: i64,
}

pub(super) async fn health(State(api): State<Api>) -> Answer {
    let last_seq = api.ledger().read(audit::last).await?;
    let health = Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        account: api.client.account().clone(),
        listens_at: api.shared.address.clone(),
        running: api.shared.engine.running_steps(),
        last_seq,
    };
    json(StatusCode::OK, &health)
}

pub(super) async fn runs(State(api): State<Api>, query: Result<Query<Latest>, QueryRejection>) -> Answer {
    let limit = limit(query)?;
    json(StatusCode::OK, &api.ledger().read(move |tx| run_rows::latest(tx, limit)).await?)
}

pub(super) async fn run(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Answer {
    let id = run_id(path)?;
    let whole = api.ledger().read(move |tx| runs::Whole::of(tx, id)).await?;
    json(StatusCode::OK, &whole.ok_or_else(|| no_run(id))?)
}

pub(super) async fn transcript(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Answer {
    let id = run_id(path)?;
    let (engine, account) = (&api.shared.engine, api.client.account().clone());
    // It holds what agents quote of files. Who approves what they do reads them; another program, its own runs' alone.
    let any = api.client.is_user() || engine.is_approver(&account);
    let transcripts = engine.transcripts().clone();
    let lines = api.ledger().read(move |tx| {
        let known = run_rows::get(tx, id)?.filter(|run| any || run.requester == account);
        known.map(|_| transcripts.of_run(tx, id)).transpose()
    });
    json(StatusCode::OK, &lines.await?.ok_or_else(|| if any { no_run(id) } else { no_own_run(id) })?)
}

pub(super) async fn events(State(api): State<Api>, query: Result<Query<Latest>, QueryRejection>) -> Answer {
    let limit = limit(query)?;
    let listed = api.ledger().read(move |tx| {
        let ids = rows::latest(tx, limit)?;
        ids.into_iter().filter_map(|id| Outcome::of(tx, id).transpose()).collect::<Result<Vec<_>, _>>()
    });
    json(StatusCode::OK, &listed.await?)
}

pub(super) async fn event(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Wait>, QueryRejection>,
) -> Answer {
    let id = number(path, "an event")?;
    let Query(Wait { wait_secs }) = query?;
    let until = deadline(wait_secs)?;
    loop {
        let version = api.ledger().data_version().await?;
        let outcome = api.outcome(id).await?;
        if outcome.has_ended() || !api.changes(version, Some(until)).await? {
            return json(StatusCode::OK, &outcome);
        }
    }
}

pub(super) async fn cards(State(api): State<Api>, query: Result<Query<Cards>, QueryRejection>) -> Answer {
    let Query(Cards { event, wait_secs }) = query?;
    let until = deadline(wait_secs)?;
    loop {
        let version = api.ledger().data_version().await?;
        let (waiting, over) =
            api.ledger().read(move |tx| waiting(tx, event)).await?.ok_or_else(|| {
                Problem::not_found(format!("there is no event {}", event.unwrap_or_default()))
            })?;
        if !waiting.is_empty() || over || !api.changes(version, Some(until)).await? {
            return json(StatusCode::OK, &waiting);
        }
    }
}

/// What waits of an event, or of all, and whether nothing more will; nothing if there is no such event.
fn waiting(tx: &Tx<'_>, event: Option<i64>) -> Result<Option<(Vec<StepRow>, bool)>, LedgerError> {
    let Some(event) = event else {
        return Ok(Some((steps::in_state(tx, StepState::Waiting, CARDS)?, false)));
    };
    let Some(outcome) = Outcome::of(tx, event)? else { return Ok(None) };
    Ok(Some((steps::waiting_of_event(tx, event, CARDS)?, outcome.has_ended())))
}

pub(super) async fn card(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Answer {
    let id = step_id(path)?;
    let card = api.ledger().read(move |tx| approvals::Whole::of(tx, id)).await?;
    json(StatusCode::OK, &card.ok_or_else(|| Problem::not_found(format!("there is no step {id}")))?)
}

pub(super) async fn open_asks(State(api): State<Api>, query: Result<Query<Asks>, QueryRejection>) -> Answer {
    let Query(Asks { wait_secs }) = query?;
    let until = deadline(wait_secs)?;
    loop {
        let version = api.ledger().data_version().await?;
        let open = api.ledger().read(asks::open).await?;
        if !open.is_empty() || !api.changes(version, Some(until)).await? {
            return json(StatusCode::OK, &open);
        }
    }
}

pub(super) async fn ask(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Answer {
    let id = number(path, "an ask")?;
    let ask = api.ledger().read(move |tx| asks::get(tx, id)).await?;
    json(StatusCode::OK, &ask.ok_or_else(|| no_ask(id))?)
}

impl Api {
    /// What came of an event.
    pub(super) async fn outcome(&self, event: i64) -> Result<Outcome, Problem> {
        let found = self.ledger().read(move |tx| Outcome::of(tx, event)).await?;
        found.ok_or_else(|| Problem::not_found(format!("there is no event {event}")))
    }
}

fn limit(query: Result<Query<Latest>, QueryRejection>) -> Result<u32, Problem> {
    let Query(Latest { limit }) = query?;
    let limit = limit.unwrap_or(LISTED);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::invalid(format!("`limit` takes 1 to {MOST}")));
    }
    Ok(limit)
}

/// The run that a path names.
pub(super) fn run_id(path: Result<Path<String>, PathRejection>) -> Result<RunId, Problem> {
    let Path(text) = path?;
    text.parse().map_err(|error: connector_gate::ids::IdError| Problem::invalid(error.to_string()))
}

/// The step that a path names.
pub(super) fn step_id(path: Result<Path<String>, PathRejection>) -> Result<StepId, Problem> {
    let Path(text) = path?;
    text.parse().map_err(|error: connector_gate::ids::IdError| Problem::invalid(error.to_string()))
}

/// The number that a path names something by.
pub(super) fn number(path: Result<Path<String>, PathRejection>, of: &str) -> Result<i64, Problem> {
    let Path(text) = path?;
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err(Problem::invalid(format!("{of} is a number like 3"))),
    }
}

pub(super) fn no_run(id: RunId) -> Problem {
    Problem::not_found(format!("there is no run {id}"))
}

pub(super) fn no_own_run(id: RunId) -> Problem {
    Problem::not_found(format!("there is no run {id} of a message of this client's"))
}

pub(super) fn no_ask(id: i64) -> Problem {
    Problem::not_found(format!("there is no ask {id}"))
}
