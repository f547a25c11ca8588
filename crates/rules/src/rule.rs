//! What a rule file says, as data.
//!
//! [`RuleFile`] mirrors a file: every key of the grammar is a field here and nowhere else, so the
//! printer and the JSON Schema follow from these types. [`Rule`] is a file that was read and
//! checked, with the version that approvals are bound to. Nothing here reads or decides.

mod step;
mod test_case;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use step::{Action, DEDUPE_WINDOW, OnError, Param, Params, ResolveError, Step};
pub use test_case::{ExpectedStep, TestCase, TestEvent};

use crate::chat_address::ChatAddress;
use crate::condition::Condition;
use crate::diagnostic::Diagnostic;
use crate::duration;
use crate::file_watch::FileWatch;
use crate::schedule::Schedule;
use crate::source::SourceFile;
use crate::template::Template;
use crate::webhook::HookPath;

/// One rule file.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Rule")]
pub struct RuleFile {
    /// What the rule is called and how it may run.
    pub rule: Header,
    /// What makes the rule be considered.
    pub trigger: Trigger,
    /// What must hold, all of it, for the rule to fire.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub conditions: Vec<Condition>,
    /// The steps, one after another.
    #[schemars(length(min = 1))]
    pub actions: Vec<Step>,
    /// Examples that must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub tests: Vec<TestCase>,
}

/// `[rule]`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The rule's name, unique among all rules.
    pub name: String,
    /// What the rule is for, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    pub description: String,
    /// Whether the rule takes part at all.
    #[serde(skip_serializing_if = "is_true")]
    #[schemars(default = "yes")]
    pub enabled: bool,
    /// How long after one run before the rule fires again, for example `30s`.
    #[serde(serialize_with = "duration::serialize")]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub cooldown: Option<Duration>,
    /// How many runs of the rule may be under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<NonZeroU32>,
    /// Who may approve this rule's steps, by surface: `telegram:12345`, `console`. Without it, the
    /// host's own list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvers: Option<Vec<String>>,
    /// How many approvals a step needs.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(default = "one")]
    pub approvals_needed: NonZeroU32,
    /// Whether the requester's own approval does not count.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub require_other_approver: bool,
    /// The chats that are told of its runs beside the one that asked, as `telegram:-100123`: they get
    /// the cards, which can be decided there too, and the results.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default, length(max = 16))]
    pub followers: Vec<ChatAddress>,
    /// The note that tells the agent where its prompt came from: `true` for the usual one,
    /// `false` for none, or the note's own text.
    #[serde(skip_serializing_if = "Provenance::is_usual")]
    #[schemars(default)]
    pub provenance: Provenance,
}

/// The note that goes with a prompt, beside it and never in it.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(untagged)]
pub enum Provenance {
    /// The usual note: surface and rule.
    #[default]
    #[serde(serialize_with = "serialize_true")]
    Usual,
    /// No note.
    #[serde(serialize_with = "serialize_false")]
    Off,
    /// A note of the rule's own.
    Note(Template),
}

/// `[trigger]`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum Trigger {
    /// A connector reports an event.
    ConnectorEvent {
        /// The connector, by the name that the host knows it under.
        connector: String,
        /// The connector's name for the event.
        event: String,
    },
    /// It is time.
    Cron(Box<Schedule>),
    /// A request comes to the host from outside.
    Webhook {
        /// The path that the request is for: `/hooks/ci`.
        path: HookPath,
    },
    /// Files change.
    FileWatch(Box<FileWatch>),
}

/// A rule that has been read and checked.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(crate) file: RuleFile,
    pub(crate) version: RuleVersion,
    pub(crate) source: Arc<SourceFile>,
    /// What reading it noticed that is no error; the linter reports it.
    pub(crate) notes: Vec<Diagnostic>,
}

/// The digest of what a rule does: hexadecimal SHA-256 over its canonical form.
///
/// Comments, the order of keys, the file's name, the description and the tests do not change it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct RuleVersion(String);

impl RuleVersion {
    fn of(file: &RuleFile) -> Self {
        let mut acts = file.clone();
        acts.tests.clear();
        acts.rule.description.clear();
        let canonical = serde_json::to_vec(&acts).unwrap_or_default();
        Self(HEXLOWER.encode(&Sha256::digest(canonical)))
    }

    /// The whole digest.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first twelve characters, to show.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl std::fmt::Display for RuleVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Rule {
    pub(crate) fn new(file: RuleFile, source: Arc<SourceFile>, notes: Vec<Diagnostic>) -> Self {
        Self { version: RuleVersion::of(&file), file, source, notes }
    }

    /// The rule's name, unique in its set.
    pub fn name(&self) -> &str {
        &self.file.rule.name
    }

    /// The digest of what it does.
    pub fn version(&self) -> &RuleVersion {
        &self.version
    }

    /// What it is for; empty when nobody said.
    pub fn description(&self) -> &str {
        &self.file.rule.description
    }

    /// Whether it takes part at all.
    pub fn enabled(&self) -> bool {
        self.file.rule.enabled
    }

    /// How long after one run before it fires again. The host keeps the time.
    pub fn cooldown(&self) -> Option<Duration> {
        self.file.rule.cooldown
    }

    /// How many of its runs may be under way at once; `None` for any number. The host counts.
    ///
    /// A schedule without `overlap = true` has one.
    pub fn max_concurrent(&self) -> Option<NonZeroU32> {
        match &self.file.trigger {
            Trigger::Cron(schedule) if !schedule.overlap => Some(NonZeroU32::MIN),
            _ => self.file.rule.max_concurrent,
        }
    }

    /// Who may approve its steps; `None` leaves it to the host's list, an empty list is nobody.
    pub fn approvers(&self) -> Option<&[String]> {
        self.file.rule.approvers.as_deref()
    }

    /// How many approvals a step needs.
    pub fn approvals_needed(&self) -> NonZeroU32 {
        self.file.rule.approvals_needed
    }

    /// Whether the requester's own approval does not count.
    pub fn require_other_approver(&self) -> bool {
        self.file.rule.require_other_approver
    }

    /// The chats that are told of its runs beside the one that asked.
    pub fn followers(&self) -> &[ChatAddress] {
        &self.file.rule.followers
    }

    /// What makes it be considered.
    pub fn trigger(&self) -> &Trigger {
        &self.file.trigger
    }

    /// Its schedule, if it has one.
    pub fn schedule(&self) -> Option<&Schedule> {
        match &self.file.trigger {
            Trigger::Cron(schedule) => Some(schedule),
            _ => None,
        }
    }

    /// The path of its webhook, if it waits for one.
    pub fn webhook(&self) -> Option<&HookPath> {
        match &self.file.trigger {
            Trigger::Webhook { path } => Some(path),
            _ => None,
        }
    }

    /// The files that it waits for, if it does.
    pub fn file_watch(&self) -> Option<&FileWatch> {
        match &self.file.trigger {
            Trigger::FileWatch(watch) => Some(watch),
            _ => None,
        }
    }

    /// What must hold for it to fire.
    pub fn conditions(&self) -> &[Condition] {
        &self.file.conditions
    }

    /// Its steps, without those of an `on_error`.
    pub fn steps(&self) -> &[Step] {
        &self.file.actions
    }

    /// The step of that label, be it one of an `on_error` too.
    pub fn step(&self, label: &str) -> Option<&Step> {
        self.all_steps().find(|step| step.label() == label)
    }

    /// Every step, those of an `on_error` after the step they belong to.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps().iter().flat_map(|step| std::iter::once(step).chain(step.on_error.steps()))
    }

    /// Its `[[tests]]`.
    pub fn tests(&self) -> &[TestCase] {
        &self.file.tests
    }

    /// What it says, as data.
    pub fn definition(&self) -> &RuleFile {
        &self.file
    }

    /// The file it came from.
    pub fn source(&self) -> &SourceFile {
        &self.source
    }
}

impl Provenance {
    fn is_usual(&self) -> bool {
        *self == Self::Usual
    }
}

impl JsonSchema for Provenance {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Provenance".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["boolean", "string"], "default": true })
    }
}

fn serialize_true<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(true)
}

fn serialize_false<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(false)
}

fn yes() -> bool {
    true
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_true(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_one(value: &NonZeroU32) -> bool {
    *value == NonZeroU32::MIN
}
