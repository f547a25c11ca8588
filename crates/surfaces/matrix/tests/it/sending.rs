//! Sending once, whatever happens to the server meanwhile.

use std::time::Duration;

use connector_matrix::api::{ApiError, persist};
use serde_json::{Value, json};
use testkit::Synapse;
use testkit::synapse::Options;
use tokio::time::Instant;

use crate::support::{SOON, bot, person};

fn text(words: &str) -> Value {
    json!({ "msgtype": "m.text", "body": words })
}

fn bodies(messages: &[Value]) -> Vec<&str> {
    messages.iter().filter_map(|it| it["content"]["body"].as_str()).collect()
}

#[tokio::test]
async fn the_same_transaction_twice_is_one_event() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, _) = bot.room_with(&anna).await;
    let first = bot.api.send(&room, "m.room.message", "one", &text("once")).await.unwrap();
    let again = bot.api.send(&room, "m.room.message", "one", &text("once")).await.unwrap();
    let other = bot.api.send(&room, "m.room.message", "two", &text("once")).await.unwrap();
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(anna.messages(room.as_str()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_takes_a_message_has_it_once() {
    let mut synapse = Synapse::start().await.unwrap();
    let (bot, anna) = (bot(&synapse).await, person(&synapse).await);
    let (room, _) = bot.room_with(&anna).await;
    let sending = |number: usize| {
        let (api, room, content) = (bot.api.clone(), room.clone(), text(&format!("message {number}")));
        tokio::spawn(async move {
            let transaction = format!("mid-send-{number}");
            let tries = std::sync::atomic::AtomicUsize::new(0);
            let sent = persist(Instant::now() + 2 * SOON, || {
                tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                api.send(&room, "m.room.message", &transaction, &content)
            });
            (sent.await.unwrap(), tries.into_inner())
        })
    };
    // Before it is read: the server stands still, with the request in its hands.
    synapse.suspend();
    let unread = sending(0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!unread.is_finished());
    synapse.kill9();
    synapse.restart().await.unwrap();
    let (_, tries) = unread.await.unwrap();
    assert!(tries > 1, "it was sent before the kill, and again after it");
    // After it is written, and before the answer is known: the same transaction once more is the same event.
    let (written, _) = sending(1).await.unwrap();
    synapse.kill9();
    let again = sending(1);
    synapse.restart().await.unwrap();
    let (event, _) = again.await.unwrap();
    assert_eq!(event, written);
    let messages = anna.messages(room.as_str()).await.unwrap();
    assert_eq!(bodies(&messages), ["message 0", "message 1"]);
}

#[tokio::test]
async fn the_wait_that_a_server_asks_for_is_kept_and_nothing_is_lost() {
    let synapse = Synapse::with(Options { rc_message: Some((0.5, 2)), ..Options::default() }).await.unwrap();
    let (bot, anna) = (bot(&synapse).await, person(&synapse).await);
    let (room, _) = bot.room_with(&anna).await;
    let words: Vec<String> = (0..6).map(|number| format!("message {number}")).collect();
    let mut waits = 0;
    for (number, words) in words.iter().enumerate() {
        let (transaction, content) = (format!("paced-{number}"), text(words));
        let attempt = bot.api.send(&room, "m.room.message", &transaction, &content).await;
        if let Err(error) = &attempt {
            assert!(
                matches!(error, ApiError::Throttled { after } if *after <= Duration::from_secs(5)),
                "{error:?}"
            );
            waits += 1;
        }
        let deadline = Instant::now() + SOON;
        persist(deadline, || bot.api.send(&room, "m.room.message", &transaction, &content)).await.unwrap();
    }
    assert!(waits >= 2, "the server has a limit");
    assert_eq!(bodies(&anna.messages(room.as_str()).await.unwrap()), words);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_refused_for_good() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, _) = bot.room_with(&anna).await;
    let error = bot.api.send(&room, "m.room.message", "big", &text(&"x".repeat(66_000))).await.unwrap_err();
    assert!(matches!(error, ApiError::TooLarge) && !error.is_passing(), "{error:?}");
    let most = text(&"x".repeat(connector_matrix::text::EVENT));
    bot.api.send(&room, "m.room.message", "most", &most).await.unwrap();
}
