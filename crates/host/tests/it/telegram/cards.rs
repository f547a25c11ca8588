//! What people see in Telegram, word for word, and as pictures for the documentation.

use connector_contract::ask::{PermissionAsk, Question, QuestionOption};
use connector_host::gate::policy::Actor;
use connector_host::gate::state::StepState;
use connector_host::ledger::steps::StepRow;
use connector_host::telegram::{
    Doing, Rendered, card, help, permission, question, queue, result, running, sessions, status,
};
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

fn busy() -> Doing {
    Doing {
        ahead: None,
        asks: false,
        lines: vec!["✓ read src/basket.js".into(), "· bash node --test".into()],
        todo: Some((1, 3)),
        words: "The quantity is left out.".into(),
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
    let body = if shown.body.is_blank() {
        String::new()
    } else {
        format!("\n── answered by\n{}", html(&shown.body))
    };
    format!("{}{body}{}", html(&shown.text), attached.unwrap_or_default())
}

#[test]
fn a_card() {
    assert_snapshot!(everything(&card(&waiting(), 1_000)));
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
        words: format!("first {} last", "שלום 👨\u{200d}👩\u{200d}👧 ".repeat(200)),
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
        html(&question("1.1", &runner(), (0, 2), &[])),
        html(&question("1.1", &several, (1, 2), &[1])),
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

#[test]
fn the_pictures_in_the_documentation_are_of_the_texts_as_they_are() {
    let (card, shown) = (card(&waiting(), 1_000), result(&done()));
    let patch = Styled::new().plain("📄 step-1.1.diff\nthe changes of 1.1");
    let asks = [permission("1.1", &bash()).text, question("1.1", &runner(), (0, 2), &[])];
    let status = status("1.1", &busy(), 12);
    let reply = |text| Bubble { text, buttons: &[], answers: Some("1.1 done in 14.2 s") };
    let pictures: [(&str, Vec<Bubble<'_>>); 4] = [
        ("card", vec![Bubble::with(&card.text, APPROVE)]),
        ("status", vec![Bubble::with(&status, &[&["⏹ Abort"]])]),
        (
            "asks",
            vec![
                Bubble::with(&asks[0], ALLOW),
                Bubble::with(&asks[1], &[&["node"], &["vitest"], &["❌ Reject"]]),
            ],
        ),
        ("result", vec![Bubble::with(&shown.text, &[]), reply(&shown.body), reply(&patch)]),
    ];
    let other = pictures.iter().filter(|(name, bubbles)| !is_documented(name, bubbles));
    let other: Vec<&str> = other.map(|(name, _)| *name).collect();
    assert!(other.is_empty(), "look at docs/telegram/*.svg.new and put them in place: {other:?}");
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
                assert!(shown.units() <= 4_096, "{unit:?} {count} {options}: {}", shown.units());
            }
        }
    }
}
