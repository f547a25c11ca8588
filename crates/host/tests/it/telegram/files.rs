//! Photos and documents: handed to the agent as approved, or refused in words.

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};
use testkit::model::Script;
use testkit::telegram::Fault;

use super::world::{ANNA, BEN, CHAT, GROUP, World};

/// The smallest picture there is: one pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const REFUSED: &str = "nothing was started";

/// Sends something.
type Send<'a> = Box<dyn Fn() -> u32 + 'a>;

async fn with_files(script: Script) -> World {
    World::with(script, "files = { max_bytes = 4096, types = [\"image/png\", \"text/plain\"] }\n").await
}

#[tokio::test]
async fn a_photo_and_a_document_are_shown_approved_and_handed_to_the_agent() {
    let script = Script::default().reply("what it shows", "I see it.").reply("the log", "I read it.");
    let mut world = with_files(script).await;
    let telegram = &world.telegram;
    let pixel = BASE64.decode(PIXEL.as_bytes()).unwrap();

    telegram.photo(ANNA, CHAT, "/fix what it shows", &pixel);
    let card = world.card(CHAT, "/fix what it shows").await;
    assert!(card.text.contains("file: photo.jpg · image/png · 70 B · sha256 "), "{}", card.text);
    assert!(!card.text.contains(PIXEL), "{}", card.text);
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    let reply = telegram.wait_for(CHAT, "I see it.").await;
    let body = asked(&world, "what it shows");
    assert!(body.contains(PIXEL), "the model gets the picture: {body}");

    telegram.document(ANNA, CHAT, "/fix the log", "../build\u{202e}.log", b"error: no such file\n");
    let card = world.card(CHAT, "/fix the log").await;
    assert!(card.text.contains("file: build\\u{202e}.log · text/plain · 20 B · sha256 "), "{}", card.text);
    telegram.tap(ANNA, CHAT, card.id, "Approve");
    telegram.wait_for(CHAT, "I read it.").await;
    assert!(asked(&world, "the log").contains("error: no such file"));

    // In reply to a result, it goes on in its session.
    let id = telegram.upload(&pixel);
    let photo = json!([{ "file_id": id, "file_unique_id": id, "width": 1, "height": 1 }]);
    let answered = json!({ "message_id": reply.id, "date": 1, "chat": { "id": CHAT, "type": "private" },
        "from": { "id": testkit::telegram::BOT, "is_bot": true, "first_name": "bot" } });
    let more = json!({ "text": null, "caption": "more of what it shows", "photo": photo, "reply_to_message": answered });
    telegram.message(ANNA, CHAT, "", &more);
    let card = world.card(CHAT, "continue_session").await;
    assert!(card.text.contains("file: photo.jpg"), "{}", card.text);
    let shown = world.user.run(&["runs", "show", "3"]).text();
    assert!(shown.contains("image/png") && !shown.contains(PIXEL), "{shown}");
    world.stop();
    world.assert_no_token();
}

/// What the model was asked in the turn that `words` began.
fn asked(world: &World, words: &str) -> String {
    let is_it = |body: &&Value| body["tools"].is_array() && body["messages"].to_string().contains(words);
    let seen = world.model.seen();
    seen.iter().map(|seen| &seen.body).rfind(is_it).unwrap()["messages"].to_string()
}

#[tokio::test]
async fn what_cannot_be_handed_on_is_refused_in_words_and_starts_nothing() {
    let mut world = with_files(Script::saying("x")).await;
    let telegram = &world.telegram;
    let album = |extra: Value| {
        let mut message = json!({ "text": null, "media_group_id": "7",
            "photo": [{ "file_id": "0", "file_unique_id": "0", "width": 1, "height": 1 }] });
        message.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        message
    };
    let video = json!({ "text": null, "caption": "/fix this",
        "video": { "file_id": "0", "file_unique_id": "0", "width": 1, "height": 1, "duration": 1 } });
    let steps: [(&str, Send<'_>); 8] = [
        ("big.txt is too big", Box::new(|| telegram.document(ANNA, CHAT, "/fix", "big.txt", &[b'x'; 4_097]))),
        // Telegram does not say the size of this one.
        ("photo.jpg is too big", Box::new(|| telegram.photo(ANNA, CHAT, "/fix", &[b'x'; 4_097]))),
        (
            "run.exe is none of the types",
            Box::new(|| telegram.document(ANNA, CHAT, "/fix", "run.exe", b"MZ\0")),
        ),
        (
            "a.gif is none of the types",
            Box::new(|| telegram.document(ANNA, CHAT, "/fix", "a.gif", b"GIF89a")),
        ),
        ("a video cannot be handed", Box::new(|| telegram.message(ANNA, CHAT, "", &video))),
        (
            "sent together",
            Box::new(|| telegram.message(ANNA, CHAT, "", &album(json!({ "caption": "/fix these" })))),
        ),
        ("caption has to say", Box::new(|| telegram.document(ANNA, CHAT, "", "a.txt", b"words"))),
        (
            "could not be fetched",
            Box::new(|| {
                telegram.fault("download", 1, &Fault::Cut);
                telegram.document(ANNA, CHAT, "/fix", "cut.txt", b"words")
            }),
        ),
    ];
    for (words, send) in steps {
        send();
        let told = telegram.wait_for(CHAT, words).await;
        assert!(told.text.contains(REFUSED), "{}", told.text);
    }
    // In a group, whoever did not speak to the bot is not answered.
    telegram.document(BEN, GROUP, "our holidays", "a.exe", b"MZ\0");
    telegram.wait_until_acknowledged().await;
    assert_eq!(telegram.screen(GROUP), []);
    let runs = world.user.run(&["--json", "runs", "list"]).json();
    assert_eq!(runs, json!([]));
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn a_file_that_comes_slowly_holds_up_nobody_and_is_sent_again_after_a_kill() {
    let mut world = with_files(Script::saying("x")).await;
    world.telegram.write(ANNA, CHAT, "/fix at once");
    let card = world.card(CHAT, "/fix at once").await;
    world.telegram.fault("download", 1, &Fault::Slow(Duration::from_hours(1)));
    world.telegram.document(ANNA, CHAT, "/fix the slow one", "slow.txt", b"words");
    world.telegram.tap(ANNA, CHAT, card.id, "Approve");
    world.answered("approved").await;
    let refused = |shown: &testkit::telegram::Shown| shown.text.contains("could not be fetched");
    assert!(!world.telegram.screen(CHAT).iter().any(refused), "the tap came before the file");
    // Ended before the file is there, it is fetched by the next host.
    assert!(world.telegram.unacknowledged() > 0);
    world.crash();
    world.restart();
    let card = world.card(CHAT, "/fix the slow one").await;
    assert!(card.text.contains("file: slow.txt"), "{}", card.text);
    world.telegram.wait_until_acknowledged().await;
    let runs = world.user.run(&["--json", "runs", "list"]).json();
    assert_eq!(runs.as_array().map(Vec::len), Some(2), "{runs}");
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn a_changed_caption_is_passed_over_and_a_refusal_survives_a_kill() {
    let mut world = with_files(Script::saying("x")).await;
    let telegram = &world.telegram;
    let file = json!({ "file_id": "0", "file_unique_id": "0", "file_name": "a.exe", "file_size": 3 });
    telegram.update(json!({ "edited_message": {
        "message_id": 900, "date": 1, "edit_date": 2, "caption": "/fix this, I mean",
        "chat": { "id": CHAT, "type": "private", "first_name": "P" }, "document": file,
        "from": { "id": ANNA, "is_bot": false, "first_name": "Anna" } } }));
    telegram.wait_until_acknowledged().await;

    telegram.fault("sendMessage", 3, &Fault::Refuse(500, "Internal Server Error", None));
    let refused = telegram.document(ANNA, CHAT, "/fix", "a.exe", b"MZ\0");
    telegram.wait_until_acknowledged().await;
    world.crash();
    world.restart();
    world.telegram.wait_for(CHAT, "a.exe is none of the types").await;
    world.telegram.redeliver(refused);
    world.telegram.wait_until_acknowledged().await;
    world.telegram.write(ANNA, CHAT, "/help");
    world.telegram.wait_for(CHAT, "write what is to be done").await;
    let told = world.telegram.screen(CHAT).into_iter().filter(|shown| shown.text.contains(REFUSED));
    assert_eq!(told.count(), 1, "{:#?}", world.telegram.screen(CHAT));
    world.stop();
    world.assert_no_token();
}

#[tokio::test]
async fn files_are_off_by_default_and_nothing_goes_on_without_them() {
    let mut world = World::start(Script::saying("x")).await;
    world.telegram.photo(ANNA, CHAT, "/fix what it shows", b"\xff\xd8\xff");
    let told = world.telegram.wait_for(CHAT, "files are not taken here").await;
    assert!(told.text.contains(REFUSED), "{}", told.text);
    tokio::time::timeout(Duration::from_mins(1), world.telegram.wait_until_acknowledged()).await.unwrap();
    assert_eq!(world.user.run(&["--json", "runs", "list"]).json(), json!([]));
    world.stop();
    world.assert_no_token();
}
