//! References to fields that the event or an earlier step's output does not have.

use serde_json::Value;

use super::shape::{Known, field};
use super::{Lint, below, steps_with_paths};
use crate::condition::Condition;
use crate::diagnostic::Code;
use crate::path::{Path, Root, StepRef};
use crate::read::{in_words, suggest};
use crate::rule::{Action, OnError, Param, Params, Rule, Step, Trigger};
use crate::template::{Filter, Reference, Template};

impl Lint<'_> {
    pub(super) fn check_references(&mut self) {
        let rule = self.rule;
        let top = ["conditions".to_owned()];
        self.check_conditions(&top, rule.conditions());
        for (path, step) in steps_with_paths(rule) {
            let when: Vec<_> = below(&path, &["when"]).into_iter().map(str::to_owned).collect();
            self.check_conditions(&when, &step.when);
            match &step.action {
                Action::RunConnector { params, .. } => {
                    let mut at: Vec<_> = path.clone();
                    at.push("params".to_owned());
                    self.check_params(&at, params, step);
                }
                Action::Reply { text } => {
                    let mut at = path.clone();
                    at.push("text".to_owned());
                    self.check_template(&at, text, step);
                }
                Action::Dedupe { key, .. } => {
                    let mut at = path.clone();
                    at.push("key".to_owned());
                    self.check_template(&at, key, step);
                }
                Action::Delay { .. } => {}
            }
        }
    }

    fn check_conditions(&mut self, at: &[String], conditions: &[Condition]) {
        for (index, condition) in conditions.iter().enumerate() {
            let mut path = at.to_vec();
            path.push(index.to_string());
            self.check_condition(&path, condition);
        }
    }

    fn check_condition(&mut self, at: &[String], condition: &Condition) {
        match condition {
            Condition::All { conditions } | Condition::Any { conditions } => {
                let mut path = at.to_vec();
                path.push("conditions".to_owned());
                self.check_conditions(&path, conditions);
            }
            Condition::Not { condition } => {
                let mut path = at.to_vec();
                path.push("condition".to_owned());
                self.check_condition(&path, condition);
            }
            // That is how one asks whether a field is there.
            Condition::FieldExists { .. } => {}
            other => {
                if let Some(path) = other.field() {
                    self.check_path(&below(at, &["field"]), path);
                }
                self.check_fixed(at, other);
            }
        }
    }

    /// Nothing is filled in on the right side of a condition.
    fn check_fixed(&mut self, at: &[String], condition: &Condition) {
        let (Condition::FieldContains { value, .. } | Condition::FieldStartsWith { value, .. }) = condition
        else {
            return;
        };
        if let Condition::FieldContains { field, value } = condition
            && is_command(value)
            && field.in_trigger().is_some_and(|keys| keys == ["text"] || keys == ["message", "text"])
        {
            let message = format!(
                "`{value}` anywhere in a message fires this, also as a part of a path or of another word"
            );
            let help =
                "ask for the command: `FieldEquals` on `trigger.command`, or `FieldStartsWith`".to_owned();
            self.warn(Code::BroadCommand, &below(at, &["type"]), message, Some(help));
        }
        if value.contains("${") {
            let message = "a condition compares with the text as it stands".to_owned();
            let help = Some("nothing is filled in here".to_owned());
            self.warn(Code::Template, &below(at, &["value"]), message, help);
        }
    }

    fn check_params(&mut self, at: &[String], params: &Params, step: &Step) {
        for (key, param) in params {
            let mut path = at.to_vec();
            path.push(key.clone());
            self.check_param(&path, param, step);
        }
    }

    fn check_param(&mut self, at: &[String], param: &Param, step: &Step) {
        match param {
            Param::Template(template) => self.check_template(at, template, step),
            Param::Table(fields) => self.check_params(at, fields, step),
            Param::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let mut path = at.to_vec();
                    path.push(index.to_string());
                    self.check_param(&path, item, step);
                }
            }
            Param::Plain(_) => {}
        }
    }

    fn check_template(&mut self, at: &[String], template: &Template, step: &Step) {
        for reference in template.references() {
            self.check_path(&below(at, &[]), &reference.path);
            if !has_default(reference) {
                self.check_may_be_missing(&below(at, &[]), &reference.path, step);
            }
        }
    }

    /// A field that its schema does not have.
    fn check_path(&mut self, at: &[&str], path: &Path) {
        let Some((schema, keys, of)) = self.schema_of(path) else {
            return;
        };
        let (known, certain) = match field(schema, keys) {
            Known::Yes | Known::Unsaid => return,
            Known::No(known) => (known, true),
            Known::Unlikely(known) => (known, false),
        };
        let key = keys.last().map(String::as_str).unwrap_or_default();
        let help = suggest(key, known.iter().map(String::as_str))
            .or_else(|| (!known.is_empty()).then(|| format!("it has {}", in_words(&known))));
        let message = format!("{of} has no `{}`", keys.join("."));
        if certain {
            self.error(Code::UnknownField, at, message, help);
        } else {
            self.warn(Code::UnknownField, at, message, help);
        }
        self.narrow(path);
    }

    /// The schema that a path walks into, the keys that walk it, and whose it is.
    fn schema_of<'p>(&self, path: &'p Path) -> Option<(&Value, &'p [String], String)> {
        match &path.root {
            Root::Trigger => {
                let keys = path.in_trigger()?;
                if keys.first().is_none_or(|first| first == "reply") {
                    return None;
                }
                let Trigger::ConnectorEvent { connector, event } = self.rule.trigger() else {
                    return None;
                };
                let trigger = self.catalog.trigger(connector, event)?;
                let of = format!("the event `{event}` of `{connector}`");
                Some((&trigger.payload_schema, keys, of))
            }
            Root::Step(step) => {
                let keys = path.keys.strip_prefix(&["output".to_owned()])?;
                let step = referred(self.rule, step)?;
                let Action::RunConnector { connector, action, .. } = &step.action else {
                    return None;
                };
                let action = self.catalog.action(connector, action)?;
                let of = format!("the output of `{}`", action.name);
                Some((&action.output_schema, keys, of))
            }
            _ => None,
        }
    }

    /// An output that is not there when its step was skipped or failed.
    fn check_may_be_missing(&mut self, at: &[&str], path: &Path, step: &Step) {
        let Root::Step(earlier) = &path.root else {
            return;
        };
        if path.keys.first().is_some_and(|first| first == "error") {
            self.check_has_error(at, path, earlier, step);
            return;
        }
        let guarded = step.when.iter().any(|one| {
            let mut fields = Vec::new();
            one.collect_fields(&mut fields);
            fields.iter().any(|field| field.root == path.root)
        });
        if guarded || path.keys.first().is_none_or(|first| first != "output") {
            return;
        }
        let Some(referred) = referred(self.rule, earlier) else {
            return;
        };
        let label = referred.label();
        let why = if !referred.when.is_empty() {
            "may be skipped"
        } else if referred.on_error == OnError::Continue {
            "may fail and be passed over"
        } else {
            return;
        };
        let message = format!("step `{label}` {why}; then `{path}` has no value and this fails");
        let help = Some("give it a `default(\"…\")`, or a `when` that looks at that step".to_owned());
        self.warn(Code::UnresolvableReference, at, message, help);
        self.narrow(path);
    }
}

impl Lint<'_> {
    /// The error of a step whose failure would have ended the run before.
    fn check_has_error(&mut self, at: &[&str], path: &Path, earlier: &StepRef, step: &Step) {
        let Some(referred) = referred(self.rule, earlier) else {
            return;
        };
        // A step of an `on_error` runs because something has failed.
        if step.number().is_none() || referred.on_error == OnError::Continue {
            return;
        }
        let label = referred.label();
        let message = format!("`{path}` never has a value here: the run ends when `{label}` fails");
        let help =
            format!("give `{label}` the key `on_error = \"continue\"`, or look at it in its own `on_error`");
        self.error(Code::UnresolvableReference, at, message, Some(help));
        self.narrow(path);
    }
}

fn has_default(reference: &Reference) -> bool {
    let default = |filter: &Filter| matches!(filter, Filter::Default(_));
    reference.filters.iter().any(default)
}

fn referred<'a>(rule: &'a Rule, step: &StepRef) -> Option<&'a Step> {
    match step {
        StepRef::Number(number) => rule.steps().get(number.checked_sub(1)?),
        StepRef::Name(name) => rule.step(name),
    }
}

/// Whether a condition's value is a command: a slash and one word.
fn is_command(value: &str) -> bool {
    let word = value.trim().strip_prefix('/');
    word.is_some_and(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}
