//! Where a step's work comes from, as its connector is told, and how long it may take.
//!
//! Both follow from the stored rule, event and run, and from which surfaces are local, never from the time
//! or the rules of now: what the card was made with is what the call is made with.

use std::collections::BTreeSet;
use std::time::Duration;

use connector_contract::{Provenance, SourceNote, chain};
use connector_ledger::events::{self, EventRow};
use connector_ledger::runs::{self, RunRow};
use connector_ledger::steps::StepRow;
use connector_ledger::{LedgerError, Tx};
use connector_rules::{Provenance as Wanted, ResolveError, Rule, Scope};

use super::Engine;
use super::advance::parse_stored;
use super::intake::{as_event, timestamp};

/// What a step's own rule says about its call.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) provenance: Provenance,
    /// The step's own `timeout`.
    pub(super) timeout: Option<Duration>,
}

impl Engine {
    /// The terms of a stored step.
    pub(super) async fn terms_of_call(&self, row: &StepRow) -> Result<Terms, LedgerError> {
        let (id, version) = (row.id.run, row.rule_version.clone());
        let load = move |tx: &Tx<'_>| {
            let gone = |what: &str| LedgerError::Content(format!("the {what} of run {id} is gone"));
            let run = runs::get(tx, id)?.ok_or_else(|| gone("row"))?;
            let event = events::get(tx, run.event_id)?.ok_or_else(|| gone("event"))?;
            Ok((runs::definition(tx, &version)?, event, run))
        };
        let (definition, event, run) = self.0.ledger.read(load).await?;
        let rule = parse_stored(&definition, &row.rule_version).map_err(LedgerError::Content)?;
        let provenance =
            of(&run, &event, &rule, &self.0.local).map_err(|error| LedgerError::Content(chain(&error)))?;
        let step = row.name.as_deref().and_then(|name| rule.step(name));
        Ok(Terms { provenance, timeout: step.and_then(|step| step.timeout) })
    }
}

/// Where the work of a run comes from. Whoever is at one of the `local` surfaces could as well call the daemon;
/// everybody else is remote, and so is whoever sends a request or changes a file, wherever that is reported.
pub(super) fn of(
    run: &RunRow,
    event: &EventRow,
    rule: &Rule,
    local: &BTreeSet<String>,
) -> Result<Provenance, ResolveError> {
    let outside = is_from_outside(rule).then_some(&event.connector);
    if outside.is_none() && local.contains(&run.surface) {
        return Ok(Provenance::Local);
    }
    let surface = outside.unwrap_or(&run.surface).clone();
    Ok(Provenance::Chat { surface, rule: run.rule.clone(), note: note(run, event, rule)? })
}

fn is_from_outside(rule: &Rule) -> bool {
    rule.webhook().is_some() || rule.file_watch().is_some()
}

fn note(run: &RunRow, event: &EventRow, rule: &Rule) -> Result<SourceNote, ResolveError> {
    if rule.definition().rule.provenance == Wanted::Usual
        && rule.schedule().is_none()
        && !is_from_outside(rule)
    {
        return Ok(SourceNote::Usual);
    }
    let (event, run_id) = (as_event(event), run.id.to_string());
    let now = timestamp(run.created_at);
    let scope = Scope { event: &event, rule: rule.name(), run_id: &run_id, now, steps: &[] };
    Ok(rule.provenance(&scope)?.map_or(SourceNote::None, SourceNote::Text))
}

#[cfg(test)]
mod tests {
    use connector_gate::ids::RunId;
    use connector_gate::policy::Actor;
    use connector_ledger::runs::RunState;
    use connector_rules::{RuleSet, SourceFile};
    use serde_json::json;

    use super::*;

    /// The surfaces of a host as it comes whose users are this machine's own.
    fn local() -> BTreeSet<String> {
        ["console", "cli"].map(str::to_owned).into()
    }

    /// Where the work of a rule with this trigger comes from, if it is reported at the surface `cli`.
    fn at_cli(trigger: &str, connector: &str) -> Provenance {
        at("cli", trigger, connector, &local())
    }

    fn at(surface: &str, trigger: &str, connector: &str, local: &BTreeSet<String>) -> Provenance {
        let text = format!(
            "[rule]\nname = \"r\"\n[trigger]\n{trigger}\n[[actions]]\ntype = \"Reply\"\ntext = \"x\"\n"
        );
        let rules = RuleSet::parse([SourceFile::new("r.toml", text)]).unwrap();
        let (surface, chat, requester) = (surface.to_owned(), "main".to_owned(), Actor::new(connector, "x"));
        let event = EventRow {
            id: 1,
            surface: surface.clone(),
            connector: connector.to_owned(),
            event: "x".to_owned(),
            chat: chat.clone(),
            requester: requester.clone(),
            payload: json!({}),
            reply: None,
            received_at: 0,
        };
        let run = RunRow {
            id: RunId(1),
            event_id: 1,
            rule: "r".to_owned(),
            rule_version: String::new(),
            surface,
            chat,
            requester,
            state: RunState::Active,
            reason: None,
            cancel_by: None,
            created_at: 0,
            ended_at: None,
        };
        of(&run, &event, &rules.rules()[0], local).unwrap()
    }

    #[test]
    fn what_comes_from_outside_is_nobodys_of_this_machine_wherever_it_is_reported() {
        let line =
            "type = \"ConnectorEvent\"\nconnector = \"connector-console\"\nevent = \"message_received\"";
        assert_eq!(at_cli(line, "connector-console"), Provenance::Local);
        let usual = local();
        assert_eq!(at("console", line, "connector-console", &usual), Provenance::Local);
        for (surface, local) in [("telegram", &usual), ("cli", &BTreeSet::new())] {
            let remote = at(surface, line, "connector-console", local);
            assert!(matches!(remote, Provenance::Chat { .. }), "{surface}: {remote:?}");
        }
        assert_eq!(at_cli("type = \"Cron\"\nexpression = \"@daily\"", "schedule"), Provenance::Local);
        for (trigger, connector) in [
            ("type = \"Webhook\"\npath = \"/ci\"", "webhook"),
            ("type = \"FileWatch\"\npath = \"notes\"", "file_watch"),
        ] {
            let Provenance::Chat { surface, rule, note: SourceNote::Text(note) } = at_cli(trigger, connector)
            else {
                panic!("{trigger} is trusted");
            };
            assert_eq!((surface.as_str(), rule.as_str()), (connector, "r"));
            assert!(note.contains("was written by whoever"), "{note}");
        }
    }
}
