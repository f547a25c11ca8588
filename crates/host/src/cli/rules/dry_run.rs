//! `rules dry-run`.

use std::path::Path;

use connector_engine::as_event;
use connector_gate::clock::{Clock, Millis, rfc3339};
use connector_gate::ids::StepId;
use connector_gate::policy::{GateConfig, Policy};
use connector_ledger::events::EventRow;
use connector_ledger::steps::StepRow;
use connector_rules::{Explanation, PlannedInput, PlannedRun, PlannedStep, RuleSet, Timestamp, Verdict};
use connector_surface::text::{one_line, visible};
use serde::Serialize;
use serde_json::Value;

use super::super::Common;
use super::known::Known;
use super::rehearsal::{Rehearsed, rehearse};
use super::{event_file, explain};
use crate::console::render;
use crate::exit::{Exit, Failure};
use crate::view;

/// Everything that an event would start.
#[derive(Serialize)]
struct Report {
    event: EventRow,
    runs: Vec<Run>,
    /// The rules that it does not fire, and why.
    others: Vec<Explanation>,
}

#[derive(Serialize)]
struct Run {
    rule: String,
    version: String,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    #[serde(flatten)]
    planned: PlannedStep,
    /// What the gate would do; absent for a reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Policy>,
    /// What became of it before anybody was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// What an approval would be bound to, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// The card, if one would be posted first.
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<String>,
}

/// Shows what the event in `path` would start at the time `at`.
pub(super) async fn run(
    common: &Common,
    known: Known,
    path: &Path,
    at: Option<Timestamp>,
) -> Result<Exit, Failure> {
    let event = event_file::read(path)?;
    let now = at.map_or_else(|| Clock::System.now(), Timestamp::as_millisecond);
    let rules = known.rules()?;
    let gate = known.gate.clone();
    let rehearsed = rehearse(known, rules.clone(), event, now).await?;
    let report = report(&rules, &gate, rehearsed, now);
    common.print(&report, print)?;
    Ok(Exit::Done)
}

fn report(rules: &RuleSet, gate: &GateConfig, rehearsed: Rehearsed, now: Millis) -> Report {
    let event = as_event(&rehearsed.event);
    let at = Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let planned = rules.dry_run(&event, at, "1");
    let others = rules.explain(&event, at).into_iter().filter(|one| one.verdict != Verdict::Fired);
    let runs = planned.into_iter().map(|planned| {
        let (steps, cards) = (steps_of(&rehearsed, &planned), &rehearsed.cards);
        run_of(planned, steps, cards, gate, now)
    });
    Report { runs: runs.collect(), others: others.collect(), event: rehearsed.event }
}

fn steps_of<'a>(rehearsed: &'a Rehearsed, planned: &PlannedRun) -> &'a [StepRow] {
    let run = rehearsed.runs.iter().find(|(run, _)| run.rule == planned.rule);
    run.map(|(_, steps)| steps.as_slice()).unwrap_or_default()
}

fn run_of(planned: PlannedRun, rows: &[StepRow], cards: &[StepId], gate: &GateConfig, now: Millis) -> Run {
    let PlannedRun { rule, version, steps } = planned;
    let step = |planned: PlannedStep| {
        let row = rows.iter().find(|row| row.name.as_deref() == Some(&planned.step));
        let asked = row.filter(|row| cards.contains(&row.id));
        let policy = planned.calls.as_ref().map(|call| {
            // What may only read passes, and then no card was made; what is not written down asks.
            match gate.policy(&call.connector, &call.action, &rule, false) {
                Policy::Ask if row.is_some_and(|row| row.decided_at.is_some()) && asked.is_none() => {
                    Policy::Allow
                }
                policy => policy,
            }
        });
        Step {
            refused: row
                .filter(|_| asked.is_none() && policy != Some(Policy::Allow))
                .and_then(|row| row.reason.clone()),
            digest: row.filter(|_| policy.is_some()).map(|row| row.digest.to_string()),
            card: asked.map(|row| render::card(&view::card(row, now))),
            policy,
            planned,
        }
    };
    Run { steps: steps.into_iter().map(step).collect(), rule, version }
}

fn print(report: &Report) -> String {
    let event = &report.event;
    let mut text = format!(
        "{}.{} by {} in {} at {}; nothing was called\n",
        event.connector,
        event.event,
        event.requester,
        event.chat,
        rfc3339(event.received_at)
    );
    if report.runs.is_empty() {
        text.push_str("\nno rule fires\n");
    }
    for run in &report.runs {
        text.push_str(&format!(
            "\n✔ {} fires ({})\n",
            run.rule,
            run.version.get(..12).unwrap_or(&run.version)
        ));
        for step in &run.steps {
            text.push_str(&print_step(step));
        }
    }
    for other in &report.others {
        text.push_str(&format!("\n{}", explain::line(other)));
    }
    text
}

fn print_step(step: &Step) -> String {
    let planned = &step.planned;
    let calls = planned.calls.as_ref().map_or_else(
        || planned.own.unwrap_or_default().to_owned(),
        |call| format!("{} · {}", call.connector, call.action),
    );
    let mut text = format!("  {}: {calls}\n    {}\n", planned.step, input(&planned.input));
    if let Some(refused) = &step.refused {
        text.push_str(&format!("    is not run: {}\n", one_line(refused)));
    }
    match step.policy {
        Some(Policy::Allow) => text.push_str("    runs without approval\n"),
        Some(Policy::Deny) => text.push_str("    is denied by policy\n"),
        Some(Policy::Ask) | None => {}
    }
    if let Some(digest) = &step.digest {
        text.push_str(&format!("    digest {digest}\n"));
    }
    if let Some(card) = &step.card {
        text.push_str(card);
        text.push('\n');
    }
    text
}

fn input(input: &PlannedInput) -> String {
    match input {
        PlannedInput::Resolved { value } => format!("input {}", shown(value)),
        PlannedInput::After { steps, template } => {
            format!("once {} has run: {}", steps.join(" and "), shown(template))
        }
        PlannedInput::Unresolvable { param, reason } => format!("fails: `{param}`: {}", one_line(reason)),
        PlannedInput::Skipped { because } => format!("is skipped: {}", one_line(&because.to_string())),
    }
}

fn shown(value: &Value) -> String {
    visible(&value.to_string())
}
