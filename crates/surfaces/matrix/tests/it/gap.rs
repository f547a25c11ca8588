//! Much that happened while nobody asked.

use connector_matrix::update::Incoming;
use testkit::Synapse;

use crate::support::{bot, person, texts, until};

#[tokio::test]
async fn a_thousand_messages_come_in_order_and_none_twice() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, mut syncer) = bot.room_with(&anna).await;
    for hundred in 0..10 {
        let words: Vec<String> = (0..100).map(|number| format!("number {hundred} {number}")).collect();
        let sent = futures_util::future::join_all(words.iter().map(|words| anna.say(room.as_str(), words)));
        assert!(sent.await.iter().all(Result::is_ok));
    }
    let said = anna.messages(room.as_str()).await.unwrap();
    let said: Vec<&str> = said.iter().filter_map(|it| it["content"]["body"].as_str()).collect();
    assert_eq!(said.len(), 1_000);

    let heard = until(&mut syncer, |items| texts(items).len() >= said.len()).await;

    assert_eq!(texts(&heard), said);
    anna.say(room.as_str(), "last").await.unwrap();
    assert_eq!(texts(&until(&mut syncer, |items| !items.is_empty()).await), ["last"]);
}

#[tokio::test]
async fn what_is_not_done_comes_again_and_what_is_done_does_not() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, mut syncer) = bot.room_with(&anna).await;
    anna.say(room.as_str(), "one").await.unwrap();
    let first = syncer.next().await;
    assert_eq!(texts(&first.items), ["one"]);

    let again = syncer.next().await;
    assert_eq!(texts(&again.items), ["one"], "it was not done");

    anna.say(room.as_str(), "two").await.unwrap();
    let mut restarted = bot.syncer_from((&[&anna], &[]), Some(first.next));
    assert_eq!(texts(&until(&mut restarted, |items| !texts(items).is_empty()).await), ["two"]);
}

#[tokio::test]
async fn a_place_that_the_server_does_not_know_is_said_to_be_lost_and_what_follows_comes() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, _) = bot.room_with(&anna).await;
    let mut syncer = bot.syncer_from((&[&anna], &[]), Some("of another server".to_owned()));

    let answer = syncer.next().await;

    assert!(answer.lost);
    assert!(!answer.items.iter().any(|it| matches!(it, Incoming::Message(_))));
    syncer.done(answer.next);
    anna.say(room.as_str(), "after").await.unwrap();
    assert_eq!(texts(&until(&mut syncer, |items| !items.is_empty()).await), ["after"]);
}
