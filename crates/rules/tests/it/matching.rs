//! Which rules an event fires: the index and a plain look at every rule agree.

use std::sync::Arc;

use connector_rules::{Rule, RuleSet, SourceFile};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{fired, message, now};

/// Conditions over few fields and values, so that events meet them often.
fn condition() -> impl Strategy<Value = String> {
    let field = prop_oneof![Just("trigger.text"), Just("trigger.chat"), Just("trigger.none")];
    let word = prop_oneof![Just("a"), Just("ab"), Just("b"), Just("/fix"), Just("")];
    let value = prop_oneof![
        word.clone().prop_map(|word| format!("{word:?}")),
        (0..3i64).prop_map(|number| number.to_string()),
        (0..3i64).prop_map(|number| format!("{number}.0")),
        Just("true".to_owned()),
    ];
    let leaf = prop_oneof![
        (field.clone(), prop_oneof![Just("a"), Just("ab"), Just("b")])
            .prop_map(|(f, w)| { format!("{{type='FieldContains', field='{f}', value='{w}'}}") }),
        (field.clone(), prop_oneof![Just("a"), Just("/fi")])
            .prop_map(|(f, w)| { format!("{{type='FieldStartsWith', field='{f}', value='{w}'}}") }),
        (field.clone(), value.clone())
            .prop_map(|(f, v)| format!("{{type='FieldEquals', field='{f}', value={v}}}")),
        (field.clone(), prop::collection::vec(value, 0..3))
            .prop_map(|(f, vs)| { format!("{{type='FieldIn', field='{f}', values=[{}]}}", vs.join(", ")) }),
        field.prop_map(|f| format!("{{type='FieldExists', field='{f}'}}")),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| format!("{{type='Not', condition={one}}}")),
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|all| format!("{{type='All', conditions=[{}]}}", all.join(", "))),
            prop::collection::vec(inner, 0..3)
                .prop_map(|all| format!("{{type='Any', conditions=[{}]}}", all.join(", "))),
        ]
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        "(a|b|/fix| ){0,4}".prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        (0..3i32).prop_map(|number| Value::from(f64::from(number))),
        any::<bool>().prop_map(Value::from),
        prop::collection::vec(prop_oneof![Just(json!("a")), Just(json!("ab")), Just(json!(1))], 0..3)
            .prop_map(Value::from),
        Just(Value::Null),
    ]
}

fn rules(conditions: Vec<Vec<String>>) -> RuleSet {
    let files = conditions.into_iter().enumerate().map(|(number, conditions)| {
        let event = if number % 7 == 0 { "other" } else { "message_received" };
        let text = format!(
            "conditions = [{}]\n[rule]\nname = \"r{number}\"\nenabled = {}\n[trigger]\n\
             type = \"ConnectorEvent\"\nconnector = \"connector-telegram\"\nevent = \"{event}\"\n\
             [[actions]]\ntype = \"Reply\"\ntext = \"a\"\n",
            conditions.join(", "),
            number % 5 != 0,
        );
        SourceFile::new(format!("{number}.toml"), text)
    });
    RuleSet::parse(files).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn the_index_finds_what_a_look_at_every_rule_finds(
        conditions in prop::collection::vec(prop::collection::vec(condition(), 0..3), 0..60),
        text in value(),
        chat in value(),
    ) {
        let set = rules(conditions);
        let event = message(json!({ "text": text, "chat": chat }));
        let mut plain: Vec<_> = set
            .rules()
            .iter()
            .filter(|rule| rule.fires(&event, now()))
            .map(|rule| rule.name().to_owned())
            .collect();
        prop_assert_eq!(&fired(&set, &event), &plain);
        let some = set.retained(|rule| !rule.name().ends_with('3'));
        plain.retain(|name| !name.ends_with('3'));
        prop_assert_eq!(fired(&some, &event), plain);
        prop_assert!(some.get("r3").is_none());
        let found = |rule: &Arc<Rule>| some.get(rule.name()).is_some_and(|it| Arc::ptr_eq(it, rule));
        prop_assert!(some.rules().iter().all(found));
    }
}

#[test]
fn rules_fire_in_the_order_of_their_files() {
    let chat = |id: i64| vec![format!("{{type='FieldEquals', field='trigger.chat', value={id}}}")];
    let set = rules((1..=40).map(|number| chat(number % 2)).collect());
    let names = fired(&set, &message(json!({ "chat": 1 })));
    let mut sorted = names.clone();
    sorted.sort_by_key(|name| name[1..].parse::<usize>().unwrap());
    assert!(names.len() > 8, "{names:?}");
    assert_eq!(names, sorted);
}

#[test]
fn a_set_is_one_pointer_to_clone() {
    let set = rules(vec![Vec::new(), Vec::new()]);
    let clone = set.clone();
    assert!(std::ptr::eq(set.rules(), clone.rules()));
    assert_eq!(size_of::<RuleSet>(), size_of::<usize>());
}

#[test]
fn a_version_changes_with_what_a_rule_does_and_with_nothing_else() {
    let text = "[rule]\nname = \"r\"\n[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"c\"\n\
                event = \"e\"\n[[actions]]\ntype = \"RunConnector\"\nconnector = \"c\"\n\
                action = \"a\"\nparams = { one = \"1\", two = 2 }\n";
    let version = |text: &str| crate::support::one(text).rules()[0].version().to_string();
    let first = version(text);
    assert_eq!(first.len(), 64);
    for same in [
        text.replace("name = \"r\"", "name = \"r\" # a comment\ndescription = \"words\""),
        text.replace("{ one = \"1\", two = 2 }", "{ two = 2, one = '1' }"),
        format!("{text}[[tests]]\nname = \"t\"\n"),
        text.replace("name = \"r\"", "name = \"r\"\nenabled = true"),
        text.replace("name = \"r\"", "name = \"r\"\nfollowers = []"),
    ] {
        assert_eq!(version(&same), first, "{same}");
    }
    for other in [
        text.replace("two = 2", "two = 3"),
        text.replace("name = \"r\"", "name = \"s\""),
        text.replace("name = \"r\"", "name = \"r\"\napprovers = []"),
        text.replace("event = \"e\"", "event = \"f\""),
        text.replace("name = \"r\"", "name = \"r\"\nfollowers = [\"console:main\"]"),
    ] {
        assert_ne!(version(&other), first, "{other}");
    }
}
