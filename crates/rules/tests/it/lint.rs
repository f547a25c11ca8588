//! What the linter finds.

use connector_rules::{
    Catalog, CatalogAction, CatalogConnector, CatalogTrigger, ChatAddress, Exemption, LintPolicy, RuleSet,
    SourceFile, lint,
};
use serde_json::json;

fn catalog() -> Catalog {
    let opencode = CatalogConnector {
        actions: vec![
            CatalogAction {
                name: "run_task".to_owned(),
                read_only: false,
                input_schema: json!({
                    "type": "object",
                    "properties": {
                        "prompt": { "type": "string", "minLength": 1 },
                        "title": { "type": ["string", "null"] },
                        "limit": { "type": "integer" },
                    },
                    "required": ["prompt"],
                    "additionalProperties": false,
                }),
                output_schema: json!({
                    "type": "object",
                    "properties": {
                        "session_id": { "type": "string" },
                        "reply": { "type": "string" },
                        "files": { "type": "array", "items": { "$ref": "#/$defs/File" } },
                    },
                    "additionalProperties": false,
                    "$defs": { "File": {
                        "type": "object",
                        "properties": { "path": { "type": "string" } },
                        "additionalProperties": false,
                    } },
                }),
            },
            CatalogAction { name: "list_sessions".to_owned(), read_only: true, ..CatalogAction::default() },
        ],
        triggers: Vec::new(),
    };
    let telegram = CatalogConnector {
        actions: Vec::new(),
        triggers: vec![CatalogTrigger {
            name: "message_received".to_owned(),
            payload_schema: json!({
                "type": "object",
                "properties": {
                    "text": { "type": "string" },
                    "chat_id": { "type": "integer" },
                    "user_id": { "type": "integer" },
                    "from": { "anyOf": [{ "$ref": "#/$defs/User" }, { "type": "null" }] },
                },
                "$defs": { "User": {
                    "type": "object",
                    "properties": { "name": { "type": "string" } },
                    "additionalProperties": false,
                } },
            }),
            open: true,
        }],
    };
    Catalog {
        connectors: [
            ("connector-opencode".to_owned(), opencode),
            ("connector-telegram".to_owned(), telegram),
        ]
        .into(),
    }
}

fn set(files: &[(&str, String)]) -> RuleSet {
    let files = files.iter().map(|(name, text)| SourceFile::new(*name, text.as_str()));
    match RuleSet::parse(files) {
        Ok(set) => set,
        Err(wrong) => panic!("{}", wrong.render(false)),
    }
}

/// A rule that nothing is wrong with, with some of it put in another way.
fn rule(name: &str, header: &str, conditions: &str, steps: &str) -> String {
    let conditions = if conditions.is_empty() { FROM_ME } else { conditions };
    let steps = if steps.is_empty() { RUN } else { steps };
    format!(
        "[rule]\nname = \"{name}\"\n{header}\n[trigger]\ntype = \"ConnectorEvent\"\n\
         connector = \"connector-telegram\"\nevent = \"message_received\"\n\n{conditions}\n{steps}"
    )
}

const FROM_ME: &str = "[[conditions]]\ntype = \"FieldEquals\"\nfield = \"trigger.user_id\"\nvalue = 7\n";
const RUN: &str = "[[actions]]\nname = \"run\"\ntype = \"RunConnector\"\n\
    connector = \"connector-opencode\"\naction = \"run_task\"\nparams.prompt = \"${trigger.text}\"\n";

fn found(text: String) -> String {
    found_in(&[("rule.toml", text)], &LintPolicy::default())
}

fn found_in(files: &[(&str, String)], policy: &LintPolicy) -> String {
    lint(&set(files), &catalog(), policy).render(false)
}

#[test]
fn a_rule_that_is_in_order_has_no_findings() {
    assert_eq!(found(rule("fine", "", "", "")), "");
}

#[test]
fn a_time_that_never_comes_is_found() {
    let cron = |expression: &str| {
        let trigger = format!("type = \"Cron\"\nexpression = \"{expression}\"\n");
        let text = rule("r", "", "", "").replace(FROM_ME, "").replace("${trigger.text}", "look");
        let event =
            "type = \"ConnectorEvent\"\nconnector = \"connector-telegram\"\nevent = \"message_received\"\n";
        assert!(text.contains(event));
        found(text.replace(event, &trigger))
    };
    for expression in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        assert!(cron(expression).contains("never comes"), "{expression}: {}", cron(expression));
    }
    for expression in ["0 0 29 2 *", "0 3 * * 1-5", "0 0 31 * *"] {
        assert_eq!(cron(expression), "", "{expression}");
    }
}

#[test]
fn a_command_that_is_looked_for_anywhere_in_a_message_is_found() {
    let broad = |field: &str, value: &str, kind: &str| {
        let condition = format!(
            "{FROM_ME}\n[[conditions]]\ntype = \"{kind}\"\nfield = \"{field}\"\nvalue = \"{value}\"\n"
        );
        found(rule("r", "", &condition, "")).contains("anywhere in a message")
    };
    assert!(
        broad("trigger.text", "/fix", "FieldContains") && broad("trigger.text", "/fix ", "FieldContains")
    );
    for (field, value, kind) in [
        ("trigger.text", "/fix", "FieldStartsWith"),
        ("trigger.text", "fix", "FieldContains"),
        ("trigger.text", "/src/main.rs", "FieldContains"),
    ] {
        assert!(!broad(field, value, kind), "{field} {value} {kind}");
    }
}

#[test]
fn a_step_whose_connector_cannot_work_is_found() {
    let unusable = [("connector-opencode".to_owned(), "its workspace is gone".to_owned())].into();
    let policy = LintPolicy { unusable, ..LintPolicy::default() };
    let told = found_in(&[("rule.toml", rule("r", "", "", ""))], &policy);
    assert!(told.contains("`connector-opencode` cannot work now: its workspace is gone"), "{told}");
}

#[test]
fn unknown_names_are_found() {
    let text = rule("r", "", "", RUN).replace("\"run_task\"", "\"run_tsk\"");
    insta::assert_snapshot!(found(text));
    let text = rule("r", "", "", RUN).replace("connector-opencode", "connector-opencod");
    insta::assert_snapshot!(found(text));
    let text = rule("r", "", "", RUN).replace("message_received", "message");
    insta::assert_snapshot!(found(text));
    let text = rule("r", "", "", RUN).replace("connector-telegram", "connector-irc");
    insta::assert_snapshot!(found(text));
}

#[test]
fn fields_that_events_and_outputs_do_not_have_are_found() {
    let steps = format!(
        "{RUN}params.title = \"by ${{trigger.from.nmae}} in ${{trigger.chatid}}\"\n\
         [[actions]]\ntype = \"Reply\"\n\
         text = \"${{step1.output.sesion_id}} ${{step1.output.files.0.path}} ${{step1.output.files.0.size}}\"\n"
    );
    let conditions = format!(
        "{FROM_ME}\n[[conditions]]\ntype = \"FieldContains\"\nfield = \"trigger.txt\"\nvalue = \"a\"\n"
    );
    insta::assert_snapshot!(found(rule("r", "", &conditions, &steps)));
}

#[test]
fn input_that_the_schema_refuses_is_found() {
    let steps = "[[actions]]\ntype = \"RunConnector\"\nconnector = \"connector-opencode\"\n\
                 action = \"run_task\"\n[actions.params]\nlimit = \"${trigger.text | trim}\"\n\
                 titel = \"a\"\ntitle = 7\n";
    insta::assert_snapshot!(found(rule("r", "", "", steps)));
}

#[test]
fn input_that_is_only_known_later_is_not_complained_about() {
    let steps = format!("{RUN}params.limit = \"${{trigger.chat_id}}\"\n");
    assert_eq!(found(rule("r", "", "", &steps)), "");
}

#[test]
fn an_output_that_may_be_missing_is_found() {
    let steps = format!(
        "{RUN}on_error = \"continue\"\n[[actions]]\ntype = \"Reply\"\ntext = \"${{step.run.output.reply}}\"\n\
         [[actions]]\ntype = \"Reply\"\ntext = '${{step.run.output.reply | default(\"-\")}}'\n\
         [[actions]]\ntype = \"Reply\"\ntext = \"${{step.run.output.reply}}\"\n\
         when = {{ type = \"FieldExists\", field = \"step.run.output.reply\" }}\n"
    );
    insta::assert_snapshot!(found(rule("r", "", "", &steps)));
}

#[test]
fn an_error_that_is_never_seen_is_found() {
    let steps = format!("{RUN}[[actions]]\ntype = \"Reply\"\ntext = \"${{step.run.error}}\"\n");
    insta::assert_snapshot!(found(rule("r", "", "", &steps)));
}

#[test]
fn conditions_that_no_event_meets_are_found() {
    let both = format!(
        "{FROM_ME}\n[[conditions]]\ntype = \"FieldIn\"\nfield = \"trigger.user_id\"\nvalues = [8, 9]\n"
    );
    insta::assert_snapshot!(found(rule("r", "", &both, "")));
    let none = "[[conditions]]\ntype = \"FieldIn\"\nfield = \"trigger.user_id\"\nvalues = []\n";
    insta::assert_snapshot!(found(rule("r", "", none, "")));
    let not = format!(
        "{FROM_ME}\n[[conditions]]\ntype = \"Not\"\ncondition = {{ type = \"FieldExists\", field = \"trigger.user_id\" }}\n"
    );
    insta::assert_snapshot!(found(rule("r", "", &not, "")));
}

#[test]
fn rules_that_do_what_others_do_are_found() {
    let narrower = format!(
        "{FROM_ME}\n[[conditions]]\ntype = \"FieldStartsWith\"\nfield = \"trigger.text\"\nvalue = \"/fix\"\n"
    );
    let files = [
        ("a.toml", rule("wide", "", "", "")),
        ("b.toml", rule("narrow", "", &narrower, "")),
        ("c.toml", rule("again", "", "", "")),
    ];
    insta::assert_snapshot!(found_in(&files, &LintPolicy::default()));
}

#[test]
fn a_rule_that_anybody_could_fire_is_found() {
    let by_text = "[[conditions]]\ntype = \"FieldStartsWith\"\nfield = \"trigger.text\"\nvalue = \"/fix\"\n";
    insta::assert_snapshot!(found(rule("r", "", by_text, "")));
    let either = "[[conditions]]\ntype = \"Any\"\nconditions = [\n\
        { type = \"FieldEquals\", field = \"trigger.user_id\", value = 7 },\n\
        { type = \"FieldIn\", field = \"trigger.chat_id\", values = [1] },\n]\n";
    assert_eq!(found(rule("r", "", either, "")), "");
    let reads = "[[actions]]\ntype = \"RunConnector\"\nconnector = \"connector-opencode\"\naction = \"list_sessions\"\n";
    assert_eq!(found(rule("r", "", by_text, reads)), "");
}

#[test]
fn an_action_that_runs_without_approval_is_found() {
    let policy = LintPolicy {
        exemptions: vec![Exemption {
            connector: "connector-opencode".to_owned(),
            action: None,
            rule: Some("r".to_owned()),
        }],
        ..LintPolicy::default()
    };
    let files = [("a.toml", rule("r", "", "", ""))];
    insta::assert_snapshot!(found_in(&files, &policy));
    let files = [("a.toml", rule("other", "", "", ""))];
    assert_eq!(found_in(&files, &policy), "");
}

#[test]
fn approvals_that_nobody_can_give_are_found() {
    insta::assert_snapshot!(found(rule("r", "approvers = []", "", "")));
    let two = "approvers = [\"console\", \"console\"]\napprovals_needed = 2";
    insta::assert_snapshot!(found(rule("r", two, "", "")));
    let other = "approvers = [\"telegram:7\"]\nrequire_other_approver = true";
    insta::assert_snapshot!(found(rule("r", other, "", "")));
}

#[test]
fn a_follower_that_the_host_may_not_tell_is_found() {
    let refused = ChatAddress::parse("telegram:-100").unwrap();
    let policy = LintPolicy {
        refused_followers: [(refused, "its surface does not have that chat".to_owned())].into(),
        ..LintPolicy::default()
    };
    let files = |header: &str| [("a.toml", rule("r", header, FROM_ME, ""))];
    insta::assert_snapshot!(found_in(&files("followers = [\"telegram:-200\", \"telegram:-100\"]"), &policy));
    assert_eq!(found_in(&files("followers = [\"telegram:-200\"]"), &policy), "");
}

#[test]
fn a_secret_is_found_and_not_shown() {
    let token = format!("sk-{}", "x1y2".repeat(6));
    let steps = format!("# ghp_abcdefghijklmnopqrstuvwx\n{RUN}params.title = \"{token}\"\n");
    let found = found(rule("r", "", "", &steps));
    assert!(!found.contains("abcdefghijkl") && !found.contains(&token), "{found}");
    insta::assert_snapshot!(found);
}

#[test]
fn a_condition_that_seems_to_fill_something_in_is_found() {
    let conditions = format!(
        "{FROM_ME}\n[[conditions]]\ntype = \"FieldContains\"\nfield = \"trigger.text\"\nvalue = \"${{trigger.user_id}}\"\n"
    );
    insta::assert_snapshot!(found(rule("r", "", &conditions, "")));
}
