//! Ends of the host, and of the platform's server.

use std::time::Duration;

use connector_contract::ask::{PermissionAsk, PermissionReply};
use connector_gate::ask::Asked;
use connector_gate::decision::Decision;
use serde_json::json;
use tokio::time::Instant;

use super::house::{House, LIMIT, TOGETHER};
use super::platform::{Platform, Seen, Who};

pub(super) async fn a_waiting_card_is_decided_after_a_restart<P: Platform>() {
    let mut house = House::<P>::start().await;
    let before = house.asked("/fix a").await;
    house.stop().await;
    house.start_again();
    let card = if P::TRAITS.keeps_cards { before } else { house.shown_again(&before).await };
    house.until_told().await;
    let cards = if P::TRAITS.keeps_cards { 1 } else { 2 };
    assert_eq!(house.count(0, "pproval needed").await, cards);
    house.platform.decide(Who::Anna, 0, &card, Decision::Approve).await;
    house.see_text(0, "did: /fix a").await;
    assert_eq!(house.calls(), 1);
    house.stop().await;
}

pub(super) async fn what_was_not_delivered_is_delivered_after_a_restart<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.approved("/fix a").await;
    house.see_text(0, "did: /fix a").await;
    house.stop().await;
    house.edit(
        "INSERT INTO outbox (surface, chat, kind, run_id, idx, body, created_at, since)
         SELECT surface, chat, 'text', NULL, NULL, 'said before the end', created_at, since FROM outbox LIMIT 1",
    );
    house.start_again();
    house.see_text(0, "said before the end").await;
    house.until_told().await;
    assert_eq!(house.count(0, "said before the end").await, 1);
    house.stop().await;
}

pub(super) async fn what_was_delivered_and_recorded_is_not_sent_again<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.asked("/fix a").await;
    house.stop().await;
    // As if it had ended right before it noted that the delivery was done.
    house.edit("UPDATE outbox SET delivered_at = NULL, next_at = 0");
    house.start_again();
    house.until_told().await;
    assert_eq!(house.count(0, "/fix a").await, 1);
    house.stop().await;
}

pub(super) async fn what_was_sent_and_not_recorded_is_sent_at_most_once_more<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.asked("/fix a").await;
    house.stop().await;
    // As if it had ended right after the platform took the message.
    house.edit("UPDATE outbox SET delivered_at = NULL, next_at = 0; DELETE FROM messages");
    house.start_again();
    house.until_told().await;
    let cards = house.count(0, "/fix a").await;
    assert!(cards == 1 || (cards == 2 && !P::TRAITS.sends_once), "{cards} cards");
    let card = house.card(0, "/fix a").await;
    house.platform.decide(Who::Anna, 0, &card, Decision::Approve).await;
    house.see_text(0, "did: /fix a").await;
    assert_eq!(house.calls(), 1);
    house.stop().await;
}

pub(super) async fn an_ask_is_answered_after_a_restart<P: Platform>() {
    let mut house = House::<P>::start().await;
    let (id, session_id) = ("per_1".into(), "ses_1".into());
    let (permission, patterns) = ("bash".into(), vec!["make clean".into()]);
    let ask = PermissionAsk { id, session_id, permission, patterns, metadata: json!({}), call: None };
    house.probe.asks.lock().unwrap().push(Asked::Permission(ask));
    house.approved("/fix a").await;
    let before = house.open(0, "make clean").await;
    house.kill().await;
    house.start_again();
    house.until("SELECT count(*) FROM asks WHERE state = 'open' AND times = 2").await;
    if !P::TRAITS.keeps_cards {
        house.shown_again(&before).await;
    }
    // What an old button sends may lead nowhere; sooner or later what stands there leads to the ask that lives.
    let until = Instant::now() + LIMIT;
    while house.probe.answers.lock().unwrap().is_empty() {
        let screen = house.platform.screen(0).await;
        let is_ask = |it: &&Seen| it.is_open() && it.text.contains("make clean");
        if let Some(ask) = screen.iter().rev().find(is_ask) {
            house.platform.permit(Who::Anna, 0, ask, PermissionReply::Once).await;
        }
        assert!(Instant::now() < until, "nothing that stands there is answered: {screen:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    house.see_text(0, "1.1 done").await;
    assert_eq!(*house.probe.answers.lock().unwrap().last().unwrap(), json!(PermissionReply::Once));
    house.until_told().await;
    if P::TRAITS.edits {
        let is_open = |it: &Seen| it.is_open() && it.text.contains("make clean");
        house.until_gone(0, "an ask that can be answered", is_open).await;
    }
    house.stop().await;
}

pub(super) async fn a_refusal_by_rate_is_waited_out<P: Platform>() {
    let mut house = House::<P>::start().await;
    house.platform.refuse(2).await;
    house.approved("/fix a").await;
    house.see_text(0, "did: /fix a").await;
    house.until_told().await;
    assert_eq!((house.calls(), house.count(0, "did: /fix a").await), (1, 1));
    house.stop().await;
}

pub(super) async fn a_platform_that_is_down_is_waited_for<P: Platform>() {
    let mut house = House::<P>::busy().await;
    house.approved("/fix a").await;
    house.until("SELECT count(*) FROM steps WHERE state = 'dispatched'").await;
    house.platform.be_down(true).await;
    house.probe.gate.add_permits(10);
    house.until("SELECT count(*) FROM outbox WHERE attempts > 0 AND delivered_at IS NULL").await;
    house.platform.be_down(false).await;
    house.see_text(0, "did: /fix a").await;
    house.until_told().await;
    assert_eq!(house.count(0, "did: /fix a").await, 1);
    house.stop().await;
}

pub(super) async fn what_a_chat_is_still_to_be_told_goes_where_it_moved<P: Platform>() {
    let mut house = House::<P>::busy().await;
    house.approved_in(TOGETHER, "/fix a").await;
    house.until("SELECT count(*) FROM steps WHERE state = 'dispatched'").await;
    house.platform.move_chat(TOGETHER).await;
    house.probe.gate.add_permits(10);
    house.see_text(TOGETHER, "did: /fix a").await;
    house.stop().await;
}

pub(super) async fn the_last_results_are_sent_before_the_end<P: Platform>() {
    let mut house = House::<P>::busy().await;
    house.approved("/fix a").await;
    house.until("SELECT count(*) FROM steps WHERE state = 'dispatched'").await;
    house.stop().await;
    assert_eq!(house.value("SELECT count(*) FROM outbox WHERE delivered_at IS NULL"), 0);
    assert!(house.count(0, "1.1 stopped").await > 0, "{:#?}", house.platform.screen(0).await);
}
