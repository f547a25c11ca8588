//! `rules lint`.

use std::io::Write as _;

use connector_rules::{Diagnostics, Severity, lint};
use serde_json::json;

use super::super::Common;
use super::known::Known;
use crate::exit::{Exit, Failure};

/// Reports every finding. Rules that do not load are findings as well.
pub(super) fn run(common: &Common, known: &Known, deny_warnings: bool) -> Result<Exit, Failure> {
    let (findings, rules) = match known.parse() {
        Ok(rules) => (lint(&rules, &known.plan.catalog, &known.policy(&rules)), Some(rules.rules().len())),
        Err(wrong) => (wrong, None),
    };
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if common.json {
        let report = json!({ "rules": rules, "errors": errors, "warnings": warnings, "findings": findings });
        common.print(&report, |_| String::new())?;
    } else {
        write!(anstream::stdout(), "{}", findings.render(true))?;
        writeln!(anstream::stdout(), "{}", summary(rules, errors, warnings, &findings))?;
    }
    Ok(if errors > 0 || (deny_warnings && warnings > 0) { Exit::Failed } else { Exit::Done })
}

fn summary(rules: Option<usize>, errors: usize, warnings: usize, findings: &Diagnostics) -> String {
    let subject = match rules {
        Some(1) => "1 rule".to_owned(),
        Some(rules) => format!("{rules} rules"),
        None => "the rules do not load".to_owned(),
    };
    let advice = findings.len().saturating_sub(errors + warnings);
    let counts = [(errors, "error"), (warnings, "warning"), (advice, "piece of advice")];
    let said: Vec<String> =
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| plural(count, what)).collect();
    if said.is_empty() {
        format!("{subject}, nothing to report")
    } else {
        format!("{subject}: {}", said.join(", "))
    }
}

fn plural(count: usize, what: &str) -> String {
    match (count, what) {
        (1, _) => format!("1 {what}"),
        (_, "piece of advice") => format!("{count} pieces of advice"),
        _ => format!("{count} {what}s"),
    }
}
