//! The keys of model providers, which the daemon uses and does not have: with the real opencode.

use std::path::Path;

use opencode_daemons::confine::Confinement;
use opencode_daemons::{Environment, Home, Spec};
use serde_json::{Value, json};
use testkit::{RealDaemon, Script};

use crate::support::inside::{Finding, look_for};
use crate::support::upstream::Upstream;
use crate::support::{eventually, prompt};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_opencode-within-walls");

/// Puts `spec` within walls, with the home of its own beside its workspace.
fn wall(spec: &mut Spec) {
    let tmp = spec.directory.with_file_name("private");
    let mut confinement = Confinement::around(spec, LAUNCHER, tmp);
    confinement.required = true;
    spec.confinement = Some(confinement);
}

/// The home of a user who stored `keys` at logins.
fn user(root: &Path, keys: &Value) -> Environment {
    let data = root.join("user/.local/share/opencode");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir_all(root.join("user/.config/opencode")).unwrap();
    std::fs::write(data.join("auth.json"), keys.to_string()).unwrap();
    let environment = Environment::of_this_process().with("HOME", root.join("user"));
    let own = ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"];
    let below = [".local/share", ".config", ".local/state", ".cache"];
    own.into_iter()
        .zip(below)
        .fold(environment, |all, (name, below)| all.with(name, root.join("user").join(below)))
}

/// Where a key was found in the daemon and in what it started, in the middle of a turn.
async fn found_during_a_turn(walled: bool) -> Vec<Finding> {
    // Put together here, so that this program's own text, which tools map, does not have it.
    let key = ["sk", "never-inside", "0123456789"].join("-");
    let waits =
        "touch ran; while [ ! -e go-on ]; do node -e 'setTimeout(() => {}, 50)'; done; echo done > done";
    let call = json!({ "command": waits, "description": "waits" });
    let script = Script::default().call("WAIT", 0, "bash", call).reply("WAIT", "waited");
    let stored = json!({ "scripted": { "type": "api", "key": key } });
    let daemon = RealDaemon::with(script, |spec| {
        let root = spec.directory.parent().unwrap().to_owned();
        spec.environment = user(&root, &stored).with("GROQ_API_KEY", &key);
        spec.pass = vec!["GROQ_API_KEY".into()];
        spec.home = Home::Own(root.join("w.own"));
        spec.config["provider"]["scripted"]["options"].as_object_mut().unwrap().remove("apiKey");
        spec.config["provider"]["more"] =
            json!({ "options": { "baseURL": "https://more.example/v1", "apiKey": key, "headers": { "x-key": key } } });
        spec.config["permission"] = json!({ "bash": "allow" });
        let written = json!({ "provider": { "written": { "options": { "baseURL": "http://127.0.0.1:1", "apiKey": key } } } });
        std::fs::write(root.join("user/.config/opencode/opencode.json"), written.to_string()).unwrap();
        if walled {
            wall(spec);
        }
    })
    .await
    .unwrap();
    let (ran, go_on) = (daemon.directory().join("ran"), daemon.directory().join("go-on"));
    let looking = async {
        eventually("the command runs", || ran.exists()).await;
        let pid = daemon.pid().unwrap();
        let found = tokio::task::spawn_blocking({
            let key = key.clone();
            move || look_for(pid, &key)
        });
        let found = found.await.unwrap();
        std::fs::write(go_on, "").unwrap();
        found
    };
    let (found, _) = tokio::join!(looking, prompt(&daemon, "WAIT"));
    assert!(daemon.directory().join("done").exists(), "the command ran to its end");
    let used = daemon.model().seen();
    assert!(
        !used.is_empty() && used.iter().all(|seen| seen.key.as_deref() == Some(key.as_str())),
        "{used:?}"
    );
    found
}

#[tokio::test]
async fn no_key_is_in_the_daemon_or_in_its_commands_during_a_turn() {
    assert_eq!(found_during_a_turn(true).await, []);
}

#[tokio::test]
async fn without_walls_the_same_look_finds_the_key() {
    let found = found_during_a_turn(false).await;
    for place in ["environment", "memory"] {
        assert!(found.iter().any(|finding| finding.place == place), "{place}: {found:?}");
    }
}

#[tokio::test]
async fn each_protocols_provider_gets_its_own_key_and_its_use_is_counted() {
    let upstream = Upstream::start().await;
    let providers = [
        ("anthropic", "claude-haiku-4-5", "/v1/messages", "x-api-key", "sk-ant-real-key"),
        ("google", "gemini-flash-latest", "/v1beta/models/", "x-goog-api-key", "sk-google-real-key"),
        (
            "groq",
            "llama-3.3-70b-versatile",
            "/openai/v1/chat/completions",
            "authorization",
            "Bearer sk-groq-real-key",
        ),
        ("openai", "gpt-4o", "/v1/responses", "authorization", "Bearer sk-open-real-key"),
    ];
    let base = [("anthropic", "/v1"), ("google", "/v1beta"), ("groq", "/openai/v1"), ("openai", "/v1")];
    let daemon = RealDaemon::with(Script::default(), |spec| {
        let root = spec.directory.parent().unwrap().to_owned();
        let stored = json!({ "google": { "type": "api", "key": "sk-google-real-key" } });
        spec.environment = user(&root, &stored)
            .with("ANTHROPIC_API_KEY", "sk-ant-real-key")
            .with("GROQ_API_KEY", "sk-groq-real-key")
            .with("MY_OPENAI", "sk-open-real-key");
        spec.pass = vec!["ANTHROPIC_API_KEY".into(), "GROQ_API_KEY".into()];
        spec.home = Home::Own(root.join("w.own"));
        for (id, path) in base {
            spec.config["provider"][id]["options"]["baseURL"] =
                json!(format!("{}{path}", upstream.address()));
        }
        spec.config["provider"]["openai"]["options"]["apiKey"] = json!("{env:MY_OPENAI}");
        wall(spec);
    })
    .await
    .unwrap();
    for (provider, model, ..) in providers {
        let answer = crate::support::prompt_with(&daemon, "say something", (provider, model)).await;
        assert!(answer.to_string().contains("It is said."), "{provider}: {answer}");
    }
    for (provider, _, path, header, sent) in providers {
        let asked = upstream.asked(path);
        assert!(!asked.is_empty(), "{provider} was asked");
        for head in asked {
            assert!(
                head.to_lowercase().contains(&format!("{header}: {}\r\n", sent.to_lowercase())),
                "{provider}: {head}"
            );
        }
    }
    let record = daemon.directory().with_file_name("private.egress").join("record.json");
    let counted = || {
        let record = opencode_daemons::EgressRecord::read(&record).unwrap();
        providers.iter().all(|(provider, model, ..)| {
            record
                .usage
                .get(&format!("{provider}/{model}"))
                .is_some_and(|used| used.input >= 7 && used.output >= 3)
        })
    };
    eventually("all four are counted", counted).await;
}
