//! What is doubtful about rules that load: `rules lint`.
//!
//! Loading knows the grammar alone. Linting also knows what the host has connected (a [`Catalog`]
//! that the host fills in) and what it lets through without asking (a [`LintPolicy`]). Every
//! finding has its exact place; what can only be guessed is a warning, never an error.

mod catalog;
mod input;
mod overlap;
mod references;
mod safety;
mod shape;

pub use catalog::{Catalog, CatalogAction, CatalogConnector, CatalogTrigger};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chat_address::ChatAddress;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use crate::path::Path;
use crate::rule::{Rule, Step};
use crate::ruleset::RuleSet;

/// What the host decides that the linter should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LintPolicy {
    /// Payload fields that say who or where a chat message comes from, and that the platform, not
    /// the sender, fills in.
    pub identity_fields: Vec<String>,
    /// What runs without approval.
    pub exemptions: Vec<Exemption>,
    /// Connectors that cannot work on this host now, and why.
    pub unusable: BTreeMap<String, String>,
    /// Chats that rules name as followers and the host may not tell, and why.
    pub refused_followers: BTreeMap<ChatAddress, String>,
}

/// An action that the host runs without asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exemption {
    /// The connector.
    pub connector: String,
    /// Its action; `None` for all of them.
    #[serde(default)]
    pub action: Option<String>,
    /// The rule whose steps are exempted; `None` for all rules.
    #[serde(default)]
    pub rule: Option<String>,
}

impl Default for LintPolicy {
    fn default() -> Self {
        let fields = ["user_id", "user.id", "from.id", "from_id", "sender_id", "chat_id", "chat.id"];
        Self {
            identity_fields: fields.map(str::to_owned).to_vec(),
            exemptions: Vec::new(),
            unusable: BTreeMap::new(),
            refused_followers: BTreeMap::new(),
        }
    }
}

/// Looks at every rule; the findings are in the order of the files and of the places in them.
pub fn lint(set: &RuleSet, catalog: &Catalog, policy: &LintPolicy) -> Diagnostics {
    let overlaps = overlap::between_rules(set, catalog);
    let mut all = Vec::new();
    for (index, rule) in set.rules().iter().enumerate() {
        let mut lint = Lint { rule, catalog, policy, findings: rule.notes.clone() };
        lint.check_trigger();
        lint.check_steps();
        lint.check_references();
        lint.check_reachable();
        lint.check_open_trigger();
        lint.check_exemptions();
        lint.check_approvals();
        lint.check_followers();
        lint.check_secrets();
        let mut findings = lint.findings;
        findings.extend(overlaps.iter().filter(|(at, _)| *at == index).map(|(_, one)| one.clone()));
        findings.sort_by_key(|one| (one.span.start, one.span.end));
        all.extend(findings);
    }
    Diagnostics::new(all)
}

/// One rule being looked at.
struct Lint<'a> {
    rule: &'a Rule,
    catalog: &'a Catalog,
    policy: &'a LintPolicy,
    findings: Vec<Diagnostic>,
}

impl Lint<'_> {
    fn report(
        &mut self,
        severity: Severity,
        code: Code,
        path: &[&str],
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let place = self.rule.place(path);
        let bare = Diagnostic::new(severity, code, &self.rule.source, place, message);
        self.findings.push(bare.maybe_help(help));
    }

    /// Narrows the last finding to the reference it is about, where that stands as it is in the
    /// marked text.
    fn narrow(&mut self, reference: &Path) {
        let Some(last) = self.findings.last_mut() else {
            return;
        };
        let wanted = reference.to_string();
        let marked = self.rule.source.text.get(last.span.clone());
        if let Some(at) = marked.and_then(|text| text.find(&wanted)) {
            let start = last.span.start + at;
            last.span = start..start + wanted.len();
        }
    }

    fn error(&mut self, code: Code, path: &[&str], message: String, help: Option<String>) {
        self.report(Severity::Error, code, path, message, help);
    }

    fn warn(&mut self, code: Code, path: &[&str], message: String, help: Option<String>) {
        self.report(Severity::Warning, code, path, message, help);
    }
}

/// Every step of a rule with its path in the file.
fn steps_with_paths(rule: &Rule) -> Vec<(Vec<String>, &Step)> {
    let mut all = Vec::new();
    for (index, step) in rule.steps().iter().enumerate() {
        let path = vec!["actions".to_owned(), index.to_string()];
        for (handler, inner) in step.on_error.steps().iter().enumerate() {
            let mut path = path.clone();
            path.extend(["on_error".to_owned(), handler.to_string()]);
            all.push((path, inner));
        }
        all.push((path, step));
    }
    all
}

/// A path with more keys below it.
fn below<'a>(path: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    path.iter().map(String::as_str).chain(more.iter().copied()).collect()
}
