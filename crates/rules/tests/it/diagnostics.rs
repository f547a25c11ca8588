//! Every mistake in a rule file, with the place it is shown at and the words it is shown with.

use std::fmt::Write as _;

use connector_rules::{RuleSet, SourceFile};

use crate::support::refused;

const TRIGGER: &str = "[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"c\"\nevent = \"e\"\n";
const STEP: &str = "[[actions]]\ntype = \"Reply\"\ntext = \"hello\"\n";

/// A rule that is right but for what is put in.
fn rule(header: &str, trigger: &str, rest: &str) -> String {
    format!("[rule]\nname = \"r\"\n{header}\n{trigger}{rest}")
}

fn condition(lines: &str) -> String {
    rule("", TRIGGER, &format!("[[conditions]]\n{lines}\n{STEP}"))
}

fn step(lines: &str) -> String {
    rule("", TRIGGER, &format!("[[actions]]\n{lines}\n"))
}

/// What is put in, where it must be complained about (line and column), and how the line reads.
#[expect(clippy::too_many_lines, reason = "a table, one line a mistake")]
fn rejected() -> Vec<(&'static str, String, (usize, usize))> {
    let text = |template: &str| step(&format!("type = \"Reply\"\ntext = '{template}'"));
    vec![
        ("not TOML", "[rule\nname = \"r\"".to_owned(), (1, 6)),
        ("a key twice", rule("name = \"s\"", TRIGGER, STEP), (3, 1)),
        ("an unknown table", rule("", TRIGGER, &format!("{STEP}[trigers]\n")), (11, 2)),
        ("an unknown key of the header", rule("cooldwn = \"5s\"", TRIGGER, STEP), (3, 1)),
        ("an unknown key of the trigger", rule("", &format!("{TRIGGER}evnt = 1\n"), STEP), (8, 1)),
        ("no header", format!("{TRIGGER}{STEP}"), (1, 1)),
        ("no name", format!("[rule]\n{TRIGGER}{STEP}"), (1, 1)),
        ("an empty name", format!("[rule]\nname = \" \"\n{TRIGGER}{STEP}"), (2, 8)),
        ("a name of another type", format!("[rule]\nname = 7\n{TRIGGER}{STEP}"), (2, 8)),
        ("a name over two lines", format!("[rule]\nname = \"a\\nb\"\n{TRIGGER}{STEP}"), (2, 8)),
        ("no trigger", rule("", "", STEP), (1, 1)),
        (
            "an unknown trigger",
            rule("", "[trigger]\ntype = \"SystemEvent\"\nevent = \"startup\"\n", STEP),
            (5, 8),
        ),
        ("a webhook without a path", rule("", "[trigger]\ntype = \"Webhook\"\n", STEP), (4, 1)),
        (
            "a path that could be written otherwise",
            rule("", "[trigger]\ntype = \"Webhook\"\npath = \"/a/../b\"\n", STEP),
            (6, 8),
        ),
        (
            "an answer to a webhook",
            rule(
                "",
                "[trigger]\ntype = \"Webhook\"\npath = \"/ci\"\n",
                "[[actions]]\ntype = \"Reply\"\ntext = \"${trigger.reply.session_id}\"\n",
            ),
            (9, 9),
        ),
        (
            "an unknown field of a webhook",
            rule(
                "",
                "[trigger]\ntype = \"Webhook\"\npath = \"/ci\"\n",
                "[[actions]]\ntype = \"Reply\"\ntext = \"${trigger.webhook.secret}\"\n",
            ),
            (9, 9),
        ),
        (
            "an unknown change of a file",
            rule("", "[trigger]\ntype = \"FileWatch\"\npath = \"a\"\nevent = \"modified\"\n", STEP),
            (7, 9),
        ),
        (
            "a bad glob",
            rule("", "[trigger]\ntype = \"FileWatch\"\npath = \"a\"\npattern = \"a[\"\n", STEP),
            (7, 11),
        ),
        (
            "a path that is filled in",
            rule("", "[trigger]\ntype = \"FileWatch\"\npath = \"${trigger.path}\"\n", STEP),
            (6, 8),
        ),
        (
            "an unknown field of a file",
            rule(
                "",
                "[trigger]\ntype = \"FileWatch\"\npath = \"a\"\n",
                "[[actions]]\ntype = \"Reply\"\ntext = \"${trigger.content}\"\n",
            ),
            (9, 9),
        ),
        (
            "a webhook's events as a connector's",
            rule(
                "",
                "[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"webhook\"\nevent = \"/ci\"\n",
                STEP,
            ),
            (6, 13),
        ),
        (
            "a connector of ours",
            rule("", "[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"schedule\"\nevent = \"e\"\n", STEP),
            (6, 13),
        ),
        (
            "a bad expression",
            rule("", "[trigger]\ntype = \"Cron\"\nexpression = \"0 25 * * *\"\n", STEP),
            (6, 14),
        ),
        (
            "a bad time zone",
            rule("", "[trigger]\ntype = \"Cron\"\nexpression = \"0 5 * * *\"\ntimezone = \"Berlin\"\n", STEP),
            (7, 12),
        ),
        ("a cooldown without a unit", rule("cooldown = \"5\"", TRIGGER, STEP), (3, 12)),
        ("a cooldown of nothing", rule("cooldown = \"0s\"", TRIGGER, STEP), (3, 12)),
        ("no run at once", rule("max_concurrent = 0", TRIGGER, STEP), (3, 18)),
        ("approvers that are no list", rule("approvers = \"me\"", TRIGGER, STEP), (3, 13)),
        ("a follower that is no chat", rule("followers = [\"telegram\"]", TRIGGER, STEP), (3, 14)),
        ("a follower twice", rule("followers = [\"a:1\", \"a:1\"]", TRIGGER, STEP), (3, 21)),
        ("a provenance that is a number", rule("provenance = 1", TRIGGER, STEP), (3, 14)),
        (
            "conditions with one bracket",
            rule(
                "",
                TRIGGER,
                &format!("[conditions]\ntype = \"FieldExists\"\nfield = \"trigger.a\"\n{STEP}"),
            ),
            (8, 1),
        ),
        (
            "an unknown condition",
            condition("type = \"FieldContain\"\nfield = \"trigger.text\"\nvalue = \"x\""),
            (9, 8),
        ),
        ("a condition without a type", condition("field = \"trigger.text\""), (8, 1)),
        (
            "an unknown key of a condition",
            condition("type = \"FieldExists\"\nfield = \"trigger.text\"\nvalue = \"x\""),
            (11, 1),
        ),
        (
            "a condition without its value",
            condition("type = \"FieldEquals\"\nfield = \"trigger.text\""),
            (8, 1),
        ),
        (
            "a value of another type",
            condition("type = \"FieldContains\"\nfield = \"trigger.text\"\nvalue = 1"),
            (11, 9),
        ),
        (
            "a bad pattern",
            condition("type = \"FieldMatches\"\nfield = \"trigger.text\"\npattern = \"(\""),
            (11, 11),
        ),
        (
            "a pattern that looks back",
            condition("type = \"FieldMatches\"\nfield = \"trigger.text\"\npattern = '(a)\\1'"),
            (11, 11),
        ),
        (
            "a field written as a template",
            condition("type = \"FieldExists\"\nfield = \"${trigger.text}\""),
            (10, 9),
        ),
        (
            "a field that does not exist yet",
            condition("type = \"FieldExists\"\nfield = \"step1.output\""),
            (10, 9),
        ),
        ("a bad time of day", condition("type = \"TimeInRange\"\nstart = \"9\"\nend = \"17:00\""), (10, 9)),
        ("an empty range", condition("type = \"TimeInRange\"\nstart = \"09:00\"\nend = \"09:00\""), (8, 1)),
        ("an unknown day", condition("type = \"DayOfWeek\"\ndays = [\"monday\", \"someday\"]"), (10, 19)),
        ("nothing to negate", condition("type = \"Not\""), (8, 1)),
        ("no steps", format!("actions = []\n{}", rule("", TRIGGER, "")), (1, 11)),
        ("an unknown action", step("type = \"RunShell\"\ncommand = \"ls\""), (9, 8)),
        ("a chain", step("type = \"Chain\"\nsteps = []"), (9, 8)),
        (
            "a connector that is filled in",
            step("type = \"RunConnector\"\nconnector = \"${trigger.c}\"\naction = \"a\""),
            (10, 13),
        ),
        ("an unknown key of a step", step("type = \"Reply\"\ntext = \"a\"\nretry = 3"), (11, 1)),
        ("a step named by place", step("type = \"Reply\"\ntext = \"a\"\nname = \"step2\""), (11, 8)),
        ("a bad on_error", step("type = \"Reply\"\ntext = \"a\"\non_error = \"retry\""), (11, 12)),
        (
            "two steps of one name",
            rule("", TRIGGER, &format!("{STEP}name = \"a\"\n{STEP}name = \"a\"\n")),
            (15, 8),
        ),
        ("a reference that does not end", text("do ${trigger.text"), (10, 12)),
        ("an empty reference", text("do ${ }"), (10, 12)),
        ("a reference to nowhere", text("do ${triger.text}"), (10, 12)),
        ("an unknown key of the event", text("${event.text}"), (10, 9)),
        (
            "an unknown key of a step's outcome",
            rule(
                "",
                TRIGGER,
                &format!("{STEP}[[actions]]\ntype = \"Reply\"\ntext = \"${{step1.result}}\"\n"),
            ),
            (13, 9),
        ),
        ("an unknown filter", text("a ${trigger.text | trimm} b"), (10, 11)),
        ("a filter without its text", text("${trigger.text | strip_prefix}"), (10, 9)),
        ("a filter with too much", text("${trigger.text | trim(\"x\")}"), (10, 9)),
        ("an unknown field of a reply", text("${trigger.reply.session}"), (10, 9)),
        ("a step that does not exist", text("${step2.output.x}"), (10, 9)),
        ("the step itself", text("${step1.output.x}"), (10, 9)),
        (
            "a step that comes later",
            rule(
                "",
                TRIGGER,
                "[[actions]]\ntype = \"Reply\"\ntext = \"then ${step.later.output.x}\"\n[[actions]]\ntype = \"Reply\"\ntext = \"a\"\nname = \"later\"\n",
            ),
            (10, 14),
        ),
        (
            "a name that no step has",
            rule(
                "",
                TRIGGER,
                &format!(
                    "{STEP}name = \"fix\"\n[[actions]]\ntype = \"Reply\"\ntext = \"${{step.fixx.output.x}}\"\n"
                ),
            ),
            (14, 9),
        ),
        (
            "the second of two equal references",
            text("${trigger.a} ${step9.output} ${step9.output}"),
            (10, 22),
        ),
        (
            "the output of the step that failed",
            rule(
                "",
                TRIGGER,
                &format!("{STEP}[[actions.on_error]]\ntype = \"Reply\"\ntext = \"${{step1.output.x}}\"\n"),
            ),
            (13, 9),
        ),
        (
            "text of a schedule",
            rule(
                "",
                "[trigger]\ntype = \"Cron\"\nexpression = \"0 5 * * *\"\n",
                "[[actions]]\ntype = \"Reply\"\ntext = \"${trigger.text}\"\n",
            ),
            (9, 9),
        ),
        (
            "a test of no step",
            rule("", TRIGGER, &format!("{STEP}[[tests]]\nname = \"t\"\n[[tests.steps]]\nstep = \"fix\"\n")),
            (14, 8),
        ),
        (
            "a test that expects nothing to fire, and steps",
            rule(
                "",
                TRIGGER,
                &format!("{STEP}[[tests]]\nname = \"t\"\nfires = false\n[[tests.steps]]\nstep = \"step1\"\n"),
            ),
            (11, 1),
        ),
        (
            "a test at no time",
            rule("", TRIGGER, &format!("{STEP}[[tests]]\nname = \"t\"\nnow = \"noon\"\n")),
            (13, 7),
        ),
    ]
}

#[test]
fn every_mistake_is_shown_at_its_place() {
    let wrong: Vec<_> = rejected()
        .into_iter()
        .filter_map(|(what, text, place)| {
            let found = refused(&text);
            let first = found.iter().next()?.start();
            ((first.line, first.column) != place).then(|| format!("{what}: {first:?}\n{text}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mistake_reads_well() {
    let mut all = String::new();
    for (what, text, _) in rejected() {
        let _ = writeln!(all, "=== {what}\n{}", refused(&text).render(false));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn one_reading_finds_every_mistake_of_every_file() {
    let first = rule("cooldwn = 1\nmax_concurrent = 0", TRIGGER, STEP);
    let second = condition("type = \"Nothing\"");
    let files = [
        SourceFile::new("a.toml", first),
        SourceFile::new("b.toml", rule("", TRIGGER, STEP)),
        SourceFile::new("c.toml", second),
    ];
    let wrong = RuleSet::parse(files).unwrap_err();
    let lines: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn two_rules_of_one_name_are_shown_together() {
    let files = ["a.toml", "b.toml"].map(|name| SourceFile::new(name, rule("", TRIGGER, STEP)));
    insta::assert_snapshot!(RuleSet::parse(files).unwrap_err().render(false));
}

#[test]
fn a_secret_in_the_shown_line_is_masked() {
    let wrong = refused(&step("type = \"Reply\"\ntext = \"a\"\npassword = \"correct-horse\""));
    for shown in [
        wrong.render(false),
        wrong.render(true),
        serde_json::to_string(&wrong).unwrap(),
        wrong.to_string(),
        format!("{}", wrong.iter().next().unwrap()),
    ] {
        assert!(!shown.contains("correct-horse"), "{shown}");
    }
}

#[test]
fn colour_is_added_only_when_it_is_wanted() {
    let wrong = refused("[rule]");
    assert!(wrong.render(true).contains('\u{1b}'));
    assert!(!wrong.render(false).contains('\u{1b}'));
}

#[test]
fn a_program_gets_the_place_and_the_line() {
    let wrong = refused(&rule("cooldwn = \"5s\"", TRIGGER, STEP));
    insta::assert_json_snapshot!(wrong);
}

#[test]
fn columns_count_characters() {
    let wrong = refused(&step("type = \"Reply\"\ntext = \"čaj ${nowhere}\""));
    let place = wrong.iter().next().unwrap().start();
    assert_eq!((place.line, place.column), (10, 13));
}
