//! Rules with followers, by the binary: a group and a private chat of Telegram, and the command line.

use serde_json::json;

use crate::house::{House, caller};
use crate::telegram::{ANNA, BEN, CHAT, GROUP};

/// The labels of a message's buttons.
fn labels(buttons: &[Vec<String>]) -> Vec<&str> {
    buttons.iter().flatten().map(String::as_str).collect()
}

fn is_card(buttons: &[Vec<String>]) -> bool {
    labels(buttons).iter().any(|label| label.contains("Approve"))
}

#[tokio::test]
async fn a_vote_shows_on_the_card_in_the_other_chat_and_a_decision_takes_its_buttons_and_says_who() {
    let mut house = House::new("permission-once").await;
    let (anna, ben, cli) = (format!("telegram:{ANNA}"), format!("telegram:{BEN}"), caller());
    house.configure("approvals_needed = 2", &[("anna", &[&anna, &cli]), ("ben", &[&ben])]);
    house.follow(&[&anna]);
    house.start();
    house.telegram.write(BEN, GROUP, "/fix it");
    let (here, there) = (house.card(GROUP).await, house.card(CHAT).await);
    assert!(here.text.contains("asked by: telegram:43 (ben)\n"), "{}", here.text);
    let from = format!("asked by: telegram:43 (ben) in telegram:{GROUP}\n");
    assert!(there.text.contains(&from), "{}", there.text);

    house.telegram.tap(ANNA, CHAT, there.id, "Approve");
    let so_far = "1.1 approved by telegram:42 (anna); 1 of 2 approvals";
    for (chat, card) in [(GROUP, here.id), (CHAT, there.id)] {
        let shown = house.see(chat, |shown| shown.id == card && shown.text.contains(so_far)).await;
        assert!(is_card(&shown.buttons), "{chat}: others may still decide it: {:?}", shown.buttons);
    }
    // Her other account is the same person.
    let second = house.user.run(&["approvals", "approve", "1.1"]);
    assert!(second.text().contains("1 of 2 approvals"), "{}", second.text());

    house.telegram.tap(BEN, GROUP, here.id, "Approve");
    let decided = "approved by telegram:43 (ben)";
    let is_decided = |shown: &testkit::telegram::Shown| {
        shown.id == there.id && !is_card(&shown.buttons) && shown.text.contains(decided)
    };
    house.see(CHAT, is_decided).await;

    // What the agent asks is in both, and the first answer closes both.
    let asks = async |chat: i64| {
        let is_ask = |shown: &testkit::telegram::Shown| labels(&shown.buttons).contains(&"✅ Allow once");
        house.see(chat, is_ask).await
    };
    let (in_group, in_private) = (asks(GROUP).await, asks(CHAT).await);
    house.telegram.tap(ANNA, CHAT, in_private.id, "Allow once");
    for (chat, ask) in [(GROUP, in_group.id), (CHAT, in_private.id)] {
        let over = house.see(chat, |shown| shown.id == ask && shown.buttons.is_empty()).await;
        assert!(over.text.contains("telegram:42 (anna)"), "{chat}: {}", over.text);
    }
    assert_eq!(house.decisions(), [json!("once")]);
    for (chat, card) in [(GROUP, here.id), (CHAT, there.id)] {
        let head = house.see(chat, |shown| shown.id == card && shown.text.contains("1.1 done")).await;
        assert!(head.text.contains(decided), "{chat}: {}", head.text);
    }
    assert_eq!(house.daemon.tasks(), 1);
    house.stop();
}

#[tokio::test]
async fn a_decision_by_the_command_line_while_no_host_runs_is_shown_in_every_chat_by_the_next() {
    let mut house = House::new("permission-once").await;
    house.configure("", &[]);
    house.follow(&[&format!("telegram:{ANNA}")]);
    house.start();
    house.telegram.write(BEN, GROUP, "/fix it");
    let (here, there) = (house.card(GROUP).await, house.card(CHAT).await);
    house.until_delivered(2).await;
    house.crash();
    let approved = house.user.run(&["approvals", "approve", "1.1"]);
    assert_eq!(approved.code(), 0, "{}", approved.text());
    assert!(is_card(&house.see(CHAT, |shown| shown.id == there.id).await.buttons), "nobody told it yet");
    house.start();
    let by = format!("approved by {}", caller());
    for (chat, card) in [(GROUP, here.id), (CHAT, there.id)] {
        let shown =
            house.see(chat, |shown| shown.id == card && !is_card(&shown.buttons) && shown.text.contains(&by));
        assert!(labels(&shown.await.buttons).contains(&"⏹ Abort"), "{chat}");
    }
    // It is stopped where it is followed.
    house.telegram.tap(BEN, GROUP, here.id, "Abort");
    for (chat, card) in [(GROUP, here.id), (CHAT, there.id)] {
        house.see(chat, |shown| shown.id == card && shown.text.contains("1.1 stopped")).await;
    }
    house.stop();
}

#[tokio::test]
async fn a_follower_that_may_not_be_told_stops_the_start_and_switches_an_edited_rule_off() {
    let mut house = House::new("text").await;
    house.configure("", &[]);
    for (follower, why) in [
        ("telegram:-100900", "`allow_chats` of [surfaces.telegram] does not have -100900"),
        ("telegram:77", "`allow_users` of [surfaces.telegram] does not have 77"),
        ("telegram:home", "`home` is no chat"),
        ("telegram:+42", "`+42` is written `42`"),
        ("telegram:042", "`042` is written `42`"),
        ("telegram:42/07", "`42/07` is written `42/7`"),
        ("matrix:!room:server", "no surface `matrix` is configured; there is `telegram`"),
    ] {
        house.follow(&[follower]);
        let said = format!("`{follower}` cannot be told of runs: {why}");
        for command in [&["rules", "lint", "-c"][..], &["config", "check", "-c"]] {
            let found = house.user.run(&[command, &[&house.config()]].concat());
            assert!(found.code() != 0 && found.text().contains(&said), "{command:?}: {}", found.text());
        }
        let refused = house.user.run(&["run", "-c", &house.config()]);
        let said = format!("`{follower}` cannot be told of runs: ");
        assert!(refused.code() == 2 && refused.text().contains(&said), "{}", refused.text());
    }
    house.follow(&[]);
    house.start();
    house.follow(&["telegram:-100900"]);
    house.expect(
        "is left out: followers of the rule fix-on-demand: `telegram:-100900` cannot be told of runs",
    );
    house.telegram.write(ANNA, CHAT, "/fix it");
    house.telegram.wait_for(CHAT, "the rule `fix-on-demand` is off").await;
    house.follow(&[&format!("telegram:{BEN}"), &format!("telegram:{GROUP}")]);
    house.expect("the rules were read again: 1 rule is in force");
    house.stop();
}
