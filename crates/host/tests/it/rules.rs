//! `rules` as people and their CI use it: nothing is called, and exit codes say what was found.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::terminal::{User, opencode};

const FIX: &str = r#"
[rule]
name = "fix"
[trigger]
type = "ConnectorEvent"
connector = "connector-console"
event = "message_received"
[[conditions]]
type = "FieldStartsWith"
field = "trigger.text"
value = "/fix"
[[actions]]
name = "work"
type = "RunConnector"
connector = "connector-opencode"
action = "run_task"
params = { prompt = '${trigger.text | strip_prefix("/fix") | trim}' }
[[actions]]
type = "Reply"
text = "${step.work.output.reply}"
[[tests]]
name = "the command is taken off"
event.payload = { text = "/fix the build" }
steps = [{ step = "work", input = { prompt = "the build" } }]
"#;

/// Fixes without asking, because the configuration of `exempted` says so.
const DOCS: &str = r#"
[rule]
name = "docs"
[trigger]
type = "ConnectorEvent"
connector = "connector-console"
event = "message_received"
[[conditions]]
type = "FieldContains"
field = "trigger.text"
value = "docs"
[[actions]]
type = "RunConnector"
connector = "connector-opencode"
action = "run_task"
params = { prompt = "${trigger.text}" }
"#;

fn user_with(rules: &[(&str, &str)]) -> (User, String) {
    let user = User::new();
    let directory = user.home.path().join("rules");
    fs::create_dir(&directory).unwrap();
    for (name, text) in rules {
        fs::write(directory.join(name), text).unwrap();
    }
    let directory = directory.display().to_string();
    (user, directory)
}

/// A configuration whose daemon is `daemon`, and its path.
fn config(user: &User, daemon: &TcpListener, gate: &str) -> String {
    let path = user.home.path().join("host.toml");
    let url = format!("http://{}", daemon.local_addr().unwrap());
    let text = format!("rules = \"rules\"\n{gate}\n[connectors.connector-opencode]\nbase_url = \"{url}\"\n");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn event_file(user: &User, event: &Value) -> String {
    let path = user.home.path().join("event.json");
    fs::write(&path, event.to_string()).unwrap();
    path.display().to_string()
}

/// A daemon that must not be spoken to.
fn deaf_daemon() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn was_left_alone(daemon: &TcpListener) -> bool {
    daemon.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Whether it was asked for nothing but what it says of itself.
fn was_given_nothing(daemon: &TcpListener) -> bool {
    while let Ok((mut peer, _)) = daemon.accept() {
        let mut asked = [0; 4];
        peer.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        if peer.read_exact(&mut asked).is_ok() && asked != *b"GET " {
            return false;
        }
    }
    true
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

fn examples() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/rules").display().to_string()
}

#[test]
fn rules_without_findings_are_fine() {
    let (user, rules) = user_with(&[("fix.toml", FIX)]);
    let ended = user.run(&["rules", "lint", "--rules", &rules, "--deny-warnings"]);
    assert_eq!(ended.code(), 0, "{}", ended.text());
    assert!(ended.text().contains("1 rule, nothing to report"), "{}", ended.text());
    assert!(!user.state().exists(), "looking at rules leaves no state behind");
}

#[test]
fn a_mistake_is_shown_in_its_line_and_fails_the_command() {
    let text = FIX.replace("run_task", "run_tusk");
    let (user, rules) = user_with(&[("fix.toml", &text)]);
    let ended = user.run(&["rules", "lint", "--rules", &rules]);
    assert_eq!(ended.code(), 1);
    let shown = ended.text();
    assert!(shown.contains("action = \"run_tusk\"") && shown.contains("^^^"), "{shown}");

    let found = user.run(&["rules", "lint", "--rules", &rules, "--json"]).json();
    assert_eq!(found["errors"], 1);
    let finding = &found["findings"][0];
    assert_eq!(finding["code"], "unknown-action");
    assert_eq!((&finding["line"], &finding["column"]), (&json!(16), &json!(10)), "{finding}");
}

#[test]
fn rules_that_do_not_load_are_findings_too() {
    let (user, rules) = user_with(&[("fix.toml", &FIX.replace("value =", "valeu ="))]);
    for command in ["lint", "test"] {
        let ended = user.run(&["rules", command, "--rules", &rules]);
        assert_eq!(ended.code(), 1, "{command}: {}", ended.text());
        assert!(ended.text().contains("valeu"), "{}", ended.text());
    }
}

#[test]
fn a_missing_directory_is_a_mistake_of_the_caller() {
    let user = User::new();
    let ended = user.run(&["rules", "lint", "--rules", "/nowhere"]);
    assert_eq!(ended.code(), 2);
    assert!(ended.text().contains("/nowhere"), "{}", ended.text());
    let ended = user.run(&["rules", "lint"]);
    assert_eq!(ended.code(), 2);
    assert!(ended.text().contains("--rules DIR"), "{}", ended.text());
}

#[test]
fn what_the_gate_is_told_to_let_pass_is_a_warning_that_can_be_denied() {
    let (user, _) = user_with(&[("docs.toml", DOCS)]);
    let daemon = deaf_daemon();
    let exempted = "[[gate.policy]]\nconnector = \"connector-opencode\"\naction = \"run_task\"\n\
                    rule = \"docs\"\npolicy = \"allow\"";
    let config = config(&user, &daemon, exempted);
    let ended = user.run(&["rules", "lint", "-c", &config]);
    assert_eq!(ended.code(), 0);
    assert!(ended.text().contains("runs here without approval"), "{}", ended.text());
    assert_eq!(user.run(&["rules", "lint", "-c", &config, "--deny-warnings"]).code(), 1);
}

#[test]
fn the_examples_have_no_findings_and_their_tests_hold() {
    let user = User::new();
    let config = user.home.path().join("host.toml");
    // The examples speak of two more workspaces.
    let connectors = ["connector-opencode", "opencode-backend", "opencode-frontend"]
        .map(|name| format!("[connectors.{name}]\nuse = \"connector-opencode\"\n"))
        .join("");
    let admitted = "[surfaces.telegram]\nbot_token = \"env:NOT_SET_HERE\"\nallow_users = [1001]\n\
        [surfaces.matrix]\nhomeserver = \"http://127.0.0.1:8008\"\nuser = \"@bot:example.org\"\n\
        access_token = \"env:NOT_SET_HERE\"\nallow_users = [\"@anna:example.org\"]\n\
        allow_rooms = [\"!ourroom:example.org\"]\n";
    fs::write(&config, format!("rules = \"rules\"\n{connectors}{admitted}")).unwrap();
    let config = config.display().to_string();

    let linted = user.run(&["rules", "lint", "--json", "--rules", &examples(), "-c", &config]).json();
    // Springtale's spelling is advised against, and it has a chat that this host has not.
    let springtales = |one: &Value| {
        let file = one["file"].as_str().unwrap().ends_with("from-springtale.toml");
        file && (one["code"] == "alias" || one["message"].to_string().contains("connector-kick"))
    };
    let findings: Vec<_> =
        linted["findings"].as_array().unwrap().iter().filter(|one| !springtales(one)).collect();
    assert!(findings.is_empty(), "{findings:#?}");
    let tested = user.run(&["rules", "test", "--rules", &examples(), "-c", &config]);
    assert_eq!(tested.code(), 0, "{}", tested.text());
    assert!(tested.text().contains("0 failed"), "{}", tested.text());
    assert!(!tested.text().contains("without tests"), "{}", tested.text());
}

#[test]
fn a_test_that_does_not_hold_fails_the_command_and_is_shown() {
    let text = FIX.replace("prompt = \"the build\"", "prompt = \"the biuld\"");
    let (user, rules) = user_with(&[("fix.toml", &text), ("docs.toml", DOCS)]);
    let ended = user.run(&["rules", "test", "--rules", &rules]);
    assert_eq!(ended.code(), 1);
    let shown = ended.text();
    assert!(shown.contains("fix · the command is taken off … FAILED"), "{shown}");
    assert!(shown.contains("\"the build\", not \"the biuld\""), "{shown}");
    assert!(shown.contains("without tests: docs") && shown.contains("0 passed, 1 failed"), "{shown}");
    let reports = user.run(&["rules", "test", "--rules", &rules, "--json"]).json();
    assert_eq!(reports[0]["passed"], false);
}

#[test]
fn a_dry_run_shows_the_card_and_calls_nothing() {
    let (user, _) = user_with(&[("fix.toml", FIX), ("docs.toml", DOCS)]);
    let daemon = deaf_daemon();
    let exempted = "[[gate.policy]]\nconnector = \"connector-opencode\"\naction = \"run_task\"\n\
                    rule = \"docs\"\npolicy = \"allow\"";
    let config = config(&user, &daemon, exempted);
    let event = event_file(&user, &json!({ "payload": { "text": "/fix the docs" } }));
    let before = files_below(user.home.path());

    let ended = user.run(&["rules", "dry-run", "-c", &config, "--event", &event]);

    let shown = ended.text();
    assert_eq!(ended.code(), 0, "{shown}");
    for part in [
        "✔ fix fires",
        "work: connector-opencode · run_task",
        "input {\"prompt\":\"the docs\"}",
        "┌─ approval needed · ",
        "│   the docs",
        "once work has run: \"${step.work.output.reply}\"",
        "✔ docs fires",
        "runs without approval",
    ] {
        assert!(shown.contains(part), "no {part:?} in:\n{shown}");
    }
    assert_eq!(shown.matches("approval needed").count(), 1, "{shown}");
    assert!(was_left_alone(&daemon), "the daemon was spoken to");
    assert_eq!(files_below(user.home.path()), before, "a file was written");
}

#[test]
fn a_dry_run_says_why_the_other_rules_do_not_fire() {
    let (user, rules) = user_with(&[("fix.toml", FIX), ("docs.toml", DOCS)]);
    let event = event_file(&user, &json!({ "payload": { "text": "hello" } }));
    let ended = user.run(&["rules", "dry-run", "--rules", &rules, "--event", &event]);
    let shown = ended.text();
    assert_eq!(ended.code(), 0, "{shown}");
    assert!(shown.contains("no rule fires"), "{shown}");
    assert!(shown.contains("✘ fix: not met:") && shown.contains("saw \"hello\""), "{shown}");
    let report = user.run(&["rules", "dry-run", "--rules", &rules, "--event", &event, "--json"]).json();
    assert_eq!(report["runs"], json!([]));
    assert_eq!(report["others"][0]["verdict"], "condition_failed");
}

#[test]
fn a_dry_run_happens_at_the_time_it_is_told() {
    let text = FIX.replace(
        "[[actions]]\nname = \"work\"",
        "[[conditions]]\ntype = \"DayOfWeek\"\ndays = [\"sunday\"]\n[[actions]]\nname = \"work\"",
    );
    let (user, rules) = user_with(&[("fix.toml", &text)]);
    let event = event_file(&user, &json!({ "payload": { "text": "/fix it" } }));
    for (at, fires) in [("2026-01-04T10:00:00Z", true), ("2026-01-05T10:00:00Z", false)] {
        let arguments = ["rules", "dry-run", "--rules", &rules, "--event", &event, "--at", at];
        assert_eq!(user.run(&arguments).text().contains("✔ fix fires"), fires, "{at}");
    }
}

#[test]
fn what_really_happened_is_explained_and_its_digest_was_foretold() {
    let (user, _) = user_with(&[("fix.toml", FIX), ("docs.toml", DOCS)]);
    let daemon = deaf_daemon();
    let config = config(&user, &daemon, "");
    let mut host = user.start(&["run", "-c", &config]);
    host.expect("host is running");
    assert_eq!(user.run(&["send", "/fix the build"]).code(), 0);
    host.expect("waits for approval");
    let happened = user.run(&["runs", "show", "1", "--json"]).json();
    host.signal(Signal::TERM);
    assert_eq!(host.wait(), 0);

    let event = event_file(&user, &happened["event"]);
    let foretold = user.run(&["rules", "dry-run", "-c", &config, "--event", &event, "--json"]).json();
    assert_eq!(foretold["runs"][0]["steps"][0]["digest"], happened["steps"][0]["digest"]);

    let id = happened["event"]["id"].to_string();
    let explained = user.run(&["rules", "explain", &id, "-c", &config]);
    assert_eq!(explained.code(), 0);
    let shown = explained.text();
    assert!(shown.contains("✔ fix: fires · run 1"), "{shown}");
    assert!(shown.contains("✘ docs: not met:") && shown.contains("saw \"/fix the build\""), "{shown}");
    assert_eq!(user.run(&["rules", "explain", "99", "-c", &config]).code(), 2);
    let listed = user.run(&["rules", "explain"]).text();
    assert!(listed.contains("message_received") && listed.contains(": 1 run  /fix the build"), "{listed}");

    let followed = FIX.replacen("[rule]\n", "[rule]\nfollowers = [\"telegram:-1\"]\n", 1);
    fs::write(user.home.path().join("rules/fix.toml"), followed).unwrap();
    let shown = user.run(&["rules", "explain", &id, "-c", &config]).text();
    assert!(shown.contains("✔ fix: fires · run 1 · also told: telegram:-1"), "{shown}");

    let edited = FIX.replace("/fix\"\n[[actions]]", "/mend\"\n[[actions]]");
    fs::write(user.home.path().join("rules/fix.toml"), edited).unwrap();
    let shown = user.run(&["rules", "explain", &id, "-c", &config]).text();
    assert!(shown.contains("✘ fix: not met:"), "{shown}");
    assert!(shown.contains("run 1 was made by another version of fix"), "{shown}");
}

#[tokio::test]
async fn the_digest_at_a_daemon_of_the_hosts_own_is_foretold_too() {
    let (user, _) = user_with(&[("fix.toml", FIX)]);
    let app = user.home.path().join("app");
    fs::create_dir(&app).unwrap();
    let path = user.home.path().join("host.toml");
    let text = format!(
        "rules = \"rules\"\nopencode = \"{}\"\n[routing]\nmodel = \"a/b\"\n[workspaces.app]\n\
         directory = \"app\"\n[connectors.connector-opencode]\nworkspace = \"app\"\n",
        opencode().await
    );
    fs::write(&path, text).unwrap();
    let config = path.display().to_string();
    let mut host = user.start(&["run", "-c", &config]);
    host.expect("host is running");
    assert_eq!(user.run(&["send", "/fix the build"]).code(), 0);
    host.expect("waits for approval");
    let happened = user.run(&["runs", "show", "1", "--json"]).json();
    host.signal(Signal::TERM);
    assert_eq!(host.wait(), 0);

    let event = event_file(&user, &happened["event"]);
    let foretold = user.run(&["rules", "dry-run", "-c", &config, "--event", &event, "--json"]).json();
    let step = &foretold["runs"][0]["steps"][0];
    assert_eq!(step["digest"], happened["steps"][0]["digest"], "{step}\n{}", happened["steps"][0]);
}

#[test]
fn the_schema_is_one_that_editors_can_use() {
    let schema = User::new().run(&["rules", "schema"]).json();
    assert!(schema["properties"]["actions"].is_object(), "{schema}");
}

#[test]
fn the_rules_that_come_with_the_host_are_tested_and_have_no_findings() {
    let user = User::new();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules").display().to_string();
    let linted = user.run(&["rules", "lint", "--deny-warnings", "--rules", &rules]);
    assert_eq!(linted.code(), 0, "{}", linted.text());
    assert!(linted.text().contains("2 rules, nothing to report"), "{}", linted.text());
    let tested = user.run(&["rules", "test", "--rules", &rules]);
    assert_eq!(tested.code(), 0, "{}", tested.text());
    assert!(tested.text().contains("12 passed, 0 failed"), "{}", tested.text());
}

#[test]
fn a_running_host_reads_changed_rules_and_leaves_out_a_file_that_is_wrong() {
    let (user, rules) = user_with(&[("fix.toml", FIX)]);
    let daemon = deaf_daemon();
    let config = config(&user, &daemon, "");
    let mut host = user.start(&["run", "-c", &config]);
    host.expect("host is running");
    let rules = Path::new(&rules);

    fs::write(rules.join("docs.toml"), "[rule]\nnaem = \"docs\"\n").unwrap();
    host.expect("1 rule is in force; docs.toml is left out");
    host.expect("naem");
    let doctor = user.run(&["doctor", "-c", &config]).text();
    assert!(doctor.contains("docs.toml is left out"), "{doctor}");
    fs::write(rules.join("docs.toml"), DOCS).unwrap();
    host.expect("2 rules are in force");
    let doctor = user.run(&["doctor", "-c", &config]).text();
    assert!(!doctor.contains("left out"), "{doctor}");
    assert_eq!(user.run(&["send", "the docs"]).code(), 0);
    host.expect("waits for approval");
    let run = user.run(&["runs", "show", "1", "--json"]).json();
    assert_eq!(run["run"]["rule"], "docs");

    host.signal(Signal::TERM);
    assert_eq!(host.wait(), 0);
    assert!(was_given_nothing(&daemon));
}

#[test]
fn the_event_of_the_documentation_is_one_and_fires_an_example() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules.md");
    let docs = fs::read_to_string(docs).unwrap();
    let (_, rest) = docs.split_once("```json\n").unwrap();
    let (event, _) = rest.split_once("```").unwrap();
    let user = User::new();
    let event = event_file(&user, &serde_json::from_str(event).unwrap());
    let ended = user.run(&["rules", "dry-run", "--rules", &examples(), "--event", &event]);
    assert_eq!(ended.code(), 0, "{}", ended.text());
    assert!(ended.text().contains("✔ fix-on-demand fires"), "{}", ended.text());
    assert!(ended.text().contains("asked by    telegram:1001 in -100500"), "{}", ended.text());
}

#[test]
fn schedules_that_would_report_to_nowhere_keep_the_host_from_starting() {
    let (user, _) = user_with(&[("fix.toml", FIX)]);
    let config = config(&user, &deaf_daemon(), "[schedules]\nsurface = \"telegraph\"");
    let ended = user.run(&["run", "-c", &config]);
    assert_eq!(ended.code(), 2, "{}", ended.text());
    assert!(
        ended.text().contains("the surface `telegraph`, which this host does not have"),
        "{}",
        ended.text()
    );
}

#[test]
fn whom_a_chat_lets_in_decides_whether_anybody_can_fire_a_rule() {
    let rule = |connector: &str| {
        let reply = format!(
            "[[actions]]\ntype = \"RunConnector\"\nconnector = \"{connector}\"\naction = \"send_message\"\n\
             params = {{ chat_id = \"${{trigger.chat_id}}\", text = \"on it\" }}\n[[tests]]"
        );
        FIX.replace("connector-console", connector).replacen("[[tests]]", &reply, 1)
    };
    let (telegram, matrix) = (rule("connector-telegram"), rule("connector-matrix"));
    let (user, _) = user_with(&[("fix.toml", &telegram)]);
    let path = user.home.path().join("host.toml");
    let configured = |surface: &str| {
        let text = format!("rules = \"rules\"\n[connectors.connector-opencode]\n[surfaces.{surface}\n");
        fs::write(&path, text).unwrap();
    };
    let of_telegram = "telegram]\nbot_token = \"env:NOT_SET_HERE\"\n";
    let of_matrix = "matrix]\nhomeserver = \"http://127.0.0.1:1\"\nuser = \"@bot:x\"\n\
                     access_token = \"env:NOT_SET_HERE\"\n";
    for (rule, surface, allowed, open) in [
        (&telegram, of_telegram, "", false),
        (&telegram, of_telegram, "allow_users = [1001]", false),
        (&telegram, of_telegram, "allow_chats = [-100500]", true),
        (&telegram, of_telegram, "allow_users = [1001]\nallow_chats = [-100500]", true),
        (&matrix, of_matrix, "", false),
        (&matrix, of_matrix, "allow_users = [\"@anna:x\"]", false),
        (&matrix, of_matrix, "allow_rooms = [\"!r\"]", true),
        (&matrix, of_matrix, "allow_users = [\"@anna:x\"]\nallow_rooms = [\"!r\"]", true),
    ] {
        fs::write(user.home.path().join("rules/fix.toml"), rule).unwrap();
        configured(&format!("{surface}{allowed}"));
        let linted = user.run(&["rules", "lint", "-c", path.to_str().unwrap()]);
        assert_eq!(linted.code(), 0, "{}", linted.text());
        assert_eq!(linted.text().contains("can fire this rule"), open, "{allowed}: {}", linted.text());
    }
    fs::write(user.home.path().join("rules/fix.toml"), &telegram).unwrap();
    configured(of_telegram);
    let event = json!({ "connector": "connector-telegram", "surface": "telegram", "chat": "-100500",
        "payload": { "text": "/fix it", "chat_id": -100_500 } });
    let event = event_file(&user, &event);
    let shown = user.run(&["rules", "dry-run", "-c", path.to_str().unwrap(), "--event", &event]).text();
    assert!(shown.contains("connector-telegram · send_message") && !shown.contains("is not run"), "{shown}");
}

#[test]
fn the_console_says_what_became_of_changed_rules() {
    let (user, rules) = user_with(&[("fix.toml", FIX)]);
    let daemon = deaf_daemon();
    let url = format!("http://{}", daemon.local_addr().unwrap());
    let mut chat = user.start(&["chat", "--base-url", &url, "--rules", &rules]);
    chat.expect("type /fix");
    let docs = Path::new(&rules).join("docs.toml");
    fs::write(&docs, DOCS).unwrap();
    chat.expect("2 rules are in force");
    fs::write(&docs, "[rule]\nnaem = \"docs\"\n").unwrap();
    chat.expect("1 rule is in force; docs.toml is left out");
    chat.expect("naem");
    for _ in 0..2 {
        chat.type_line("/the docs");
        chat.expect("the rule `docs` is off, since its file docs.toml has a mistake in line 1");
    }
    chat.type_line("/fix it");
    chat.expect("approval needed");
    fs::write(&docs, DOCS).unwrap();
    chat.expect("2 rules are in force");
    chat.type_line("the docs");
    chat.expect("docs (");
    chat.type_line("/quit");
    assert_eq!(chat.finish().0, 0);
    assert!(was_given_nothing(&daemon));
}
