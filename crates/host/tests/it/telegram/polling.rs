//! The poller on the wire of a fake Bot API.

use std::time::Duration;

use connector_telegram::poll::{Health, Poller, State};
use connector_telegram::update;
use testkit::telegram::FakeTelegram;

use super::desk::settings;
use super::world::{ANNA, CHAT};

const LIMIT: Duration = Duration::from_secs(20);

async fn next(poller: &mut Poller) -> Vec<u32> {
    let updates = tokio::time::timeout(LIMIT, poller.next()).await.unwrap();
    let numbers: Vec<u32> = updates.iter().filter_map(update::number).collect();
    for number in &numbers {
        poller.done(*number);
    }
    numbers
}

#[tokio::test]
async fn after_a_quiet_week_numbers_below_the_last_come_in_and_are_acknowledged() {
    let telegram = FakeTelegram::start().unwrap();
    let api = settings(&telegram).api().unwrap();
    let mut poller = Poller::new(api, Duration::from_secs(1), Health::default());
    telegram.count_from(900_000);
    telegram.write(ANNA, CHAT, "before");
    assert_eq!(next(&mut poller).await, [900_000]);
    poller.settle().await;
    telegram.count_from(7);
    telegram.write(ANNA, CHAT, "a week later");
    assert_eq!(next(&mut poller).await, [7]);
    telegram.write(ANNA, CHAT, "and then");
    assert_eq!(next(&mut poller).await, [8]);
    poller.settle().await;
    assert_eq!(telegram.unacknowledged(), 0);
    let asked = telegram.calls().iter().filter(|call| call.method == "getUpdates").count();
    assert_eq!(asked, 5, "it asks no more often than there is something to ask for");
}

#[tokio::test]
async fn of_two_pollers_one_is_told_of_the_other_and_no_update_is_lost() {
    let telegram = FakeTelegram::start().unwrap();
    let api = settings(&telegram).api().unwrap();
    let poller = |health: &Health| Poller::new(api.clone(), Duration::from_secs(10), health.clone());
    let (first, second) = (Health::default(), Health::default());
    let mut one = poller(&first);
    let one = tokio::spawn(async move { next(&mut one).await });
    telegram.wait(CHAT, |_| telegram.is_polled().then_some(())).await;
    let mut other = poller(&second);
    let other = tokio::spawn(async move { next(&mut other).await });
    let told = first.wait_for(|state| matches!(state, State::Failing { needs_somebody: true, .. }));
    tokio::time::timeout(LIMIT, told).await.unwrap();
    let (State::Failing { reason, .. }, _) = first.get() else { panic!("{:?}", first.get()) };
    assert!(reason.contains("another program takes this bot's updates (409)"), "{reason}");
    telegram.write(ANNA, CHAT, "hello");
    assert_eq!(other.await.unwrap(), [1]);
    assert_eq!(second.get().0, State::Live);
    one.abort();
}
