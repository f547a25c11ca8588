//! Events become runs.

use std::sync::Arc;

use connector_rules::{Event, Reply, Rule, RuleSet};
use serde_json::json;

use super::{BATCH, Engine, limits};
use crate::clock::Millis;
use crate::ledger::audit::{self, Entry};
use crate::ledger::events::{self, EventRow};
use crate::ledger::outbox::{self, Parcel};
use crate::ledger::{LedgerError, runs};

impl Engine {
    pub(super) async fn take_in_events(&self) -> Result<(), LedgerError> {
        let (rules, surfaces) = (self.rules(), self.0.surfaces.clone());
        self.0
            .ledger
            .write(move |tx| {
                for event in events::unhandled(tx, BATCH)? {
                    let fired = fired(&rules, &event, tx.now);
                    for rule in &fired {
                        let held_back = limits::held_back(tx, rule)?;
                        let version = rule.version().as_str();
                        let run = runs::create(tx, &event, rule.name(), version, &definition(rule))?;
                        if let (Some(run), Some(reason)) = (run, held_back) {
                            limits::deny(tx, &event, run, &reason)?;
                        }
                    }
                    if fired.is_empty() {
                        let detail = json!({ "event_id": event.id, "rules": rules.rules().len() });
                        let actor = audit::host();
                        let kind = "no_rule_fired".to_owned();
                        audit::append(
                            tx,
                            Entry { at: 0, kind, run: None, index: None, actor, digest: None, detail },
                        )?;
                        let surface = surfaces.get(&event.surface);
                        let told = surface.map(|surface| surface.unanswered(tx, &event)).transpose()?;
                        if let Some(body) = told.flatten() {
                            let text = Parcel::Text { run: None, body };
                            outbox::put(tx, &event.surface, &event.chat, &text)?;
                        }
                    }
                    events::handled(tx, event.id)?;
                }
                Ok(())
            })
            .await
    }
}

fn fired(rules: &RuleSet, event: &EventRow, now: Millis) -> Vec<Arc<Rule>> {
    rules.matching(&as_event(event), timestamp(now)).cloned().collect()
}

/// The event as rules see it.
pub(crate) fn as_event(row: &EventRow) -> Event {
    let reply = row.reply.as_ref().map(|reply| Reply {
        session_id: reply.session_id.clone(),
        run_id: reply.run_id.clone(),
        workspace: reply.workspace.clone(),
    });
    Event {
        id: row.id.to_string(),
        connector: row.connector.clone(),
        event: row.event.clone(),
        payload: row.payload.clone(),
        reply,
    }
}

pub(crate) fn timestamp(at: Millis) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

fn definition(rule: &Rule) -> String {
    rule.source().text.clone()
}
