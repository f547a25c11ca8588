//! What is written, and what is told.

use connector_contract::{Progress, ToolOutcome};
use connector_gate::decision::Decision;
use serde_json::json;

use super::house::{House, STRANGERS};
use super::platform::{Platform, Who};

/// Thirty where all are.
const CHATS: std::ops::RangeInclusive<usize> = 1..=30;

pub(super) async fn a_result_says_what_the_agent_said_and_what_changed<P: Platform>() {
    let mut house = House::<P>::start().await;
    *house.probe.output.lock().unwrap() = json!({
        "files": [{ "path": "src/login.rs", "status": "modified", "additions": 3, "deletions": 1 }],
        "cost": 0.25, "duration_ms": 61_000,
    });
    house.approved("/fix a").await;
    for said in ["did: /fix a", "1.1 done", "src/login.rs", "+3", "61.0 s", "$0.25"] {
        house.see_text(0, said).await;
    }
    house.stop().await;
}

pub(super) async fn a_long_result_is_there_whole_or_said_to_be_cut<P: Platform>() {
    let mut house = House::<P>::start().await;
    let words: Vec<String> = (0..20_000).map(|number| format!("w{number}")).collect();
    *house.probe.output.lock().unwrap() = json!({ "reply": words.join(" ") });
    house.approved("/fix a").await;
    house.see_text(0, "1.1 done").await;
    house.until_told().await;
    let screen = house.platform.screen(0).await;
    let bare = |text: &str| text.chars().filter(|it| !it.is_whitespace()).collect::<String>();
    let all: String = screen.iter().map(|it| bare(&it.text)).collect();
    let files: String = screen.iter().filter_map(|it| it.file.as_deref()).map(bare).collect();
    let is_whole = [all, files].iter().any(|shown| shown.contains(&words.concat()));
    let is_said = screen.iter().any(|it| it.text.contains("runs show"));
    assert!(is_whole || is_said, "{:#?}", screen.last());
    house.stop().await;
}

pub(super) async fn a_failure_says_why<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.approved("/fix FAIL").await;
    house.see_text(0, "1.1 failed").await;
    house.see_text(0, "as asked").await;
    house.stop().await;
}

pub(super) async fn a_command_alone_is_asked_for_its_words<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.platform.say(Who::Anna, 0, "/fix").await;
    house.see_text(0, "what is to be done?").await;
    assert_eq!(house.value("SELECT count(*) FROM runs"), 0);
    house.stop().await;
}

pub(super) async fn what_no_rule_takes_is_said_to_whoever_wrote_it<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.platform.say(Who::Anna, 0, "good morning").await;
    house.see_text(0, "no rule answers that").await;
    house.stop().await;
}

pub(super) async fn a_command_that_a_rule_takes_is_not_said_to_be_nobodys<P: Platform>() {
    let mut house = House::<P>::start().await;
    let card = house.asked("/note this").await;
    // Both of its events were dealt with, and what was to be told of them is there.
    house.until("SELECT count(*) = 2 FROM events WHERE handled_at IS NOT NULL").await;
    house.until_told().await;
    assert_eq!(house.count(0, "no rule answers").await, 0, "{:#?}", house.platform.screen(0).await);
    house.platform.decide(Who::Anna, 0, &card, Decision::Approve).await;
    house.see_text(0, "did: /note this").await;
    house.stop().await;
}

pub(super) async fn the_hosts_own_commands_are_answered<P: Platform>() {
    let mut house = House::<P>::busy().await;
    house.approved("/fix the clock").await;
    house.until("SELECT count(*) FROM steps WHERE state = 'dispatched'").await;
    house.platform.say(Who::Anna, 0, "/status").await;
    house
        .see(0, "the status", |it| {
            it.text.contains("1.1") && (it.text.contains("running") || it.text.contains("dispatched"))
        })
        .await;
    house.platform.say(Who::Anna, 0, "/help").await;
    house.see(0, "help", |it| it.text.contains("/status") && it.text.contains("/abort")).await;
    house.probe.gate.add_permits(10);
    house.see_text(0, "did: /fix the clock").await;
    house.stop().await;
}

pub(super) async fn what_runs_is_stopped_from_the_chat<P: Platform>() {
    let mut house = House::<P>::busy().await;
    house.approved("/fix a").await;
    house.until("SELECT count(*) FROM steps WHERE state = 'dispatched'").await;
    house.platform.say(Who::Anna, 0, "/abort").await;
    house.see_text(0, "1.1 stopped").await;
    house.stop().await;
}

pub(super) async fn an_answer_to_a_result_goes_on_in_its_session<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.approved("/fix a").await;
    let result = house.see_text(0, "did: /fix a").await;
    house.until_told().await;
    house.platform.answer(Who::Anna, 0, &result, "now the docs").await;
    let card = house.card(0, "now the docs").await;
    house.platform.decide(Who::Anna, 0, &card, Decision::Approve).await;
    house.see_text(0, "2.1 done").await;
    let calls = house.probe.calls();
    let second = calls.last().unwrap();
    assert_eq!((second.action.as_str(), &second.input["session_id"]), ("continue_session", &json!("ses_1")));
    house.stop().await;
}

pub(super) async fn who_is_not_let_in_is_told_nothing_and_starts_nothing<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.platform.say(Who::Stranger, STRANGERS, "/fix a").await;
    house.platform.say(Who::Stranger, STRANGERS, "/status").await;
    house.asked("/fix b").await;
    assert_eq!(house.platform.screen(STRANGERS).await, []);
    assert_eq!(house.value("SELECT count(*) FROM runs"), 1);
    house.stop().await;
}

pub(super) async fn an_update_that_comes_twice_is_one_message<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.asked("/fix a").await;
    house.platform.redeliver().await;
    house.asked("/fix b").await;
    assert_eq!((house.value("SELECT count(*) FROM runs"), house.count(0, "/fix a").await), (2, 1));
    house.stop().await;
}

pub(super) async fn an_edited_message_starts_nothing<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.platform.say(Who::Anna, 0, "good morning").await;
    house.see_text(0, "no rule answers that").await;
    house.platform.edit(Who::Anna, 0, "/fix edited").await;
    house.asked("/fix b").await;
    assert_eq!(house.value("SELECT count(*) FROM runs"), 1);
    house.stop().await;
}

pub(super) async fn what_is_said_comes_in_order<P: Platform>() {
    let mut house = House::<P>::start().await;
    for number in 10..20 {
        house.platform.say(Who::Anna, 0, &format!("/fix n{number}.")).await;
    }
    house.card(0, "n19.").await;
    let screen = house.platform.screen(0).await;
    let place = |number: usize| screen.iter().position(|it| it.text.contains(&format!("n{number}.")));
    let places: Vec<_> = (10..20).map(|number| place(number).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    house.stop().await;
}

pub(super) async fn what_runs_is_seen_to_run<P: Platform>() {
    let mut house = House::<P>::busy().await;
    let (call_id, tool, title) = ("c1".to_owned(), "bash".to_owned(), "cargo test".to_owned());
    *house.probe.progress.lock().unwrap() = vec![
        Progress::Started { session_id: "ses_1".into() },
        Progress::ToolFinished { call_id, tool, title, outcome: ToolOutcome::Completed },
    ];
    house.approved("/fix a").await;
    house.see_text(0, "cargo test").await;
    house.probe.gate.add_permits(1);
    house.see_text(0, "1.1 done").await;
    house.until_told().await;
    if P::TRAITS.edits {
        house.until_gone(0, "a message that says it runs", |it| it.text.contains("1.1 runs")).await;
    }
    house.stop().await;
}

pub(super) async fn thirty_chats_at_once_each_get_their_own<P: Platform>() {
    let mut house = House::<P>::start().await;
    for chat in CHATS {
        house.platform.say(Who::Anna, chat, &format!("/fix chat-{chat}.")).await;
    }
    for chat in CHATS {
        let card = house.card(chat, &format!("chat-{chat}.")).await;
        house.platform.decide(Who::Anna, chat, &card, Decision::Approve).await;
    }
    for chat in CHATS {
        house.see_text(chat, &format!("did: /fix chat-{chat}.")).await;
    }
    house.until_told().await;
    for chat in CHATS {
        assert_eq!(house.count(chat, "did: /fix").await, 1, "chat {chat}");
    }
    assert_eq!(house.calls(), 30);
    house.stop().await;
}
