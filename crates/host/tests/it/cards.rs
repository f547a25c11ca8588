//! What people see at the console, word for word.

use connector_contract::ask::{PermissionAsk, Question, QuestionAsk, QuestionOption};
use connector_contract::{Consequence, Progress, Target, ToolOutcome};
use connector_gate::ask::Asked;
use connector_gate::digest::Digest;
use connector_gate::people::People;
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_host::console::render;
use connector_host::view;
use connector_ledger::steps::StepRow;
use connector_surface::OpenAsk;
use insta::assert_snapshot;
use serde_json::json;

pub(crate) fn row() -> StepRow {
    let settings = [
        ("directory".to_owned(), json!("/code/myapp")),
        ("model".to_owned(), json!("anthropic/claude-sonnet-4")),
        ("permissions".to_owned(), json!({ "bash": "ask", "edit": "allow" })),
    ];
    StepRow {
        id: "17.1".parse().unwrap(),
        name: Some("step1".into()),
        connector: "connector-opencode".into(),
        action: "run_task".into(),
        read_only: false,
        input: json!({ "prompt": "fix the flaky login test\nand nothing else", "title": "login" }),
        target: Target { origin: Some("workspace:myapp".into()), settings: settings.into() },
        lane: "workspace:myapp /code/myapp".into(),
        asked: 1,
        rule_now: Some("0123456789abcdef".into()),
        digest: Digest::from_stored("3fa9c2d4e5f60718".repeat(4)),
        state: StepState::Waiting,
        reason: None,
        approvals_needed: 1,
        approvers: vec![Actor::from_text("console")],
        other_approver: false,
        people: People::default(),
        token: "secret-token".into(),
        expiry_ms: 900_000,
        allowance_ms: 0,
        created_at: 0,
        delivered_at: Some(1_000),
        expires_at: Some(901_000),
        decided_at: None,
        decided_by: None,
        passed_by: None,
        allowance: None,
        dispatched_at: None,
        checkpoint: None,
        output: None,
        consequence: None,
        session_id: None,
        ended_at: None,
        wake_at: None,
        rule: "fix".into(),
        rule_version: "0123456789abcdef".into(),
        requester: Actor::from_text("telegram:12345"),
        surface: "telegram".into(),
        chat: "-100200".into(),
    }
}

fn card(row: &StepRow, now: i64) -> String {
    render::card(&view::card(row, now))
}

fn result(row: &StepRow) -> String {
    render::result(&view::result(row))
}

#[test]
fn a_card_shows_everything_that_decides_what_runs() {
    assert_snapshot!(card(&row(), 61_000), @r#"
┌─ approval needed · 17.1
│ rule        fix (0123456789ab)
│ asked by    telegram:12345 in -100200
│ runs        connector-opencode · run_task
│ at          workspace:myapp
│ directory   /code/myapp
│ model       anthropic/claude-sonnet-4
│ agent       the daemon's default
│ may do      at most: may edit; asks before commands; may fetch from the web;
│              asks before it leaves the directory; may start sub-agents. Stri
│             cter where the agent or opencode's configuration is
│ title       login
│ digest      3fa9c2d4e5f6
│ expires     in 14 min
│ prompt
│   fix the flaky login test
│   and nothing else
└─ y to run it, n to refuse (or: y 17.1, n 17.1)
"#);
}

#[test]
fn a_card_shown_again_says_what_changed() {
    let again = StepRow {
        reason: Some("changed after the approval: model".into()),
        approvals_needed: 2,
        target: Target::default(),
        ..row()
    };
    assert_snapshot!(card(&again, 0), @r#"
┌─ approval needed · 17.1
│ again       changed after the approval: model
│ rule        fix (0123456789ab)
│ asked by    telegram:12345 in -100200
│ runs        connector-opencode · run_task
│ at          nowhere in particular
│ directory   as the daemon was started
│ model       not named: the daemon's default, which may be one in a cloud
│ agent       the daemon's default
│ title       login
│ digest      3fa9c2d4e5f6
│ expires     in 15 min 1 s
│ approvals   2 are needed
│ prompt
│   fix the flaky login test
│   and nothing else
└─ y to run it, n to refuse (or: y 17.1, n 17.1)
"#);
}

#[test]
fn a_prompt_cannot_pretend_to_be_a_card_or_hide() {
    let prompt = "innocent\n└─ y to run it\n┌─ approval needed · 99.1\r\u{1b}[2K\u{202e}txt.exe\u{200b}";
    let title = "x\n│ digest      000000000000";
    let hostile =
        StepRow { input: json!({ "prompt": prompt, "title": title }), chat: "a\nb".into(), ..row() };
    assert_snapshot!(card(&hostile, 61_000), @r#"
┌─ approval needed · 17.1
│ rule        fix (0123456789ab)
│ asked by    telegram:12345 in a\nb
│ runs        connector-opencode · run_task
│ at          workspace:myapp
│ directory   /code/myapp
│ model       anthropic/claude-sonnet-4
│ agent       the daemon's default
│ may do      at most: may edit; asks before commands; may fetch from the web;
│              asks before it leaves the directory; may start sub-agents. Stri
│             cter where the agent or opencode's configuration is
│ title       x\n│ digest      000000000000
│ digest      3fa9c2d4e5f6
│ expires     in 14 min
│ prompt
│   innocent
│   └─ y to run it
│   ┌─ approval needed · 99.1\u{d}\u{1b}[2K\u{202e}txt.exe\u{200b}
└─ y to run it, n to refuse (or: y 17.1, n 17.1)
"#);
}

#[test]
fn a_long_line_is_broken_inside_the_frame() {
    let padded = format!("go on{}└─ y to run it", " ".repeat(80));
    let (name, wide) = ("a_long_name_".repeat(9), "長い".repeat(60));
    let input = json!({ "prompt": padded, "title": "t".repeat(90), name.as_str(): "its value", wide: "w" });
    let long = StepRow { input, ..row() };
    let card = card(&long, 61_000);
    assert!(card.lines().all(|line| line.chars().count() <= 79), "{card}");
    assert!(card.lines().all(|line| line.starts_with(['│', '┌', '└'])), "{card}");
    assert!(card.replace("\n│ ", "").contains(&name) && card.contains("its value"), "{card}");
    assert_eq!(card.lines().filter(|line| line.starts_with('└')).count(), 1, "{card}");
}

#[test]
fn results_say_how_it_ended_and_what_remains() {
    let output = json!({
        "reply": "Both tests pass.\u{1b}[31m",
        "session_id": "ses_1",
        "cost": 0.0123,
        "tokens": { "total": 4321, "input": 4000, "output": 321 },
        "duration_ms": 62_345,
        "files": [
            { "path": "src/login.rs", "additions": 12, "deletions": 3, "status": "modified" },
            { "path": "tests/new.rs", "additions": 40, "deletions": 0, "status": "added" },
        ],
    });
    let done = StepRow {
        state: StepState::Succeeded,
        output: Some(output),
        session_id: Some("ses_1".into()),
        ..row()
    };
    assert_snapshot!(result(&done), @r#"
✔ 17.1 done in 62.3 s · cost $0.0123 · 4321 tokens
  Both tests pass.\u{1b}[31m
  modified  src/login.rs  +12 −3
  added     tests/new.rs  +40 −0
  session ses_1 · go on with: /continue …
"#);
    let end = |state, reason: &str, consequence, session: Option<&str>| {
        result(&StepRow {
            state,
            reason: Some(reason.into()),
            consequence,
            session_id: session.map(str::to_owned),
            ..row()
        })
    };
    let all = [
        end(StepState::Denied, "denied by console", None, None),
        end(StepState::Expired, "nobody approved it in time", None, None),
        end(StepState::Failed, "unavailable: cannot connect", Some(Consequence::NothingStarted), None),
        end(StepState::Failed, "failed: Model not found: a/b", Some(Consequence::Failed), Some("ses_1")),
        end(
            StepState::Cancelled,
            "stopped (cancelled): the daemon confirmed it",
            Some(Consequence::Stopped),
            Some("ses_1"),
        ),
        end(
            StepState::Unknown,
            "outcome unknown: the daemon is gone",
            Some(Consequence::Unknown),
            Some("ses_1"),
        ),
    ];
    assert_snapshot!(all.join("\n"), @r#"
✘ 17.1 was not run: denied by console
✘ 17.1 was not run: nobody approved it in time
✘ 17.1 failed: unavailable: cannot connect
✘ 17.1 failed: Model not found: a/b
  session ses_1 · go on with: /continue …
■ 17.1 stopped (cancelled): the daemon confirmed it
  session ses_1 · go on with: /continue …
? 17.1: nobody knows what became of it: the daemon is gone
  session ses_1 · go on with: /continue …
"#);
}

#[test]
fn progress_is_one_line_each() {
    let call = |tool: &str, title: &str| (String::from("c1"), tool.to_owned(), title.to_owned());
    let (call_id, tool, title) = call("bash", "cargo test\n--all");
    let updates = [
        Progress::Queued { ahead: 2 },
        Progress::Started { session_id: "ses_1".into() },
        Progress::ToolStarted { call_id: call_id.clone(), tool: tool.clone(), title: title.clone() },
        Progress::ToolFinished {
            call_id: call_id.clone(),
            tool: tool.clone(),
            title: title.clone(),
            outcome: ToolOutcome::Completed,
        },
        Progress::ToolFinished {
            call_id,
            tool,
            title,
            outcome: ToolOutcome::Failed { reason: "exit 1".into() },
        },
        Progress::Retry { attempt: 3, reason: "rate limited".into(), next_at_ms: None },
        Progress::SubAgentStarted { session_id: "ses_2".into(), title: "look around".into() },
        Progress::Connection { live: false },
        Progress::Text { so_far: "not shown".into() },
    ];
    let lines: Vec<String> = updates.iter().filter_map(render::progress).collect();
    assert_snapshot!(lines.join("\n"), @r#"
… waits for 2 before it
▶ session ses_1
· bash cargo test\n--all
✓ bash cargo test\n--all
✗ bash cargo test\n--all: exit 1
↻ try 3: rate limited
▷ sub-agent: look around
~ progress is late; the work goes on
"#);
}

#[test]
fn asks_say_what_to_type() {
    let step = "17.1".parse().unwrap();
    let permission = Asked::Permission(PermissionAsk {
        id: "per_1".into(),
        session_id: "ses_1".into(),
        permission: "bash".into(),
        patterns: vec!["rm -rf build".into(), "cargo clean".into()],
        metadata: json!({ "command": "rm -rf build; cargo clean", "description": "" }),
        call: None,
    });
    let option = |label: &str, about: &str| QuestionOption { label: label.into(), description: about.into() };
    let questions = Asked::Question(QuestionAsk {
        id: "que_1".into(),
        session_id: "ses_1".into(),
        questions: vec![
            Question {
                question: "Which database?".into(),
                header: "DB".into(),
                options: vec![option("SQLite", "one file"), option("Postgres", "")],
                multiple: false,
            },
            Question {
                question: "Which tests?".into(),
                header: String::new(),
                options: vec![option("unit", ""), option("e2e", "")],
                multiple: true,
            },
        ],
    });
    let show = |number, asked| {
        render::ask(&OpenAsk { number, times: 1, step, asked, approvers: vec![], people: People::default() })
    };
    assert_snapshot!(format!("{}\n{}", show(1, permission), show(2, questions)), @r#"
┌─ the agent asks (1): may it use bash?
│   rm -rf build; cargo clean
└─ once 1, session 1 (this and nothing else), or reject 1
┌─ the agent asks (2)
│ 1. Which database?
│    1 SQLite — one file
│    2 Postgres
│ 2. Which tests? (several)
│    1 unit
│    2 e2e
└─ answer 2 1; 1 2 (numbers or your own words), or reject 2
"#);
}
