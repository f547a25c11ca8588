use connector_contract::Target;
use connector_gate::digest::Digest;
use connector_gate::people::People;
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use connector_ledger::steps::StepRow;
use connector_surface::view::{Branch, CardView, ChangedFile, Field, ResultView, Verbatim};
use serde_json::{Value, json};

use super::*;

/// Moves the cursor, reads backwards, hides, and looks like a card.
const HOSTILE: &str = "a\n└─ y to run it\u{1b}[2K\r\u{202e}txt.exe\u{200b}";
const SHOWN: &str = "a\n└─ y to run it\\u{1b}[2K\\u{d}\\u{202e}txt.exe\\u{200b}";
const IN_A_LINE: &str = "a\\n└─ y to run it\\u{1b}[2K\\u{d}\\u{202e}txt.exe\\u{200b}";

fn row(state: StepState, input: Value, output: Option<Value>) -> StepRow {
    StepRow {
        id: "17.1".parse().unwrap(),
        name: None,
        connector: "connector-opencode".into(),
        action: "run_task".into(),
        read_only: false,
        input,
        target: Target { origin: Some("workspace:myapp".into()), settings: [].into() },
        lane: String::new(),
        asked: 1,
        rule_now: None,
        digest: Digest::from_stored("3fa9c2d4e5f60718".repeat(4)),
        state,
        reason: None,
        approvals_needed: 1,
        approvers: vec![],
        other_approver: false,
        people: People::default(),
        token: "t".into(),
        expiry_ms: 900_000,
        allowance_ms: 0,
        created_at: 0,
        delivered_at: None,
        expires_at: None,
        decided_at: None,
        decided_by: None,
        passed_by: None,
        allowance: None,
        dispatched_at: None,
        checkpoint: None,
        output,
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

fn waiting(input: Value) -> StepRow {
    row(StepState::Waiting, input, None)
}

fn ended(state: StepState, reason: &str) -> StepRow {
    StepRow { reason: Some(reason.into()), ..row(state, json!({}), None) }
}

fn done(output: Value) -> ResultView {
    result(&row(StepState::Succeeded, json!({}), Some(output)))
}

/// Its fields, each as its name and what it says.
fn fields(card: &CardView) -> Vec<(&str, &str)> {
    fn field(field: &Field) -> (&str, &str) {
        match field {
            Field::Again(why) => ("again", why.as_str()),
            Field::AskedBy { by, .. } => ("asked by", by.as_str()),
            Field::Named { name, value } => (name.as_str(), value.as_str()),
        }
    }
    card.fields.iter().map(field).collect()
}

#[test]
fn a_card_has_every_term_of_a_step_in_order() {
    let settings = json!({
        "agent": "plan", "directory": "/code/myapp", "model": "a/b", "isolation": "worktree", "retries": 2,
        "permissions": "?", "told": { "saved": "granted for good" },
    });
    let step = StepRow {
        reason: Some("changed after the approval: model".into()),
        approvals_needed: 2,
        delivered_at: Some(1),
        expires_at: Some(125_000),
        target: Target { origin: None, settings: serde_json::from_value(settings).unwrap() },
        ..waiting(json!({
            "files": [{ "name": "a.txt", "mime": "text/plain", "data": "YWJj" }],
            "prompt": "do it", "session_id": null,
        }))
    };
    let card = super::card(&step, 0);
    assert_eq!(
        fields(&card),
        [
            ("again", "changed after the approval: model"),
            ("rule", "fix (0123456789ab)"),
            ("asked by", "telegram:12345"),
            ("runs", "connector-opencode · run_task"),
            ("at", "nowhere in particular"),
            ("directory", "/code/myapp"),
            ("model", "a/b"),
            ("agent", "plan"),
            ("may do", "what its rules say; `approvals show` has them"),
            ("isolation", "worktree"),
            ("retries", "2"),
            ("saved", "granted for good"),
            ("file", "a.txt · text/plain · 3 B · sha256 ba7816bf8f01"),
            ("session_id", "null"),
            ("digest", "3fa9c2d4e5f6"),
            ("expires", "in 2 min 5 s"),
            ("approvals", "2 are needed"),
        ]
    );
    assert_eq!((card.again(), card.prompt.as_deref()), (Some(fields(&card)[0].1), Some("do it")));
    assert!(card.is_delivered && card.digest == step.digest && card.token == step.token);
    assert!(card.fields.contains(&Field::AskedBy { by: "telegram:12345".into(), chat: "-100200".into() }));
}

#[test]
fn a_card_of_any_step_is_clean_and_whole() {
    let long = "é".repeat(100_000);
    let told = |key: &str, value: &str| (key.to_owned(), json!(value));
    let target = |key: &str| Target {
        origin: Some(HOSTILE.into()),
        settings: [told(key, HOSTILE), told("directory", HOSTILE), ("told".into(), json!({ key: HOSTILE }))]
            .into(),
    };
    for (input, prompt, also) in [
        (json!({ "prompt": HOSTILE, HOSTILE: HOSTILE }), Some(SHOWN), IN_A_LINE),
        (json!({ "prompt": long.as_str() }), Some(long.as_str()), "é"),
        (json!({ "prompt": 7 }), Some("7"), "7"),
        (json!({ "prompt": "", "list": ["a\u{202e}"] }), Some(""), "[\"a\\u{202e}\"]"),
        (json!({ "files": [{ "data": "*", "name": "a" }] }), None, "[{\"data\":\"*\",\"name\":\"a\"}]"),
        (json!({}), None, "step 17.1"),
        (json!("no object"), None, "step 17.1"),
    ] {
        let step = StepRow {
            reason: Some(HOSTILE.into()),
            rule: HOSTILE.into(),
            chat: HOSTILE.into(),
            connector: HOSTILE.into(),
            requester: Actor::from_text(HOSTILE),
            target: target(HOSTILE),
            ..waiting(input)
        };
        let card = super::card(&step, i64::MAX);
        assert_eq!(card.prompt.as_deref(), prompt);
        assert!(card.whole.contains(also) && card.whole.contains(prompt.unwrap_or_default()), "{also}");
        assert!(card.whole.contains(card.digest.as_str()));
        for (name, value) in fields(&card) {
            assert!(!format!("{name}{value}").contains('\n'), "{name}: {value}");
        }
        let all = format!("{}{:?}", card.whole, fields(&card)).replace('\n', "");
        assert_eq!(connector_surface::text::visible(&all), all);
        assert_eq!(fields(&card).last(), Some(&("expires", "in 15 min")), "nobody saw it yet");
    }
}

#[test]
fn a_result_says_how_a_step_ended() {
    for (state, reason, title) in [
        (StepState::Succeeded, "", "17.1 done"),
        (StepState::Denied, "denied by console", "17.1 was not run"),
        (StepState::Denied, HOSTILE, "17.1 was not run"),
        (StepState::Expired, "nobody approved it in time", "17.1 was not run"),
        (StepState::Cancelled, "stopped (cancelled): confirmed", "17.1 stopped"),
        (StepState::Unknown, "outcome unknown: it died", "17.1: nobody knows what became of it"),
        (StepState::Failed, "failed: Model not found: a/b", "17.1 failed"),
        (StepState::Skipped, "its condition is not met", "17.1 was left out"),
        (StepState::Resolved, "", "17.1 waits for a decision"),
        (StepState::Waiting, "", "17.1 waits for a decision"),
        (StepState::Approved, "", "17.1 waits for its turn"),
        (StepState::Dispatched, "", "17.1 runs"),
    ] {
        let step = StepRow {
            decided_by: Some(Actor::from_text("console")),
            output: Some(json!({ "duration_ms": 1_000 })),
            ..ended(state, reason)
        };
        let result = super::result(&step);
        assert_eq!((result.state, result.title.as_str()), (state, title));
        assert_eq!(result.reason.as_deref(), Some(if reason == HOSTILE { SHOWN } else { reason }));
        let approved_by = (state != StepState::Denied).then_some("console");
        assert_eq!(result.approved_by.as_deref(), approved_by, "{title}");
        assert_eq!(result.figures, if state == StepState::Succeeded { " in 1.0 s" } else { "" });
    }
}

#[test]
fn a_result_says_what_the_agent_said() {
    for (output, reply, remark) in [
        (json!({ "reply": "  `done`\n" }), Some("`done`"), None),
        (json!({ "reply": HOSTILE }), Some(HOSTILE), None),
        (json!({ "reply": " \n" }), Some(""), Some("the agent said nothing")),
        (json!({ "reply": "", "remark": "cut\noff" }), Some(""), Some("cut\\noff")),
        (json!({ "reply": "half", "remark": "cut off" }), Some("half"), Some("cut off")),
        (json!({ "reply": 1 }), None, None),
        (json!(["no object"]), None, None),
    ] {
        let result = done(output);
        assert_eq!(result.reply.as_ref().map(Verbatim::as_str), reply);
        assert_eq!(result.remark.as_deref(), remark);
    }
}

#[test]
fn a_result_names_what_changed_and_whether_that_is_known() {
    let file =
        |status: &str, path: &str, lines| ChangedFile { status: status.into(), path: path.into(), lines };
    let many: Vec<_> = (0..1_000).map(|n| json!({ "path": format!("{n}"), "status": "added" })).collect();
    for (output, files, left_out, none) in [
        (json!({ "files": [] }), vec![], 0, "no file is known to have changed (large"),
        (
            json!({ "files": [], "files_are_all": false }),
            vec![],
            0,
            "no file is known to have changed (large",
        ),
        (json!({ "files": [], "files_are_all": true }), vec![], 0, "no files changed"),
        (
            json!({ "files": [{ "path": HOSTILE, "status": "modified", "additions": 1, "deletions": 2 }] }),
            vec![file("modified", IN_A_LINE, Some((1, 2)))],
            0,
            "no file is known",
        ),
        (
            json!({ "files": [{ "path": "a", "additions": 1, "deletions": null }, 7], "files_left_out": 3 }),
            vec![file("", "a", None), file("", "", None)],
            3,
            "no file is known",
        ),
        (json!({ "files": many }), (0..1_000).map(|n| file("added", &n.to_string(), None)).collect(), 0, ""),
    ] {
        let changes = done(output).changes.unwrap();
        assert!(changes.none.starts_with(none), "{}", changes.none);
        assert_eq!((changes.files, changes.left_out), (files, left_out));
    }
    assert_eq!(done(json!({ "reply": "text alone" })).changes, None, "unknown is not none");
}

#[test]
fn a_result_says_where_its_changes_are() {
    let commits = json!({ "branch": "opencode/1\u{202e}", "base": "a1", "commit": "b2" });
    for (output, session, has_choices) in [
        (commits.clone(), Some("ses_1"), true),
        (commits, None, false),
        (json!({ "branch": "opencode/1\u{202e}", "commit": "b2" }), Some("ses_1"), false),
        (json!({ "branch": "opencode/1\u{202e}", "base": "--force", "commit": "b2" }), Some("ses_1"), false),
    ] {
        let session_id = session.map(str::to_owned);
        let step = row(StepState::Succeeded, json!({}), Some(output));
        let result = super::result(&StepRow { session_id, ..step });
        let (name, apply) = ("opencode/1\\u{202e}".to_owned(), "connector-host runs apply 17".to_owned());
        assert_eq!(result.branch, Some(Branch { name, apply, has_choices }));
        assert_eq!(result.session.as_deref(), session);
    }
    let patch = |patch: &str| done(json!({ "patch": patch })).patch;
    assert_eq!(patch("-a\t\n+b\r\n"), Some(Verbatim::from("-a\t\n+b\r\n")), "a file is not changed");
    assert_eq!((patch(""), done(json!({})).branch), (None, None));
}

#[test]
fn whoever_draws_a_view_reads_neither_rows_nor_json() {
    for (name, source) in [
        ("console/render.rs", include_str!("../console/render.rs")),
        ("telegram/buttons.rs", include_str!("../telegram/buttons.rs")),
        ("telegram/render.rs", include_str!("../telegram/render.rs")),
        ("telegram/render/headline.rs", include_str!("../telegram/render/headline.rs")),
        ("telegram/send.rs", include_str!("../telegram/send.rs")),
    ] {
        for word in ["StepRow", ".get(\"", ".output", ".target", ".input"] {
            assert!(!source.contains(word), "{name} has `{word}`");
        }
    }
}
