//! From a token to a host that answers.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::json;
use testkit::telegram::{FakeTelegram, Fault, TOKEN};

use crate::terminal::{Terminal, User, pseudo_terminal};

/// A person at a terminal, and the arguments of `setup`.
struct Desk {
    telegram: FakeTelegram,
    user: User,
    arguments: Vec<String>,
    into: String,
}

/// What the agent is to work on.
fn repository(user: &User) -> String {
    let workspace = user.home.path().join("app");
    std::fs::create_dir_all(&workspace).unwrap();
    workspace.display().to_string()
}

impl Desk {
    fn new() -> Self {
        let telegram = FakeTelegram::start().unwrap();
        let user = User::new().with_variable("TELEGRAM_BOT_TOKEN", TOKEN);
        let into = user.home.path().join("bot").display().to_string();
        let workspace = repository(&user);
        let base = telegram.base_url();
        let words = ["telegram", "setup", "--into", &into, "--workspace", &workspace, "--api-base", &base];
        Self { arguments: words.map(str::to_owned).to_vec(), telegram, user, into }
    }

    fn arguments(&self) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).collect()
    }

    /// Starts it and reads the code.
    fn start(&self) -> (Terminal, String) {
        let mut setup = self.user.start(&self.arguments());
        let line = setup.expect("write it this code: ");
        let (_, code) = line.rsplit_once(' ').unwrap();
        (setup, code.to_owned())
    }

    fn written(&self) -> Option<String> {
        std::fs::read_to_string(format!("{}/host.toml", self.into)).ok()
    }
}

#[tokio::test]
async fn setup_believes_who_writes_the_code_and_the_token_stands_in_no_file() {
    let desk = Desk::new();
    let telegram = &desk.telegram;
    // Somebody was there before, and goes on.
    telegram.write(13, 13, "hello");
    let (mut setup, code) = desk.start();
    telegram.write(13, 13, "aaaaaaaa");
    telegram.write(13, 13, &format!("aaaaaaaa {code}"));
    telegram.write(13, -100_500, &code);
    telegram.message(13, 13, &code, &json!({ "from": { "id": 13, "is_bot": true, "first_name": "B" } }));
    telegram.message(13, 13, &code, &json!({ "forward_origin": { "type": "hidden_user", "date": 1 } }));
    telegram.write(4_711, 4_711, &format!("/start {}", code.to_uppercase()));
    setup.expect("that was U4711, user id 4711");
    let card = telegram.wait_for(4_711, "This is what a card looks like").await;
    assert!(desk.written().is_none(), "nothing is written before it is known to work");
    telegram.tap_data(13, 13, card.id, &card.data[0][0]);
    telegram.tap(4_711, 4_711, card.id, "Approve");
    setup.expect("the tap came");
    let (code, seen) = setup.finish();
    let seen = seen.join("\n");
    assert_eq!(code, 0, "{seen}");
    let result = telegram.wait_for(4_711, "/fix the failing test").await;
    assert!(result.id == card.id && result.buttons.is_empty(), "{result:?}");
    assert_eq!(telegram.screen(13), [], "a stranger is told nothing");
    assert_eq!(telegram.unacknowledged(), 0);
    let written = desk.written().unwrap();
    assert!(written.contains("allow_users = [4711]") && written.contains("\"telegram:4711\""), "{written}");
    let key = TOKEN.split_once(':').unwrap().1;
    assert!(!written.contains(key) && !seen.contains(key));

    let again = desk.user.run(&desk.arguments());
    assert_eq!(again.code(), 2, "{}", again.text());
    assert!(again.text().contains("is there already"), "{}", again.text());
}

#[tokio::test]
async fn what_keeps_setup_from_going_on_is_said_and_the_next_try_begins_anew() {
    let desk = Desk::new();
    let telegram = &desk.telegram;
    let conflict = "Conflict: terminated by other getUpdates request";
    telegram.fault("getUpdates", 1, &Fault::Refuse(409, conflict, None));
    let ended = desk.user.run(&desk.arguments());
    assert_eq!(ended.code(), 1, "{}", ended.text());
    assert!(ended.text().contains("another program takes this bot's updates (409)"), "{}", ended.text());

    telegram.fault("sendMessage", 1, &Fault::Refuse(403, "Forbidden: bot was blocked by the user", None));
    let (mut setup, code) = desk.start();
    telegram.write(4_711, 4_711, &code);
    setup.expect("bot was blocked by the user");
    let (code, seen) = setup.finish();
    assert!(code == 1 && !seen.concat().contains("sent you a card"), "{code} {seen:?}");
    assert!(desk.written().is_none());

    let (mut setup, code) = desk.start();
    telegram.write(4_711, 4_711, &code);
    let card = telegram.wait_for(4_711, "This is what a card looks like").await;
    telegram.tap(4_711, 4_711, card.id, "Approve");
    setup.expect("start the host with");
    assert_eq!(setup.finish().0, 0);
    assert!(desk.written().is_some());
}

#[tokio::test]
async fn a_token_that_is_typed_is_not_shown_and_the_terminal_is_left_as_it_was() {
    let telegram = FakeTelegram::start().unwrap();
    let user = User::new();
    let (into, workspace) = (user.home.path().display().to_string(), repository(&user));
    let base = telegram.base_url();
    let arguments = ["telegram", "setup", "--into", &into, "--workspace", &workspace, "--api-base", &base];
    for interrupted in [true, false] {
        let (person, input) = pseudo_terminal();
        let shows = |person: &OwnedFd| tcgetattr(person).unwrap().local_modes.contains(LocalModes::ECHO);
        assert!(shows(&person));
        let kept = input.try_clone().unwrap();
        let mut setup = user.start_typing_at(&arguments, input);
        setup.expect("paste the token");
        let until = Instant::now() + Duration::from_secs(20);
        while shows(&person) {
            assert!(Instant::now() < until, "what is typed would be shown");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if interrupted {
            setup.signal(Signal::INT);
        } else {
            rustix::io::write(&person, b"7000000001:WRONG-TOKEN-nobody-may-ever-see\n").unwrap();
            setup.expect("(401)");
        }
        assert_eq!(setup.finish().0, 1);
        assert!(shows(&person));
        drop(kept);
        let mut echoed = [0; 256];
        let length = rustix::io::read(&person, &mut echoed).unwrap_or(0);
        assert!(!String::from_utf8_lossy(&echoed[..length]).contains("WRONG"));
    }
}

#[test]
fn a_token_that_telegram_does_not_know_is_said_at_once() {
    let telegram = FakeTelegram::start().unwrap();
    let wrong = "7000000001:WRONG-TOKEN-nobody-may-ever-see";
    let user = User::new().with_variable("TELEGRAM_BOT_TOKEN", wrong);
    let (into, workspace) = (user.home.path().display().to_string(), repository(&user));
    let base = telegram.base_url();
    let ended =
        user.run(&["telegram", "setup", "--into", &into, "--workspace", &workspace, "--api-base", &base]);
    assert_eq!(ended.code(), 1, "{}", ended.text());
    assert!(ended.text().contains("(401)") && !ended.text().contains("WRONG"), "{}", ended.text());
}

#[test]
fn the_bundled_rules_pass_their_own_tests() {
    let user = User::new();
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/telegram");
    let ended = user.run(&["rules", "test", "--rules", rules]);
    assert_eq!(ended.code(), 0, "{}", ended.text());
    assert!(ended.text().contains("37 passed, 0 failed"), "{}", ended.text());
}

#[test]
fn a_token_that_was_revoked_turns_telegram_off_and_nothing_else() {
    let telegram = FakeTelegram::start().unwrap();
    let user = User::new().with_variable("TELEGRAM_BOT_TOKEN", "7000000001:WRONG-TOKEN-nobody-may-ever-see");
    let home = user.home.path();
    std::fs::create_dir(home.join("rules")).unwrap();
    std::fs::write(home.join("rules/fix.toml"), include_str!("../../../../rules/tests/fixtures/seed.toml"))
        .unwrap();
    let config = format!(
        "rules = \"rules\"\n[connectors]\n[surfaces.telegram]\nbot_token = \"env:TELEGRAM_BOT_TOKEN\"\n\
         api_base = \"{}\"\nallow_users = [1]\n",
        telegram.base_url()
    );
    let path = home.join("host.toml");
    std::fs::write(&path, config).unwrap();
    let path = path.display().to_string();
    let mut host = user.start(&["run", "-c", &path]);
    let told = host.expect("all else goes on");
    assert!(told.contains("(401)") && !told.contains("WRONG"), "{told}");
    let doctor = user.run(&["doctor", "-c", &path]);
    assert!(doctor.code() == 1 && doctor.text().contains("it is off until"), "{}", doctor.text());
    assert_eq!(user.run(&["send", "--as", "connector-telegram", "/fix it"]).code(), 0);
    host.signal(Signal::TERM);
    assert_eq!(host.wait(), 0);
    assert!(!user.run(&["doctor", "-c", &path]).text().contains("it is off until"), "it runs no more");
}
