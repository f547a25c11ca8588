//! `rules explain`.

use connector_engine::as_event;
use connector_gate::clock::rfc3339;
use connector_gate::ids::RunId;
use connector_ledger::events::{self, EventRow};
use connector_ledger::runs::{self, RunRow};
use connector_ledger::{LedgerError, Tx};
use connector_rules::{ChatAddress, Explanation, Timestamp, Verdict};
use connector_surface::text::{one_line, shortened};
use serde::Serialize;

use super::super::Common;
use super::known::Known;
use crate::exit::{Exit, Failure};

/// What the rules of now make of an event of then, and what came of it.
#[derive(Serialize)]
struct Report {
    event: EventRow,
    rules: Vec<Explained>,
    /// The runs it made, by rules of then.
    runs: Vec<RunRow>,
}

#[derive(Serialize)]
struct Explained {
    #[serde(flatten)]
    explanation: Explanation,
    /// The run it made of the event.
    run: Option<RunId>,
    /// Who is told of its runs beside whoever asks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    followers: Vec<ChatAddress>,
}

/// How many events are listed.
const LISTED: u32 = 20;

/// A recorded event and how many runs it made.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    event: EventRow,
    runs: usize,
}

/// Lists the latest events, newest first.
pub(super) async fn list(common: &Common) -> Result<Exit, Failure> {
    let latest = common.existing_ledger()?.read(latest).await?;
    common.print(&latest, |latest| match latest.len() {
        0 => "nothing happened yet".to_owned(),
        _ => latest.iter().map(one).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(Exit::Done)
}

fn latest(tx: &Tx<'_>) -> Result<Vec<Listed>, LedgerError> {
    let mut listed = Vec::new();
    for id in events::latest(tx, LISTED)? {
        if let Some(event) = events::get(tx, id)? {
            listed.push(Listed { event, runs: runs::of_event(tx, id)?.len() });
        }
    }
    Ok(listed)
}

fn one(listed: &Listed) -> String {
    let event = &listed.event;
    let text = event.payload.get("text").and_then(serde_json::Value::as_str).unwrap_or_default();
    let runs = match listed.runs {
        0 => "no run".to_owned(),
        1 => "1 run".to_owned(),
        runs => format!("{runs} runs"),
    };
    format!(
        "{:<5} {}  {}.{} by {}: {runs}  {}",
        event.id,
        rfc3339(event.received_at),
        event.connector,
        event.event,
        event.requester,
        shortened(&one_line(text), 60)
    )
}

/// Shows what each rule makes of the recorded event `id`.
pub(super) async fn run(common: &Common, known: &Known, id: i64) -> Result<Exit, Failure> {
    let rules = known.rules()?;
    let recorded =
        common.existing_ledger()?.read(move |tx| Ok((events::get(tx, id)?, runs::of_event(tx, id)?))).await?;
    let (Some(event), runs) = recorded else {
        return Err(Failure::usage(format!("there is no event {id}; `rules explain` lists the latest")));
    };
    let at = Timestamp::from_millisecond(event.received_at).unwrap_or(Timestamp::UNIX_EPOCH);
    let explain = |explanation: Explanation| {
        let run = runs.iter().find(|run| run.rule == explanation.rule).map(|run| run.id);
        let followers =
            rules.get(&explanation.rule).map(|rule| rule.followers().to_vec()).unwrap_or_default();
        Explained { explanation, run, followers }
    };
    let rules = rules.explain(&as_event(&event), at).into_iter().map(explain).collect();
    common.print(&Report { event, rules, runs }, print)?;
    Ok(Exit::Done)
}

fn print(report: &Report) -> String {
    let event = &report.event;
    let mut text = format!(
        "event {}: {}.{} by {} in {} at {}\n",
        event.id,
        event.connector,
        event.event,
        event.requester,
        event.chat,
        rfc3339(event.received_at)
    );
    for rule in &report.rules {
        text.push_str(&line(&rule.explanation));
        if let Some(run) = rule.run {
            text.push_str(&format!(" · run {run}"));
        }
        if rule.explanation.verdict == Verdict::Fired && !rule.followers.is_empty() {
            let chats: Vec<&str> = rule.followers.iter().map(ChatAddress::as_str).collect();
            text.push_str(&format!(" · also told: {}", chats.join(", ")));
        }
        text.push('\n');
    }
    for run in &report.runs {
        let now = report.rules.iter().find(|rule| rule.explanation.rule == run.rule);
        if now.is_none_or(|rule| rule.explanation.version != run.rule_version) {
            text.push_str(&format!("run {} was made by another version of {}\n", run.id, run.rule));
        }
        if let Some(reason) = &run.reason {
            text.push_str(&format!("run {} {}: {}\n", run.id, run.state.as_str(), one_line(reason)));
        }
    }
    text
}

/// One rule's verdict.
pub(super) fn line(explanation: &Explanation) -> String {
    let (mark, why) = match &explanation.verdict {
        Verdict::Fired => ("✔", "fires".to_owned()),
        Verdict::Disabled => ("–", "is switched off".to_owned()),
        Verdict::OtherTrigger { wants, .. } => ("–", format!("waits for {wants}")),
        Verdict::ConditionFailed(failure) => ("✘", failure.to_string()),
    };
    format!("{mark} {}: {}", explanation.rule, one_line(&why))
}
