//! Rules written for Springtale.

use std::path::Path;

use connector_rules::{Catalog, Code, LintPolicy, Next, RuleSet, SourceFile, StepOutcome, lint};
use serde_json::json;

use crate::support::{fired, message, one, refused, scope};

const THEIRS: &str = r#"
id = "0b6f0a9e-8f5e-4f4e-9d51-0c8a5f3b7c11"
name = "moved"
description = "written for Springtale"
status = "enabled"
version = 3

[trigger]
type = "ConnectorEvent"
connector = "connector-telegram"
event = "message_received"

[[conditions]]
type = "And"
conditions = [
  { type = "Contains", field = "text", value = "/fix" },
  { type = "Or", conditions = [
    { type = "Regex", field = "text", pattern = "^/fix\\b" },
    { type = "FieldEquals", field = "chat.id", value = 7 },
  ] },
]

[[conditions]]
type = "DayOfWeek"
days = [1, 2, 3, 4, 5]

[[actions]]
type = "RunConnector"
connector = "connector-opencode"
action = "run_task"
[actions.params]
prompt = "${trigger.text}"

[[actions]]
type = "SendMessage"
text = "done"
"#;

#[test]
fn their_spelling_means_what_ours_does() {
    let set = one(THEIRS);
    assert_eq!(fired(&set, &message(json!({"text": "/fix it"}))), ["moved"]);
    assert!(fired(&set, &message(json!({"text": "please /fix it"}))).is_empty());
    let in_chat = json!({"text": "please /fix it", "chat": {"id": 7}});
    assert_eq!(fired(&set, &message(in_chat)), ["moved"]);
}

#[test]
fn printing_a_rule_writes_it_in_our_spelling() {
    insta::assert_snapshot!(one(THEIRS).rules()[0].definition().print().unwrap());
}

#[test]
fn the_linter_names_our_spelling_for_each_of_theirs() {
    let findings = lint(&one(THEIRS), &Catalog::default(), &LintPolicy::default());
    let aliases: Vec<_> = findings
        .iter()
        .filter(|one| one.code == Code::Alias)
        .map(|one| {
            let help = one.help.as_deref().unwrap_or_default();
            format!("{}: {}; {help}", one.start().line, one.message)
        })
        .collect();
    insta::assert_snapshot!(aliases.join("\n"));
}

#[test]
fn a_draft_does_not_fire() {
    let draft = THEIRS.replace("\"enabled\"", "\"draft\"");
    assert!(fired(&one(&draft), &message(json!({"text": "/fix it"}))).is_empty());
}

/// The shapes of the rules that are public, each a file of its own: what loads, and why the others do not.
#[test]
fn each_public_shape_loads_or_is_refused_with_words_of_what_to_write() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/springtale");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert_eq!(paths.len(), 43);
    let mut table = String::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let file = SourceFile::new(name.as_str(), std::fs::read_to_string(&path).unwrap());
        match RuleSet::parse([file]) {
            Ok(_) => table.push_str(&format!("{name}: loads\n")),
            Err(wrong) => {
                table.push_str(&format!("{name}: refused\n"));
                for one in &wrong {
                    if one.severity == connector_rules::Severity::Error {
                        let help = one.help.as_deref().unwrap_or_else(|| panic!("no help: {one}"));
                        table.push_str(&format!("  {}: {}: {help}\n", one.start().line, one.message));
                    }
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}

const CHAIN: &str = r#"
name = "chained"
[trigger]
type = "ConnectorEvent"
connector = "connector-telegram"
event = "message_received"
[[actions]]
type = "Chain"
steps = [
  { type = "RunConnector", connector = "connector-opencode", action = "run_task", params = { prompt = "${trigger.text}" } },
  { type = "Chain", steps = [
    { type = "SendMessage", text = "Working on it: run ${run_id}" },
    { type = "Reply", text = "Done: ${last_connector_output.reply}" },
  ] },
]
[[actions]]
type = "RunConnector"
connector = "connector-opencode"
action = "continue_session"
params = { session_id = "${last_connector_output.session_id}", prompt = "${last_connector_output}" }
"#;

#[test]
fn a_chain_is_its_steps_and_the_last_output_is_that_of_the_last_connector() {
    let set = one(CHAIN);
    let rule = &set.rules()[0];
    assert_eq!(rule.steps().len(), 4);
    let event = message(json!({ "text": "mend it" }));
    let output = json!({ "session_id": "ses_1", "reply": "Mended." });
    let mut outcomes = vec![StepOutcome::succeeded(&rule.steps()[0], output.clone())];
    let mut inputs = Vec::new();
    for _ in 1..4 {
        let scope = scope(rule, &event, &outcomes);
        let Next::Run(step) = rule.next(&scope) else { panic!("a step is left") };
        inputs.push(step.resolve(&scope).unwrap());
        outcomes.push(StepOutcome::succeeded(step, json!(null)));
    }
    assert_eq!(
        inputs,
        [
            json!("Working on it: run run_1"),
            json!("Done: Mended."),
            json!({ "session_id": "ses_1", "prompt": output }),
        ]
    );
}

#[test]
fn the_last_message_is_the_reply_of_the_last_connector() {
    let rule = CHAIN.replace("${last_connector_output.reply}", "${last_connector_message}");
    assert_eq!(one(&rule).rules()[0].version(), one(CHAIN).rules()[0].version());
    let wrong = refused(&CHAIN.replace("${last_connector_output.reply}", "${last_connector_message.text}"));
    assert!(wrong.iter().any(|one| one.message.contains("it is a text")), "{wrong}");
}

#[test]
fn their_webhook_fires_on_its_path_and_reads_what_the_body_says() {
    let file = include_str!("../fixtures/springtale/webhook-fan-out.toml");
    let set = one(file);
    let path = set.rules()[0].webhook().unwrap();
    assert_eq!(path.as_str(), "/deploys");
    let event = path.event("d1", &serde_json::Map::new(), json!({ "version": "1.2" }));
    assert_eq!(fired(&set, &event), ["webhook-fan-out"]);
    let rule = &set.rules()[0];
    let input = rule.steps()[0].resolve(&scope(rule, &event, &[])).unwrap();
    assert_eq!(input["text"], "Deployed 1.2");
    let elsewhere = connector_rules::HookPath::parse("/deploy").unwrap();
    let event = elsewhere.event("d1", &serde_json::Map::new(), json!({}));
    assert!(fired(&set, &event).is_empty());
}

#[test]
fn the_linter_shows_a_step_of_a_chain_where_it_stands() {
    let text = CHAIN.replace("connector-opencode\", action = \"run_task", "nobody\", action = \"run_task");
    let findings = lint(&one(&text), &Catalog::default(), &LintPolicy::default());
    let lines: Vec<_> = findings
        .iter()
        .filter(|one| one.code == Code::Secret || one.code == Code::UnknownConnector)
        .map(|one| one.start().line)
        .collect();
    assert!(lines.contains(&10), "{}", findings.render(false));
}

#[test]
fn what_a_chain_cannot_be_is_refused() {
    for (chain, words) in [
        ("type = \"Chain\"", "a `Chain` needs the key `steps`"),
        ("type = \"Chain\"\nsteps = []", "a `Chain` has at least one step"),
        ("type = \"Chain\"\nsteps = 1", "`steps` is a list, not a whole number"),
        ("type = \"Chain\"\nname = \"a\"\nsteps = [{ type = \"Reply\", text = \"a\" }]", "has no key `name`"),
        (
            "type = \"Chain\"\nsteps = [{ type = \"Chain\", steps = [{ type = \"Chain\", steps = [{ type = \"Chain\", \
             steps = [{ type = \"Chain\", steps = [{ type = \"Reply\", text = \"a\" }] }] }] }] }]",
            "chains nest at most 4 deep",
        ),
    ] {
        let rule = format!(
            "name = \"x\"\n[trigger]\ntype = \"Cron\"\nexpression = \"0 1 * * *\"\n[[actions]]\n{chain}\n"
        );
        let wrong = refused(&rule);
        assert!(wrong.iter().any(|one| one.message.contains(words)), "{words}: {wrong}");
    }
}

#[test]
fn what_would_mean_something_else_here_is_refused_with_words() {
    let chat = "name = \"x\"\n[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"connector-telegram\"\n\
                event = \"message_received\"\n";
    let run = |rest: &str| {
        format!(
            "type = \"RunConnector\"\nconnector = \"connector-opencode\"\naction = \"run_task\"\n\
             params = {{ prompt = \"${{trigger.text}}\" }}\n{rest}"
        )
    };
    let again = "{ type = \"RunConnector\", connector = \"connector-opencode\", action = \"run_task\", \
                 params = { prompt = \"again\" } }";
    for (steps, words) in [
        (
            "[[actions]]\ntype = \"Notify\"\ntitle = \"a\"\nbody = \"b\"\n".to_owned(),
            "this rule has no chat of theirs",
        ),
        (
            format!(
                "[[actions]]\n{}",
                run(&format!(
                    "on_error = [{again}, {{ type = \"Reply\", text = \"${{last_connector_output.reply}}\" }}]\n"
                ))
            ),
            "would be that of a step of this `on_error`",
        ),
        (
            format!(
                "[[actions]]\n{}",
                run(
                    "on_error = [{ type = \"Chain\", steps = [{ type = \"Reply\", name = \"a\", text = \"a\" }, \
                     { type = \"Reply\", name = \"a\", text = \"a\" }] }]\n"
                )
            ),
            "`a`",
        ),
    ] {
        let wrong = refused(&format!("{chat}{steps}"));
        assert!(wrong.iter().any(|one| one.message.contains(words)), "{words}: {wrong}");
    }
}

#[test]
fn either_of_two_words_switches_a_rule_off() {
    for (written, enabled) in [
        ("", true),
        ("enabled = true\n", true),
        ("enabled = false\n", false),
        ("status = \"enabled\"\n", true),
        ("status = \"disabled\"\n", false),
        ("enabled = false\nstatus = \"enabled\"\n", false),
        ("enabled = true\nstatus = \"disabled\"\n", false),
    ] {
        let rule = format!(
            "[rule]\nname = \"x\"\n{written}[trigger]\ntype = \"Cron\"\nexpression = \"0 1 * * *\"\n\
             [[actions]]\ntype = \"Reply\"\ntext = \"a\"\n"
        );
        assert_eq!(one(&rule).rules()[0].enabled(), enabled, "{written:?}");
    }
}
