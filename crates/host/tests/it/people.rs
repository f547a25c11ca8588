//! Persons and their accounts: who is counted once, by Telegram and by the command line.

use connector_gate::state::StepState;
use serde_json::json;

use crate::house::{House, caller};
use crate::telegram::{ANNA, BEN, CHAT, GROUP};
use crate::terminal::User;

#[tokio::test]
async fn one_person_by_telegram_and_by_the_command_line_counts_once_and_two_count_twice() {
    let mut house = House::new("text").await;
    let (telegram, cli) = (format!("telegram:{ANNA}"), caller());
    let ben = format!("telegram:{BEN}");
    house.configure("approvals_needed = 2", &[("anna", &[&telegram, &cli]), ("ben", &[&ben])]);
    house.start();
    house.telegram.write(ANNA, GROUP, "/fix it");
    let card = house.card(GROUP).await;
    assert!(card.text.contains("asked by: telegram:42 (anna)"), "{}", card.text);
    house.telegram.tap(ANNA, GROUP, card.id, "Approve");
    house.until_votes(1).await;

    let second = house.user.run(&["approvals", "approve", "1.1"]);
    assert!(second.code() == 0 && second.text().contains("1 of 2 approvals"), "{}", second.text());
    assert_eq!(house.until_votes(2).await["state"], json!(StepState::Waiting));
    assert_eq!(house.daemon.tasks(), 0);
    let shown = house.user.run(&["approvals", "show", "1.1"]).text();
    for line in [
        format!("may approve  telegram:42 (anna), telegram:43 (ben), {cli} (anna)"),
        "vote  approve by telegram:42 (anna) at ".to_owned(),
        format!("vote  approve by {cli} (anna) at "),
    ] {
        assert!(shown.contains(&line), "{line}: {shown}");
    }

    house.telegram.tap(BEN, GROUP, card.id, "Approve");
    let head = house.see(GROUP, |shown| shown.text.contains("1.1 done")).await;
    assert!(head.text.contains("approved by telegram:43 (ben)"), "{}", head.text);
    assert_eq!(house.daemon.tasks(), 1);
    let audited = [(telegram, json!("anna")), (cli, json!("anna")), (ben, json!("ben"))];
    assert_eq!(house.persons_of_votes(), audited);
    let shown = house.user.run(&["runs", "show", "1"]).text();
    assert!(shown.contains("decided by telegram:43 (ben) at "), "{shown}");
    let followed = house.user.run(&["runs", "follow", "1"]).text();
    assert!(followed.contains("vote by telegram:42 (anna)"), "{followed}");
    let log = house.stop();
    assert!(!log.contains("counts persons"), "everybody is known: {log}");
}

#[tokio::test]
async fn where_another_must_approve_the_requester_cannot_through_another_account() {
    let mut house = House::new("text").await;
    let (telegram, cli) = (format!("telegram:{ANNA}"), caller());
    house.configure("require_other_approver = true", &[("anna", &[&telegram, &cli])]);
    house.start();
    house.telegram.write(ANNA, CHAT, "/fix it");
    house.card(CHAT).await;
    let refused = house.user.run(&["approvals", "approve", "1.1"]);
    let said = format!("telegram:42 and {cli} are both anna's; whoever asked may not approve");
    assert!(refused.code() != 0 && refused.text().contains(&said), "{}", refused.text());
    assert_eq!(house.daemon.tasks(), 0);
    // To refuse it is theirs all the same.
    let denied = house.user.run(&["approvals", "deny", "1.1"]);
    assert_eq!(denied.code(), 0, "{}", denied.text());
    let over = house.see(CHAT, |shown| shown.text.contains("was not run")).await;
    assert!(over.text.contains(&format!("denied by {cli} (anna)")), "{}", over.text);
    house.stop();
}

#[tokio::test]
async fn a_card_from_before_an_edit_of_people_is_asked_again_and_its_votes_are_gone() {
    let mut house = House::new("text").await;
    house.configure("approvals_needed = 2", &[]);
    house.start();
    house.telegram.write(ANNA, CHAT, "/fix it");
    let card = house.card(CHAT).await;
    house.telegram.tap(ANNA, CHAT, card.id, "Approve");
    let before = house.until_votes(1).await;
    let log = house.stop();
    let doubt = "gate: approvals_needed counts persons, and nothing says whose accounts telegram:42, telegram:43, cli:";
    assert!(log.contains(doubt), "{log}");
    let doctor = house.user.run(&["doctor", "-c", &house.config()]).text();
    assert!(doctor.contains("! people") && doctor.contains(doubt), "{doctor}");

    let (telegram, cli) = (format!("telegram:{ANNA}"), caller());
    house.configure("approvals_needed = 2", &[("anna", &[&telegram, &cli])]);
    house.start();
    let again = house.see(CHAT, |shown| shown.id != card.id && !shown.buttons.is_empty()).await;
    assert!(
        again.text.contains("again: it was edited in the meantime whose accounts there are"),
        "{}",
        again.text
    );
    let old = house.see(CHAT, |shown| shown.id == card.id && shown.buttons.is_empty()).await;
    assert!(old.text.contains("is asked about again, below"), "{}", old.text);
    let shown = house.until_votes(0).await;
    assert_ne!(shown["digest"], before["digest"]);
    let stale = before["digest"].as_str().unwrap();
    let late = house.user.run(&["approvals", "approve", "1.1", "--digest", stale]);
    assert!(late.code() != 0 && late.text().contains("has changed since that card"), "{}", late.text());
    house.telegram.tap(ANNA, CHAT, again.id, "Approve");
    house.until_votes(1).await;
    let second = house.user.run(&["approvals", "approve", "1.1"]);
    assert!(second.text().contains("1 of 2 approvals"), "{}", second.text());
    house.stop();
}

#[test]
fn accounts_that_cannot_be_a_persons_stop_the_start_and_doctor() {
    let user = User::new();
    let file = user.home.path().join("host.toml").display().to_string();
    for (people, words) in [
        (
            "[people.anna]\naccounts = [\"telgram:1\"]\n",
            &["[people.anna]", "`telgram:1`", "telegram:NUMBER"][..],
        ),
        (
            "[people.anna]\naccounts = [\"cli:a\"]\n[people.ben]\naccounts = [\"cli:a\"]\n",
            &["`cli:a`", "`anna`", "`ben`"],
        ),
        ("[people.anna]\naccounts = []\n", &["[people.anna]", "no accounts"]),
        (
            "[people.anna]\naccount = [\"cli:a\"]\n",
            &["line 3", "there is no key `people.anna.account`; did you mean `accounts`?"],
        ),
    ] {
        std::fs::write(&file, format!("rules = \"rules\"\n{people}[connectors]\n")).unwrap();
        for command in ["run", "doctor"] {
            let ended = user.run(&[command, "-c", &file]);
            assert_eq!(ended.code(), 2, "{}", ended.text());
            for word in words {
                assert!(ended.text().contains(word), "{word}: {}", ended.text());
            }
        }
    }
}
