//! What is said beforehand of a daemon that somebody else runs: in `chat`, on the card and by `doctor`.

use serde_json::json;
use testkit::fake::{Fake, Faults, Fixture, Generation};

use crate::terminal::User;

const BEWARE: &str = "other clients may run code in the server itself";

struct Case {
    generation: Generation,
    faults: Faults,
    /// The line about the model.
    model: &'static str,
    /// What is said besides, or must not be.
    said: &'static [(&'static str, bool)],
}

fn cases() -> [Case; 3] {
    let saved = vec![json!({ "id": "1", "action": "shell", "resource": "git *" })];
    [
        Case {
            generation: Generation::V1,
            faults: Faults::default(),
            model: "scripted/scripted (opencode's configuration)",
            said: &[(BEWARE, false), ("granted for good", false)],
        },
        Case {
            generation: Generation::V2,
            faults: Faults { saved, ..Faults::default() },
            model: "scripted/scripted (opencode's configuration)",
            said: &[(BEWARE, true), ("not asked about: shell `git *`", true)],
        },
        Case {
            generation: Generation::V2,
            faults: Faults { cold_models: true, ..Faults::default() },
            model: "none configured: opencode takes a default of its own, which may be one in a cloud",
            said: &[(BEWARE, true), ("granted for good", false)],
        },
    ]
}

/// Lines of a card, and of a finding, without what breaks them.
fn unbroken(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_start_matches("│             ").trim_start_matches("│ "));
    lines.collect::<Vec<_>>().concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_attached_daemon_says_of_itself_is_on_the_card_and_in_doctor() {
    for case in cases() {
        let fake = Fake::start(Fixture::of(case.generation, "text"), case.faults).await.unwrap();
        let password = case.generation.password().unwrap_or_default();
        let user = User::new().with_variable("OPENCODE_PASSWORD", password);
        let home = user.home.path();
        for directory in ["app", "rules"] {
            std::fs::create_dir(home.join(directory)).unwrap();
        }
        std::fs::write(home.join("rules/fix.toml"), include_str!("../../rules/fix.toml")).unwrap();
        let host = format!(
            "rules = \"rules\"\n[connectors.connector-opencode]\nbase_url = \"{}\"\ndirectory = \"{}\"\n\
             permissions = {{ bash = \"ask\" }}\nsaved_rules = \"show\"\n{}",
            fake.base_url(),
            home.join("app").display(),
            case.generation.password().map_or(String::new(), |it| format!("password = {it:?}\n")),
        );
        std::fs::write(home.join("host.toml"), host).unwrap();
        let config = home.join("host.toml").display().to_string();

        let doctor = user.run(&["doctor", "-c", &config]).text();
        let named = case.model.split(" (").next().unwrap().replace("configured", "is named");
        assert!(doctor.contains(&format!("model of connector-opencode {named}")), "{doctor}");
        let mut host = user.start(&["run", "-c", &config]);
        host.expect("host is running");
        assert_eq!(user.run(&["send", "/fix it"]).code(), 0);
        host.expect("waits for approval");
        let card = unbroken(&user.run(&["approvals", "show", "1.1"]).text());
        assert!(card.contains(&format!("model       {}", case.model)), "{card}");
        for (words, there) in case.said {
            assert_eq!(card.contains(words), *there, "{words}: {card}");
            // Both would be of work from a chat.
            assert_eq!(doctor.contains(words), *there, "{words}: {doctor}");
        }
        assert_eq!(fake.tasks(), 0, "nothing was begun");
        host.signal(rustix::process::Signal::TERM);
        assert_eq!(host.wait(), 0);

        let workspace = home.join("app").display().to_string();
        let mut chat = user.start(&["chat", "--base-url", &fake.base_url(), "--workspace", &workspace]);
        chat.expect(&format!("model: {}", case.model));
        chat.type_line("/quit");
        assert_eq!(chat.finish().0, 0);
    }
}

#[test]
fn a_daemon_that_says_nothing_keeps_no_card_back() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let user = User::new();
    let url = format!("http://{}", deaf.local_addr().unwrap());
    let mut chat = user.start(&["chat", "--base-url", &url]);
    chat.type_line("/fix it");
    chat.expect("model       not known, since its daemon does not say");
    chat.type_line("n");
    chat.type_line("/quit");
    assert_eq!(chat.finish().0, 0);
}
