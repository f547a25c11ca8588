//! References into what a rule can see: `trigger.user.id`, `step1.output.session_id`, `now`.
//!
//! One grammar for templates and conditions. A path starts at one of the roots and walks through
//! keys and array positions, joined by dots; a key with other characters than letters, digits,
//! `_` and `-` is written in double quotes. A path holds no value: [`crate::Scope`] looks it up.

mod parse;

use std::fmt;

use serde::{Serialize, Serializer};

pub(crate) use parse::{PathError, step_number};

/// A reference, parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    pub(crate) root: Root,
    pub(crate) keys: Vec<String>,
}

/// Where a path starts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Root {
    /// The event's payload (and `reply`, which the host fills in).
    Trigger,
    /// The event's own `id`, `connector`, `event`.
    Event,
    /// The run's `id`.
    Run,
    /// The rule's `name`.
    Rule,
    /// The time of resolving.
    Now,
    /// The outcome of an earlier step.
    Step(StepRef),
    /// Springtale's word for one of ours. Reading a rule replaces it; no rule that was read has one.
    Theirs(Theirs),
}

/// The words at which Springtale's references start and ours do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Theirs {
    /// `last_connector_output`: the output of the last connector's action before this step.
    LastConnectorOutput,
    /// `last_connector_message`: what the last connector's action before this step said in reply.
    LastConnectorMessage,
    /// `run_id`.
    RunId,
}

/// How a step is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum StepRef {
    /// `step1`: by place, counted from 1.
    Number(usize),
    /// `step.NAME`: by name.
    Name(String),
}

impl Path {
    /// The path in our words, where `last` is the place of the last connector's step, counted from 1;
    /// `None` when there is no such step.
    pub(crate) fn ours(self, last: Option<usize>) -> Option<Self> {
        let (root, first): (_, &[&str]) = match self.root {
            Root::Theirs(Theirs::LastConnectorOutput) => (Root::Step(StepRef::Number(last?)), &["output"]),
            Root::Theirs(Theirs::LastConnectorMessage) => {
                (Root::Step(StepRef::Number(last?)), &["output", "reply"])
            }
            Root::Theirs(Theirs::RunId) => (Root::Run, &["id"]),
            _ => return Some(self),
        };
        let keys = first.iter().map(|key| (*key).to_owned()).chain(self.keys).collect();
        Some(Self { root, keys })
    }

    /// The keys after the root, if the path starts at the event's payload.
    pub(crate) fn in_trigger(&self) -> Option<&[String]> {
        (self.root == Root::Trigger).then_some(&self.keys[..])
    }

    /// The path cut off after `count` keys, as text.
    pub(crate) fn prefix(&self, count: usize) -> String {
        let mut text = self.root.to_string();
        for key in self.keys.iter().take(count) {
            text.push('.');
            push_key(&mut text, key);
        }
        text
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trigger => f.write_str("trigger"),
            Self::Event => f.write_str("event"),
            Self::Run => f.write_str("run"),
            Self::Rule => f.write_str("rule"),
            Self::Now => f.write_str("now"),
            Self::Step(StepRef::Number(number)) => write!(f, "step{number}"),
            Self::Step(StepRef::Name(name)) => write!(f, "step.{name}"),
            Self::Theirs(Theirs::LastConnectorOutput) => f.write_str("last_connector_output"),
            Self::Theirs(Theirs::LastConnectorMessage) => f.write_str("last_connector_message"),
            Self::Theirs(Theirs::RunId) => f.write_str("run_id"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix(self.keys.len()))
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn push_key(text: &mut String, key: &str) {
    if !key.is_empty() && key.chars().all(parse::is_bare) {
        text.push_str(key);
    } else {
        text.push('"');
        text.push_str(key);
        text.push('"');
    }
}
