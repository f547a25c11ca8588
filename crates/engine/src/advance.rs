//! Runs go on: the next step is resolved and put before the gate, or the run ends.

use std::sync::Arc;
use std::time::Duration;

use connector_contract::{Provenance, Target, chain};
use connector_failpoint::failpoint;
use connector_gate::clock::Millis;
use connector_gate::digest::TOLD;
use connector_gate::ids::StepId;
use connector_gate::policy::{GateConfig, Terms};
use connector_gate::state::{Move, StepState};
use connector_ledger::events::EventRow;
use connector_ledger::outbox::{self, Parcel};
use connector_ledger::runs::{self, RunRow, RunState};
use connector_ledger::steps::HOST;
use connector_ledger::steps::enter::{end_badly, enter, is_told_of};
use connector_ledger::steps::release::ask_under;
use connector_ledger::steps::{self, Change, NewStep, StepRow};
use connector_ledger::{LedgerError, Tx, audience, events, seen};
use connector_rules::{
    Action, DEDUPE_WINDOW, Next, Rule, RuleSet, RunEnd, Scope, SourceFile, Step, StepOutcome,
};
use data_encoding::BASE32_NOPAD;
use serde_json::{Value, json};

use super::intake::{as_event, timestamp};
use super::{BATCH, Engine, provenance};

/// The actions of the host's own steps.
const REPLY: &str = "reply";
const DELAY: &str = "delay";
const DEDUPE: &str = "dedupe";

/// Why a run ended that had nothing to do.
const REPEATED: &str = "its key was seen before";

/// A run with everything that is needed to go on with it.
struct Standing {
    run: RunRow,
    event: EventRow,
    definition: String,
    steps: Vec<StepRow>,
}

/// A resolved step: what the gate is asked about.
struct Resolved {
    connector: String,
    action: String,
    input: Value,
    verdict: Verdict,
}

/// What becomes of a resolved step before any person is asked.
enum Verdict {
    Gate { read_only: bool },
    Reply(String),
    Wait(Millis),
    Once { bucket: String, key: String, window: Millis },
    Skip(String),
    Fail(String),
}

impl Engine {
    pub(super) async fn advance_runs(&self) -> Result<(), LedgerError> {
        loop {
            let idle = self.0.ledger.read(|tx| runs::idle(tx, BATCH)).await?;
            if idle.is_empty() {
                return Ok(());
            }
            for run in idle {
                let to_load = run.clone();
                match self.0.ledger.read(move |tx| load(tx, to_load)).await {
                    Ok(standing) => self.advance(standing).await?,
                    // One run that cannot be read must not stop the others.
                    Err(LedgerError::Content(reason)) => {
                        self.end_run(run, RunState::Failed, Some(reason)).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn advance(&self, standing: Standing) -> Result<(), LedgerError> {
        if let Some(by) = &standing.run.cancel_by {
            let reason = Some(format!("cancelled by {by}"));
            return self.end_run(standing.run, RunState::Cancelled, reason).await;
        }
        let rule = match parse_stored(&standing.definition, &standing.run.rule_version) {
            Ok(rule) => rule,
            Err(reason) => return self.end_run(standing.run, RunState::Failed, Some(reason)).await,
        };
        if let Some((state, reason)) = stopped(&standing.steps) {
            return self.end_run(standing.run, state, reason).await;
        }
        let event = as_event(&standing.event);
        let run_id = standing.run.id.to_string();
        let outcomes = outcomes(&rule, &standing.steps);
        let now = timestamp(self.0.clock.now());
        let scope = Scope { event: &event, rule: rule.name(), run_id: &run_id, now, steps: &outcomes };
        let (step, resolved) = match rule.next(&scope) {
            // Whoever hears of it each time would hear of nothing else.
            Next::Finished(RunEnd::Succeeded) if is_repeated(&standing.steps) => {
                let run = standing.run.id;
                let ended = move |tx: &Tx<'_>| runs::end(tx, run, RunState::Succeeded, Some(REPEATED));
                return self.0.ledger.write(ended).await.map(|_| ());
            }
            Next::Finished(end) => {
                let (state, reason) = ended(&end, &standing.steps);
                return self.end_run(standing.run, state, reason).await;
            }
            Next::Skip { step, because } => {
                (step, Resolved::without_input(step, Verdict::Skip(because.to_string())))
            }
            Next::Run(step) => (step, self.resolve(&rule, step, &scope)),
        };
        let (provenance, resolved) =
            match provenance::of(&standing.run, &standing.event, &rule, &self.0.local) {
                Ok(provenance) => (provenance, resolved),
                // A note that cannot be written is not left out.
                Err(error) => {
                    (Provenance::Local, Resolved::without_input(step, Verdict::Fail(chain(&error))))
                }
            };
        failpoint("advance.resolved");
        let mut new = self.new_step(&rule, step, &standing, &resolved, &provenance)?;
        if let (Some(instance), Verdict::Gate { .. }) =
            (self.0.instances.get(&new.connector), &resolved.verdict)
        {
            instance.provider.prewarm();
            if !new.read_only {
                let told = instance.provider.told(&new.target, &new.input, &provenance).await;
                if !told.is_empty() {
                    new.target.settings.insert(TOLD.to_owned(), Value::Object(told));
                }
            }
        }
        // What is there under its name is an earlier ledger's.
        self.0.transcripts.forget(new.id);
        let gate = self.0.gate.clone();
        self.0
            .ledger
            .write(move |tx| {
                submit(tx, &standing.run, &new, &resolved.verdict, &gate)?;
                failpoint("advance.uncommitted");
                Ok(())
            })
            .await?;
        failpoint("advance.committed");
        Ok(())
    }

    fn resolve(&self, rule: &Rule, step: &Step, scope: &Scope<'_>) -> Resolved {
        let input = match step.resolve(scope) {
            Ok(input) => input,
            Err(error) => return Resolved::without_input(step, Verdict::Fail(chain(&error))),
        };
        match &step.action {
            Action::Reply { .. } => {
                let text = input.as_str().unwrap_or_default().to_owned();
                Resolved {
                    input: json!({ "text": text }),
                    ..Resolved::without_input(step, Verdict::Reply(text))
                }
            }
            Action::Delay { length } => {
                let verdict = Verdict::Wait(millis(*length));
                Resolved { input: json!({ "for": input }), ..Resolved::without_input(step, verdict) }
            }
            Action::Dedupe { bucket, window, .. } => {
                // A bucket that is named is shared; a rule's own is nobody else's.
                let bucket = match bucket {
                    Some(bucket) => format!("bucket {bucket}"),
                    None => format!("rule {}", rule.name()),
                };
                let key = input.as_str().unwrap_or_default().to_owned();
                let verdict = Verdict::Once { bucket, key, window: millis(window.unwrap_or(DEDUPE_WINDOW)) };
                Resolved { input: json!({ "key": input }), ..Resolved::without_input(step, verdict) }
            }
            Action::RunConnector { connector, action, .. } => {
                let decl = self.0.instances.get(connector).and_then(|instance| instance.action(action));
                let input = decl.map_or_else(|| input.clone(), |decl| decl.normalize(input.clone()));
                let verdict = self.check(connector, action, &input);
                Resolved { input, ..Resolved::without_input(step, verdict) }
            }
        }
    }

    fn check(&self, connector: &str, action: &str, input: &Value) -> Verdict {
        let Some(instance) = self.0.instances.get(connector) else {
            let mut known: Vec<&str> = self.0.instances.keys().map(String::as_str).collect();
            known.sort_unstable();
            return Verdict::Fail(format!(
                "no connector `{connector}` is configured; there is: {}",
                known.join(", ")
            ));
        };
        let Some(decl) = instance.action(action) else {
            return Verdict::Fail(format!("`{connector}` has no action `{action}`"));
        };
        if let Err(error) = instance.described.check(action, input) {
            return Verdict::Fail(chain(&error));
        }
        match decl.validate(input) {
            Ok(()) => Verdict::Gate { read_only: decl.read_only },
            Err(error) => Verdict::Fail(chain(&error)),
        }
    }

    fn new_step(
        &self,
        rule: &Rule,
        step: &Step,
        standing: &Standing,
        resolved: &Resolved,
        provenance: &Provenance,
    ) -> Result<NewStep, LedgerError> {
        let run = &standing.run;
        let target = match self.0.instances.get(&resolved.connector) {
            Some(instance) => instance.target(&resolved.action, &resolved.input, provenance),
            None => Target::default(),
        };
        let index = u32::try_from(standing.steps.len()).unwrap_or(u32::MAX).saturating_add(1);
        let in_force = self.rule_in_force(&run.rule);
        let gate = &self.0.gate;
        Ok(NewStep {
            id: StepId { run: run.id, index },
            name: Some(step.label().to_owned()),
            connector: resolved.connector.clone(),
            action: resolved.action.clone(),
            read_only: matches!(resolved.verdict, Verdict::Gate { read_only: true }),
            input: resolved.input.clone(),
            target,
            rule_now: in_force.as_ref().map(|rule| rule.version().as_str().to_owned()),
            terms: Terms::of(in_force.as_deref().unwrap_or(rule), gate),
            expiry_ms: millis(gate.expiry()),
            allowance_ms: millis(gate.session_allowance()),
            token: token()?,
        })
    }

    /// The rule of that name as it is now, unless it was removed or switched off.
    pub(super) fn rule_in_force(&self, name: &str) -> Option<Arc<Rule>> {
        self.rules().get(name).filter(|rule| rule.enabled()).cloned()
    }

    /// Ends a run. Where nothing told its audience of its end yet, this does.
    async fn end_run(&self, run: RunRow, state: RunState, reason: Option<String>) -> Result<(), LedgerError> {
        self.0
            .ledger
            .write(move |tx| {
                let counted = reason.as_deref().is_some_and(is_told_of);
                let ended = runs::end(tx, run.id, state, reason.as_deref())?;
                if ended && !counted && !outbox::tells_of(tx, run.id)? {
                    let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                    let body = match state {
                        RunState::Succeeded => format!("run {} had nothing to do{why}", run.id),
                        _ => format!("run {} is {}{why}", run.id, state.as_str()),
                    };
                    audience::put(tx, run.id, &Parcel::Text { run: Some(run.id), body })?;
                }
                failpoint("run.ending");
                Ok(())
            })
            .await?;
        failpoint("run.ended");
        Ok(())
    }
}

fn load(tx: &Tx<'_>, run: RunRow) -> Result<Standing, LedgerError> {
    Ok(Standing {
        event: events::get(tx, run.event_id)?
            .ok_or_else(|| LedgerError::Content(format!("event {} is gone", run.event_id)))?,
        definition: runs::definition(tx, &run.rule_version)?,
        steps: steps::of_run(tx, run.id)?,
        run,
    })
}

pub(super) fn parse_stored(definition: &str, version: &str) -> Result<Arc<Rule>, String> {
    let set = RuleSet::parse([SourceFile::new(version, definition)])
        .map_err(|_| format!("the stored rule {version} can no longer be read"))?;
    set.rules().first().cloned().ok_or_else(|| format!("the stored rule {version} is empty"))
}

/// The approvers in force now decide about what waits, whoever they were when
/// the card was made. Where accounts are other persons' now, it is asked again.
pub(super) fn refresh_approvers(tx: &Tx<'_>, rules: &RuleSet, gate: &GateConfig) -> Result<(), LedgerError> {
    for (version, name, definition) in steps::waiting_versions(tx)? {
        let rule = rules.get(&name).cloned().or_else(|| parse_stored(&definition, &version).ok());
        if let Some(rule) = rule {
            steps::refresh_approvers(tx, &version, &Terms::of(&rule, gate))?;
        }
    }
    for step in steps::waiting_under_other(tx, &gate.people)? {
        ask_under(tx, step, &gate.people, token()?)?;
    }
    Ok(())
}

impl Resolved {
    fn without_input(step: &Step, verdict: Verdict) -> Self {
        let (connector, action) = match &step.action {
            Action::RunConnector { connector, action, .. } => (connector.as_str(), action.as_str()),
            Action::Reply { .. } => (HOST, REPLY),
            Action::Delay { .. } => (HOST, DELAY),
            Action::Dedupe { .. } => (HOST, DEDUPE),
        };
        Self { connector: connector.to_owned(), action: action.to_owned(), input: json!({}), verdict }
    }
}

/// A step that was cancelled, or whose end nobody knows, ends its run: nothing
/// may be built on it.
fn stopped(rows: &[StepRow]) -> Option<(RunState, Option<String>)> {
    rows.iter().find_map(|row| match row.state {
        StepState::Cancelled => Some((RunState::Cancelled, row.reason.clone())),
        StepState::Unknown => Some((RunState::Unknown, row.reason.clone())),
        _ => None,
    })
}

/// Whether the last step found that its key was seen before.
fn is_repeated(rows: &[StepRow]) -> bool {
    let found = |row: &StepRow| {
        let new = row.output.as_ref().and_then(|output| output.get("new")).and_then(Value::as_bool);
        row.connector == HOST && row.action == DEDUPE && new == Some(false)
    };
    rows.last().is_some_and(found)
}

/// How a run ends whose rule has nothing more to do.
fn ended(end: &RunEnd, rows: &[StepRow]) -> (RunState, Option<String>) {
    let RunEnd::Failed { step } = end else { return (RunState::Succeeded, None) };
    let row = rows.iter().find(|row| row.name.as_deref() == Some(step));
    let state = match row.map(|row| row.state) {
        Some(StepState::Denied) => RunState::Denied,
        Some(StepState::Expired) => RunState::Expired,
        _ => RunState::Failed,
    };
    (state, row.and_then(|row| row.reason.clone()))
}

fn outcomes(rule: &Rule, rows: &[StepRow]) -> Vec<StepOutcome> {
    let outcome = |row: &StepRow| {
        let step = rule.step(row.name.as_deref()?)?;
        Some(match row.state {
            StepState::Succeeded => StepOutcome::succeeded(step, row.output.clone().unwrap_or(Value::Null)),
            StepState::Skipped => StepOutcome::skipped(step),
            _ => StepOutcome::failed(step, row.reason.clone().unwrap_or_else(|| row.state.to_string())),
        })
    };
    rows.iter().filter_map(outcome).collect()
}

/// Stores a step and makes its first move, in one transaction.
fn submit(
    tx: &Tx<'_>,
    run: &RunRow,
    new: &NewStep,
    verdict: &Verdict,
    gate: &GateConfig,
) -> Result<(), LedgerError> {
    // It may have been cancelled, or gone on with, since it was looked at.
    let current = runs::get(tx, run.id)?;
    if current.is_none_or(|now| now.state != RunState::Active || now.cancel_by.is_some()) {
        return Ok(());
    }
    if matches!(verdict, Verdict::Gate { .. }) {
        return enter(tx, run, new, gate).map(|_| ());
    }
    if !steps::insert(tx, run, new)? {
        return Ok(());
    }
    match verdict {
        Verdict::Skip(reason) => {
            let change = Change::none().reason(reason.clone()).ended(tx.now);
            steps::make(tx, new.id, Move::Skip, change)?;
        }
        Verdict::Fail(reason) => end_badly(tx, run, new.id, Move::Fail, reason)?,
        Verdict::Reply(text) => {
            let parcel = Parcel::Text { run: Some(run.id), body: text.clone() };
            outbox::put(tx, &run.surface, &run.chat, &parcel)?;
            steps::make(tx, new.id, Move::Pass, Change::none().detail(json!({ "policy": "reply" })))?;
            steps::make(tx, new.id, Move::Dispatch, Change::none().dispatched(tx.now))?;
            steps::make(tx, new.id, Move::Succeed, Change::none().ended(tx.now))?;
        }
        Verdict::Wait(length) => {
            let until = tx.now.saturating_add(*length);
            steps::make(tx, new.id, Move::Pass, Change::none().detail(json!({ "policy": DELAY })))?;
            let change = Change::none().dispatched(tx.now).wakes(until);
            steps::make(tx, new.id, Move::Dispatch, change.detail(json!({ "until": until })))?;
        }
        Verdict::Once { bucket, key, window } => {
            let output = json!({ "new": seen::note(tx, bucket, key, *window)? });
            steps::make(tx, new.id, Move::Pass, Change::none().detail(json!({ "policy": DEDUPE })))?;
            steps::make(tx, new.id, Move::Dispatch, Change::none().dispatched(tx.now))?;
            let change = Change::none().ended(tx.now).output(&output);
            steps::make(tx, new.id, Move::Succeed, change.detail(output))?;
        }
        Verdict::Gate { .. } => {}
    }
    Ok(())
}

fn millis(length: Duration) -> Millis {
    Millis::try_from(length.as_millis()).unwrap_or(Millis::MAX)
}

/// 128 random bits, in letters and digits.
pub(super) fn token() -> Result<String, LedgerError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| LedgerError::Content(format!("no randomness: {error}")))?;
    Ok(BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}
