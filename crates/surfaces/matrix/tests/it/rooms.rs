//! What becomes of rooms.

use connector_matrix::RoomId;
use connector_matrix::update::Incoming;
use serde_json::json;
use testkit::Synapse;

use crate::support::{bot, message, one, person, settle, texts, until};

#[tokio::test]
async fn an_invitation_says_who_invites() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let mut syncer = bot.syncer(&[&anna]);
    settle(&mut syncer).await;
    let room: RoomId = anna.direct(&bot.user.id).await.unwrap().parse().unwrap();
    assert_eq!(one(&mut syncer).await, Incoming::Invited { room, by: anna.id.parse().unwrap() });
}

#[tokio::test]
async fn encryption_that_is_turned_on_is_noticed_and_so_is_one_that_was() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, mut syncer) = bot.room_with(&anna).await;
    anna.set_state(room.as_str(), "m.room.encryption", &json!({ "algorithm": "m.megolm.v1.aes-sha2" }))
        .await
        .unwrap();

    assert_eq!(one(&mut syncer).await, Incoming::Encrypted(room.clone()));
    let standing = bot.syncer(&[&anna]).next().await.items;
    assert!(standing.contains(&Incoming::Encrypted(room)), "{standing:?}");
}

#[tokio::test]
async fn a_bot_that_was_removed_is_told_and_comes_back_by_a_new_invitation() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let (room, mut syncer) = bot.room_with(&anna).await;
    anna.post(room.as_str(), "kick", &json!({ "user_id": bot.user.id })).await.unwrap();
    assert_eq!(one(&mut syncer).await, Incoming::Gone(room.clone()));
    let words = json!({ "msgtype": "m.text", "body": "?" });
    let refused = bot.api.send(&room, "m.room.message", "t", &words).await;
    assert!(matches!(refused, Err(connector_matrix::ApiError::Forbidden { .. })), "{refused:?}");

    anna.say(room.as_str(), "not for the bot").await.unwrap();
    anna.post(room.as_str(), "invite", &json!({ "user_id": bot.user.id })).await.unwrap();
    assert!(matches!(one(&mut syncer).await, Incoming::Invited { .. }));
    bot.api.join(&room).await.unwrap();
    anna.say(room.as_str(), "welcome").await.unwrap();
    assert_eq!(message(&mut syncer).await.text, "welcome");
}

#[tokio::test]
async fn a_room_that_is_upgraded_names_its_successor_which_can_be_joined() {
    let synapse = Synapse::shared().await;
    let (bot, anna) = (bot(synapse).await, person(synapse).await);
    let old = json!({ "preset": "private_chat", "invite": [bot.user.id], "room_version": "10" });
    let room: RoomId = anna.create_room(&old).await.unwrap().parse().unwrap();
    assert!(room.as_str().ends_with(":synapse.test"), "rooms of version 10 name their server: {room}");
    bot.api.join(&room).await.unwrap();
    let mut syncer = bot.syncer(&[&anna]);
    settle(&mut syncer).await;

    let upgraded = anna.post(room.as_str(), "upgrade", &json!({ "new_version": "12" })).await.unwrap();
    let to: RoomId = upgraded["replacement_room"].as_str().unwrap().parse().unwrap();

    assert!(!to.as_str().contains(':'), "rooms of version 12 name none: {to}");
    let told = |items: &[Incoming]| items.iter().any(|it| matches!(it, Incoming::Upgraded { .. }));
    let items = until(&mut syncer, told).await;
    assert!(items.contains(&Incoming::Upgraded { room, to: to.clone() }), "{items:?}");
    anna.post(to.as_str(), "invite", &json!({ "user_id": bot.user.id })).await.unwrap();
    bot.api.join(&to).await.unwrap();
    anna.say(to.as_str(), "here").await.unwrap();
    let heard = until(&mut syncer, |items| !texts(items).is_empty()).await;
    assert_eq!(texts(&heard), ["here"]);
}
