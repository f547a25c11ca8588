//! `[[tests]]`, run.
//!
//! An example walks the same path as the host: match, [`Rule::next`], [`Step::resolve`]. What the
//! steps give back comes from the example, so nothing runs.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::condition::same;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use crate::event::Event;
use crate::plan::Next;
use crate::rule::{ExpectedStep, Rule, Step, TestCase};
use crate::ruleset::{RuleSet, Verdict};
use crate::scope::{Scope, StepOutcome};
use jiff::Timestamp;

/// What came of one example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// The rule.
    pub rule: String,
    /// The example.
    pub test: String,
    /// What did not hold; nothing when it passed.
    pub failures: Diagnostics,
}

impl TestReport {
    /// Whether everything held.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl RuleSet {
    /// Runs every example of every rule, also of rules that are switched off.
    pub fn run_tests(&self) -> Vec<TestReport> {
        let rules = self.rules().iter();
        rules
            .flat_map(|rule| {
                let cases = rule.tests().iter().enumerate();
                cases.map(|(index, case)| Run::new(self, rule, case, index).report())
            })
            .collect()
    }
}

/// The time of an example that does not say one: 2026-01-01T00:00:00Z.
const WHEN: i64 = 1_767_225_600;

/// One example being run.
struct Run<'a> {
    set: &'a RuleSet,
    rule: &'a Rule,
    case: &'a TestCase,
    index: String,
    event: Event,
    now: Timestamp,
    failures: Vec<Diagnostic>,
}

impl<'a> Run<'a> {
    fn new(set: &'a RuleSet, rule: &'a Rule, case: &'a TestCase, index: usize) -> Self {
        let now = case.now.unwrap_or_else(|| Timestamp::from_second(WHEN).unwrap_or(Timestamp::UNIX_EPOCH));
        Self {
            set,
            rule,
            case,
            index: index.to_string(),
            event: event_of(rule, case, now),
            now,
            failures: Vec::new(),
        }
    }

    fn report(mut self) -> TestReport {
        self.check_firing();
        self.check_rules();
        if self.failures.is_empty() {
            self.check_steps();
        }
        TestReport {
            rule: self.rule.name().to_owned(),
            test: self.case.name.clone(),
            failures: Diagnostics::new(self.failures),
        }
    }

    fn check_firing(&mut self) {
        let verdict = self.rule.verdict_if_enabled(&self.event, self.now);
        match (self.case.fires, verdict) {
            (true, Verdict::ConditionFailed(failure)) => {
                self.fail(&[], "it does not fire", Some(failure.to_string()));
            }
            (true, Verdict::OtherTrigger { wants, saw }) => {
                self.fail(&[], &format!("it waits for {wants}, not {saw}"), None);
            }
            (false, Verdict::Fired) => self.fail(&["fires"], "it fires", None),
            _ => {}
        }
    }

    fn check_rules(&mut self) {
        let Some(wanted) = &self.case.rules else {
            return;
        };
        let fired: Vec<_> =
            self.set.matching(&self.event, self.now).map(|rule| rule.name().to_owned()).collect();
        let mut sorted = (wanted.clone(), fired.clone());
        sorted.0.sort();
        sorted.1.sort();
        if sorted.0 != sorted.1 {
            let message = if fired.is_empty() {
                "no rule fires".to_owned()
            } else {
                format!("the rules that fire are {}", fired.join(", "))
            };
            self.fail(&["rules"], &message, None);
        }
    }

    /// Walks the run until every expected step has been met.
    fn check_steps(&mut self) {
        let mut open: Vec<usize> = (0..self.case.steps.len()).collect();
        let mut outcomes = Vec::new();
        let event = self.event.clone();
        while !open.is_empty() {
            let scope = Scope {
                event: &event,
                rule: self.rule.name(),
                run_id: "run_test",
                now: self.now,
                steps: &outcomes,
            };
            let (step, skipped) = match self.rule.next(&scope) {
                Next::Run(step) => (step, None),
                Next::Skip { step, because } => (step, Some(because)),
                Next::Finished(_) => break,
            };
            let at = open.iter().position(|at| self.expects(*at, step));
            let expected = at.map(|at| open.remove(at));
            let outcome = match skipped {
                Some(because) => {
                    if let Some(at) = expected.filter(|at| !self.case.steps[*at].skipped) {
                        let help = Some(because.to_string());
                        self.fail_step(at, "step", "the step is skipped", help);
                    }
                    StepOutcome::skipped(step)
                }
                None => self.run_step(step, expected, &scope),
            };
            outcomes.push(outcome);
        }
        for at in open {
            self.fail_step(at, "step", "the run does not come to this step", None);
        }
    }

    fn expects(&self, at: usize, step: &Step) -> bool {
        let wanted = &self.case.steps[at].step;
        let by_place = step.number().map(|number| format!("step{number}"));
        wanted == step.label() || Some(wanted) == by_place.as_ref()
    }

    fn run_step(&mut self, step: &Step, at: Option<usize>, scope: &Scope<'_>) -> StepOutcome {
        let nothing = ExpectedStep::default();
        let case = self.case;
        let expected = at.map_or(&nothing, |at| &case.steps[at]);
        let resolved = match step.resolve(scope) {
            Ok(resolved) => resolved,
            Err(error) => {
                let why = error.source.to_string();
                if !expected.unresolved {
                    let message = format!("step `{}` fails: {error}", step.label());
                    match at {
                        Some(at) => self.fail_step(at, "step", &message, Some(why.clone())),
                        None => self.fail(&["steps"], &message, Some(why.clone())),
                    }
                }
                return StepOutcome::failed(step, why);
            }
        };
        if let Some(at) = at {
            if expected.unresolved {
                self.fail_step(at, "unresolved", "every reference has a value", None);
            }
            if expected.skipped {
                self.fail_step(at, "skipped", "the step runs", None);
            }
            if let Some(input) = &expected.input
                && !same(input, &resolved)
            {
                let message = difference(input, &resolved);
                let help = Some(format!("the whole input is {resolved}"));
                self.fail_step(at, "input", &message, help);
            }
        }
        if let Some(error) = &expected.error {
            return StepOutcome::failed(step, error);
        }
        let output = expected.output.clone();
        StepOutcome::succeeded(step, output.unwrap_or_else(|| json!({})))
    }

    fn fail_step(&mut self, at: usize, key: &str, message: &str, help: Option<String>) {
        self.fail(&["steps", &at.to_string(), key], message, help);
    }

    fn fail(&mut self, path: &[&str], message: &str, help: Option<String>) {
        let mut place = vec!["tests", self.index.as_str()];
        place.extend(if path.is_empty() { &["name"] } else { path });
        let bare = Diagnostic::new(
            Severity::Error,
            Code::FailedTest,
            &self.rule.source,
            self.rule.place(&place),
            format!("{:?} does not hold: {message}", self.case.name),
        );
        self.failures.push(bare.maybe_help(help));
    }
}

/// The event of an example, filled up with what the rule's trigger wants.
fn event_of(rule: &Rule, case: &TestCase, now: Timestamp) -> Event {
    let (connector, name) = rule.listens_to();
    let given = &case.event;
    let payload = match rule.schedule() {
        Some(schedule) if given.payload.is_empty() => schedule.event(rule.name(), now).payload,
        _ => Value::Object(given.payload.clone()),
    };
    Event {
        id: given.id.clone().unwrap_or_else(|| "evt_test".to_owned()),
        connector: given.connector.clone().unwrap_or_else(|| connector.to_owned()),
        event: given.event.clone().unwrap_or_else(|| name.to_owned()),
        payload,
        reply: given.reply.clone(),
    }
}

/// The first difference between two inputs, in words.
fn difference(wanted: &Value, found: &Value) -> String {
    let (Value::Object(wanted), Value::Object(found)) = (wanted, found) else {
        return format!("the input is {found}, not {wanted}");
    };
    let missing = |have: &Map<String, Value>, key: &String| !have.contains_key(key);
    if let Some(key) = wanted.keys().find(|key| missing(found, key)) {
        return format!("the input has no `{key}`");
    }
    if let Some(key) = found.keys().find(|key| missing(wanted, key)) {
        return format!("the input has `{key}` too");
    }
    let differs = wanted
        .iter()
        .find_map(|(key, value)| Some((key, value, found.get(key)?)).filter(|(_, w, f)| !same(w, f)));
    differs.map_or_else(
        || "the input differs".to_owned(),
        |(key, wanted, found)| format!("`{key}` is {found}, not {wanted}"),
    )
}
