//! The walk from a message to its result, on a phone.

use std::time::Duration;

use serde_json::json;
use testkit::fake::Generation;
use testkit::model::{Answer, Script};
use testkit::scratch;
use testkit::telegram::Shown;

use super::world::{ANNA, BEN, CHAT, GROUP, World};
use crate::database;

fn shows(text: &str) -> impl Fn(&[Shown]) -> Option<Shown> {
    let text = text.to_owned();
    move |screen| screen.iter().rev().find(|shown| shown.text.contains(&text)).cloned()
}

async fn world(generation: Generation, script: Script) -> World {
    match generation {
        Generation::V1 => World::start(script).await,
        Generation::V2 => World::newer(script).await,
    }
}

#[tokio::test]
async fn a_fix_is_asked_approved_watched_continued_and_aborted() {
    let script = Script::default()
        .call("write it", 0, "write", json!({ "filePath": "new.txt", "content": "new\n" }))
        .reply("write it", "It is *written* <b>now</b>.")
        .reply("now the docs", "The docs too.")
        .call("sleep long", 0, "bash", json!({ "command": "sleep 300", "description": "sleeps" }))
        .reply("sleep long", "Slept.");
    let mut world = World::start(script).await;
    let telegram = &world.telegram;

    telegram.write(13, 13, "/fix let me in");
    telegram.write(ANNA, CHAT, "/fix write it");
    let card = world.card(CHAT, "1.1").await;
    for part in ["/fix write it", "fix-on-demand", "telegram:42", "run_task", "workspace:main", "in 15 min"] {
        assert!(card.text.contains(part), "{part}: {}", card.text);
    }
    assert_eq!(card.buttons.concat(), ["✅ Approve", "❌ Deny", "✅ Allow for this session"]);
    assert!(card.data.iter().flatten().all(|data| data.len() <= 64));
    assert!(!std::fs::exists(format!("{}/new.txt", world.workspace)).unwrap(), "nothing runs unapproved");

    telegram.tap(ANNA, CHAT, card.id, "Approve");
    allow_asks(&world, CHAT, "It is written").await;
    let head = telegram.wait(CHAT, shows("1.1 done")).await;
    assert_eq!(head.id, card.id, "the card has become the result");
    assert!(head.edits >= 2 && head.buttons.is_empty(), "{head:?}");
    assert!(head.text.contains("new.txt +1"), "{head:?}");
    let reply = telegram.wait(CHAT, shows("It is written <b>now</b>.")).await;
    assert_eq!(reply.answers, Some(card.id));
    let patch = telegram.wait(CHAT, |screen| screen.iter().find_map(|shown| shown.document.clone())).await;
    assert!(patch.0 == "step-1.1.diff" && patch.1.contains("+new"), "{patch:?}");
    let screen = telegram.screen(13);
    assert!(screen.is_empty(), "a stranger is told nothing: {screen:?}");

    telegram.reply(ANNA, CHAT, reply.id, "now the docs");
    let card = world.card(CHAT, "continue_session").await;
    assert!(card.text.contains("session_id: ses_"), "{}", card.text);
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    telegram.wait(CHAT, shows("The docs too.")).await;

    telegram.write(ANNA, CHAT, "/fix sleep long");
    let card = world.card(CHAT, "sleep long").await;
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    let ask = telegram.wait(CHAT, shows("may the agent use bash?")).await;
    assert!(ask.text.contains("sleep 300"), "{}", ask.text);
    telegram.tap(ANNA, CHAT, ask.id, "Allow once");
    telegram.wait(CHAT, shows("answered by telegram:42")).await;
    let running = telegram.wait(CHAT, |screen| {
        let runs = |it: &&Shown| it.text.contains("3.1 runs") && it.text.contains("\n· bash ");
        screen.iter().find(|shown| shown.id == card.id).filter(runs).cloned()
    });
    let running = running.await;
    assert_eq!(running.buttons.concat(), ["⏹ Abort"]);
    telegram.tap(ANNA, CHAT, card.id, "Abort");
    let stopped = telegram.wait(CHAT, shows("stopped")).await;
    assert_eq!(stopped.id, card.id);
    telegram.wait_until_acknowledged().await;
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn a_task_on_2_x_is_approved_asked_about_and_brought_in_from_its_working_tree() {
    let script = Script::default()
        .call("write it", 0, "write", json!({ "filePath": "new.txt", "content": "new\n" }))
        .call("write it", 1, "bash", json!({ "command": "cat new.txt > copy.txt", "description": "copies" }))
        .reply("write it", "It is written now.")
        .call("refuse it", 0, "bash", json!({ "command": "rm -f hello.txt", "description": "removes" }))
        .answer("refuse it", Answer::Hang { text: "Another way, then.".into() });
    let mut world = World::newer(script).await;
    let telegram = &world.telegram;
    telegram.write(ANNA, CHAT, "/fix write it");
    let card = world.card(CHAT, "1.1").await;
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    allow_asks(&world, CHAT, "It is written now.").await;
    let head = telegram.wait(CHAT, shows("1.1 done")).await;
    assert!(head.text.contains("new.txt +1") && head.text.contains("branch "), "{head:?}");
    assert!(!std::fs::exists(format!("{}/new.txt", world.workspace)).unwrap(), "it is in its own tree");
    let applied = world.user.run(&["runs", "apply", "1", "--json"]).json();
    assert_eq!(applied["files"], json!(["copy.txt", "new.txt"]), "{applied}");

    telegram.write(ANNA, CHAT, "/fix refuse it");
    let card = world.card(CHAT, "2.1").await;
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    let ask = telegram.wait(CHAT, shows("may the agent use bash?")).await;
    assert!(ask.text.contains("rm -f hello.txt"), "{}", ask.text);
    telegram.wait(CHAT, shows("2.1 waits for an answer")).await;
    let shown = world.user.run(&["runs", "show", "2"]).text();
    assert!(shown.contains("2.1 is waiting for an answer") && !shown.contains("failed"), "{shown}");
    telegram.tap(ANNA, CHAT, ask.id, "Reject");
    telegram.wait(CHAT, shows("refused by telegram:42")).await;
    telegram.wait(CHAT, shows("rejected · answered by telegram:42")).await;
    world.model.release();
    telegram.wait(CHAT, shows("Another way, then.")).await;
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn a_person_goes_from_fix_to_a_pushed_branch_without_a_terminal() {
    let script = Script::default()
        .call("write it", 0, "write", json!({ "filePath": "new.txt", "content": "new\n" }))
        .reply("write it", "It is written now.");
    let remotes = tempfile::tempdir().unwrap();
    scratch::git(remotes.path(), &["init", "--quiet", "--bare", "app.git"]).unwrap();
    let remote = remotes.path().join("app.git");
    let mut world = World::in_trees(script, &format!("remote = \"{}\"", remote.display())).await;
    let telegram = &world.telegram;
    telegram.write(ANNA, CHAT, "/fix write it");
    let card = world.card(CHAT, "1.1").await;
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    allow_asks(&world, CHAT, "It is written now.").await;
    let head = telegram.wait(CHAT, shows("1.1 done")).await;
    let new = format!("{}/new.txt", world.workspace);

    telegram.reply(ANNA, CHAT, head.id, "/apply");
    let card = world.card(CHAT, "apply").await;
    for part in ["connector-git", "workspace:main", "commit: ", "base: ", "branch: "] {
        assert!(card.text.contains(part), "{part}: {}", card.text);
    }
    assert!(!std::fs::exists(&new).unwrap(), "nothing is done unapproved");
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    let done = telegram.wait(CHAT, shows("2.1 done")).await;
    assert!(done.text.contains("new.txt"), "{}", done.text);
    telegram.wait(CHAT, shows("1 file staged, not committed")).await;
    assert_eq!(std::fs::read_to_string(&new).unwrap(), "new\n");
    telegram.reply(ANNA, CHAT, head.id, "/undo");
    let card = world.card(CHAT, "undo").await;
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    telegram.wait(CHAT, shows("3.1 done")).await;
    assert!(!std::fs::exists(&new).unwrap());

    telegram.reply(ANNA, CHAT, head.id, "/push");
    let card = world.card(CHAT, "push").await;
    assert!(card.text.contains(&remote.display().to_string()), "{}", card.text);
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    telegram.wait(CHAT, shows("4.1 done")).await;
    telegram.wait(CHAT, shows("as the new branch")).await;
    let branches = scratch::git(&remote, &["for-each-ref", "--format=%(refname:short)"]).unwrap();
    let branch = branches.trim();
    assert_eq!(scratch::git(&remote, &["show", &format!("{branch}:new.txt")]).unwrap(), "new\n");

    // A button is the command that it names.
    telegram.tap(ANNA, CHAT, head.id, "Commit");
    let card = world.card(CHAT, "5.1").await;
    for part in ["connector-git", "commit", "onto: main"] {
        assert!(card.text.contains(part), "{part}: {}", card.text);
    }
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    telegram.wait(CHAT, shows("5.1 done")).await;
    telegram.wait(CHAT, shows("the task's own commits, 1 file")).await;
    assert_eq!(std::fs::read_to_string(&new).unwrap(), "new\n");
    assert_eq!(scratch::git(world.workspace.as_ref(), &["log", "--format=%s", "-1"]).unwrap(), "write it\n");

    // Somebody moved it on meanwhile.
    let tree = scratch::git(&remote, &["rev-parse", &format!("{branch}~^{{tree}}")]).unwrap();
    let other = scratch::git(&remote, &["commit-tree", "-m", "Other", tree.trim()]).unwrap();
    scratch::git(&remote, &["update-ref", &format!("refs/heads/{branch}"), other.trim()]).unwrap();
    telegram.tap(ANNA, CHAT, head.id, "Push");
    let card = world.card(CHAT, "6.1").await;
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    telegram.wait(CHAT, shows("6.1 failed")).await;
    telegram.wait(CHAT, shows("history is never overwritten")).await;
    telegram.tap(ANNA, CHAT, head.id, "Discard");
    let card = world.card(CHAT, "7.1").await;
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    telegram.wait(CHAT, shows("its working tree are gone")).await;
    let left = scratch::git(world.workspace.as_ref(), &["branch", "--list", "opencode-*"]).unwrap();
    assert_eq!(left, "");
    world.stop();
    world.assert_no_token();
}

/// More rows than 2.x gives at once.
const STEPS: usize = 205;

/// What is read of such a turn is tried by the plugin's own tests, on both generations.
#[tokio::test]
#[ignore = "takes two minutes: cargo test -p connector-host --test it longer_than_a_page -- --ignored"]
async fn a_turn_of_2_x_that_is_longer_than_a_page_is_shown_whole() {
    let mut script = Script::default();
    for step in 0..STEPS {
        let read = json!({ "filePath": "hello.txt", "offset": 1, "limit": 1 + step });
        script = script.call("read often", step, "read", read);
    }
    let mut world = World::newer(script.reply("read often", "Read that often.")).await;
    let telegram = &world.telegram;
    telegram.write(ANNA, CHAT, "/fix read often");
    let card = world.card(CHAT, "1.1").await;
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    telegram.wait_everywhere(Duration::from_mins(10), shows("1.1 done")).await;
    let shown = world.user.run(&["runs", "show", "1"]).text();
    // Ten tokens in and five out for each answer of the model.
    let tokens = format!("{} tokens", (STEPS + 1) * 15);
    assert!(shown.contains("Read that often.") && shown.contains(&tokens), "{shown}");
    assert!(shown.contains("run_task  succeeded"), "{shown}");
    world.stop();
}

/// Says yes to whatever the agent asks until its reply is there.
async fn allow_asks(world: &World, chat: i64, reply: &str) {
    loop {
        let next = world.telegram.wait(chat, |screen| {
            let ask =
                screen.iter().find(|it| it.buttons.concat().iter().any(|label| label.contains("Allow once")));
            let done = screen.iter().any(|shown| shown.text.contains(reply));
            if done { Some(None) } else { ask.map(|ask| Some(ask.id)) }
        });
        let Some(ask) = next.await else { return };
        world.telegram.tap(ANNA, chat, ask, "Allow once");
        world
            .telegram
            .wait(chat, |screen| screen.iter().find(|it| it.id == ask && it.buttons.is_empty()).map(|_| ()))
            .await;
    }
}

#[tokio::test]
async fn in_a_group_the_one_who_taps_counts_and_topics_keep_apart() {
    let mut world = World::start(Script::saying("Done in the group.")).await;
    let telegram = &world.telegram;
    let topic = json!({ "message_thread_id": 7, "is_topic_message": true });
    telegram.message(BEN, GROUP, "/fix@fake_bot something", &topic);
    let card = world.card(GROUP, "telegram:43").await;
    assert_eq!(card.topic, Some(7));

    telegram.tap(BEN, GROUP, card.id, "Approve");
    let refused = world.answered("telegram:43 is not an approver").await;
    assert!(refused["show_alert"] == true, "{refused}");
    // The data of the card, sent from another chat.
    telegram.write(ANNA, CHAT, "/status");
    telegram.wait_for(CHAT, "nothing runs").await;
    telegram.tap_data(ANNA, CHAT, card.id, &card.data[0][0]);
    world.answered("no such card here").await;
    for forged in ["a::", "a:x:y", "x:", "d:aaaaaaaaaaaaaaaaaaaaaaaaaa:0000000000000000", "k:0:1:once"] {
        telegram.tap_data(ANNA, GROUP, card.id, forged);
    }
    telegram.wait_until_acknowledged().await;
    assert!(world.card(GROUP, "telegram:43").await.buttons.len() == 2, "it still waits");

    telegram.tap(ANNA, GROUP, card.id, "Approve");
    let reply = telegram.wait_for(GROUP, "Done in the group.").await;
    assert_eq!(reply.topic, Some(7));
    // A second tap with the same data is answered with what happened.
    telegram.tap_data(ANNA, GROUP, card.id, &card.data[0][0]);
    world.answered("1.1 is").await;
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn questions_are_answered_by_buttons_and_in_own_words_on_1_x() {
    questions_are_answered_by_buttons_and_in_own_words(Generation::V1).await;
}

#[tokio::test]
async fn questions_are_answered_by_buttons_and_in_own_words_on_2_x() {
    questions_are_answered_by_buttons_and_in_own_words(Generation::V2).await;
}

async fn questions_are_answered_by_buttons_and_in_own_words(generation: Generation) {
    let option = |label: &str| json!({ "label": label, "description": "d" });
    let question = |text: &str, multiple: bool| json!({ "question": text, "header": "h", "options": [option("Tabs"), option("Spaces")], "multiple": multiple });
    let questions = json!({ "questions": [question("Which?", false), question("Which ones?", true), question("Why?", false)] });
    let script = Script::default().call("ask me", 0, "question", questions).reply("ask me", "Thank you.");
    let mut world = world(generation, script).await;
    let telegram = &world.telegram;
    telegram.write(ANNA, CHAT, "/fix ask me");
    let card = world.card(CHAT, "1.1").await;
    telegram.tap(ANNA, CHAT, card.id, "Approve");

    let asked = telegram.wait_for(CHAT, "(1 of 3)").await;
    assert_eq!(asked.buttons.concat(), ["Tabs", "Spaces", "❌ Reject"]);
    telegram.tap(ANNA, CHAT, asked.id, "Spaces");
    telegram.wait_for(CHAT, "(2 of 3)").await;
    telegram.tap(ANNA, CHAT, asked.id, "Spaces");
    telegram.wait_for(CHAT, "☑ Spaces").await;
    telegram.tap(ANNA, CHAT, asked.id, "Tabs");
    telegram.wait_for(CHAT, "☑ Tabs").await;
    telegram.tap(ANNA, CHAT, asked.id, "Done");
    telegram.wait_for(CHAT, "(3 of 3)").await;
    telegram.reply(ANNA, CHAT, asked.id, "because of the diff");
    telegram.wait_for(CHAT, "answered by telegram:42").await;
    telegram.wait_for(CHAT, "Thank you.").await;
    let told = world.model.seen().iter().map(|seen| seen.body.to_string()).collect::<String>();
    assert!(told.contains("because of the diff"), "the agent got the words");
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn a_long_prompt_is_attached_and_a_long_reply_comes_in_pieces() {
    let long = "Zeile mit 👍🏽 e\u{301} und שלום. ".repeat(400);
    let mut world = World::start(Script::saying(&long)).await;
    let telegram = &world.telegram;
    let prompt = format!("/fix {}\u{202e}end", "*bold* <b>x</b> 👍🏽 ".repeat(400));
    telegram.write(ANNA, CHAT, &prompt);
    let card = world.card(CHAT, "1.1").await;
    assert!(card.text.contains("cut; the whole of it is above"), "{}", card.text);
    let attached = telegram.screen(CHAT).into_iter().find_map(|shown| shown.document).unwrap();
    assert!(attached.1.contains("\\u{202e}end"), "all of it is there, and nothing hides");
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    let pieces = telegram.wait(CHAT, |screen| {
        let reply = |it: &&Shown| it.text.contains("Zeile") && it.document.is_none();
        let pieces: Vec<String> = screen.iter().filter(reply).map(|it| it.text.clone()).collect();
        let length: usize = pieces.iter().map(String::len).sum();
        (length + 20 >= long.trim().len()).then_some(pieces)
    });
    let pieces = pieces.await;
    assert!(pieces.len() >= 3, "{}", pieces.len());
    assert_eq!(pieces.join(" "), long.trim());
    world.stop();
    world.assert_no_token();
}

/// A session is gone on in, a task is stopped while a command of its runs, and a provider's error is told.
async fn a_session_goes_on_a_command_is_stopped_and_a_failure_is_told(generation: Generation) {
    let script = Script::default()
        .call("the first", 0, "write", json!({ "filePath": "first.txt", "content": "first\n" }))
        .reply("the first", "First.")
        .reply("the second", "Second.")
        .call("sleep long", 0, "bash", json!({ "command": "sleep 300", "description": "sleeps" }))
        .reply("sleep long", "Slept.")
        .call(
            "run it",
            0,
            "bash",
            json!({ "command": "echo 'no such thing' >&2; exit 3", "description": "fails" }),
        )
        .reply("run it", "It failed.")
        .answer("break it", testkit::model::Answer::error(401, "no"));
    let mut world = world(generation, script).await;
    let telegram = &world.telegram;
    let approve = async |text: &str, shown: &str| {
        telegram.write(ANNA, CHAT, text);
        let card = world.card(CHAT, shown).await;
        telegram.tap(ANNA, CHAT, card.id, "Approve");
        card
    };
    approve("/fix the first", "1.1").await;
    let reply = telegram.wait(CHAT, shows("First.")).await;
    telegram.reply(ANNA, CHAT, reply.id, "the second");
    let card = world.card(CHAT, "continue_session").await;
    assert!(card.text.contains("model: its session's, or else "), "{}", card.text);
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    telegram.wait(CHAT, shows("Second.")).await;

    let card = approve("/fix sleep long", "3.1").await;
    let ask = telegram.wait(CHAT, shows("may the agent use bash?")).await;
    telegram.tap(ANNA, CHAT, ask.id, "Allow once");
    let abort = |screen: &[Shown]| {
        let status = screen.iter().find(|shown| shown.id == card.id && shown.text.contains("3.1 runs"));
        status.filter(|shown| shown.buttons.concat() == ["⏹ Abort"]).cloned()
    };
    telegram.wait(CHAT, abort).await;
    telegram.tap(ANNA, CHAT, card.id, "Abort");
    assert_eq!(telegram.wait(CHAT, shows("3.1 stopped")).await.id, card.id);

    approve("/fix run it", "4.1").await;
    let ask = telegram.wait(CHAT, |screen| {
        let open = |it: &&Shown| {
            it.text.contains("exit 3") && !it.buttons.is_empty() && it.text.contains("may the agent")
        };
        screen.iter().rev().find(open).cloned()
    });
    let ask = ask.await;
    telegram.tap(ANNA, CHAT, ask.id, "Allow once");
    telegram.wait(CHAT, shows("It failed.")).await;

    approve("/fix break it", "5.1").await;
    telegram.wait(CHAT, shows("5.1 failed")).await;
    telegram.wait(CHAT, shows("it answered 401")).await;
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn a_session_goes_on_a_command_is_stopped_and_a_failure_is_told_on_1_x() {
    a_session_goes_on_a_command_is_stopped_and_a_failure_is_told(Generation::V1).await;
}

#[tokio::test]
async fn a_session_goes_on_a_command_is_stopped_and_a_failure_is_told_on_2_x() {
    a_session_goes_on_a_command_is_stopped_and_a_failure_is_told(Generation::V2).await;
}

/// The host is killed while the agent asks: its question is asked again, and nothing else can be tapped.
async fn an_ask_outlives_a_kill_of_the_host(generation: Generation) {
    let script = Script::default()
        .call("make it", 0, "bash", json!({ "command": "echo hi > made.txt", "description": "makes" }))
        .reply("make it", "Made.");
    let mut world = world(generation, script).await;
    world.telegram.write(ANNA, CHAT, "/fix make it");
    let card = world.card(CHAT, "1.1").await;
    world.telegram.tap(ANNA, CHAT, card.id, "Approve");
    let asks = |shown: &Shown| shown.buttons.concat().iter().any(|label| label.contains("Allow once"));
    let before = world.telegram.wait(CHAT, |screen| screen.iter().find(|it| asks(it)).cloned()).await;
    // Killed before that, it may be asked in a second message.
    let file = world.user.state().join("ledger.sqlite");
    let recorded =
        || database::value::<bool>(&file, "SELECT EXISTS (SELECT 1 FROM messages WHERE part LIKE 'ask %')");
    let until = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !recorded() {
        assert!(std::time::Instant::now() < until, "the ask is not recorded");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    world.crash();
    world.restart();
    let telegram = &world.telegram;
    let living =
        telegram.wait(CHAT, |screen| screen.iter().find(|it| asks(it) && it.data != before.data).cloned());
    let living = living.await;
    let open: Vec<_> = telegram.screen(CHAT).into_iter().filter(|it| asks(it)).collect();
    assert_eq!(open.len(), 1, "what cannot be tapped any more has no buttons: {open:#?}");
    assert!(living.text.contains("echo hi > made.txt"), "{}", living.text);
    // What somebody's phone still shows of before.
    telegram.tap_data(ANNA, CHAT, before.id, &before.data[0][0]);
    telegram.wait_until_acknowledged().await;
    telegram.tap(ANNA, CHAT, living.id, "Allow once");
    telegram.wait(CHAT, shows("Made.")).await;
    let left: Vec<_> = telegram.screen(CHAT).into_iter().filter(|it| asks(it)).collect();
    assert!(left.is_empty(), "{left:#?}");
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn an_ask_outlives_a_kill_of_the_host_on_1_x() {
    an_ask_outlives_a_kill_of_the_host(Generation::V1).await;
}

#[tokio::test]
async fn an_ask_outlives_a_kill_of_the_host_on_2_x() {
    an_ask_outlives_a_kill_of_the_host(Generation::V2).await;
}
