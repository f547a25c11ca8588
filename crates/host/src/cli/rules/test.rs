//! `rules test`.

use std::io::Write as _;

use connector_rules::TestReport;
use serde_json::json;

use super::super::Common;
use super::known::Known;
use crate::exit::{Exit, Failure};

/// Runs every example of every rule, also of rules that are switched off.
pub(super) fn run(common: &Common, known: &Known) -> Result<Exit, Failure> {
    let rules = match known.parse() {
        Ok(rules) => rules,
        Err(wrong) => {
            if common.json {
                common.print(&json!({ "findings": wrong }), |_| String::new())?;
            } else {
                write!(anstream::stdout(), "{}", wrong.render(true))?;
                writeln!(anstream::stdout(), "the rules do not load; no test was run")?;
            }
            return Ok(Exit::Failed);
        }
    };
    let reports = rules.run_tests();
    let failed = reports.iter().filter(|report| !report.passed()).count();
    if common.json {
        let each = |report: &TestReport| json!({ "rule": report.rule, "test": report.test, "passed": report.passed(), "failures": report.failures });
        common.print(&reports.iter().map(each).collect::<Vec<_>>(), |_| String::new())?;
    } else {
        let untested = rules.rules().iter().filter(|rule| rule.tests().is_empty()).map(|rule| rule.name());
        print(&reports, failed, &untested.collect::<Vec<_>>())?;
    }
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
}

fn print(reports: &[TestReport], failed: usize, untested: &[&str]) -> Result<(), std::io::Error> {
    let mut out = anstream::stdout();
    for report in reports {
        let verdict = if report.passed() { "ok" } else { "FAILED" };
        writeln!(out, "{} · {} … {verdict}", report.rule, report.test)?;
        write!(out, "{}", report.failures.render(true))?;
    }
    if !untested.is_empty() {
        writeln!(out, "without tests: {}", untested.join(", "))?;
    }
    writeln!(out, "{} passed, {failed} failed", reports.len() - failed)
}
