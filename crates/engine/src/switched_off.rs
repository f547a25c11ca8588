//! Rules whose file was left out when the rules were read again: they do nothing, and whoever wants
//! something of one is told so.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use connector_gate::clock::Millis;
use connector_ledger::events::EventRow;
use connector_rules::{Event, Rule, RuleSet};
use serde_json::Value;

use super::Engine;
use super::intake::{as_event, message, timestamp};
use crate::followers;

/// A rule file that is not in force, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, in a few words for a chat.
    pub brief: String,
    /// The same in full, for whoever can mend it.
    pub reason: String,
}

/// A rule as it was when its file was usable.
#[derive(Debug, Clone)]
struct Off {
    rule: Arc<Rule>,
    file: LeftOut,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct SwitchedOff {
    rules: Vec<Off>,
    /// Which chat was told of which rule, by messages that are no commands.
    told: HashSet<(String, String, String)>,
}

impl SwitchedOff {
    /// Those of the files `left_out`, which had these rules `before`, in force or off.
    fn after(&self, before: &RuleSet, left_out: &[LeftOut]) -> Self {
        let off = |file: &LeftOut| {
            let of_file = |rule: &&Arc<Rule>| Path::new(&rule.source().name) == file.path;
            let known = before.rules().iter().chain(self.rules.iter().map(|off| &off.rule));
            let rule = known.into_iter().find(of_file)?.clone();
            Some(Off { rule, file: file.clone() })
        };
        Self { rules: left_out.iter().filter_map(off).collect(), told: HashSet::new() }
    }

    /// The rule of this name, as it was.
    pub(super) fn rule(&self, name: &str) -> Option<Arc<Rule>> {
        self.rules.iter().map(|off| &off.rule).find(|rule| rule.name() == name).cloned()
    }

    fn wanted(&self, event: &Event, now: jiff::Timestamp) -> Option<&Off> {
        self.rules.iter().find(|off| off.rule.fires(event, now))
    }

    /// What the chat of an event is told that would fire one: a command each time, anything else once.
    pub(super) fn words(&mut self, row: &EventRow, now: Millis) -> Option<String> {
        let off = self.wanted(&as_event(row), timestamp(now))?;
        let words = words(off);
        let text = row.payload.get("text").and_then(Value::as_str).unwrap_or_default();
        let chat = (row.surface.clone(), row.chat.clone(), off.rule.name().to_owned());
        (self.told.insert(chat) || text.starts_with('/')).then_some(words)
    }
}

impl Engine {
    /// As [`set_rules`](Self::set_rules), where these files could not be used.
    pub fn set_usable_rules(&self, rules: RuleSet, left_out: &[LeftOut]) {
        {
            let mut off = self.switched_off();
            *off = off.after(&self.rules(), left_out);
        }
        self.set_rules(rules);
    }

    /// Leaves out the files of rules with followers that no surface may tell, too.
    pub fn with_admitted_followers(
        &self,
        rules: &RuleSet,
        mut left_out: Vec<LeftOut>,
    ) -> (RuleSet, Vec<LeftOut>) {
        let rules = rules.retained(|rule| {
            let fault = followers::fault(rule, |chat| self.admits((chat.surface(), chat.chat())));
            let Some(reason) = fault else { return true };
            let brief = "has followers that cannot be told".to_owned();
            left_out.push(LeftOut { path: Path::new(&rule.source().name).to_owned(), brief, reason });
            false
        });
        (rules, left_out)
    }

    /// Whether this text would fire a rule whose file is left out.
    pub fn is_switched_off(&self, connector: &str, payload: &Value) -> bool {
        let now = timestamp(self.0.clock.now());
        self.switched_off().wanted(&message(connector, payload), now).is_some()
    }

    pub(super) fn switched_off(&self) -> std::sync::MutexGuard<'_, SwitchedOff> {
        self.0.switched_off.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn words(off: &Off) -> String {
    let file = off.file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!(
        "the rule `{}` is off, since its file {file} {}; nothing was begun. On the host's machine, `doctor` says more",
        off.rule.name(),
        off.file.brief
    )
}
