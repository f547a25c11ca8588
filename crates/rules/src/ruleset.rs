//! All rules that are in force, and which of them an event fires.
//!
//! A set is read whole or not at all, never changes, and is one pointer to clone: the host swaps
//! it on reload, and a run under way keeps the set it was made with.

mod index;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::condition::Failure;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use crate::event::Event;
use crate::file_watch::FILE_WATCH;
use crate::read::read;
use crate::rule::{Rule, Trigger};
use crate::schedule::{SCHEDULE, Schedule};
use crate::scope::Lookup;
use crate::source::SourceFile;
use crate::webhook::WEBHOOK;
use index::Index;

/// Rules in force.
#[derive(Clone, Default)]
pub struct RuleSet(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rules: Vec<Arc<Rule>>,
    by_name: HashMap<String, usize>,
    index: Index,
}

/// Why a rule fired or did not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The rule's name.
    pub rule: String,
    /// The rule's version.
    pub version: String,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What came of showing an event to a rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It fired.
    Fired,
    /// It is switched off.
    Disabled,
    /// It waits for something else.
    OtherTrigger {
        /// What it waits for.
        wants: String,
        /// What came.
        saw: String,
    },
    /// A condition did not hold; the first one, in the order of the file.
    ConditionFailed(Failure),
}

impl RuleSet {
    /// Reads all files, one rule each. One mistake anywhere and there is no set; the diagnostics
    /// name every mistake in every file, in the order of the files.
    pub fn parse(files: impl IntoIterator<Item = SourceFile>) -> Result<Self, Diagnostics> {
        let mut rules = Vec::new();
        let mut findings = Vec::new();
        for file in files {
            match read(&Arc::new(file)) {
                Ok(rule) => rules.push(Arc::new(rule)),
                Err(wrong) => findings.extend(wrong),
            }
        }
        let by_name = name_all(&rules, &mut findings);
        if findings.iter().any(|one| one.severity == Severity::Error) {
            return Err(Diagnostics::new(findings));
        }
        let index = Index::new(&rules);
        Ok(Self(Arc::new(Inner { rules, by_name, index })))
    }

    /// The same without those rules that `keep` is false of.
    #[must_use]
    pub fn retained(&self, mut keep: impl FnMut(&Rule) -> bool) -> Self {
        let rules: Vec<Arc<Rule>> = self.rules().iter().filter(|rule| keep(rule)).cloned().collect();
        let by_name = rules.iter().enumerate().map(|(at, rule)| (rule.name().to_owned(), at)).collect();
        let index = Index::new(&rules);
        Self(Arc::new(Inner { rules, by_name, index }))
    }

    /// The rules, in the order of their files.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.0.rules
    }

    /// The rule of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        let index = self.0.by_name.get(name)?;
        self.0.rules.get(*index)
    }

    /// The rules that the event fires, in the order of their files.
    ///
    /// Cooldowns and limits are the host's to keep; they are not looked at here.
    pub fn matching<'a>(&'a self, event: &'a Event, now: Timestamp) -> impl Iterator<Item = &'a Arc<Rule>> {
        let Inner { rules, index, .. } = &*self.0;
        let candidates = index.candidates(event, now).into_iter();
        candidates
            .filter_map(|at| rules.get(at).map(|rule| (at, rule)))
            .filter(move |(at, rule)| index.fires(*at, rule, event, now))
            .map(|(_, rule)| rule)
    }

    /// What every rule makes of the event, in the order of their files.
    pub fn explain(&self, event: &Event, now: Timestamp) -> Vec<Explanation> {
        let explain = |rule: &Arc<Rule>| Explanation {
            rule: rule.name().to_owned(),
            version: rule.version().to_string(),
            verdict: rule.verdict(event, now),
        };
        self.rules().iter().map(explain).collect()
    }

    /// The rules that fire by time and are switched on.
    pub fn schedules(&self) -> impl Iterator<Item = (&Arc<Rule>, &Schedule)> {
        let enabled = self.rules().iter().filter(|rule| rule.enabled());
        enabled.filter_map(|rule| rule.schedule().map(|schedule| (rule, schedule)))
    }
}

impl Rule {
    /// Whether the event fires the rule.
    pub fn fires(&self, event: &Event, now: Timestamp) -> bool {
        let (connector, name) = self.listens_to();
        let lookup = Lookup::before_run(event, self.name(), now);
        self.enabled()
            && event.connector == connector
            && event.event == name
            && self.conditions().iter().all(|one| one.holds(&lookup))
    }

    /// What the rule makes of an event.
    pub fn verdict(&self, event: &Event, now: Timestamp) -> Verdict {
        if !self.enabled() {
            return Verdict::Disabled;
        }
        self.verdict_if_enabled(event, now)
    }

    /// What the rule would make of an event if it were switched on.
    pub(crate) fn verdict_if_enabled(&self, event: &Event, now: Timestamp) -> Verdict {
        let (connector, name) = self.listens_to();
        if event.connector != connector || event.event != name {
            return Verdict::OtherTrigger {
                wants: format!("{connector}.{name}"),
                saw: format!("{}.{}", event.connector, event.event),
            };
        }
        let lookup = Lookup::before_run(event, self.name(), now);
        let mut conditions = self.conditions().iter();
        match conditions.find_map(|one| one.why_not(&lookup)) {
            Some(failure) => Verdict::ConditionFailed(failure),
            None => Verdict::Fired,
        }
    }

    /// The connector and event that the rule waits for; a schedule's are its own.
    pub(crate) fn listens_to(&self) -> (&str, &str) {
        match self.trigger() {
            Trigger::ConnectorEvent { connector, event } => (connector, event),
            Trigger::Cron(_) => (SCHEDULE, self.name()),
            Trigger::Webhook { path } => (WEBHOOK, path.as_str()),
            Trigger::FileWatch(_) => (FILE_WATCH, self.name()),
        }
    }
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.rules().iter().map(|rule| rule.name());
        f.debug_set().entries(names).finish()
    }
}

/// Every rule's place by its name; a name that is there already is a finding.
fn name_all(rules: &[Arc<Rule>], findings: &mut Vec<Diagnostic>) -> HashMap<String, usize> {
    let mut by_name: HashMap<String, usize> = HashMap::with_capacity(rules.len());
    for (at, rule) in rules.iter().enumerate() {
        let Some(first) = by_name.get(rule.name()).and_then(|at| rules.get(*at)) else {
            by_name.insert(rule.name().to_owned(), at);
            continue;
        };
        let message = format!("two rules are named `{}`", rule.name());
        let bare = Diagnostic::new(
            Severity::Error,
            Code::DuplicateName,
            &rule.source,
            rule.place(&["rule", "name"]),
            message,
        );
        findings.push(bare.related("the first is here", &first.source, first.place(&["rule", "name"])));
    }
    by_name
}
