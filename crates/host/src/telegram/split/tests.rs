//! Texts, cut as Telegram's clients cut them, with other people's messages in between.

use std::collections::HashMap;

use connector_telegram::update::{Allow, Incoming, Me, read};
use proptest::prelude::*;

use super::*;

/// Somebody's message, as Telegram brings it.
fn said(user: u64, date: u64, text: &str) -> Received {
    let update = json!({ "update_id": 1, "message": {
        "message_id": 1, "date": date, "text": text, "chat": { "id": 7, "type": "private" },
        "from": { "id": user, "is_bot": false, "first_name": "A" },
    }});
    let allow = Allow { users: [1, 2].into(), chats: [7].into() };
    match read(&update, &allow, &Me { id: 9, username: "our_bot".into() }) {
        Incoming::Message(received) => *received,
        other => panic!("{other:?}"),
    }
}

/// The events that these messages become, one by one, as the ledger keeps them.
fn events(messages: &[Received]) -> Vec<String> {
    let mut all: Vec<Value> = Vec::new();
    let mut newest: HashMap<u64, usize> = HashMap::new();
    for message in messages {
        let before = newest.get(&message.user).copied();
        if let Some((at, whole)) = before.and_then(|at| Some((at, joined(&all[at], message)?))) {
            all[at] = whole;
            continue;
        }
        let mut payload = message.payload.clone();
        payload["split"] = json!(note(message));
        newest.insert(message.user, all.len());
        all.push(payload);
    }
    all.iter().map(|payload| payload["text"].as_str().unwrap().to_owned()).collect()
}

/// How a client cuts: at the last blank in the second half, which is dropped, or else where it is full.
fn cut(text: &str) -> Vec<String> {
    let (mut rest, mut parts) = (text.trim(), Vec::new());
    while units(rest) > MESSAGE {
        let whole = head(rest, MESSAGE);
        let half = head(rest, MESSAGE / 2 + 1).len();
        let blank = whole[half..].rfind(['\n', ' ']).map(|at| half + at);
        let (part, after) = rest.split_at(blank.unwrap_or(whole.len()));
        parts.push(part.trim_end().to_owned());
        rest = after.trim_start();
    }
    parts.push(rest.to_owned());
    parts
}

fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        8 => "[a-z]{1,12}",
        1 => Just("/other".to_owned()),
        1 => Just("👨\u{200d}👩\u{200d}👧".to_owned()),
        1 => "[日本語é]{1,8}",
        1 => "/[a-z]{1,6}/[a-z]{1,6}",
    ];
    let between = prop_oneof![Just(""), Just(" "), Just("\n")];
    (proptest::collection::vec(word, 700..1_600), between).prop_map(|(words, between)| words.join(between))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_telegram_cut_is_one_message_again(text in words(), others in 0_usize..3) {
        let text = format!("/fix {text}");
        let parts = cut(&text);
        let mut messages = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            messages.push(said(1, 100 + number as u64, part));
            for _ in 0..others {
                messages.push(said(2, 100 + number as u64, "what somebody else says"));
            }
        }
        let (mine, theirs): (Vec<_>, Vec<_>) =
            events(&messages).into_iter().partition(|text| !text.starts_with("what somebody"));
        prop_assert_eq!(mine, [text]);
        prop_assert_eq!(theirs.len(), others * parts.len());
    }

    #[test]
    fn two_messages_that_fit_into_one_are_two(first in 1_usize..4_079, second in 1_usize..4_079) {
        let room = MESSAGE - usize::try_from(BLANKS).unwrap();
        let second = 1 + second % (room - first);
        let both = [said(1, 100, &"a".repeat(first)), said(1, 100, &"b".repeat(second))];
        prop_assert_eq!(events(&both).len(), 2);
    }
}

#[test]
fn messages_are_one_as_soon_as_they_and_dropped_blanks_do_not_fit_into_one() {
    for (first, second, count) in [(3_999, 81, 2), (3_999, 82, 1), (2_049, 2_031, 2), (2_049, 2_032, 1)] {
        let both = [said(1, 100, &"a".repeat(first)), said(1, 100, &"b".repeat(second))];
        assert_eq!(events(&both).len(), count, "{first} and {second}");
    }
}

#[test]
fn what_was_dropped_at_a_cut_is_told_by_what_stands_before_and_after_it() {
    let family = "👨\u{200d}👩\u{200d}👧";
    let long = |end: &str, length: usize| format!("{}{end}", "x".repeat(length - units(end)));
    let lines = "\n\n".to_owned() + &"x".repeat(2_100);
    for (parts, dropped) in [
        // Through a word, or so it is taken if the first part is full.
        ([long("", 4_096), "next".into()], ""),
        ([long(" wo", 4_096), "rd".into()], ""),
        ([long("\nwo", 4_096), "rd".into()], ""),
        ([long("", 4_095), "😀".into()], ""),
        ([long("", 4_090), family.into()], ""),
        // At a blank.
        ([long("", 4_095), "next".into()], " "),
        ([long(" the", 4_090), family.into()], " "),
        ([long(" the", 4_085), "database".into()], " "),
        // At a line's end, but not if all of them are in the first half.
        ([long("\nthe", 4_085), "database".into()], "\n"),
        ([long(" a\nb the", 4_085), family.into()], "\n"),
        ([long(&lines, 4_085), "database".into()], " "),
        // Some clients leave the blank where it is.
        ([long(" the ", 4_085), "database".into()], ""),
        ([long(" the", 4_085), " database".into()], ""),
    ] {
        // It is the same behind an earlier part, of which the blanks say nothing.
        for earlier in [vec![], vec!["x \n".repeat(1_000) + &"y".repeat(95)]] {
            let mut all = earlier.clone();
            all.extend(parts.clone());
            let all: Vec<Received> = all.iter().map(|part| said(1, 100, part)).collect();
            let meant = parts.join(dropped);
            let [whole] = &events(&all)[..] else { panic!("{parts:?} are several") };
            assert!(whole.ends_with(&meant), "{dropped:?} before {:?}", parts[1]);
        }
    }
}

#[test]
fn what_is_no_part_is_a_message_of_its_own() {
    let long = "x".repeat(4_096);
    for (date, text, user) in [
        (103, "and this, later", 1),
        (99, "and this, before", 1),
        (100, "/abort", 1),
        (100, "/fix another thing", 1),
        (100, "somebody else's", 2),
    ] {
        let all = events(&[said(1, 100, &long), said(user, date, text)]);
        assert_eq!(all, [long.as_str(), text]);
    }
}

#[test]
fn a_command_has_all_of_its_words() {
    let mut first = said(1, 100, &format!("/fix@our_bot {}", "please ".repeat(580)));
    first.payload["split"] = json!(note(&first));
    let whole = joined(&first.payload, &said(1, 101, "do NOT delete the database")).unwrap();
    let args = whole["args"].as_str().unwrap();
    assert!(args.starts_with("please please") && args.ends_with("do NOT delete the database"), "{args}");
    assert_eq!(whole["text"], whole["message"]["text"]);
    assert_eq!(whole["split"], Value::Null, "the last part is not waited for");
}
