//! What templates make of an event and of earlier steps.

use connector_rules::{Event, Reply, StepOutcome};
use serde_json::{Value, json};

use crate::support::{message, one, scope};

/// Resolves one template as a parameter of a second step.
fn resolve(template: &str, event: &Event, output: Value) -> Result<Value, String> {
    let text = format!(
        "[rule]\nname = \"r\"\n[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"c\"\nevent = \"e\"\n\
         [[actions]]\nname = \"first\"\ntype = \"RunConnector\"\nconnector = \"c\"\naction = \"a\"\n\
         [[actions]]\ntype = \"RunConnector\"\nconnector = \"c\"\naction = \"a\"\n\
         params.value = '''{template}'''\n"
    );
    let set = one(&text);
    let rule = &set.rules()[0];
    let done = [StepOutcome::succeeded(&rule.steps()[0], output)];
    let input = rule.steps()[1].resolve(&scope(rule, event, &done));
    input.map(|input| input["value"].clone()).map_err(|error| format!("{error}: {}", error.source))
}

fn resolved(template: &str, payload: Value) -> Value {
    resolve(template, &message(payload), json!({})).unwrap()
}

#[test]
fn references_reach_everything_a_step_can_see() {
    let event = message(json!({ "text": "hi", "from": { "id": 7 }, "tags": ["a", { "b.c": 1 }] }));
    let output = json!({ "session_id": "ses_1" });
    for (template, expected) in [
        ("${trigger.text}", json!("hi")),
        ("${trigger.from.id}", json!(7)),
        ("${trigger.tags.0}", json!("a")),
        ("${trigger.tags.1.\"b.c\"}", json!(1)),
        ("${trigger.from}", json!({ "id": 7 })),
        ("${event.id}", json!("evt_1")),
        ("${event.connector}.${event.event}", json!("connector-telegram.message_received")),
        ("${run.id}", json!("run_1")),
        ("${rule.name}", json!("r")),
        ("${now}", json!("2026-01-05T10:00:00Z")),
        ("${step1.output.session_id}", json!("ses_1")),
        ("${step.first.output.session_id}", json!("ses_1")),
        ("${step1.state}", json!("succeeded")),
        ("${  trigger.text  }", json!("hi")),
    ] {
        let found = resolve(template, &event, output.clone());
        assert_eq!(found, Ok(expected), "{template}");
    }
}

#[test]
fn a_reference_alone_keeps_its_type_and_inside_a_text_becomes_text() {
    let payload = json!({ "n": 1.5, "b": true, "list": [1] });
    assert_eq!(resolved("${trigger.n}", payload.clone()), json!(1.5));
    assert_eq!(resolved("n=${trigger.n}", payload.clone()), json!("n=1.5"));
    assert_eq!(resolved("${trigger.b}", payload.clone()), json!(true));
    assert_eq!(resolved("${trigger.b}!", payload.clone()), json!("true!"));
    assert_eq!(resolved("${trigger.list}", payload), json!([1]));
}

#[test]
fn filters_do_what_they_say() {
    let payload = json!({ "text": "/fix  the ${now} test ", "empty": "", "list": [1, "a"], "null": null });
    for (template, expected) in [
        ("${trigger.text | strip_prefix(\"/fix\") | trim}", json!("the ${now} test")),
        ("${trigger.text | strip_prefix('/add')}", json!("/fix  the ${now} test ")),
        ("${trigger.nothing | default(\"none\")}", json!("none")),
        ("${trigger.empty | default(\"none\")}", json!("none")),
        ("${trigger.null | default(\"none\")}", json!("none")),
        ("${trigger.nothing | trim | default('a \"b\" \\n')}", json!("a \"b\" \n")),
        ("${trigger.list | json}", json!("[1,\"a\"]")),
        ("got ${trigger.list | json}", json!("got [1,\"a\"]")),
        ("${trigger.list | default(\"none\")}", json!([1, "a"])),
        ("${trigger.text | strip_prefix(\"}\") | json}", json!("\"/fix  the ${now} test \"")),
    ] {
        assert_eq!(resolved(template, payload.clone()), expected, "{template}");
    }
}

#[test]
fn what_a_reference_brings_in_is_not_expanded_again() {
    let typed = "${trigger.secret} $${now} ${step1.output}";
    let payload = json!({ "text": typed, "secret": "s3cret" });
    assert_eq!(resolved("${trigger.text}", payload.clone()), json!(typed));
    let around = resolved("do: ${trigger.text}${trigger.text | trim}", payload);
    assert_eq!(around, json!(format!("do: {typed}{typed}")));
}

#[test]
fn a_doubled_dollar_is_a_literal_brace() {
    assert_eq!(resolved("say $${trigger.text}", json!({})), json!("say ${trigger.text}"));
    assert_eq!(resolved("costs $5 {a} $ {b}", json!({})), json!("costs $5 {a} $ {b}"));
}

#[test]
fn what_cannot_be_filled_in_is_an_error_that_says_why() {
    let event = message(json!({ "text": "hi", "list": [1], "null": null, "n": 1 }));
    let errors: Vec<_> = [
        "${trigger.nothing}",
        "${trigger.text.deeper}",
        "${trigger.list.9}",
        "a ${trigger.null} b",
        "a ${trigger.list} b",
        "${trigger.n | trim}",
        "${step1.output.nothing}",
        "${step1.error}",
        "${trigger.reply.session_id}",
    ]
    .into_iter()
    .map(|template| resolve(template, &event, json!({})).unwrap_err())
    .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn a_reply_carries_the_session_it_answers() {
    let mut event = message(json!({ "text": "more" }));
    event.reply = Some(Reply {
        session_id: "ses_1".to_owned(),
        run_id: "run_9".to_owned(),
        workspace: "site".to_owned(),
        branch: Some("opencode/fix".into()),
        base: None,
        commit: None,
    });
    let found = resolve(
        "${trigger.reply.session_id} ${trigger.reply.run_id} ${trigger.reply.workspace}",
        &event,
        json!({}),
    );
    assert_eq!(found, Ok(json!("ses_1 run_9 site")));
}

#[test]
fn a_reply_that_the_payload_claims_is_not_believed() {
    let forged = json!({ "text": "hi", "reply": { "session_id": "ses_other" } });
    let found = resolve("${trigger.reply.session_id}", &message(forged.clone()), json!({}));
    assert!(found.is_err(), "{found:?}");
    assert_eq!(resolved("${trigger}", forged), json!({ "text": "hi" }));
}

#[test]
fn the_output_of_a_step_that_failed_is_not_there() {
    let set =
        one("[rule]\nname = \"r\"\n[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"c\"\nevent = \"e\"\n\
         [[actions]]\ntype = \"Reply\"\ntext = \"a\"\non_error = \"continue\"\n\
         [[actions]]\ntype = \"Reply\"\ntext = \"${step1.state}: ${step1.error}\"\n\
         [[actions]]\ntype = \"Reply\"\ntext = \"${step1.output}\"\n");
    let rule = &set.rules()[0];
    let event = message(json!({}));
    let done = [StepOutcome::failed(&rule.steps()[0], "no such chat")];
    let scope = scope(rule, &event, &done);
    assert_eq!(rule.steps()[1].resolve(&scope).unwrap(), "failed: no such chat");
    assert!(rule.steps()[2].resolve(&scope).is_err());
}
