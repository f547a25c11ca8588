//! What would happen, without anything happening.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::condition::{Condition, Failure};
use crate::duration;
use crate::event::Event;
use crate::path::{Path, Root, StepRef};
use crate::rule::{Action, Rule, Step};
use crate::ruleset::RuleSet;
use crate::scope::Scope;

/// A run that an event would make.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedRun {
    /// The rule.
    pub rule: String,
    /// The rule's version.
    pub version: String,
    /// Its steps in order, without those of an `on_error`.
    pub steps: Vec<PlannedStep>,
}

/// A step that a run would have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStep {
    /// The step's label.
    pub step: String,
    /// What it calls; `None` for a step of the host's own.
    pub calls: Option<PlannedCall>,
    /// What a step of the host's own is, in words.
    #[serde(skip)]
    pub own: Option<&'static str>,
    /// What it would get.
    pub input: PlannedInput,
}

/// An action that a step calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedCall {
    /// The connector.
    pub connector: String,
    /// Its action.
    pub action: String,
}

/// The input of a planned step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PlannedInput {
    /// Known now.
    Resolved {
        /// The whole input.
        value: Value,
    },
    /// Known once these steps have run.
    After {
        /// The labels of the steps.
        steps: Vec<String>,
        /// The input with its references as written.
        template: Value,
    },
    /// A reference has no value: the step would fail.
    Unresolvable {
        /// Which part of the step.
        param: String,
        /// Why.
        reason: String,
    },
    /// Its `when` does not hold.
    Skipped {
        /// The condition.
        because: Failure,
    },
}

impl RuleSet {
    /// The runs that an event would make, with everything filled in that is known now.
    pub fn dry_run(&self, event: &Event, now: Timestamp, run_id: &str) -> Vec<PlannedRun> {
        self.matching(event, now)
            .map(|rule| {
                let scope = Scope { event, rule: rule.name(), run_id, now, steps: &[] };
                PlannedRun {
                    rule: rule.name().to_owned(),
                    version: rule.version().to_string(),
                    steps: rule.steps().iter().map(|step| plan(rule, step, &scope)).collect(),
                }
            })
            .collect()
    }
}

fn plan(rule: &Rule, step: &Step, scope: &Scope<'_>) -> PlannedStep {
    let needs = step.needs(rule);
    let input = if needs.is_empty() {
        known_now(step, scope)
    } else {
        PlannedInput::After { steps: needs, template: step.written() }
    };
    PlannedStep {
        step: step.label().to_owned(),
        own: match &step.action {
            Action::RunConnector { .. } => None,
            Action::Reply { .. } => Some("a reply"),
            Action::Delay { .. } => Some("a wait"),
            Action::Dedupe { .. } => Some("the end, if its key was seen before"),
        },
        calls: match &step.action {
            Action::RunConnector { connector, action, .. } => {
                Some(PlannedCall { connector: connector.clone(), action: action.clone() })
            }
            Action::Reply { .. } | Action::Delay { .. } | Action::Dedupe { .. } => None,
        },
        input,
    }
}

fn known_now(step: &Step, scope: &Scope<'_>) -> PlannedInput {
    if let Some(because) = step.why_skipped(scope) {
        return PlannedInput::Skipped { because };
    }
    match step.resolve(scope) {
        Ok(value) => PlannedInput::Resolved { value },
        Err(error) => PlannedInput::Unresolvable { param: error.param, reason: error.source.to_string() },
    }
}

impl Step {
    /// The labels of the steps that its templates and its `when` look at.
    fn needs(&self, rule: &Rule) -> Vec<String> {
        let mut paths: Vec<&Path> = Vec::new();
        for template in self.templates() {
            paths.extend(template.references().map(|reference| &reference.path));
        }
        for condition in &self.when {
            condition.collect_fields(&mut paths);
        }
        let mut labels: Vec<_> = paths
            .into_iter()
            .filter_map(|path| match &path.root {
                Root::Step(StepRef::Name(name)) => Some(name.clone()),
                Root::Step(StepRef::Number(number)) => {
                    let step = rule.steps().get(number.checked_sub(1)?)?;
                    Some(step.label().to_owned())
                }
                _ => None,
            })
            .collect();
        labels.sort();
        labels.dedup();
        labels
    }

    /// The input as the rule writes it.
    fn written(&self) -> Value {
        match &self.action {
            Action::RunConnector { params, .. } => serde_json::to_value(params).unwrap_or_default(),
            Action::Reply { text: template } | Action::Dedupe { key: template, .. } => {
                Value::String(template.to_string())
            }
            Action::Delay { length } => Value::String(duration::print(*length)),
        }
    }
}

impl Condition {
    /// Every field that it or a condition in it looks at.
    pub(crate) fn collect_fields<'a>(&'a self, paths: &mut Vec<&'a Path>) {
        paths.extend(self.field());
        match self {
            Self::All { conditions } | Self::Any { conditions } => {
                for one in conditions {
                    one.collect_fields(paths);
                }
            }
            Self::Not { condition } => condition.collect_fields(paths),
            _ => {}
        }
    }
}
