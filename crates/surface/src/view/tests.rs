use connector_contract::{Progress, TodoItem, ToolOutcome};

use super::*;

/// Moves the cursor, reads backwards, hides, and looks like a card.
const HOSTILE: &str = "a\n└─ y to run it\u{1b}[2K\r\u{202e}txt.exe\u{200b}";
const IN_A_LINE: &str = "a\\n└─ y to run it\\u{1b}[2K\\u{d}\\u{202e}txt.exe\\u{200b}";

#[test]
fn an_update_is_a_line_which_is_clean_and_in_a_chat_has_no_output() {
    let ended = |outcome| Progress::ToolFinished {
        call_id: "c1".into(),
        tool: "bash".into(),
        title: "cargo test\n--all".into(),
        outcome,
    };
    let item = |status: &str| TodoItem { content: "x".into(), status: status.into() };
    let failed = |reason: &str| ended(ToolOutcome::Failed { reason: reason.into() });
    for (update, full, brief) in [
        (Progress::Queued { ahead: 2 }, "… waits for 2 before it", None),
        (Progress::Waiting { reason: "the daemon".into() }, "… the daemon", None),
        (ended(ToolOutcome::Completed), "✓ bash cargo test\\n--all", None),
        (
            failed("exit 1: t=hunter2"),
            "✗ bash cargo test\\n--all: exit 1: t=hunter2",
            Some("✗ bash cargo test\\n--all: exit 1"),
        ),
        (
            ended(ToolOutcome::Refused { by: "the walls".into() }),
            "✗ bash cargo test\\n--all: refused by the walls",
            None,
        ),
        (Progress::Todo { items: vec![item("completed"), item("pending")] }, "☰ 1 of 2 done", None),
        (
            Progress::SubAgentStarted { session_id: "s".into(), title: HOSTILE.into() },
            &format!("▷ sub-agent: {IN_A_LINE}"),
            None,
        ),
        (Progress::Connection { live: true }, "~ progress is live again", None),
    ] {
        assert_eq!(line(&update, Detail::Full).as_deref(), Some(full));
        assert_eq!(line(&update, Detail::Brief).as_deref(), Some(brief.unwrap_or(full)));
    }
    assert_eq!(line(&Progress::Text { so_far: "words".into() }, Detail::Full), None);
}

#[test]
fn a_status_keeps_the_last_lines_and_a_tools_end_in_place_of_its_beginning() {
    let tool = |title: &str| ("c1".to_owned(), "bash\u{202e}".to_owned(), title.to_owned());
    let begun = |title: &str| {
        let (call_id, tool, title) = tool(title);
        Progress::ToolStarted { call_id, tool, title }
    };
    let ended = |title: &str| {
        let (call_id, tool, title) = tool(title);
        Progress::ToolFinished { call_id, tool, title, outcome: ToolOutcome::Completed }
    };
    let mut doing = Doing::default();
    for update in [begun(""), begun("b"), ended("b"), ended("a"), ended("c")] {
        assert!(doing.note(&update), "{update:?}");
    }
    assert_eq!(doing.lines, ["✓ bash\\u{202e} a", "✓ bash\\u{202e} b", "✓ bash\\u{202e} c"]);
    for n in 0..5 {
        doing.note(&begun(&n.to_string()));
    }
    assert_eq!(doing.lines.len(), 6);
    assert_eq!(doing.lines[0], "✓ bash\\u{202e} c");
    let retry = Progress::Retry { attempt: 1, reason: HOSTILE.into(), next_at_ms: Some(9) };
    for (update, is_news) in [
        (Progress::Queued { ahead: 1 }, true),
        (Progress::Queued { ahead: 1 }, false),
        (retry.clone(), true),
        (Progress::Connection { live: true }, false),
        (retry, true),
    ] {
        assert_eq!(doing.note(&update), is_news, "{update:?}");
    }
    assert_eq!((doing.ahead, doing.retry.as_ref().unwrap().reason.as_str()), (None, IN_A_LINE));
    doing.note(&Progress::Text { so_far: HOSTILE.into() });
    assert_eq!((doing.retry, doing.words.as_str()), (None, HOSTILE), "it goes on");
}
