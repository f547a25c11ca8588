//! What the host has connected, and whether a rule speaks of it rightly.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Lint, below, steps_with_paths};
use crate::diagnostic::Code;
use crate::read::{in_words, suggest};
use crate::rule::{Action, Params, Trigger};

/// Every connector of a host, by the name that rules use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Catalog {
    /// The connectors.
    pub connectors: BTreeMap<String, CatalogConnector>,
}

/// What a connector declares.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogConnector {
    /// What it can do.
    pub actions: Vec<CatalogAction>,
    /// What it reports.
    pub triggers: Vec<CatalogTrigger>,
}

/// An action that a connector declares.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogAction {
    /// Its name.
    pub name: String,
    /// Whether it changes nothing.
    pub read_only: bool,
    /// JSON Schema of its input; null or `true` when it declares none.
    pub input_schema: Value,
    /// JSON Schema of its output; null or `true` when it declares none.
    pub output_schema: Value,
}

/// An event that a connector declares.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogTrigger {
    /// Its name.
    pub name: String,
    /// JSON Schema of its payload; null or `true` when it declares none.
    pub payload_schema: Value,
    /// Whether anybody on the platform can cause it, because the host lets everybody in.
    pub open: bool,
}

impl Catalog {
    /// The action of that connector.
    pub fn action(&self, connector: &str, action: &str) -> Option<&CatalogAction> {
        let connector = self.connectors.get(connector)?;
        connector.actions.iter().find(|one| one.name == action)
    }

    /// The trigger of that connector.
    pub fn trigger(&self, connector: &str, event: &str) -> Option<&CatalogTrigger> {
        let connector = self.connectors.get(connector)?;
        connector.triggers.iter().find(|one| one.name == event)
    }
}

impl Lint<'_> {
    pub(super) fn check_trigger(&mut self) {
        let rule = self.rule;
        let Trigger::ConnectorEvent { connector, event } = rule.trigger() else {
            self.check_schedule();
            return;
        };
        let catalog = self.catalog;
        let Some(known) = catalog.connectors.get(connector) else {
            self.unknown_connector(connector, &["trigger", "connector"]);
            return;
        };
        if known.triggers.iter().all(|one| one.name != *event) {
            let names: Vec<_> = known.triggers.iter().map(|one| &one.name).collect();
            let help = match &names[..] {
                [] => format!("`{connector}` reports no events"),
                _ => suggest(event, names.iter().map(|name| name.as_str()))
                    .unwrap_or_else(|| format!("it reports {}", in_words(&names))),
            };
            let message = format!("`{connector}` has no event `{event}`");
            let path = ["trigger", "event"];
            self.error(Code::UnknownEvent, &path, message, Some(help));
        }
    }

    pub(super) fn check_steps(&mut self) {
        let rule = self.rule;
        for (path, step) in steps_with_paths(rule) {
            if let Action::RunConnector { connector, action, params } = &step.action {
                self.check_call(&path, connector, action, params);
            }
        }
    }

    /// A time that no calendar has, such as 31 February.
    fn check_schedule(&mut self) {
        let Trigger::Cron(schedule) = self.rule.trigger() else { return };
        if schedule.next_after(Timestamp::UNIX_EPOCH).is_none() {
            let message = format!("`{}` never comes", schedule.expression());
            let help = "no month has such a day; the rule never fires".to_owned();
            self.warn(Code::Unreachable, &["trigger", "expression"], message, Some(help));
        }
    }

    fn check_call(&mut self, path: &[String], connector: &str, action: &str, params: &Params) {
        let (catalog, policy) = (self.catalog, self.policy);
        if let Some(reason) = policy.unusable.get(connector) {
            let message = format!("`{connector}` cannot work now: {reason}");
            self.warn(Code::UnknownConnector, &below(path, &["connector"]), message, None);
        }
        let Some(known) = catalog.connectors.get(connector) else {
            self.unknown_connector(connector, &below(path, &["connector"]));
            return;
        };
        let Some(declared) = known.actions.iter().find(|one| one.name == action) else {
            let names: Vec<_> = known.actions.iter().map(|one| &one.name).collect();
            let help = suggest(action, names.iter().map(|name| name.as_str()))
                .unwrap_or_else(|| format!("its actions are {}", in_words(&names)));
            let message = format!("`{connector}` has no action `{action}`");
            let path = below(path, &["action"]);
            self.error(Code::UnknownAction, &path, message, Some(help));
            return;
        };
        self.check_input(path, declared, params);
    }

    fn unknown_connector(&mut self, connector: &str, path: &[&str]) {
        let names: Vec<_> = self.catalog.connectors.keys().cloned().collect();
        let help = suggest(connector, names.iter().map(String::as_str))
            .unwrap_or_else(|| format!("this host has {}", in_words(&names)));
        let message = format!("there is no connector `{connector}`");
        self.error(Code::UnknownConnector, path, message, Some(help));
    }
}
