//! The homeserver that tests of Matrix run against is a real one, and survives what it must.

use serde_json::json;
use testkit::Synapse;
use testkit::synapse::{Options, Refusal};

#[tokio::test]
async fn what_was_said_is_there_after_a_crash() {
    let mut synapse = Synapse::start().await.unwrap();
    let anna = synapse.register("anna").await.unwrap();
    assert_eq!(anna.id, "@anna:synapse.test");
    let room = anna.create_room(&json!({ "preset": "private_chat" })).await.unwrap();
    let said = anna.say(&room, "before").await.unwrap();
    let (base, pid) = (synapse.base_url(), synapse.pid());

    synapse.kill9();
    assert!(matches!(anna.say(&room, "during").await, Err(Refusal::Outbound(_))));
    synapse.restart().await.unwrap();

    assert_eq!(synapse.base_url(), base);
    assert_ne!(synapse.pid(), pid);
    let messages = anna.messages(&room).await.unwrap();
    let ids: Vec<&str> = messages.iter().filter_map(|it| it["event_id"].as_str()).collect();
    assert_eq!(ids, [said]);
}

#[tokio::test]
async fn a_limit_is_kept_where_one_is_set() {
    let synapse = Synapse::with(Options { rc_message: Some((0.01, 5)), ..Options::default() }).await.unwrap();
    let anna = synapse.register("anna").await.unwrap();
    let room = anna.create_room(&json!({})).await.unwrap();
    anna.say(&room, "one").await.unwrap();
    let mut refused = None;
    for _ in 0..5 {
        refused = refused.or(anna.say(&room, "more").await.err());
    }
    assert!(matches!(refused, Some(Refusal::Status { status: 429, .. })), "{refused:?}");
}
