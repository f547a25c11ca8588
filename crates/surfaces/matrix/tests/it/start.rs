//! Starts: what a surface makes up for that ended at a bad moment, and what it waits for.

use std::sync::Arc;
use std::time::Duration;

use connector_contract::ask::PermissionReply;
use connector_gate::ask::Answer;
use connector_matrix::{Matrix, RoomId};
use connector_surface::{DeliveryError, Inbox, OpenAsk, Surface as _, View};
use serde_json::json;
use testkit::Synapse;
use tokio_util::sync::CancellationToken;

use crate::faults::served;
use crate::support::SOON;
use crate::surface::{Engine, Stage, permission};

/// The surface ends, and whatever comes meanwhile is taken in and not dealt with: as if the next had been killed over it.
async fn dies_over(stage: &mut Stage, happened: impl AsyncFnOnce(&Stage)) {
    stage.pause().await;
    happened(stage).await;
    let now = stage.bot.api.sync(None, Duration::from_millis(1), 1).await.unwrap();
    *stage.engine.place.lock().unwrap() = Some(now.next_batch);
}

#[tokio::test]
async fn an_invitation_that_a_host_died_over_is_accepted_at_the_next_start() {
    let synapse = Synapse::shared().await;
    let mut stage = Stage::set(synapse).await;
    let mut room = None;
    dies_over(&mut stage, async |stage| room = Some(stage.anna.direct(&stage.bot.user.id).await.unwrap()))
        .await;
    stage.again(synapse, &[]).await;
    stage.bot_is_in(&room.unwrap().parse().unwrap()).await;
    stage.end().await;
}

#[tokio::test]
async fn an_encrypted_room_that_a_host_died_over_is_left_at_the_next_start_with_one_notice() {
    let synapse = Synapse::shared().await;
    let mut stage = Stage::set(synapse).await;
    dies_over(&mut stage, async |stage| {
        let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
        stage.anna.set_state(stage.room.as_str(), "m.room.encryption", &encryption).await.unwrap();
    })
    .await;
    stage.again(synapse, &[]).await;
    let alone = async || stage.anna.members(stage.room.as_str()).await.unwrap().len() == 1;
    stage.eventually("it leaves", alone).await;
    let notices = stage.bodies().await.iter().filter(|it| it.contains("this room is encrypted")).count();
    assert_eq!(notices, 1);
    stage.end().await;
}

/// What clients do that upgrade a room of two: everybody may write in the old one as before.
async fn replaced_by(stage: &Stage) -> RoomId {
    let before = json!({ "predecessor": { "room_id": stage.room.as_str(), "event_id": "$last" } });
    let next = json!({ "preset": "trusted_private_chat", "creation_content": before });
    let to: RoomId = stage.anna.create_room(&next).await.unwrap().parse().unwrap();
    let tombstone = json!({ "body": "moved", "replacement_room": to.as_str() });
    stage.anna.set_state(stage.room.as_str(), "m.room.tombstone", &tombstone).await.unwrap();
    stage.anna.post(to.as_str(), "invite", &json!({ "user_id": stage.bot.user.id })).await.unwrap();
    to
}

async fn goes_to(stage: &Stage, to: &RoomId) {
    let moved = async || {
        let delivered = stage.matrix.deliver(stage.room.as_str(), 1, View::Text("hello".to_owned())).await;
        match delivered {
            Err(DeliveryError::Moved { to: there }) => there == to.as_str(),
            Err(DeliveryError::Later(_)) => false,
            delivered => panic!("{delivered:?}"),
        }
    };
    stage.eventually("it goes to the new room", moved).await;
    assert!(!stage.bodies().await.contains(&"hello".to_owned()), "and not to the old one");
}

#[tokio::test]
async fn what_is_to_be_told_goes_to_the_new_room_where_the_old_one_would_still_take_it() {
    let stage = Stage::set(Synapse::shared().await).await;
    let to = replaced_by(&stage).await;
    stage.bot_is_in(&to).await;
    goes_to(&stage, &to).await;
    stage.end().await;
}

#[tokio::test]
async fn a_room_that_was_replaced_while_no_host_ran_or_one_died_is_known_before_anything_is_sent() {
    let synapse = Synapse::shared().await;
    let mut stage = Stage::set(synapse).await;
    let mut to = None;
    dies_over(&mut stage, async |stage| to = Some(replaced_by(stage).await)).await;
    stage.again(synapse, &[]).await;
    let to = to.unwrap();
    goes_to(&stage, &to).await;
    // And by a host that has gone along already.
    let now = stage.bot.api.sync(None, Duration::from_millis(2), 1).await.unwrap();
    stage.pause().await;
    *stage.engine.place.lock().unwrap() = Some(now.next_batch);
    stage.again(synapse, &[]).await;
    goes_to(&stage, &to).await;
    stage.end().await;
}

#[tokio::test]
async fn an_answer_that_was_given_while_no_host_ran_is_passed_on_once_it_is_asked_again() {
    let synapse = Synapse::shared().await;
    let mut stage = Stage::set(synapse).await;
    let (room, asked) = (stage.room.to_string(), permission(1, "cargo test"));
    stage.matrix.ask(&room, &asked);
    stage.says("│ cargo test").await;
    stage.pause().await;
    let messages = stage.anna.messages(&room).await.unwrap();
    let event = messages.last().unwrap()["event_id"].as_str().unwrap().to_owned();
    stage.anna.react(&room, &event, "✅").await.unwrap();

    stage.again(synapse, &[]).await;
    stage.all_taken().await;
    assert!(stage.engine.answers.lock().unwrap().is_empty());
    stage.matrix.ask(&room, &OpenAsk { times: 2, ..asked.clone() });
    stage.eventually("it is answered", async || !stage.engine.answers.lock().unwrap().is_empty()).await;
    let answers = stage.engine.answers.lock().unwrap().clone();
    assert_eq!(answers, [(1, Answer::Permission(PermissionReply::Once))]);
    // What is over here is over, however short it runs.
    stage.matrix.ask_closed(&room, &asked, None);
    stage.anna.react(&room, &event, "👍").await.unwrap();
    stage.says("that is no longer asked").await;
    stage.end().await;
}

/// Whether a surface before such a server runs after its first answers; the reason for which it does not.
async fn started(status: u16, body: serde_json::Value, times: usize) -> Result<(), String> {
    let (settings, _) = served(move |path, before| match path {
        it if it.contains("/whoami") && before < times => (status, body.clone()),
        it if it.contains("/whoami") => (200, json!({ "user_id": "@bot:x" })),
        _ => (200, json!({ "next_batch": "s1" })),
    })
    .await;
    let (matrix, stop) = (Matrix::new(settings, "connector-matrix").unwrap(), CancellationToken::new());
    let engine = Arc::new(Engine::default());
    let inbox = Inbox::new(engine.clone(), "matrix");
    let running = async { matrix.run(inbox, stop).await.map_err(|error| error.reason) };
    let runs = async {
        while !engine.has_a_place() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let either = async {
        tokio::select! {
            ended = running => ended,
            () = runs => Ok(()),
        }
    };
    tokio::time::timeout(SOON, either).await.unwrap()
}

#[tokio::test]
async fn only_what_the_homeserver_says_about_the_token_ends_a_start() {
    let page = || json!("<html>we are moving</html>");
    let waited_for = [404, 400, 403, 502, 301].map(|status| started(status, page(), 1));
    let not_a_user = started(200, page(), 1);
    for began in futures_util::future::join_all(waited_for).await {
        assert_eq!(began, Ok(()));
    }
    assert_eq!(not_a_user.await, Ok(()));
    let unknown = started(401, json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "?" }), 1).await;
    assert!(unknown.unwrap_err().contains("log in again"));
    let other = started(200, json!({ "user_id": "@other:x" }), 1).await;
    assert!(other.unwrap_err().contains("@other:x"));
}
