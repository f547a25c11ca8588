//! What a rule can see when it is matched or a step is resolved.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::event::Event;
use crate::path::{Path, Root, StepRef};
use crate::rule::Step;

/// Everything that a step's templates and its `when` may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The event that fired the rule.
    pub event: &'a Event,
    /// The rule's name.
    pub rule: &'a str,
    /// The run's id.
    pub run_id: &'a str,
    /// The time of resolving.
    pub now: Timestamp,
    /// What earlier steps came to, in any order.
    pub steps: &'a [StepOutcome],
}

/// What a step came to; a value that the host keeps with the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepOutcome {
    /// The step's label: [`Step::label`].
    pub step: String,
    /// The step's place in its rule, counted from 1; `None` for a step of an `on_error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<usize>,
    /// How it ended.
    pub state: StepState,
    /// What the action gave back; null when it gave nothing.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// It ran and succeeded.
    Succeeded,
    /// It ran and failed, was denied, or could not be resolved.
    Failed,
    /// Its `when` did not hold.
    Skipped,
}

impl StepState {
    /// The word that `${step1.state}` gives.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl StepOutcome {
    /// The step ran and gave `output`.
    pub fn succeeded(step: &Step, output: Value) -> Self {
        Self {
            step: step.label().to_owned(),
            number: step.number(),
            state: StepState::Succeeded,
            output,
            error: None,
        }
    }

    /// The step failed (or was denied, or could not be resolved), and why.
    pub fn failed(step: &Step, error: impl Into<String>) -> Self {
        Self {
            step: step.label().to_owned(),
            number: step.number(),
            state: StepState::Failed,
            output: Value::Null,
            error: Some(error.into()),
        }
    }

    /// The step's `when` did not hold.
    pub fn skipped(step: &Step) -> Self {
        Self {
            step: step.label().to_owned(),
            number: step.number(),
            state: StepState::Skipped,
            output: Value::Null,
            error: None,
        }
    }
}

/// A path that leads nowhere, and where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The whole reference.
    pub path: String,
    /// Its shortest beginning at which there is nothing.
    pub first_missing: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` has no value", self.path)?;
        if self.first_missing == self.path {
            return Ok(());
        }
        write!(f, ": there is no `{}`", self.first_missing)
    }
}

/// [`Scope`], or the part of it that exists before there is a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) event: &'a Event,
    pub(crate) now: Timestamp,
    pub(crate) rule: &'a str,
    pub(crate) run_id: Option<&'a str>,
    pub(crate) steps: &'a [StepOutcome],
}

impl<'a> From<&Scope<'a>> for Lookup<'a> {
    fn from(scope: &Scope<'a>) -> Self {
        Self {
            event: scope.event,
            now: scope.now,
            rule: scope.rule,
            run_id: Some(scope.run_id),
            steps: scope.steps,
        }
    }
}

impl<'a> Lookup<'a> {
    /// What there is to see before a run exists.
    pub(crate) fn before_run(event: &'a Event, rule: &'a str, now: Timestamp) -> Self {
        Self { event, now, rule, run_id: None, steps: &[] }
    }

    pub(crate) fn get(&self, path: &Path) -> Result<Cow<'a, Value>, Missing> {
        let keys = &path.keys[..];
        let text = |text: &str| Some(Cow::Owned(Value::String(text.to_owned())));
        let found = match (&path.root, keys) {
            (Root::Trigger, []) => Some(Cow::Owned(self.whole_trigger())),
            (Root::Trigger, [first, rest @ ..]) if first == "reply" => {
                return self.reply(rest).ok_or_else(|| missing(path, 1));
            }
            (Root::Trigger, _) => return walk(&self.event.payload, path, 0),
            (Root::Event, [key]) => match key.as_str() {
                "id" => text(&self.event.id),
                "connector" => text(&self.event.connector),
                _ => text(&self.event.event),
            },
            (Root::Run, _) => self.run_id.and_then(text),
            (Root::Rule, _) => text(self.rule),
            (Root::Now, _) => text(&self.now.to_string()),
            (Root::Step(step), [first, ..]) => {
                let outcome = self.step(step).ok_or_else(|| missing(path, 0))?;
                match first.as_str() {
                    "output" if outcome.state != StepState::Succeeded => None,
                    "output" => return walk(&outcome.output, path, 1),
                    "error" => outcome.error.as_deref().and_then(text),
                    _ => text(outcome.state.as_str()),
                }
            }
            _ => None,
        };
        found.ok_or_else(|| missing(path, 1))
    }

    /// The payload, with our `reply` in place of any that it claims to have.
    fn whole_trigger(&self) -> Value {
        let mut payload = self.event.payload.clone();
        if let Value::Object(fields) = &mut payload {
            fields.remove("reply");
            if let Some(reply) = self.reply(&[]) {
                fields.insert("reply".to_owned(), reply.into_owned());
            }
        }
        payload
    }

    fn reply(&self, keys: &[String]) -> Option<Cow<'a, Value>> {
        let reply = self.event.reply.as_ref()?;
        Some(Cow::Owned(match keys {
            [] => json!(reply),
            [key] => json!(reply.field(key)?),
            _ => return None,
        }))
    }

    fn step(&self, step: &StepRef) -> Option<&'a StepOutcome> {
        self.steps.iter().find(|outcome| match step {
            StepRef::Name(name) => outcome.step == *name,
            StepRef::Number(number) => outcome.number == Some(*number),
        })
    }
}

/// The value that `path` leads to, starting at `value` with its key number `from`.
fn walk<'a>(value: &'a Value, path: &Path, from: usize) -> Result<Cow<'a, Value>, Missing> {
    let mut here = value;
    for (index, key) in path.keys.iter().enumerate().skip(from) {
        let below = match here {
            Value::Object(fields) => fields.get(key),
            Value::Array(items) => key.parse::<usize>().ok().and_then(|at| items.get(at)),
            _ => None,
        };
        here = below.ok_or_else(|| missing(path, index + 1))?;
    }
    Ok(Cow::Borrowed(here))
}

fn missing(path: &Path, keys: usize) -> Missing {
    Missing { path: path.to_string(), first_missing: path.prefix(keys) }
}
