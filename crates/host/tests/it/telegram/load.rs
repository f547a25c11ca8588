//! Many chats at once, with Telegram's limits in force.

use std::time::Instant;

use testkit::model::Script;

use super::world::{ANNA, World};

/// How many runs each chat has.
const RUNS: usize = 3;

#[tokio::test]
async fn many_chats_lose_nothing_repeat_nothing_and_stay_within_the_limits() {
    let chats = 101..=110_i64;
    let mut world = World::start(Script::saying("Done.")).await;
    let telegram = &world.telegram;
    telegram.strict();
    let began = Instant::now();
    for number in 0..RUNS {
        for chat in chats.clone() {
            telegram.write(chat.unsigned_abs(), chat, &format!("/fix task {number}"));
        }
    }
    for chat in chats.clone() {
        let cards = telegram.wait(chat, |screen| {
            let cards: Vec<_> =
                screen.iter().filter(|it| it.text.contains("Approval needed")).cloned().collect();
            (cards.len() == RUNS).then_some(cards)
        });
        let cards = cards.await;
        for (number, card) in cards.iter().enumerate() {
            assert!(card.text.contains(&format!("/fix task {number}")), "in order: {}", card.text);
            telegram.tap(ANNA, chat, card.id, "Approve");
        }
    }
    for chat in chats.clone() {
        let screen = telegram.wait(chat, |screen| {
            let replies = screen.iter().filter(|it| it.text == "Done.").count();
            (replies >= RUNS).then(|| screen.to_vec())
        });
        let screen = screen.await;
        assert_eq!(screen.len(), 2 * RUNS, "a card and a reply each, nothing twice: {screen:#?}");
        let answered: Vec<_> = screen.iter().filter_map(|shown| shown.answers).collect();
        assert!(answered.is_sorted() && answered.len() == RUNS, "{answered:?}");
    }
    let calls = telegram.calls();
    let refused = calls.iter().filter(|call| call.status == 429).count();
    assert_eq!(refused, 0, "the host keeps Telegram's pace by itself");
    println!(
        "{} runs in {:.1} s, {} calls",
        RUNS * chats.count(),
        began.elapsed().as_secs_f32(),
        calls.len()
    );
    world.stop();
    world.assert_no_token();
}
