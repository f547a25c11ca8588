//! Wrong things typed: each gets an error that names the thing and what to do.

use crate::terminal::User;
use crate::world::{Plan, World};

/// What is typed, and what the error must say.
fn refused(user: &User, arguments: &[&str], code: i32, words: &[&str]) {
    let ended = user.run(arguments);
    let text = ended.text();
    assert_eq!(ended.code(), code, "{arguments:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{arguments:?}: no {word:?} in {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_base_url_that_is_none_is_named() {
    let user = User::new().with_variable("OPENCODE_SERVER_PASSWORD", "hunter2");
    for (url, words) in [
        ("127.0.0.1:4096", "no scheme"),
        ("ftp://127.0.0.1:4096", "scheme `ftp`"),
        ("http://user:hunter2@127.0.0.1:4096", "user name or password"),
        ("http://127.0.0.1:4096/api", "path `/api`"),
        ("http://127.0.0.1:4096?x=1", "query"),
        ("http://127.0.0.1:4096#x", "fragment"),
        ("http://127.0.0.1:0", "port 0"),
        ("", "empty"),
        ("http://127.0.0.1:4096@evil.example/", "user name or password"),
        ("http://example.org:4096", "allow_remote"),
    ] {
        refused(&user, &["chat", "--base-url", url], 2, &[words]);
        let ended = user.run(&["chat", "--base-url", url]);
        assert!(!ended.text().contains("hunter2"), "{}", ended.text());
    }
}

#[test]
fn a_workspace_that_cannot_be_one_is_named() {
    let user = User::new();
    let file = user.home.path().join("file");
    std::fs::write(&file, "").unwrap();
    refused(&user, &["chat", "--workspace", "/no/such/place"], 2, &["/no/such/place"]);
    refused(&user, &["chat", "--workspace", file.to_str().unwrap()], 2, &["not a directory"]);
    refused(&user, &["chat"], 2, &["--workspace"]);
}

#[test]
fn a_model_without_a_provider_is_refused() {
    let user = User::new();
    refused(
        &user,
        &["chat", "--base-url", "http://127.0.0.1:1", "--model", "sonnet"],
        2,
        &["sonnet", "provider/model"],
    );
}

#[test]
fn an_opencode_that_is_not_there_or_not_usable_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let user = User::new();
    let workspace = user.home.path().join("app");
    std::fs::create_dir(&workspace).unwrap();
    let workspace = workspace.display().to_string();
    refused(
        &user,
        &["chat", "--workspace", &workspace, "--opencode", "/no/such/opencode"],
        2,
        &["/no/such/opencode"],
    );
    for (version, words) in [("1.0.215", "CVE-2026-22812"), ("2.0.5", "2.0.6")] {
        let fake = user.home.path().join(format!("opencode-{version}"));
        std::fs::write(&fake, format!("#!/bin/sh\necho {version}\n")).unwrap();
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
        let fake = fake.to_str().unwrap();
        refused(&user, &["chat", "--workspace", &workspace, "--opencode", fake], 2, &[words]);
    }
}

#[test]
fn rules_with_mistakes_are_shown_with_their_places() {
    let user = User::new();
    let rules = user.home.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    let rules_text = rules.to_str().unwrap();
    refused(
        &user,
        &["chat", "--base-url", "http://127.0.0.1:1", "--rules", rules_text],
        2,
        &["no rule", rules_text],
    );
    let rule = "[rule]\nname = \"x\"\n[trigger]\ntype = \"ConnectorEvent\"\nconnector = \"c\"\nevent = \"e\"\n\
        [[actions]]\ntype = \"RunConnector\"\nconnector = \"o\"\naction = \"a\"\ncolour = \"red\"\n";
    std::fs::write(rules.join("x.toml"), rule).unwrap();
    refused(
        &user,
        &["chat", "--base-url", "http://127.0.0.1:1", "--rules", rules_text],
        2,
        &["colour", "x.toml:11:1"],
    );
}

#[test]
fn a_prompt_that_cannot_run_is_refused_before_anybody_is_asked() {
    let user = User::new();
    let mut chat = user.start(&["chat", "--base-url", "http://127.0.0.1:1"]);
    for typed in ["/fix", "/fix    "] {
        chat.type_line(typed);
        chat.expect("write it after the command, such as: /fix ");
    }
    chat.type_line(&format!("/fix {}", "x".repeat(1_100_000)));
    let told = chat.expect("failed");
    assert!(told.contains("`prompt`: it has 1100000 bytes; the limit is") && told.len() < 500, "{told}");
    chat.type_line("y");
    chat.expect("nothing waits");
}

#[tokio::test]
async fn a_state_directory_in_use_is_named_with_its_holder() {
    let user = User::new();
    let world = World::start(&user.state(), 1_000, Plan::default());
    let pid = std::process::id().to_string();
    refused(&user, &["chat", "--base-url", "http://127.0.0.1:1"], 2, &["another host", &pid, "--state"]);
    world.stop().await;
}

#[test]
fn a_damaged_ledger_is_left_as_it_is() {
    let user = User::new();
    std::fs::create_dir(user.state()).unwrap();
    let path = user.state().join("ledger.sqlite");
    std::fs::write(&path, vec![7; 9000]).unwrap();
    refused(&user, &["chat", "--base-url", "http://127.0.0.1:1"], 2, &["was left as it is"]);
    assert_eq!(std::fs::read(&path).unwrap(), vec![7; 9000]);
}

#[test]
fn questions_about_what_is_not_there_say_so() {
    let user = User::new();
    refused(&user, &["runs", "list"], 2, &["no host has run", "--state"]);
    assert!(!user.state().exists(), "looking makes nothing");
    drop(crate::world::ledger(&user.state()));
    refused(&user, &["runs", "show", "7"], 2, &["no run 7"]);
    refused(&user, &["approvals", "show", "7.1"], 2, &["no step 7.1"]);
    refused(&user, &["approvals", "approve", "7.1"], 2, &["no 7.1"]);
    refused(&user, &["approvals", "approve", "seven"], 2, &["`seven` is not an id"]);
}

#[test]
fn without_a_command_it_is_said_what_there_is() {
    refused(&User::new(), &[], 2, &["Usage: connector-host", "Show the whole walk on a small repository"]);
}

#[test]
fn a_configuration_with_mistakes_is_shown_with_their_places() {
    let user = User::new();
    let path = user.home.path().join("host.toml");
    let path_text = path.to_str().unwrap();
    refused(&user, &["run", "-c", path_text], 2, &["there is no", "host.toml", "telegram setup"]);
    for (text, words) in [
        ("rules = \"r\"\ncolour = 1\n[connectors]\n", "colour"),
        ("rules = 7\n[connectors]\n", "line 1"),
        ("[connectors]\n", "rules"),
        ("rules = \"r\"\nmax_running = 0\n[connectors]\n", "`max_running` takes 1 to 10000"),
        ("rules = \"r\"\ndeadline_secs = 9223372036854775807\n[connectors]\n", "`deadline_secs` takes 1 to"),
        ("rules = \"r\"\n[gate]\nexpiry_secs = 0\n[connectors]\n", "`gate.expiry_secs` takes 1 to"),
        ("rules = \"r\"\n[gate]\nexpiry_secs = 9223372036854775807\n[connectors]\n", "`gate.expiry_secs`"),
        (
            "rules = \"r\"\n[gate]\nsession_allowance_secs = 9223372036854775807\n[connectors]\n",
            "`gate.session",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        refused(&user, &["run", "-c", path_text], 2, &["host.toml", words]);
    }
}

#[test]
fn a_mistake_in_the_line_of_a_secret_does_not_show_it() {
    let user = User::new();
    let path = user.home.path().join("host.toml");
    std::fs::create_dir(user.home.path().join("r")).unwrap();
    std::fs::write(user.home.path().join("r/fix.toml"), include_str!("../../rules/fix.toml")).unwrap();
    for (line, words) in [
        ("password = hunter2", "at `password`"),
        ("password = \"hunter2", "at `password`"),
        ("password = 'hunter2' x", "at `password`"),
        ("password = \"hunter2\"\npassword = \"x\"", "line 5"),
        ("password = [\"hunter2\"]", "`password` takes a text in quotes"),
        ("base_url = 4096\npassword = \"hunter2\"", "`base_url` takes a text in quotes"),
        ("allow_remote = \"a\\\"hunter2\"", "invalid type"),
    ] {
        let text = format!("rules = \"r\"\n\n[connectors.connector-opencode]\n{line}\n");
        std::fs::write(&path, text).unwrap();
        let ended = user.run(&["run", "-c", path.to_str().unwrap()]);
        assert_eq!(ended.code(), 2, "{line}: {}", ended.text());
        assert!(
            !ended.text().contains("hunter2") && ended.text().contains(words),
            "{line}: {}",
            ended.text()
        );
    }
}

#[test]
fn output_that_nobody_reads_to_its_end_is_no_error() {
    use std::io::Read as _;
    let user = User::new();
    let mut command = user.command(&["rules", "schema"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}
