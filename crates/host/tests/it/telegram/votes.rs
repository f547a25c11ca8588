//! Votes on a card as a chat is shown them: beside all that the card says, and never over what came after.

use connector_gate::clock::Clock;
use connector_gate::ids::StepId;
use connector_host::telegram;
use connector_host::view;
use connector_ledger::steps::{self, StepRow};
use connector_surface::Surface as _;
use connector_surface::view::{CardDecision, Standing};
use serde_json::json;
use testkit::telegram::Shown;

use super::desk::{Desk, RULES};
use super::world::CHAT;
use crate::probe::Shared;

async fn row(desk: &Desk, step: &str) -> StepRow {
    let step: StepId = step.parse().unwrap();
    desk.engine.ledger().read(move |tx| steps::get(tx, step)).await.unwrap().unwrap()
}

/// The chat is shown that these have approved a step so far, of three.
async fn voted(desk: &Desk, row: &StepRow, by: &[&str]) {
    let approved_by = by.iter().map(|it| (*it).to_owned()).collect();
    let decision = CardDecision::Awaited { approved_by, needed: 3 };
    let standing = Standing { card: view::card(row, Clock::System.now()), decision };
    desk.surface.changed(&CHAT.to_string(), &standing).await.unwrap();
}

fn at(desk: &Desk, id: i32) -> Shown {
    desk.telegram.screen(CHAT).into_iter().find(|shown| shown.id == id).unwrap()
}

/// Nobody is so fast that the host does not know yet what it sent.
async fn until_recorded(desk: &Desk) {
    desk.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", 0).await;
}

#[tokio::test]
async fn a_vote_that_is_shown_late_brings_no_buttons_back() {
    let desk = Desk::start(&RULES, Shared::closed(), &[]).await;
    let card = desk.card(1, "/fix it").await;
    until_recorded(&desk).await;
    let waiting = row(&desk, "1.1").await;
    voted(&desk, &waiting, &["telegram:43"]).await;
    let shown = at(&desk, card.id);
    assert!(shown.text.contains("so far: 1.1 approved by telegram:43; 1 of 3 approvals"), "{}", shown.text);
    assert_eq!(shown.buttons, card.buttons);
    desk.tap(2, &card, "Approve").await.unwrap();
    desk.until("SELECT count(*) FROM steps WHERE state = 'dispatched'", 1).await;
    let edits = desk.calls_of("editMessageText").len();
    voted(&desk, &waiting, &["telegram:43", "telegram:44"]).await;
    assert_eq!(desk.calls_of("editMessageText").len(), edits, "{}", at(&desk, card.id).text);
    desk.stop().await;
}

#[tokio::test]
async fn a_prompt_that_just_fits_stays_whole_and_its_votes_stand_below_it_in_one_message() {
    let desk = Desk::start(&RULES, Shared::closed(), &[]).await;
    desk.card(1, "/fix it").await;
    let mut like = row(&desk, "1.1").await;
    (like.delivered_at, like.expires_at) = (None, None);
    let prompt = |length: usize| format!("/fix {}END", "x".repeat(length));
    let fits = |length: &usize| {
        let mut row = like.clone();
        row.input["prompt"] = json!(prompt(*length));
        telegram::card(&view::card(&row, Clock::System.now())).attachment.is_none()
    };
    let longest = (0..4_000).rev().find(fits).unwrap();
    let card = desk.card(2, &prompt(longest)).await;
    until_recorded(&desk).await;
    let waiting = row(&desk, "2.1").await;
    for (by, words) in [
        (&["telegram:43"][..], "2.1 approved by telegram:43; 1 of 3 approvals"),
        (&["telegram:43", "telegram:44"], "2.1 approved by telegram:43 and telegram:44; 2 of 3 approvals"),
    ] {
        voted(&desk, &waiting, by).await;
        assert_eq!(at(&desk, card.id), card, "all of it is there, with its buttons");
        let below: Vec<String> = desk
            .telegram
            .screen(CHAT)
            .into_iter()
            .map(|it| it.text)
            .filter(|it| it.contains("of 3"))
            .collect();
        assert_eq!(below, [words]);
    }
    desk.stop().await;
}
