//! Reading: cards, runs, and what happens to them.

use std::time::{Duration, Instant};

use connector_contract::{ActionResult, Context};
use connector_gate::ids::{RunId, StepId};
use connector_gate::state::StepState;
use connector_ledger::runs::{self as rows, RunState};
use connector_ledger::steps::{self, StepRow};
use connector_surface::text::{one_line, shortened};
use serde::Deserialize;
use serde_json::{Value, json};

use super::tools::{HostTools, LONGEST, shown};
use crate::cli::approvals;
use crate::cli::runs::{self, standing};
use crate::exit::Failure;

/// How many cards are listed.
const CARDS: u32 = 200;

/// How much of a prompt a list shows, in characters.
const PROMPT: usize = 300;

/// How long a call waits for news when it does not say, in seconds.
const WAIT: u64 = 20;

/// A step, as an input names it.
#[derive(Deserialize)]
pub(super) struct StepChoice {
    step: StepId,
}

/// A run, as an input names it.
#[derive(Deserialize)]
pub(super) struct RunChoice {
    pub(super) run: RunId,
}

/// The input of `list_runs`.
#[derive(Deserialize)]
pub(super) struct Latest {
    limit: Option<u32>,
}

/// The input of `follow_run`.
#[derive(Deserialize)]
pub(super) struct Follow {
    run: RunId,
    after: Option<i64>,
    wait_secs: Option<u64>,
}

impl HostTools {
    pub(super) async fn cards(&self) -> Result<ActionResult, Failure> {
        let waiting = self.ledger.read(move |tx| steps::in_state(tx, StepState::Waiting, CARDS)).await?;
        let lines: Vec<String> = waiting.iter().map(approvals::waiting).collect();
        let words = if lines.is_empty() { "nothing waits".to_owned() } else { lines.join("\n") };
        let cards: Vec<Value> = waiting.iter().map(|row| self.in_short(row)).collect();
        Ok(shown(words, json!({ "cards": cards })))
    }

    fn in_short(&self, row: &StepRow) -> Value {
        let prompt = connector_contract::facts::prompt(&row.input).unwrap_or_default();
        json!({
            "step": row.id, "digest": row.digest, "connector": row.connector, "action": row.action,
            "rule": row.rule, "requester": row.requester, "prompt": shortened(&one_line(prompt), PROMPT),
            "expires_at": row.expires_at, "you_may_approve": row.approvers.contains(&self.client),
        })
    }

    pub(super) async fn card(&self, choice: StepChoice) -> Result<ActionResult, Failure> {
        let id = choice.step;
        let Some(card) = self.ledger.read(move |tx| approvals::Whole::of(tx, id)).await? else {
            return Err(Failure::usage(format!("there is no step {id}; see list_cards")));
        };
        let mut output = json!(card);
        output["you_may_approve"] = json!(card.row.approvers.contains(&self.client));
        Ok(shown(card.describe(), output))
    }

    pub(super) async fn runs(&self, ask: Latest) -> Result<ActionResult, Failure> {
        let latest = self.ledger.read(move |tx| rows::latest(tx, ask.limit.unwrap_or(20))).await?;
        let lines: Vec<String> = latest.iter().map(runs::line).collect();
        let words = if lines.is_empty() { "nothing ran yet".to_owned() } else { lines.join("\n") };
        Ok(shown(words, json!({ "runs": latest })))
    }

    pub(super) async fn run(&self, choice: RunChoice) -> Result<ActionResult, Failure> {
        let id = choice.run;
        let Some(whole) = self.ledger.read(move |tx| runs::Whole::of(tx, id)).await? else {
            return Err(no_run(id));
        };
        let mut output = json!(whole);
        output["ended"] = json!(whole.run.state != RunState::Active);
        Ok(shown(runs::describe(&whole), output))
    }

    /// What the audit records of a run, from `after` on: at once if there is something, or else once there is.
    pub(super) async fn follow(&self, ask: Follow, ctx: &Context) -> Result<ActionResult, Failure> {
        let (id, after) = (ask.run, ask.after.unwrap_or(0));
        let until = Instant::now() + Duration::from_secs(ask.wait_secs.unwrap_or(WAIT).min(LONGEST));
        loop {
            let version = self.ledger.data_version().await?;
            let read = self
                .ledger
                .read(move |tx| Ok((runs::news(tx, Some(id), after)?, standing::of_run(tx, Some(id))?)));
            let ((news, next, state), now) = read.await?;
            let state = state.ok_or_else(|| no_run(id))?;
            let ended = state != RunState::Active;
            if news.is_empty() && !ended && self.changes(version, until, ctx).await? {
                continue;
            }
            let mut lines: Vec<String> = news.iter().map(runs::happened).collect();
            lines.extend(now.iter().map(standing::Standing::words));
            lines.push(if ended {
                format!("run {id} has ended: {}", state.as_str())
            } else {
                format!("run {id} goes on; call follow_run again with after = {next}")
            });
            let output = json!({ "run": id, "state": state, "ended": ended, "events": news, "now": now, "next": next });
            return Ok(shown(lines.join("\n"), output));
        }
    }
}

fn no_run(id: RunId) -> Failure {
    Failure::usage(format!("there is no run {id}; see list_runs"))
}
