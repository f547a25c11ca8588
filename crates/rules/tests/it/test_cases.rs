//! `[[tests]]`: what passes, and how what does not is shown.

use connector_rules::{RuleSet, SourceFile};

use crate::support::one;

const RULE: &str = r#"[rule]
name = "fix"

[trigger]
type = "ConnectorEvent"
connector = "connector-telegram"
event = "message_received"

[[conditions]]
type = "FieldStartsWith"
field = "trigger.text"
value = "/fix"

[[actions]]
name = "run"
type = "RunConnector"
connector = "connector-opencode"
action = "run_task"
params.prompt = '${trigger.text | strip_prefix("/fix") | trim}'
params.title = "a fix"
[[actions.on_error]]
name = "sorry"
type = "Reply"
text = "it failed: ${step.run.error}"

[[actions]]
type = "Reply"
text = "session ${step.run.output.session_id}"
when = { type = "FieldExists", field = "step.run.output.session_id" }
"#;

/// What the tests of the rule come to, each with its failures.
fn results(tests: &str) -> String {
    let set = one(&format!("{RULE}\n{tests}"));
    let lines: Vec<_> = set
        .run_tests()
        .iter()
        .map(|report| {
            let verdict = if report.passed() { "ok" } else { "FAILED" };
            format!("{}: {verdict}\n{}", report.test, report.failures.render(false))
        })
        .collect();
    lines.join("")
}

#[test]
fn examples_that_hold_pass() {
    insta::assert_snapshot!(results(
        r#"
[[tests]]
name = "a fix runs and is reported"
event.payload.text = "/fix it"
steps = [
  { step = "run", input = { prompt = "it", title = "a fix" }, output = { session_id = "ses_1" } },
  { step = "step2", input = "session ses_1" },
]
[[tests]]
name = "a fix that fails is reported"
event.payload.text = "/fix it"
steps = [
  { step = "step1", error = "no daemon" },
  { step = "sorry", input = "it failed: no daemon" },
]
[[tests]]
name = "no session, no report"
event.payload.text = "/fix it"
steps = [{ step = "run" }, { step = "step2", skipped = true }]
[[tests]]
name = "chatter is left alone"
event.payload.text = "hello"
fires = false
rules = []
[[tests]]
name = "another connector is left alone"
event = { connector = "connector-slack", payload = { text = "/fix it" } }
fires = false
"#
    ));
}

#[test]
fn examples_that_do_not_hold_say_what_was_found() {
    insta::assert_snapshot!(results(
        r#"
[[tests]]
name = "it should have fired"
event.payload.text = "hello"
[[tests]]
name = "it should have been silent"
event.payload.text = "/fix it"
fires = false
[[tests]]
name = "other rules"
event.payload.text = "/fix it"
rules = ["fix", "more"]
[[tests]]
name = "other input"
event.payload.text = "/fix it"
steps = [{ step = "run", input = { prompt = "/fix it", title = "a fix" } }]
[[tests]]
name = "less input"
event.payload.text = "/fix it"
steps = [{ step = "run", input = { prompt = "it" } }]
[[tests]]
name = "a step that is skipped"
event.payload.text = "/fix it"
steps = [{ step = "step2", input = "session x" }]
[[tests]]
name = "a step that is never reached"
event.payload.text = "/fix it"
steps = [{ step = "run", output = { session_id = "s" } }, { step = "sorry" }]
[[tests]]
name = "a step that runs"
event.payload.text = "/fix it"
steps = [{ step = "run", skipped = true }]
[[tests]]
name = "resolved after all"
event.payload.text = "/fix it"
steps = [{ step = "run", unresolved = true }]
"#
    ));
}

#[test]
fn a_rule_that_is_switched_off_is_tested_all_the_same() {
    let off = RULE.replace("name = \"fix\"\n", "name = \"fix\"\nenabled = false\n");
    let text = format!("{off}[[tests]]\nname = \"fires\"\nevent.payload.text = \"/fix\"\n");
    let set = RuleSet::parse([SourceFile::new("off.toml", text)]).unwrap();
    assert!(set.run_tests()[0].passed());
}
