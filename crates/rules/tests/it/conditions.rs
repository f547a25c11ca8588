//! Conditions: tables of what holds and what does not, and what an explanation says.

use connector_rules::{RuleSet, SourceFile, Verdict};
use serde_json::{Value, json};

use crate::support::{message, now, one};

fn rule(condition: &str) -> RuleSet {
    one(&format!(
        "conditions = [{condition}]\n[rule]\nname = \"r\"\n[trigger]\ntype = \"ConnectorEvent\"\n\
         connector = \"connector-telegram\"\nevent = \"message_received\"\n\
         [[actions]]\ntype = \"Reply\"\ntext = \"a\"\n"
    ))
}

fn holds(condition: &str, payload: &Value, at: &str) -> bool {
    let set = rule(condition);
    let event = message(payload.clone());
    let now = at.parse().unwrap();
    let fired = set.matching(&event, now).count() == 1;
    let explained = set.explain(&event, now)[0].verdict == Verdict::Fired;
    assert_eq!(fired, explained, "{condition} on {payload}");
    fired
}

#[test]
fn conditions_about_fields_hold_and_fail_as_documented() {
    let payload = json!({
        "text": "/fix it", "n": 7, "float": 7.0, "tags": ["bug", "ui"], "null": null, "flag": true,
        "from": { "id": 12 },
    });
    for (condition, expected) in [
        ("{type='FieldContains', field='trigger.text', value='fix'}", true),
        ("{type='FieldContains', field='trigger.text', value='Fix'}", false),
        ("{type='FieldContains', field='trigger.tags', value='bug'}", true),
        ("{type='FieldContains', field='trigger.tags', value='bu'}", false),
        ("{type='FieldContains', field='trigger.n', value='7'}", false),
        ("{type='FieldContains', field='trigger.nothing', value='x'}", false),
        ("{type='FieldEquals', field='trigger.n', value=7}", true),
        ("{type='FieldEquals', field='trigger.n', value=7.0}", true),
        ("{type='FieldEquals', field='trigger.float', value=7}", true),
        ("{type='FieldEquals', field='trigger.n', value='7'}", false),
        ("{type='FieldEquals', field='trigger.flag', value=true}", true),
        ("{type='FieldEquals', field='trigger.from.id', value=12}", true),
        ("{type='FieldEquals', field='trigger.from', value={id=12}}", true),
        ("{type='FieldStartsWith', field='trigger.text', value='/fix'}", true),
        ("{type='FieldStartsWith', field='trigger.text', value='fix'}", false),
        ("{type='FieldMatches', field='trigger.text', pattern='^/fix\\s+\\w+$'}", true),
        ("{type='FieldMatches', field='trigger.text', pattern='^fix'}", false),
        ("{type='FieldIn', field='trigger.n', values=[1, 7]}", true),
        ("{type='FieldIn', field='trigger.n', values=['7']}", false),
        ("{type='FieldExists', field='trigger.from.id'}", true),
        ("{type='FieldExists', field='trigger.null'}", false),
        ("{type='FieldExists', field='trigger.reply'}", false),
        ("{type='FieldEquals', field='event.connector', value='connector-telegram'}", true),
        ("{type='Not', condition={type='FieldExists', field='trigger.x'}}", true),
        (
            "{type='Any', conditions=[{type='FieldExists', field='trigger.x'}, {type='FieldExists', field='trigger.n'}]}",
            true,
        ),
        (
            "{type='All', conditions=[{type='FieldExists', field='trigger.x'}, {type='FieldExists', field='trigger.n'}]}",
            false,
        ),
        ("{type='Any', conditions=[]}", false),
        ("{type='All', conditions=[]}", true),
    ] {
        let found = holds(condition, &payload, "2026-01-05T10:00:00Z");
        assert_eq!(found, expected, "{condition}");
    }
}

#[test]
fn times_and_days_are_those_of_the_time_zone() {
    // 2026-01-04 is a Sunday.
    for (condition, at, expected) in [
        ("{type='TimeInRange', start='09:00', end='17:00'}", "2026-01-05T09:00:00Z", true),
        ("{type='TimeInRange', start='09:00', end='17:00'}", "2026-01-05T17:00:00Z", false),
        ("{type='TimeInRange', start='22:00', end='06:00'}", "2026-01-05T23:30:00Z", true),
        ("{type='TimeInRange', start='22:00', end='06:00'}", "2026-01-05T05:59:59Z", true),
        ("{type='TimeInRange', start='22:00', end='06:00'}", "2026-01-05T12:00:00Z", false),
        (
            "{type='TimeInRange', start='09:00', end='17:00', timezone='Asia/Tokyo'}",
            "2026-01-05T01:00:00Z",
            true,
        ),
        (
            "{type='TimeInRange', start='09:00', end='10:00', timezone='Europe/Berlin'}",
            "2026-07-01T07:30:00Z",
            true,
        ),
        (
            "{type='TimeInRange', start='09:00', end='10:00', timezone='Europe/Berlin'}",
            "2026-01-05T07:30:00Z",
            false,
        ),
        ("{type='DayOfWeek', days=['sunday']}", "2026-01-04T23:30:00Z", true),
        ("{type='DayOfWeek', days=['sun']}", "2026-01-05T00:30:00Z", false),
        ("{type='DayOfWeek', days=['monday'], timezone='Asia/Tokyo'}", "2026-01-04T23:30:00Z", true),
    ] {
        assert_eq!(holds(condition, &json!({}), at), expected, "{condition} at {at}");
    }
}

#[test]
fn an_explanation_names_the_first_condition_that_failed_and_what_it_saw() {
    let payload = json!({ "text": "hello", "n": 7, "long": "x".repeat(500), "list": [1] });
    let explain = |condition: &str| {
        let set = rule(condition);
        match set.explain(&message(payload.clone()), now()).remove(0).verdict {
            Verdict::ConditionFailed(failure) => failure.to_string(),
            other => panic!("{condition}: {other:?}"),
        }
    };
    let lines: Vec<_> = [
        "{type='FieldContains', field='trigger.text', value='/fix'}",
        "{type='FieldEquals', field='trigger.user.id', value=1}",
        "{type='FieldExists', field='trigger.n'}, {type='FieldIn', field='trigger.n', values=[1, 2]}",
        "{type='FieldMatches', field='trigger.long', pattern='^y'}",
        "{type='FieldContains', field='trigger.list', value='a'}",
        "{type='Not', condition={type='FieldEquals', field='trigger.n', value=7}}",
        "{type='Any', conditions=[{type='FieldExists', field='trigger.a'}, {type='FieldStartsWith', field='trigger.text', value='/'}]}",
        "{type='All', conditions=[{type='FieldExists', field='trigger.n'}, {type='FieldExists', field='trigger.a'}]}",
        "{type='TimeInRange', start='22:00', end='06:00', timezone='Europe/Berlin'}",
        "{type='DayOfWeek', days=['saturday', 'sunday']}",
    ]
    .into_iter()
    .map(explain)
    .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn an_explanation_covers_every_rule() {
    let file = |name: &str, header: &str, event: &str| {
        let text = format!(
            "[rule]\nname = \"{name}\"\n{header}\n[trigger]\ntype = \"ConnectorEvent\"\n\
             connector = \"connector-telegram\"\nevent = \"{event}\"\n\
             [[actions]]\ntype = \"Reply\"\ntext = \"a\"\n"
        );
        SourceFile::new(format!("{name}.toml"), text)
    };
    let set = RuleSet::parse([
        file("off", "enabled = false", "message_received"),
        file("elsewhere", "", "command_received"),
        file("fires", "", "message_received"),
    ])
    .unwrap();
    let mut explained = serde_json::to_value(set.explain(&message(json!({})), now())).unwrap();
    for one in explained.as_array_mut().unwrap() {
        one["version"] = json!("…");
    }
    insta::assert_json_snapshot!(explained);
}
