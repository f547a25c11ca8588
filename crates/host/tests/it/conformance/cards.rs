//! Cards: what is shown before anything runs, and what decides it.

use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::ids::StepId;

use super::house::{House, TOGETHER};
use super::platform::{Platform, Seen, Who};
use crate::probe::Shared;

/// Moves the cursor, reads backwards, hides, and looks like a card.
const HOSTILE: &str = "/fix a\u{1b}[2K\u{202e}txt.exe\u{200b}\u{7}";

pub(super) async fn a_card_shows_all_that_an_approval_is_bound_to<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.probe.target.lock().unwrap().settings.insert("directory".into(), "/srv/the-app".into());
    let card = house.asked("/fix the login test").await;
    let digest: String = house.text("SELECT substr(digest, 1, 12) FROM steps");
    for said in ["1.1", "fix", "run_task", "/srv/the-app", "/fix the login test", &digest, "15 min"] {
        assert!(card.text.contains(said), "{said} is not on {card:#?}");
    }
    assert_eq!(house.calls(), 0, "nothing runs before it is approved");
    house.stop().await;
}

pub(super) async fn an_approved_card_runs_once_and_its_result_is_shown<P: Platform>() {
    let mut house = House::<P>::start().await;
    let card = house.asked("/fix a").await;
    house.platform.decide(Who::Anna, 0, &card, Decision::Approve).await;
    house.see_text(0, "did: /fix a").await;
    house.see_text(0, "1.1 done").await;
    house.until_told().await;
    assert_eq!((house.calls(), house.count(0, "did: /fix a").await), (1, 1));
    house.stop().await;
}

pub(super) async fn a_refused_card_runs_nothing_and_that_is_said<P: Platform>() {
    let mut house = House::<P>::start().await;
    let card = house.asked("/fix a").await;
    house.platform.decide(Who::Anna, 0, &card, Decision::Deny).await;
    house.see_text(0, "1.1 was not run").await;
    assert_eq!((house.state(1).as_str(), house.calls()), ("denied", 0));
    house.stop().await;
}

pub(super) async fn whoever_may_not_approve_decides_nothing<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.platform.say(Who::Carol, TOGETHER, "/fix a").await;
    let card = house.card(TOGETHER, "/fix a").await;
    for who in [Who::Carol, Who::Stranger] {
        for decision in [Decision::Approve, Decision::Deny] {
            house.platform.decide(who, TOGETHER, &card, decision).await;
        }
    }
    // What comes after them was taken in after them.
    house.platform.say(Who::Anna, TOGETHER, "/fix b").await;
    house.card(TOGETHER, "/fix b").await;
    assert_eq!(house.value("SELECT count(*) FROM steps WHERE state = 'waiting'"), 2);
    house.platform.decide(Who::Ben, TOGETHER, &card, Decision::Approve).await;
    house.see_text(TOGETHER, "did: /fix a").await;
    assert_eq!(house.calls(), 1);
    house.stop().await;
}

pub(super) async fn two_who_decide_at_once_have_it_run_at_most_once<P: Platform>() {
    let mut house = House::<P>::start().await;
    for number in 1..=5 {
        let text = format!("/fix {number} at once");
        house.platform.say(Who::Anna, TOGETHER, &text).await;
        let card = house.card(TOGETHER, &text).await;
        let second = if number % 2 == 0 { Decision::Approve } else { Decision::Deny };
        let step = format!("{number}.1");
        // He at the command line, which does not wait for what she taps.
        tokio::join!(
            house.platform.decide(Who::Anna, TOGETHER, &card, Decision::Approve),
            house.decide_elsewhere(Who::Ben, &step, second),
        );
        house
            .until(&format!("SELECT count(*) FROM steps WHERE run_id = {number} AND ended_at IS NOT NULL"))
            .await;
    }
    house.until_told().await;
    let ran = house.value("SELECT count(*) FROM steps WHERE state = 'succeeded'");
    assert_eq!(i64::try_from(house.calls()).unwrap(), ran, "each that ran did so once");
    assert_eq!(house.value("SELECT count(*) FROM steps WHERE state NOT IN ('succeeded', 'denied')"), 0);
    house.stop().await;
}

pub(super) async fn a_late_decision_changes_nothing<P: Platform>() {
    let mut house = House::<P>::start().await;
    let card = house.asked("/fix a").await;
    house.platform.decide(Who::Anna, 0, &card, Decision::Deny).await;
    house.see_text(0, "1.1 was not run").await;
    house.platform.decide(Who::Anna, 0, &card, Decision::Approve).await;
    house.asked("/fix b").await;
    assert_eq!((house.state(1).as_str(), house.calls()), ("denied", 0));
    house.stop().await;
}

pub(super) async fn a_card_that_is_out_of_date_approves_nothing<P: Platform>() {
    let mut house = House::<P>::start().await;
    let old = house.asked("/fix a").await;
    // What the rule makes of it is other than what the card showed.
    house.probe.target.lock().unwrap().settings.insert("directory".into(), "/srv/elsewhere".into());
    house.platform.decide(Who::Anna, 0, &old, Decision::Approve).await;
    let new = house.card(0, "/srv/elsewhere").await;
    house.platform.decide(Who::Anna, 0, &old, Decision::Approve).await;
    house.asked("/fix b").await;
    if P::TRAITS.keeps_cards {
        assert_eq!(house.state(1), "waiting", "the old card approves nothing");
        house.platform.decide(Who::Anna, 0, &new, Decision::Approve).await;
    }
    house.see_text(0, "did: /fix a").await;
    assert_eq!(house.calls(), 1);
    house.stop().await;
}

pub(super) async fn a_card_that_expired_runs_nothing<P: Platform>() {
    let mut house = House::<P>::with(Shared::open(), |gate| gate.expiry_secs = 3).await;
    let card = house.asked("/fix a").await;
    house.see_text(0, "1.1 was not run").await;
    house.platform.decide(Who::Anna, 0, &card, Decision::Approve).await;
    house.asked("/fix b").await;
    assert_eq!(house.state(1), "expired");
    house.stop().await;
}

pub(super) async fn a_card_that_takes_two_runs_after_the_second<P: Platform>() {
    let mut house = House::<P>::with(Shared::open(), |gate| gate.approvals_needed = 2).await;
    house.platform.say(Who::Carol, TOGETHER, "/fix a").await;
    let card = house.card(TOGETHER, "/fix a").await;
    for who in [Who::Anna, Who::Anna] {
        house.platform.decide(who, TOGETHER, &card, Decision::Approve).await;
    }
    house.until("SELECT count(*) FROM approvals").await;
    house.platform.say(Who::Anna, TOGETHER, "/fix b").await;
    house.card(TOGETHER, "/fix b").await;
    assert_eq!(house.state(1), "waiting", "one person is one, however often she says so");
    house.platform.decide(Who::Ben, TOGETHER, &card, Decision::Approve).await;
    house.see_text(TOGETHER, "did: /fix a").await;
    assert_eq!(house.calls(), 1);
    house.stop().await;
}

/// Another chat, which follows what is asked for.
const FOLLOWING: usize = TOGETHER + 1;

pub(super) async fn a_vote_and_a_decision_in_one_chat_are_seen_in_the_other<P: Platform>() {
    let house = House::<P>::with(Shared::closed(), |gate| gate.approvals_needed = 2).await;
    let mut house = house.followed(&[FOLLOWING]).await;
    house.platform.say(Who::Carol, TOGETHER, "/fix a").await;
    let (here, there) = (house.card(TOGETHER, "/fix a").await, house.card(FOLLOWING, "/fix a").await);
    house.platform.decide(Who::Anna, FOLLOWING, &there, Decision::Approve).await;
    for (chat, card) in [(TOGETHER, &here), (FOLLOWING, &there)] {
        let voted =
            |seen: &Seen| seen.id == card.id && seen.is_open() && seen.text.contains("1 of 2 approvals");
        house.see(chat, "the vote, on a card that others may still decide", voted).await;
    }
    house.platform.decide(Who::Ben, TOGETHER, &here, Decision::Approve).await;
    let ben = house.platform.actor(Who::Ben);
    let decided = |seen: &Seen| {
        let is_card = seen.offers.iter().any(|(label, _)| label.contains("pprove") || label == "yes");
        seen.id == there.id && !is_card && seen.text.contains(&format!("approved by {ben}"))
    };
    house.see(FOLLOWING, "who decided, on a card that cannot be decided any more", decided).await;
    house.probe.gate.add_permits(1);
    for chat in [TOGETHER, FOLLOWING] {
        house.see_text(chat, "did: /fix a").await;
    }
    assert_eq!(house.calls(), 1);
    house.stop().await;
}

pub(super) async fn a_chat_that_the_rule_names_no_more_is_told_no_more_after_a_restart<P: Platform>() {
    let house = House::<P>::start().await.followed(&[FOLLOWING]).await;
    house.platform.say(Who::Anna, TOGETHER, "/fix a").await;
    let there = house.card(FOLLOWING, "/fix a").await;
    let mut house = house.followed(&[]).await;
    let before = house.platform.screen(FOLLOWING).await;
    house.platform.decide(Who::Anna, FOLLOWING, &there, Decision::Approve).await;
    // What comes after it was taken in after it.
    house.platform.say(Who::Anna, TOGETHER, "/fix b").await;
    house.card(TOGETHER, "/fix b").await;
    assert_eq!(house.state(1), "waiting", "nothing is decided there");
    // It is asked about again, since the rule is another.
    for _ in 0..2 {
        // The card of the new asking may still be on its way.
        house.until_told().await;
        let card = house.card(TOGETHER, "/fix a").await;
        house.platform.decide(Who::Anna, TOGETHER, &card, Decision::Approve).await;
        house
            .until("SELECT count(*) FROM steps WHERE run_id = 1 AND (state = 'succeeded' OR asked > 1)")
            .await;
    }
    house.see_text(TOGETHER, "did: /fix a").await;
    house.until_told().await;
    assert_eq!(house.platform.screen(FOLLOWING).await, before);
    house.stop().await;
}

pub(super) async fn a_long_prompt_is_there_whole<P: Platform>() {
    let mut house = House::<P>::start().await;
    let words: Vec<String> = (0..3_000).map(|number| format!("w{number}")).collect();
    let prompt = format!("/fix {}", words.join(" "));
    house.platform.say(Who::Anna, 0, &prompt).await;
    let card = house.card(0, "w17").await;
    let all: String = card.file.clone().unwrap_or_default() + &card.text;
    let all: String = all.chars().filter(|it| !it.is_whitespace() && *it != '│').collect();
    let wanted: String = words.concat();
    let is_whole = all.contains(&wanted);
    let seen = house.platform.screen(0).await;
    // A file of its own, right after it.
    let beside = seen
        .iter()
        .filter_map(|it| it.file.clone())
        .any(|file| file.chars().filter(|it| !it.is_whitespace()).collect::<String>().contains(&wanted));
    assert!(is_whole || beside, "the end of it is nowhere: {seen:#?}");
    house.stop().await;
}

pub(super) async fn what_deceives_is_shown_written_out<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.platform.say(Who::Anna, 0, HOSTILE).await;
    let card = house.card(0, "txt.exe").await;
    house.platform.decide(Who::Anna, 0, &card, Decision::Approve).await;
    house.see_text(0, "1.1 done").await;
    for seen in house.platform.screen(0).await {
        for hidden in ['\u{1b}', '\u{202e}', '\u{200b}', '\u{7}'] {
            assert!(!seen.text.contains(hidden), "{hidden:?} is in {seen:#?}");
        }
    }
    assert!(card.text.contains("\\u{202e}"), "{card:#?}");
    house.stop().await;
}

pub(super) async fn markup_of_others_stays_text<P: Platform>() {
    let mut house = House::<P>::start().await;
    let markup = "<b>x</b> <a href=\"http://evil.example\">y</a> *z* [t](http://evil.example) @room &amp;";
    house.platform.say(Who::Anna, 0, &format!("/fix {markup}")).await;
    let card = house.card(0, "*z*").await;
    let card: String = card.text.split_whitespace().filter(|it| *it != "│").collect();
    let wanted: String = markup.split_whitespace().collect();
    assert!(card.contains(&wanted), "{card}");
    house.stop().await;
}

pub(super) async fn many_cards_of_a_chat_are_each_decided_by_themselves<P: Platform>() {
    let mut house = House::<P>::start().await;
    let mut cards = Vec::new();
    for number in 0..6 {
        cards.push(house.asked(&format!("/fix task-{number}.")).await);
    }
    for (number, card) in cards.iter().enumerate().rev() {
        let decision = if number % 2 == 0 { Decision::Approve } else { Decision::Deny };
        house.platform.decide(Who::Anna, 0, card, decision).await;
    }
    for number in [0, 2, 4] {
        house.see_text(0, &format!("did: /fix task-{number}.")).await;
    }
    house.until("SELECT count(*) = 3 FROM steps WHERE state = 'denied'").await;
    assert_eq!(house.calls(), 3);
    house.stop().await;
}

pub(super) async fn what_was_decided_elsewhere_can_no_longer_be_decided<P: Platform>() {
    let mut house = House::<P>::start().await;
    let card = house.asked("/fix a").await;
    let answer = house.decide_elsewhere(Who::Anna, "1.1", Decision::Deny).await;
    assert_eq!(answer, Tapped::Denied);
    house.see_text(0, "1.1 was not run").await;
    house.until_told().await;
    if P::TRAITS.edits {
        house.see(0, "the card without its buttons", |it| it.id == card.id && !it.is_open()).await;
    }
    house.platform.decide(Who::Anna, 0, &card, Decision::Approve).await;
    house.asked("/fix b").await;
    assert_eq!((house.state(1).as_str(), house.calls()), ("denied", 0));
    house.stop().await;
}

pub(super) async fn a_card_that_somebody_deleted_can_still_be_decided_elsewhere<P: Platform>() {
    let mut house = House::<P>::start().await;
    let card = house.asked("/fix a").await;
    house.platform.delete(0, &card).await;
    assert_eq!(house.decide_elsewhere(Who::Anna, "1.1", Decision::Approve).await, Tapped::Approved);
    house.see_text(0, "did: /fix a").await;
    house.stop().await;
}

impl<P: Platform> House<P> {
    /// Somebody decides a step by its row, as the command line does.
    async fn decide_elsewhere(&self, who: Who, step: &str, decision: Decision) -> Tapped {
        let digest: String =
            self.text(&format!("SELECT digest FROM steps WHERE run_id || '.' || idx = '{step}'"));
        let step: StepId = step.parse().unwrap();
        let approver = self.platform.actor(who);
        self.engine().tap(Tap { step, digest, approver, chat: None, decision }).await.unwrap()
    }
}
