//! Bad configurations and inputs: each is refused before anything is sent, and
//! the refusal names the key.

use connector_contract::{ConnectorError, ConnectorFactory as _, Consequence};
use connector_opencode::OpencodeFactory;
use serde_json::{Value, json};
use testkit::fake::{Faults, Fixture, Generation};

use crate::support::fake;
use crate::wires::on_wires;

on_wires! {
    both { bad_inputs_are_refused_before_anything_is_sent }
}

async fn config_error(config: Value) -> String {
    match OpencodeFactory::default().create(config.clone()).await {
        Ok(_) => panic!("accepted: {config}"),
        Err(error @ ConnectorError::InvalidConfig { .. }) => error.to_string(),
        Err(other) => panic!("{config}: {other:?}"),
    }
}

#[tokio::test]
async fn base_urls_that_are_not_one_origin_on_this_machine_are_refused() {
    for (url, word) in [
        ("", "empty"),
        ("127.0.0.1:4096", "scheme"),
        ("localhost", "scheme"),
        ("ftp://127.0.0.1", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("http://user@127.0.0.1:4096", "user name"),
        ("http://u:hunter2@127.0.0.1:4096", "user name"),
        ("http://127.0.0.1:4096@evil.example/", "user name"),
        ("http://127.0.0.1:4096/api", "path"),
        ("http://127.0.0.1:4096?x=1", "query"),
        ("http://127.0.0.1:4096#x", "fragment"),
        ("http://127.0.0.1:0", "port 0"),
        ("http://127.0.0.1:99999", "url"),
        ("http://example.org", "allow_remote"),
        ("http://192.168.0.9:4096", "allow_remote"),
        ("http://0.0.0.0:4096", "127.0.0.1"),
    ] {
        let error = config_error(json!({ "base_url": url })).await;
        assert!(error.contains("base_url") && error.contains(word), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn base_urls_of_this_machine_are_accepted_however_they_are_written() {
    for url in ["http://127.0.0.1:4096/", "HTTP://LOCALHOST:4096", "http://[::1]:4096", "https://127.0.0.1"] {
        assert!(OpencodeFactory::default().create(json!({ "base_url": url })).await.is_ok(), "{url}");
    }
}

#[tokio::test]
async fn other_bad_configurations_name_their_key_and_no_secret() {
    for (config, word) in [
        (json!({ "model": "gpt" }), "provider/model"),
        (json!({ "model": "/x" }), "provider/model"),
        (json!({ "modle": "a/b" }), "modle"),
        (json!({ "password": ["hunter2"] }), "string"),
        (json!({ "password": { "hunter2": 1 } }), "string"),
        (json!({ "password": 48_151_623 }), "string"),
        (json!({ "password": -48_151_623 }), "string"),
        (json!({ "password": 48_151_623.5 }), "string"),
        (json!({ "password": true }), "string"),
        (json!({ "asks": "maybe" }), "variant"),
        (json!({ "permissions": { "bash": "hunter2" } }), "match"),
        (
            json!({ "permissions": { "external_directory": { "~/.ssh/*": "deny" } } }),
            "`~/.ssh/*` would match nothing",
        ),
        (
            json!({ "permissions": { "edit": { "*": "allow", "$HOME/x": "deny" } } }),
            "`$HOME/x` would match nothing",
        ),
        (json!({ "deadline_secs": 0 }), "deadline_secs"),
        (json!({ "deadline_secs": u64::MAX }), "deadline_secs"),
        (json!({ "no_progress_secs": -1 }), "no_progress_secs"),
        (json!({ "directory": "relative" }), "directory"),
        (json!({ "limits": { "response_bytes": 2 << 20 } }), "`response_bytes` three times"),
        (json!({ "limits": { "patch_bytes": u64::MAX } }), "`patch_bytes` twice"),
        (json!({ "agent": " " }), "agent"),
        (json!({ "base_url": "http://10.0.0.1", "allow_remote": true, "password": "hunter2" }), "https"),
        (json!([]), "table"),
        (json!("hunter2"), "table"),
    ] {
        let error = config_error(config.clone()).await;
        assert!(error.contains(word) && !error.contains("hunter2"), "{config}: {error}");
        assert!(!error.contains("48151623") && !error.contains("true"), "{config}: {error}");
    }
}

#[tokio::test]
async fn a_password_is_never_shown() {
    let connector = OpencodeFactory::default().create(json!({ "password": "hunter2" })).await.unwrap();
    let shown = format!("{:?}", connector.manifest());
    assert!(!shown.contains("hunter2"));
    let config: connector_opencode::Config =
        serde_json::from_value(json!({ "password": "hunter2" })).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let connector =
        connector_opencode::OpencodeConnector::new(config, connector_opencode::Timing::default()).unwrap();
    assert!(!format!("{connector:?}").contains("hunter2"));
}

async fn bad_inputs_are_refused_before_anything_is_sent(generation: Generation) {
    let (fake, bench) = fake(Fixture::of(generation, "text"), Faults::default(), json!({})).await;
    let long = "x".repeat(1 << 20);
    let long_id = format!("ses_{long}");
    let (run, go_on) = ("run_task", "continue_session");
    for (action, input, word) in [
        (run, json!({}), "prompt"),
        (run, json!({ "prompt": "" }), "prompt"),
        (run, json!({ "prompt": " \n\t" }), "prompt"),
        (run, json!({ "prompt": 7 }), "expected a string"),
        (run, json!({ "prompt": null }), "expected a string"),
        (run, json!({ "prompt": long }), "the limit is 262144"),
        (run, json!({ "prompt": "x", "promt": "y" }), "promt"),
        (run, json!({ "prompt": "x", "session_id": "ses_a" }), "session_id"),
        (run, json!({ "prompt": "x", "model": "gpt" }), "provider/model"),
        (run, json!({ "prompt": "x", "model": {} }), "expected a string"),
        (run, json!({ "prompt": "x", "agent": "" }), "agent"),
        (run, json!({ "prompt": "x", "deadline_secs": 0 }), "deadline_secs"),
        (run, json!("x"), "object"),
        (run, json!(["x"]), "object"),
        (go_on, json!({ "prompt": "x" }), "session_id"),
        (go_on, json!({ "prompt": "x", "session_id": "" }), "session_id"),
        (go_on, json!({ "prompt": "x", "session_id": "x/share#" }), "session_id"),
        (go_on, json!({ "prompt": "x", "session_id": "../instance/dispose" }), "session_id"),
        (go_on, json!({ "prompt": "x", "session_id": "ses_x?y" }), "session_id"),
        (go_on, json!({ "prompt": "x", "session_id": "ses_\u{0}" }), "session_id"),
        (go_on, json!({ "prompt": "x", "session_id": long_id }), "session_id"),
        (go_on, json!({ "prompt": "x", "session_id": "ses_a", "title": "t" }), "title"),
    ] {
        let error = bench.execute(action, input.clone()).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ConnectorError::InvalidInput { .. }), "{text}");
        assert!(text.contains(word) && text.len() < 600, "{action} wants `{word}`: {text}");
    }
    let error = bench.execute("drop_tables", json!({})).await.unwrap_err();
    assert_eq!(error.consequence(), Consequence::NothingStarted);
    assert_eq!(error.to_string(), "no action `drop_tables` in connector-opencode");
    assert_eq!(fake.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn the_schema_refuses_what_the_connector_refuses() {
    let actions = OpencodeFactory::default().action_declarations();
    for (action, input) in [
        ("run_task", json!({ "prompt": "" })),
        ("run_task", json!({ "prompt": "x", "y": 1 })),
        ("run_task", json!({ "prompt": "x", "model": "gpt" })),
        ("continue_session", json!({ "prompt": "x", "session_id": "x/share#" })),
    ] {
        let decl = actions.iter().find(|it| it.name == action).unwrap();
        assert!(decl.validate(&input).is_err(), "{input}");
    }
    // What a client leaves empty counts as not said.
    let fine = actions[0].normalize(json!({ "prompt": "x", "model": "a/b/c", "title": null }));
    assert_eq!(actions[0].validate(&fine), Ok(()));
}
