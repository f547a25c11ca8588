//! Printing a rule and reading it again gives the same rule, and both are as the schema says.

use std::sync::LazyLock;

use connector_rules::{RuleFile, RuleSet, SourceFile, schema};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::one;

static SCHEMA: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::validator_for(&schema()).unwrap());

/// A trigger of each type, and what to refer to of its event where not everything can be.
const TRIGGERS: [(&str, Option<&str>); 5] = [
    ("type = \"ConnectorEvent\"\nconnector = \"c\"\nevent = \"e\"\n", None),
    (
        "type = \"Cron\"\nexpression = \"*/5 3 * * MON-FRI\"\ntimezone = \"Asia/Tokyo\"\noverlap = true\n",
        Some("trigger.timezone"),
    ),
    ("type = \"Webhook\"\npath = \"hooks/ci\"\n", Some("trigger.ref")),
    ("type = \"FileWatch\"\npath = \"~/notes\"\n", Some("trigger.path")),
    (
        "type = \"FileWatch\"\npath = \"inbox\"\nevent = \"create\"\npattern = \"**/*.{md,txt}\"\n",
        Some("trigger.files.0.event"),
    ),
];

/// A text as a TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_-]{0,6}"
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{1,12}".prop_map(|text| text.replace("${", "{")),
        Just("a \"quoted\" 'text'\nover two lines\t\\".to_owned()),
        Just("$${trigger.text} costs $5".to_owned()),
    ]
    .prop_filter("blank", |text| !text.trim().is_empty())
}

fn path() -> impl Strategy<Value = String> {
    let key = prop_oneof![word(), Just("\"a b.c\"".to_owned()), Just("0".to_owned())];
    prop_oneof![
        prop::collection::vec(key, 0..3).prop_map(|keys| {
            let keys: String = keys.iter().map(|key| format!(".{key}")).collect();
            format!("trigger{keys}")
        }),
        Just("event.id".to_owned()),
        Just("now".to_owned()),
        Just("rule.name".to_owned()),
    ]
    .prop_filter("the keys of a reply are ours", |path| !path.starts_with("trigger.reply"))
}

fn template() -> impl Strategy<Value = String> {
    let filter = prop_oneof![
        Just("trim".to_owned()),
        Just("json".to_owned()),
        "[a-z/ é]{0,5}".prop_map(|text| format!("default(\"{text}\")")),
        Just("strip_prefix(\"\\\"\\\\ }\")".to_owned()),
    ];
    let reference = (path(), prop::collection::vec(filter, 0..3)).prop_map(|(path, filters)| {
        let filters: String = filters.iter().map(|one| format!(" | {one}")).collect();
        format!("${{{path}{filters}}}")
    });
    let literal = any_text().prop_map(|text| text.replace('$', "S"));
    let part = prop_oneof![reference, literal, Just("$${".to_owned())];
    prop::collection::vec(part, 1..4)
        .prop_map(|parts| parts.concat())
        .prop_filter("blank", |text| !text.trim().is_empty())
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i32>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|boolean| boolean.to_string()),
        (-1000..1000i32).prop_map(|number| format!("{:?}", f64::from(number) / 8.0)),
        any_text().prop_map(|text| quoted(&text)),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let zone = prop_oneof![
        Just(String::new()),
        Just(", timezone='Europe/Berlin'".to_owned()),
        Just(", timezone='UTC'".to_owned()),
    ];
    let leaf = prop_oneof![
        (path(), any_text())
            .prop_map(|(p, v)| { format!("{{type='FieldContains', field='{p}', value={}}}", quoted(&v)) }),
        (path(), scalar()).prop_map(|(p, v)| format!("{{type='FieldEquals', field='{p}', value={v}}}")),
        (path(), prop::collection::vec(scalar(), 0..3))
            .prop_map(|(p, v)| { format!("{{type='FieldIn', field='{p}', values=[{}]}}", v.join(", ")) }),
        path().prop_map(|p| format!("{{type='FieldExists', field='{p}'}}")),
        path().prop_map(|p| format!("{{type='FieldMatches', field='{p}', pattern='^/(a|b)\\s*$'}}")),
        (0..24u8, 0..60u8, zone.clone()).prop_map(|(h, m, zone)| {
            format!("{{type='TimeInRange', start='{h:02}:{m:02}', end='{h:02}:{m:02}:01'{zone}}}")
        }),
        (0..7u8, zone)
            .prop_map(|(day, zone)| { format!("{{type='DayOfWeek', days=[{day}, 'sunday']{zone}}}") }),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| format!("{{type='Not', condition={one}}}")),
            prop::collection::vec(inner, 0..3)
                .prop_map(|all| format!("{{type='Any', conditions=[{}]}}", all.join(", "))),
        ]
    })
}

fn param() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![scalar(), template().prop_map(|text| quoted(&text))];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::btree_map(word(), inner, 0..3).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(key, v)| format!("{key} = {v}")).collect();
                format!("{{ {} }}", fields.join(", "))
            }),
        ]
    })
}

prop_compose! {
    fn step()(
        text in template(),
        params in prop::collection::btree_map(word(), param(), 0..4),
        when in prop::collection::vec(condition(), 0..2),
        on_error in 0..3u8,
        timeout in prop::option::of(1..100_000u32),
        reply in any::<bool>(),
        own in prop::option::weighted(0.2, any::<bool>()),
    ) -> String {
        let mut step = String::from("[[actions]]\n");
        if own == Some(true) {
            step += "type = \"Delay\"\nfor = \"90s\"\n";
        } else if own == Some(false) {
            step += &format!("type = \"Dedupe\"\nkey = {}\nbucket = \"b\"\nwindow = \"2h\"\n", quoted(&text));
        } else if reply {
            step += &format!("type = \"Reply\"\ntext = {}\n", quoted(&text));
        } else {
            step += "type = \"RunConnector\"\nconnector = \"c\"\naction = \"a\"\n";
            for (key, value) in &params {
                step += &format!("params.{key} = {value}\n");
            }
        }
        if let Some(timeout) = timeout {
            step += &format!("timeout = \"{timeout}s\"\n");
        }
        if !when.is_empty() {
            step += &format!("when = [{}]\n", when.join(", "));
        }
        match on_error {
            0 => step += "on_error = \"continue\"\n",
            1 => step += &format!("[[actions.on_error]]\ntype = \"Reply\"\ntext = {}\n", quoted(&text)),
            _ => {}
        }
        step
    }
}

prop_compose! {
    fn rule()(
        name in word(),
        description in any_text(),
        header in prop::collection::btree_set(prop_oneof![
            Just("enabled = false"), Just("cooldown = '90m'"), Just("max_concurrent = 3"),
            Just("approvers = ['console', 'telegram:1']"), Just("followers = ['console:main', 'matrix:!r:s']"), Just("approvals_needed = 2"),
            Just("require_other_approver = true"), Just("provenance = false"),
        ], 0..8),
        trigger in 0..TRIGGERS.len(),
        conditions in prop::collection::vec(condition(), 0..3),
        steps in prop::collection::vec(step(), 1..4),
        test in any::<bool>(),
    ) -> String {
        let (trigger, field) = TRIGGERS[trigger];
        let header: Vec<_> = header.into_iter().collect();
        let test = if test {
            "[[tests]]\nname = \"t\"\nnow = 2026-01-05T10:00:00Z\nfires = false\nrules = []\n\
             [tests.event]\nid = \"e\"\npayload = { text = \"a\", n = [1, { b = 2.5 }] }\n\
             reply = { session_id = \"s\", run_id = \"r\", workspace = \"w\" }\n"
        } else {
            "[[tests]]\nname = \"u\"\nsteps = [{ step = \"step1\", input = { a = 1 }, error = \"e\" }]\n"
        };
        let mut text = format!(
            "conditions = [{}]\n[rule]\nname = {}\ndescription = {}\n{}\n[trigger]\n{trigger}{}{test}",
            conditions.join(", "), quoted(&name), quoted(&description), header.join("\n"), steps.concat(),
        );
        if let Some(field) = field {
            // Such an event is known: only what it has can be referred to.
            let known = regex::Regex::new(r#"trigger(\.("[^"]*"|[a-z0-9_-]+))*"#).unwrap();
            text = text.replace("[trigger]", "[@]");
            text = known.replace_all(&text, field).replace("[@]", "[trigger]");
        }
        text
    }
}

fn parse(text: &str) -> Result<RuleFile, String> {
    RuleSet::parse([SourceFile::new("rule.toml", text)])
        .map(|set| set.rules()[0].definition().clone())
        .map_err(|wrong| format!("{}\n{text}", wrong.render(false)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_printed_rule_reads_as_the_same_rule(text in rule()) {
        let first = parse(&text).map_err(TestCaseError::fail)?;
        let printed = first.print().unwrap();
        let second = parse(&printed).map_err(TestCaseError::fail)?;
        prop_assert_eq!(&first, &second, "{}", printed);
        prop_assert_eq!(second.print().unwrap(), printed);
    }

    #[test]
    fn a_printed_rule_is_as_the_schema_says(text in rule()) {
        let printed = parse(&text).map_err(TestCaseError::fail)?.print().unwrap();
        let value: Value = toml::from_str(&printed).unwrap();
        let errors: Vec<_> = SCHEMA.iter_errors(&value).map(|error| error.to_string()).collect();
        prop_assert!(errors.is_empty(), "{}\n{}", errors.join("\n"), printed);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("[rule]\nname = \"r\"\n{text}"));
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let good = "[rule]\nname = \"r\"\n[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"c\"\n\
                event = \"e\"\n[[actions]]\ntype = \"Reply\"\ntext = \"a\"\n";
    let valid = |text: &str| SCHEMA.is_valid(&toml::from_str::<Value>(text).unwrap());
    assert!(valid(good));
    for bad in [
        good.replace("[rule]\n", "[rule]\ncooldwn = \"5s\"\n"),
        good.replace("\"ConnectorEvent\"", "\"SystemEvent\""),
        good.replace("\"ConnectorEvent\"", "\"Webhook\""),
        good.replace("text = \"a\"", "text = \"a\"\nretry = 3"),
        good.replace("text = \"a\"", "txt = \"a\""),
        good.replace("name = \"r\"", ""),
    ] {
        assert!(!valid(&bad), "{bad}");
        assert!(parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_printed_rule_looks_like_one_that_a_person_wrote() {
    let set = one(include_str!("../fixtures/seed.toml"));
    insta::assert_snapshot!(set.rules()[0].definition().print().unwrap());
}
