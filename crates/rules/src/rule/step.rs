//! Steps: what a rule does, with its templates.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::condition::{Condition, Failure};
use crate::duration;
use crate::scope::{Lookup, Scope};
use crate::template::{ReferenceError, Template};

/// One entry of `[[actions]]`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(extend("unevaluatedProperties" = false))]
pub struct Step {
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
    /// What later steps call it: `${step.NAME.output.…}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long it may take, for example `30m`.
    #[serde(serialize_with = "duration::serialize")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Duration>,
    /// What must hold, all of it, for the step to run; else it is skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "one_or_many_conditions", default)]
    pub when: Vec<Condition>,
    /// What to do when it fails.
    #[serde(skip_serializing_if = "OnError::is_stop")]
    #[schemars(default)]
    pub on_error: OnError,
    #[serde(skip)]
    pub(crate) label: String,
    #[serde(skip)]
    pub(crate) number: Option<usize>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub enum Action {
    /// An action of a connector.
    RunConnector {
        /// The connector, by the name that the host knows it under.
        connector: String,
        /// The action's name.
        action: String,
        /// The action's input; texts in it are templates.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        #[schemars(with = "Map<String, Value>", default)]
        params: Params,
    },
    /// A message back to where the event came from.
    Reply {
        /// The message, a template.
        #[schemars(with = "String")]
        text: Template,
    },
    /// A wait, after which the next step follows.
    Delay {
        /// For how long, up to 30 days, for example `10m`.
        #[serde(rename = "for", serialize_with = "duration::serialize_given")]
        #[schemars(with = "String")]
        length: Duration,
    },
    /// The end of the run, without a failure, where the key was seen before.
    Dedupe {
        /// What must not have been seen, a template.
        #[schemars(with = "String")]
        key: Template,
        /// The keys that it is compared with: those of all steps that name the same; the rule's own without it.
        #[serde(skip_serializing_if = "Option::is_none")]
        bucket: Option<String>,
        /// For how long a key counts as seen, up to 365 days; 30 days without it.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "duration::serialize")]
        #[schemars(with = "Option<String>")]
        window: Option<Duration>,
    },
}

/// For how long a key of a [`Action::Dedupe`] counts as seen that does not say.
pub const DEDUPE_WINDOW: Duration = Duration::from_hours(30 * 24);

/// The input of a connector's action, in the canonical order of its keys.
pub type Params = BTreeMap<String, Param>;

/// A value with templates in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Param {
    /// A text, with or without references.
    Template(Template),
    /// A list.
    List(Vec<Param>),
    /// A table.
    Table(Params),
    /// A number or a boolean.
    Plain(Value),
}

/// What to do when a step fails.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum OnError {
    /// The run ends as failed.
    #[default]
    Stop,
    /// The next step follows.
    Continue,
    /// These steps run, and then the run ends as failed.
    Steps(Vec<Step>),
}

/// A value of a step that could not be resolved; the step has failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{param}` could not be filled in")]
pub struct ResolveError {
    /// Which part of the step: `params.prompt`, `text`.
    pub param: String,
    /// Why.
    #[source]
    pub source: ReferenceError,
}

impl Step {
    /// Its name, or `step1` by place; for an unnamed step of an `on_error`, `step1.on_error1`.
    /// Unique in the rule.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its place among the rule's steps, counted from 1; `None` for a step of an `on_error`.
    pub fn number(&self) -> Option<usize> {
        self.number
    }

    /// The whole input with every reference filled in: a table for a connector's action, a text
    /// for a reply.
    ///
    /// One pass: what a reference brings in is never looked at again.
    pub fn resolve(&self, scope: &Scope<'_>) -> Result<Value, ResolveError> {
        let lookup = Lookup::from(scope);
        match &self.action {
            Action::RunConnector { params, .. } => {
                resolve_table(params, &lookup, "params").map(Value::Object)
            }
            Action::Reply { text } => text
                .resolve_text(&lookup)
                .map(Value::String)
                .map_err(|source| ResolveError { param: "text".to_owned(), source }),
            Action::Delay { length } => Ok(Value::String(duration::print(*length))),
            Action::Dedupe { key, .. } => key
                .resolve_text(&lookup)
                .map(Value::String)
                .map_err(|source| ResolveError { param: "key".to_owned(), source }),
        }
    }

    /// `None` when its `when` holds, or else the first condition that does not.
    pub fn why_skipped(&self, scope: &Scope<'_>) -> Option<Failure> {
        let lookup = Lookup::from(scope);
        self.when.iter().find_map(|one| one.why_not(&lookup))
    }

    /// Every template in it.
    pub(crate) fn templates(&self) -> Vec<&Template> {
        let mut all = Vec::new();
        match &self.action {
            Action::RunConnector { params, .. } => {
                for param in params.values() {
                    param.collect(&mut all);
                }
            }
            Action::Reply { text } => all.push(text),
            Action::Dedupe { key, .. } => all.push(key),
            Action::Delay { .. } => {}
        }
        all
    }
}

impl Param {
    fn resolve(&self, lookup: &Lookup<'_>, at: &str) -> Result<Value, ResolveError> {
        match self {
            Self::Template(template) => {
                template.resolve(lookup).map_err(|source| ResolveError { param: at.to_owned(), source })
            }
            Self::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| item.resolve(lookup, &format!("{at}[{index}]")))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            Self::Table(fields) => resolve_table(fields, lookup, at).map(Value::Object),
            Self::Plain(value) => Ok(value.clone()),
        }
    }

    fn collect<'a>(&'a self, all: &mut Vec<&'a Template>) {
        match self {
            Self::Template(template) => all.push(template),
            Self::List(items) => items.iter().for_each(|item| item.collect(all)),
            Self::Table(fields) => fields.values().for_each(|field| field.collect(all)),
            Self::Plain(_) => {}
        }
    }
}

fn resolve_table(fields: &Params, lookup: &Lookup<'_>, at: &str) -> Result<Map<String, Value>, ResolveError> {
    fields
        .iter()
        .map(|(key, param)| {
            let value = param.resolve(lookup, &format!("{at}.{key}"))?;
            Ok((key.clone(), value))
        })
        .collect()
}

impl OnError {
    /// The steps it runs, if it runs any.
    pub fn steps(&self) -> &[Step] {
        match self {
            Self::Steps(steps) => steps,
            Self::Stop | Self::Continue => &[],
        }
    }

    fn is_stop(&self) -> bool {
        *self == Self::Stop
    }
}

impl Serialize for OnError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Stop => serializer.serialize_str("stop"),
            Self::Continue => serializer.serialize_str("continue"),
            Self::Steps(steps) => steps.serialize(serializer),
        }
    }
}

impl JsonSchema for OnError {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OnError".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let steps = generator.subschema_for::<Vec<Step>>();
        json_schema!({
            "type": ["string", "array"],
            "default": "stop",
            "if": { "type": "string" },
            "then": { "enum": ["stop", "continue"] },
            "else": steps,
        })
    }
}

fn one_or_many_conditions(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<Condition>();
    let many = generator.subschema_for::<Vec<Condition>>();
    json_schema!({ "default": [], "if": { "type": "array" }, "then": many, "else": one })
}
