//! Any template over any message: resolving never panics, and what a message says is brought in
//! exactly as it stands.
#![no_main]

use connector_rules::{Event, RuleSet, Scope, SourceFile, Timestamp};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fn resolve(template: &str, message: &str) -> Option<Value> {
    let quoted = toml::Value::String(template.to_owned());
    let text = format!(
        "[rule]\nname = \"r\"\n[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"c\"\nevent = \"e\"\n\
         [[actions]]\ntype = \"RunConnector\"\nconnector = \"c\"\naction = \"a\"\nparams.value = {quoted}\n"
    );
    let set = RuleSet::parse([SourceFile::new("rule.toml", text)]).ok()?;
    let event = Event {
        id: "evt_1".to_owned(),
        connector: "c".to_owned(),
        event: "e".to_owned(),
        payload: json!({ "text": message, "list": [message], "n": 1, "null": null }),
        reply: None,
    };
    let scope =
        Scope { event: &event, rule: "r", run_id: "run_1", now: Timestamp::UNIX_EPOCH, steps: &[] };
    let input = set.rules()[0].steps()[0].resolve(&scope).ok()?;
    Some(input["value"].clone())
}

fuzz_target!(|input: (&str, &str)| {
    let (template, message) = input;
    let _ = resolve(template, message);
    let around = resolve("a${trigger.text}b ${trigger.list.0}", message);
    assert_eq!(around, Some(json!(format!("a{message}b {message}"))));
});
