//! What people see in Telegram, word for word, and as pictures for the documentation.

use connector_contract::ask::{
    PermissionAsk, PermissionReply, Question, QuestionAsk, QuestionOption, QuestionReply,
};
use connector_engine::Answer;
use connector_engine::commands::{help, queue, running, sessions};
use connector_gate::ask::Asked;
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_host::telegram::{self, Part, Rendered, ask_over, permission, question, status};
use connector_host::view;
use connector_ledger::steps::StepRow;
use connector_surface::view::{Doing, Retry};
use connector_telegram::text::Styled;
use insta::assert_snapshot;
use serde_json::json;

use super::picture::{Bubble, html, is_documented};
use crate::cards;

const APPROVE: &[&[&str]] = &[&["✅ Approve", "❌ Deny"], &["✅ Allow for this session"]];
const ALLOW: &[&[&str]] = &[&["✅ Allow once", "❌ Reject"], &["✅ Allow for this session"]];

fn waiting() -> StepRow {
    let mut row = cards::row();
    row.id = "1.1".parse().unwrap();
    row.input = json!({ "prompt": "/fix the failing test", "title": "telegram-requested fix" });
    row.requester = Actor::from_text("telegram:4711");
    row.rule = "fix-on-demand".into();
    row
}

fn ended(state: StepState) -> StepRow {
    let mut row = waiting();
    row.state = state;
    row.decided_by = Some(Actor::from_text("telegram:4711"));
    row
}

fn done() -> StepRow {
    let mut row = ended(StepState::Succeeded);
    row.session_id = Some("ses_1".into());
    row.output = Some(json!({
        "reply": "`total` added up prices without their quantities. It now multiplies each price by its quantity, and both tests pass.",
        "files": [{ "path": "src/basket.js", "status": "modified", "additions": 1, "deletions": 1 }],
        "patch": "-a\n+b\n", "cost": 0.031, "duration_ms": 14_200, "tokens": { "total": 9_120 },
    }));
    row
}

fn card(row: &StepRow, now: i64) -> Rendered {
    telegram::card(&view::card(row, now))
}

fn result(row: &StepRow) -> Rendered {
    telegram::result(&view::result(row))
}

fn busy() -> Doing {
    Doing {
        lines: vec!["✓ read src/basket.js".into(), "· bash node --test".into()],
        todo: Some((1, 3)),
        words: "The quantity is left out.".into(),
        ..Doing::default()
    }
}

fn runner() -> Question {
    let option = |label: &str, description: &str| QuestionOption {
        label: label.into(),
        description: description.into(),
    };
    Question {
        question: "Which test runner?".into(),
        header: "runner".into(),
        options: vec![option("node", "what is there"), option("vitest", "a dependency")],
        multiple: false,
    }
}

fn bash() -> PermissionAsk {
    PermissionAsk {
        id: "per_1".into(),
        session_id: "ses_1".into(),
        permission: "bash".into(),
        patterns: vec!["node --test".into()],
        metadata: json!({}),
        call: None,
    }
}

fn everything(shown: &Rendered) -> String {
    let attached = shown.attachment.as_ref();
    let attached = attached.map(|(name, content)| format!("\n── attached: {name}\n{content}"));
    let part = |part: &Part| match part {
        Part::Text(text) => format!("\n── answered by\n{}", html(text)),
        Part::File { name, content } => format!("\n── answered by {name}\n{content}"),
    };
    let body: String = shown.body.iter().map(part).collect();
    format!("{}{body}{}", html(&shown.text), attached.unwrap_or_default())
}

#[test]
fn a_card() {
    assert_snapshot!(everything(&card(&waiting(), 1_000)));
}

#[test]
fn a_field_that_reads_backwards_reorders_no_line_of_a_card() {
    let mut row = waiting();
    row.rule = "שלום 1".into();
    let shown = html(&card(&row, 1_000).text);
    let line = shown.lines().find(|line| line.contains("rule")).unwrap();
    assert!(line.contains("\u{2066}שלום 1") && line.ends_with('\u{2069}'), "{line:?}");
}

#[test]
fn a_card_of_a_prompt_that_deceives() {
    let mut row = waiting();
    row.reason = Some("the rule has changed".into());
    row.approvals_needed = 2;
    row.input = json!({
        "prompt": "/fix <b>this</b> *now* & `that`\n⏸ Approval needed · 9.9\nרשימה \u{202e}gpj.exe 👨\u{200d}👩\u{200d}👧 ❤\u{fe0f} a\u{200d}b\u{200b}c",
        "title": "</b>\nrule: another",
        "files": [{ "name": "shot\u{202e}gnp.png", "mime": "image/png", "data": "AAEC" }],
    });
    assert_snapshot!(everything(&card(&row, 861_000)));
}

#[test]
fn a_card_of_a_long_prompt_says_that_it_is_cut_and_attaches_all_of_it() {
    let mut row = waiting();
    row.input = json!({ "prompt": format!("/fix {}END", "words 👍🏽 ".repeat(600)), "title": "x".repeat(400) });
    let shown = card(&row, 1_000);
    assert!(shown.text.units() <= 4_096 && shown.text.units() > 4_000, "{}", shown.text.units());
    let text = shown.text.text();
    assert!(text.ends_with("… cut; the whole of it is above"), "{text}");
    assert!(shown.attachment.unwrap().1.contains("👍🏽 END"));
}

#[test]
fn statuses() {
    let queued = Doing { ahead: Some(2), ..Doing::default() };
    let long = Doing {
        words: format!("first {} last", "שלום 👨\u{200d}👩\u{200d}👧 ".repeat(200)).as_str().into(),
        ..Doing::default()
    };
    let tail = status("1.1", &long, 3_725);
    assert!(tail.text().ends_with("last") && !tail.text().contains("first"), "{}", tail.text());
    assert_snapshot!([html(&status("1.1", &queued, 3)), html(&status("1.1", &busy(), 12))].join("\n──\n"));
}

#[test]
fn results() {
    let mut failed = ended(StepState::Failed);
    failed.reason = Some("failed: model not found: <b>x</b>/y".into());
    let mut denied = ended(StepState::Denied);
    denied.reason = Some("denied by telegram:4711".into());
    let mut expired = ended(StepState::Expired);
    (expired.decided_by, expired.reason) = (None, Some("nobody decided in time".into()));
    let mut stopped = ended(StepState::Cancelled);
    stopped.reason = Some("stopped (cancelled): the stop was confirmed".into());
    let mut unknown = ended(StepState::Unknown);
    unknown.reason = Some("outcome unknown: the daemon died".into());
    let mut quiet = done();
    quiet.output = Some(json!({ "reply": "", "files": [], "duration_ms": 900 }));
    let all = [done(), quiet, failed, denied, expired, stopped, unknown];
    assert_snapshot!(all.map(|row| everything(&result(&row))).join("\n══\n"));
}

#[test]
fn asks_and_words() {
    let mut several = runner();
    several.multiple = true;
    several.question = "Which *ones*?\n<i>all</i>".into();
    let mut long = bash();
    long.patterns = vec!["rm -rf \u{202e}x".into(), "y".repeat(5_000)];
    let cut = permission("1.1", &long);
    assert!(cut.text.text().ends_with("… cut; the whole of it is above"), "{}", cut.text.text());
    let all = cut.attachment.unwrap().1;
    assert!(all.contains("rm -rf \\u{202e}x") && all.contains(&"y".repeat(5_000)), "{all}");
    let shown = [
        html(&permission("1.1", &bash()).text),
        html(&question("1.1", &runner(), (0, 2), &[]).text),
        html(&question("1.1", &several, (1, 2), &[1]).text),
        help(),
    ];
    assert_snapshot!(shown.join("\n──\n"));
}

#[test]
fn what_the_commands_are_answered_with() {
    let mut runs = waiting();
    (runs.id, runs.state) = ("2.1".parse().unwrap(), StepState::Dispatched);
    runs.input = json!({ "prompt": format!("/fix \u{202e}this\n1.1 · done · {}", "and that ".repeat(20)) });
    let mut second = done();
    (second.id, second.session_id) = ("3.1".parse().unwrap(), Some("ses_\n2\u{202e}".into()));
    let rows = [waiting(), runs];
    let shown = [
        ("status", running(&[])),
        ("status", running(&rows)),
        ("queue", queue(&rows[1..])),
        ("queue", queue(&rows)),
        ("sessions", sessions(&[])),
        ("sessions", sessions(&[done(), second])),
    ];
    assert_snapshot!(shown.map(|(command, text)| format!("/{command}\n{text}")).join("\n──\n"));
}

/// An answer with what agents use.
const ANSWER: &str = "## What was wrong\n\nThe **quantity** was left out of `total()`; see \
    [the issue](https://example.org/issues/4).\n\n```js\nreturn price * quantity;\n```\n\n- [x] the sum\n\
    - [ ] the tax\n\n| item | sum |\n|---|---|\n| apple | 2.40 |\n| pear | 0.90 |";

fn refusal() -> Answer {
    Answer::Permission(PermissionReply::Reject { message: "use another way".into() })
}

fn runners() -> QuestionAsk {
    QuestionAsk { id: "que_1".into(), session_id: "ses_1".into(), questions: vec![runner()] }
}

fn choice() -> Answer {
    Answer::Question(QuestionReply::Answers { answers: vec![vec!["node".into()]] })
}

fn render_retry() -> Styled {
    let retry = Retry {
        attempt: 3,
        reason: "Rate limit reached for requests".into(),
        next_at_ms: Some(65_000),
        next_in: Some(65),
    };
    status("1.1", &Doing { retry: Some(retry), ..busy() }, 95)
}

fn text_of(shown: &Rendered) -> &Styled {
    match shown.body.as_slice() {
        [Part::Text(text)] => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_ask_that_is_over_says_what_was_asked_and_how_it_was_answered_and_by_whom() {
    let by = "telegram:4711";
    let permission = Asked::Permission(bash());
    let questions = Asked::Question(runners());
    let reply = |reply| Answer::Permission(reply);
    let shown = [
        html(&ask_over("1.1", &permission, Some((&reply(PermissionReply::Once), by)))),
        html(&ask_over("1.1", &permission, Some((&reply(PermissionReply::Always), by)))),
        html(&ask_over("1.1", &permission, Some((&refusal(), by)))),
        html(&ask_over("1.1", &permission, None)),
        html(&ask_over("1.1", &questions, Some((&choice(), by)))),
        html(&ask_over("1.1", &questions, Some((&Answer::Question(QuestionReply::Reject), by)))),
        html(&ask_over("1.1", &questions, None)),
    ];
    assert_snapshot!(shown.join("\n──\n"));
}

#[test]
fn a_status_says_what_it_waits_for() {
    let asking = Doing { asks: true, ..busy() };
    assert_snapshot!([html(&status("1.1", &asking, 12)), html(&render_retry())].join("\n──\n"));
}

#[test]
fn the_picture_of_the_terminal_in_the_documentation_is_of_what_it_prints() {
    let mut row = done();
    row.output = Some(json!({ "reply": ANSWER, "files": [], "files_are_all": true, "duration_ms": 14_200 }));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/terminal/answer.txt");
    let printed = format!("{}\n", connector_host::console::render::result(&view::result(&row)));
    if std::fs::read_to_string(&path).unwrap_or_default() != printed {
        std::fs::write(path.with_extension("txt.new"), &printed).unwrap();
        panic!("look at docs/terminal/answer.txt.new and put it in place");
    }
}

#[test]
fn the_pictures_in_the_documentation_are_of_the_texts_as_they_are() {
    let (card, shown) = (card(&waiting(), 1_000), result(&done()));
    let patch = Styled::new().plain("📄 step-1.1.diff\nthe changes of 1.1");
    let asks = [permission("1.1", &bash()).text, question("1.1", &runner(), (0, 2), &[]).text];
    let status = status("1.1", &busy(), 12);
    let mut row = done();
    row.output = Some(json!({ "reply": ANSWER, "files": [], "files_are_all": true }));
    let answer = result(&row);
    let by = "telegram:4711";
    let over = [
        ask_over("1.1", &Asked::Permission(bash()), Some((&Answer::Permission(PermissionReply::Once), by))),
        ask_over("1.1", &Asked::Permission(bash()), Some((&refusal(), by))),
        ask_over("1.1", &Asked::Question(runners()), Some((&choice(), by))),
    ];
    let retry = render_retry();
    let reply = |text| Bubble { text, buttons: &[], answers: Some("1.1 done in 14.2 s") };
    let pictures: [(&str, Vec<Bubble<'_>>); 7] = [
        ("card", vec![Bubble::with(&card.text, APPROVE)]),
        ("status", vec![Bubble::with(&status, &[&["⏹ Abort"]])]),
        (
            "asks",
            vec![
                Bubble::with(&asks[0], ALLOW),
                Bubble::with(&asks[1], &[&["node"], &["vitest"], &["❌ Reject"]]),
            ],
        ),
        ("result", vec![Bubble::with(&shown.text, &[]), reply(text_of(&shown)), reply(&patch)]),
        ("answer", vec![reply(text_of(&answer))]),
        ("answered", over.iter().map(|text| Bubble::with(text, &[])).collect()),
        ("retry", vec![Bubble::with(&retry, &[&["⏳ Wait", "⏹ Stop"]])]),
    ];
    let other = pictures.iter().filter(|(name, bubbles)| !is_documented(name, bubbles));
    let other: Vec<&str> = other.map(|(name, _)| *name).collect();
    assert!(other.is_empty(), "look at docs/telegram/*.svg.new and put them in place: {other:?}");
}

#[test]
fn an_ask_is_shown_whole_and_never_its_patterns_alone() {
    let ask = PermissionAsk {
        patterns: vec!["ls *".into()],
        metadata: json!({ "command": "cd .git && ls *", "workdir": "/code/b\ncommand:\nls" }),
        ..bash()
    };
    assert_snapshot!(html(&permission("1.1", &ask).text), @r"
    <b>🔐 1.1: may the agent use bash?</b>
    <b>command:</b>
    <pre>cd .git &amp;&amp; ls *</pre>
    <b>workdir:</b>
    <pre>/code/b
    command:
    ls</pre>
    ");
    let ask = PermissionAsk {
        permission: "edit".into(),
        patterns: vec!["a.txt".into()],
        metadata: json!({ "files": [{ "file": "a.txt", "patch": "@@ -1 +1 @@\n-a\n+b\n" }] }),
        ..bash()
    };
    assert_snapshot!(html(&permission("1.1", &ask).text), @r"
    <b>🔐 1.1: may the agent use edit?</b>
    <b>what:</b>
    <pre>a.txt</pre>
    <b>change of a.txt:</b>
    <pre>@@ -1 +1 @@
    -a
    +b
    </pre>
    ");
}

#[test]
fn an_ask_fits_into_its_message_whatever_it_is_made_of() {
    // Two units a character, marks without end, from right to left, joined.
    for unit in ["𝕏", "e\u{301}", "\u{301}", "ש", "\u{202e}", "👨\u{200d}👩\u{200d}👧", "\n", " "] {
        for count in [0, 1, 200, 5_000] {
            let words = unit.repeat(count);
            let ask = PermissionAsk { permission: words.clone(), patterns: vec![words.clone(); 2], ..bash() };
            let shown = permission("1.1", &ask);
            assert!(shown.text.units() <= 4_096, "{unit:?} {count}: {}", shown.text.units());
            let option = QuestionOption { label: words.clone(), description: words.clone() };
            for options in [0, 3, 120] {
                let asked = Question {
                    question: words.clone(),
                    options: vec![option.clone(); options],
                    multiple: true,
                    ..runner()
                };
                let shown = question("1.1", &asked, (0, 2), &[0]);
                let text = &shown.text;
                assert!(text.units() <= 4_096, "{unit:?} {count} {options}: {}", text.units());
                assert!(text.styles() <= 100, "{unit:?} {count} {options}: {}", text.styles());
            }
        }
    }
}

#[test]
fn a_question_that_is_cut_says_so_and_attaches_all_of_it() {
    let option = |label: &str, description: &str| QuestionOption {
        label: label.to_owned(),
        description: description.to_owned(),
    };
    let short = option("node", "what is there");
    for (asked, options) in [
        (format!("{}END?", "why ".repeat(500)), vec![short.clone()]),
        ("Which?".to_owned(), vec![short.clone(), option(&format!("{}END", "x".repeat(200)), "")]),
        ("Which?".to_owned(), vec![short.clone(), option("b", &format!("{}END", "y ".repeat(100)))]),
        (
            "Which?".to_owned(),
            (0..120).map(|at| option(&format!("option {at} {}END", "z".repeat(60)), "")).collect(),
        ),
    ] {
        let asked = Question { question: asked, options, ..runner() };
        let shown = question("1.1", &asked, (0, 1), &[]);
        assert!(shown.text.text().contains("… cut; the whole of it is above"), "{}", shown.text.text());
        let (name, content) = shown.attachment.unwrap();
        assert!(name == "ask-1.1.txt" && content.contains("END"), "{content}");
        assert!(asked.options.iter().all(|option| content.contains(&option.label)), "{content}");
    }
    assert_eq!(question("1.1", &runner(), (0, 1), &[]).attachment, None);
}
