//! The example of a rule whose agent only reads, on real daemons.

use serde_json::json;
use testkit::fake::Generation;
use testkit::model::Script;

use super::world::{ANNA, GROUP, World};

const EXAMPLE: &str = include_str!("../../../../../examples/rules/review-only.toml");

async fn a_review_changes_nothing_and_is_said(generation: Generation) {
    let script = Script::default()
        .call("Review hello.txt", 0, "write", json!({ "filePath": "new.txt", "content": "new\n" }))
        .reply("Review hello.txt", "Line 1 greets nobody.");
    let mut world = match generation {
        Generation::V1 => World::start(script).await,
        Generation::V2 => World::newer(script).await,
    };
    let rule = EXAMPLE.replace("-100200300", &GROUP.to_string());
    std::fs::write(world.user.home.path().join("rules/review-only.toml"), rule).unwrap();
    world.host.as_mut().unwrap().expect("10 rules are in force");
    let telegram = &world.telegram;
    telegram.write(ANNA, GROUP, "/review hello.txt");
    let card = world.card(GROUP, "review-only").await;
    assert!(card.text.contains("agent: plan"), "{}", card.text);
    telegram.tap(ANNA, GROUP, card.id, "Approve");
    telegram.wait_for(GROUP, "Line 1 greets nobody.").await;
    let head = telegram.wait_for(GROUP, "1.1 done").await;
    assert!(!head.text.contains("new.txt"), "{head:?}");
    assert!(!std::fs::exists(format!("{}/new.txt", world.workspace)).unwrap(), "it was written");
    let told = world.model.seen().iter().map(|seen| seen.body.to_string()).collect::<String>();
    assert!(told.contains("asked for this through connector-telegram. Change nothing."), "{told}");
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn the_example_of_a_review_changes_nothing_on_1_x() {
    a_review_changes_nothing_and_is_said(Generation::V1).await;
}

#[tokio::test]
async fn the_example_of_a_review_changes_nothing_on_2_x() {
    a_review_changes_nothing_and_is_said(Generation::V2).await;
}
