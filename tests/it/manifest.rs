//! `connector.toml` says what the types say.

use connector_contract::{ConnectorFactory as _, Manifest, Provenance, SourceNote};
use connector_opencode::{MANIFEST, OpencodeFactory, schema};
use serde_json::json;

#[test]
fn the_manifest_is_what_the_types_make_it() {
    let written = Manifest::parse(MANIFEST).unwrap();
    assert_eq!(
        serde_json::to_value(&written).unwrap(),
        serde_json::to_value(schema::manifest()).unwrap(),
        "regenerate it: see examples/manifest.rs"
    );
}

#[test]
fn what_reaches_an_agent_waits_at_the_gate() {
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let names: Vec<_> = manifest.actions.iter().map(|it| (it.name.as_str(), it.read_only)).collect();
    assert_eq!(names, [("run_task", false), ("continue_session", false), ("describe_daemon", true)]);
    assert!(manifest.triggers.is_empty());
}

#[tokio::test]
async fn the_capability_is_the_one_origin_of_the_configuration() {
    for (url, host) in [
        ("http://127.0.0.1:4096", "127.0.0.1:4096"),
        ("http://LOCALHOST", "localhost:80"),
        ("http://[::1]:9", "[::1]:9"),
    ] {
        let connector = OpencodeFactory::default().create(json!({ "base_url": url })).await.unwrap();
        let capabilities: Vec<_> =
            connector.manifest().capabilities.iter().map(ToString::to_string).collect();
        assert_eq!(capabilities, [format!("NetworkOutbound({host})")]);
    }
}

#[tokio::test]
async fn an_empty_configuration_is_the_documented_default() {
    let connector = OpencodeFactory::default().create(json!({})).await.unwrap();
    assert_eq!(connector.manifest().capabilities, Manifest::parse(MANIFEST).unwrap().capabilities);
}

#[tokio::test]
async fn the_target_shows_what_is_in_effect() {
    let config = json!({ "directory": "/code/app", "model": "a/b", "agent": "build" });
    let connector = OpencodeFactory::default().create(config).await.unwrap();
    let input = json!({ "prompt": "x", "model": "c/d" });
    let local = connector.target("run_task", &input, &Provenance::Local);
    assert_eq!(local.origin.as_deref(), Some("http://127.0.0.1:4096"));
    assert_eq!(
        serde_json::to_value(&local.settings).unwrap(),
        json!({ "directory": "/code/app", "model": "c/d", "agent": "build", "asks": "relay" })
    );
    let chat = Provenance::Chat { surface: "telegram".into(), rule: "fix".into(), note: SourceNote::Usual };
    let remote = connector.target("run_task", &input, &chat);
    assert_eq!(remote.settings["permissions"]["external_directory"], "deny");
    assert_eq!(remote.settings["permissions"]["bash"], "ask");
    assert!(!remote.settings.contains_key("note"), "the usual note is not worth a line");
    for (note, shown) in [(SourceNote::Text("From afar.".into()), "From afar."), (SourceNote::None, "none")] {
        let chat = Provenance::Chat { surface: "telegram".into(), rule: "fix".into(), note };
        assert_eq!(connector.target("run_task", &input, &chat).settings["note"], shown);
    }
}

#[test]
fn a_secret_is_marked_as_one_and_the_schema_is_closed() {
    let schema = OpencodeFactory::default().config_schema().unwrap();
    assert_eq!(schema["properties"]["password"]["x-secret"], true);
    assert_eq!(schema["additionalProperties"], false);
}
