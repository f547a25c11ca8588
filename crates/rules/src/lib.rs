//! Rules: which events become tasks, and what exactly those tasks are.
//!
//! A rule is a TOML file: a trigger, conditions, steps. [`RuleSet::parse`] reads files into a set
//! or says everything that is wrong with them; [`RuleSet::matching`] says which rules an event
//! fires; [`Rule::next`] says what a run does next; [`Step::resolve`] fills in a step's input. The
//! whole grammar is in `docs/rules.md`.
//!
//! ```
//! use connector_rules::{Event, Next, RuleSet, Scope, SourceFile, Timestamp};
//! use serde_json::json;
//!
//! let text = r#"
//! [rule]
//! name = "fix-on-demand"
//! [trigger]
//! type = "ConnectorEvent"
//! connector = "connector-telegram"
//! event = "message_received"
//! [[actions]]
//! type = "RunConnector"
//! connector = "connector-opencode"
//! action = "run_task"
//! params.prompt = "${trigger.text}"
//! "#;
//! let rules = RuleSet::parse([SourceFile::new("fix.toml", text)])?;
//! let event = Event {
//!     id: "evt_1".into(),
//!     connector: "connector-telegram".into(),
//!     event: "message_received".into(),
//!     payload: json!({ "text": "mend the login test" }),
//!     reply: None,
//! };
//! let now = Timestamp::UNIX_EPOCH;
//! for rule in rules.matching(&event, now) {
//!     let scope = Scope { event: &event, rule: rule.name(), run_id: "run_1", now, steps: &[] };
//!     if let Next::Run(step) = rule.next(&scope) {
//!         assert_eq!(step.resolve(&scope)?, json!({ "prompt": "mend the login test" }));
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Everything here is a function of its arguments. The crate opens no file, reads no clock and
//! makes no random number: texts, times and ids are handed in, so the same question always has the
//! same answer and every answer can be tested.

mod chat_address;
mod check;
mod condition;
mod diagnostic;
mod dry_run;
mod duration;
mod event;
mod file_watch;
mod lint;
mod path;
mod place;
mod plan;
mod print;
mod provenance;
mod read;
mod rule;
mod ruleset;
mod schedule;
mod schema;
mod scope;
mod secret;
mod source;
mod template;
mod webhook;

pub use chat_address::ChatAddress;
pub use check::TestReport;
pub use condition::{Condition, Day, Failure, Pattern, Zone};
pub use diagnostic::{Code, Diagnostic, Diagnostics, Related, Severity};
pub use dry_run::{PlannedCall, PlannedInput, PlannedRun, PlannedStep};
pub use event::{Event, Reply};
pub use file_watch::{FILE_WATCH, FileChange, FileEvent, FileWatch, LISTED};
pub use lint::{Catalog, CatalogAction, CatalogConnector, CatalogTrigger, Exemption, LintPolicy, lint};
pub use path::Path;
pub use plan::{Next, RunEnd};
pub use print::PrintError;
pub use read::suggest;
pub use rule::{
    Action, DEDUPE_WINDOW, ExpectedStep, Header, OnError, Param, Params, Provenance, ResolveError, Rule,
    RuleFile, RuleVersion, Step, TestCase, TestEvent, Trigger,
};
pub use ruleset::{Explanation, RuleSet, Verdict};
pub use schedule::{SCHEDULE, Schedule};
pub use schema::{for_editors, schema};
pub use scope::{Missing, Scope, StepOutcome, StepState};
pub use source::{Position, SourceFile};
pub use template::{Filter, Reference, ReferenceError, Template};
pub use webhook::{HookPath, WEBHOOK};

// Times are arguments of this crate; whoever passes them needs the same type.
pub use jiff::Timestamp;
