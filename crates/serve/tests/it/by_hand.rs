//! The program as somebody meets it who starts it wrongly.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::client::BINARY;

fn program(args: &[&str], env: &[(&str, &str)]) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the program is what is tested")]
    let mut command = Command::new(BINARY);
    command.args(args).env_clear().env("LANG", "C").envs(env.iter().copied()).stdin(Stdio::null());
    command
}

fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    program(args, env).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn mistakes_are_named_on_standard_error_and_exit_with_2() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "base_url = \"http://127.0.0.1:1\"\npasword = \"hunter2\"\n").unwrap();
    let path = file.path().to_str().unwrap();
    for (args, env, says) in [
        (vec!["--password", "x"], vec![], "--password"),
        (vec!["--password-fd", "0"], vec![], "0"),
        (vec!["--password-fd", "77"], vec![], "--password-fd 77"),
        (vec!["--config", "/nowhere/x.toml"], vec![], "/nowhere/x.toml"),
        (vec!["--config", path], vec![], "pasword"),
        (vec![], vec![("CONNECTOR_OPENCODE_BASE_URL", "ftp://x")], "`base_url`"),
        (vec![], vec![("CONNECTOR_OPENCODE_BASE_URL", "http://10.0.0.1:1")], "allow_remote"),
        (vec![], vec![("CONNECTOR_OPENCODE_MODEL", "gpt")], "model"),
        (vec![], vec![("CONNECTOR_OPENCODE_COLOUR", "red")], "CONNECTOR_OPENCODE_COLOUR"),
        (vec!["--log", "a=b=c"], vec![], "--log"),
    ] {
        let output = run(&args, &env);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?} {env:?}: {text}");
        assert!(text.contains(says) && !text.contains("hunter2"), "{args:?} {env:?}: {text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_help_says_what_it_is_and_what_can_be_set() {
    let output = run(&["--help"], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for part in ["MCP", "--config", "--password-fd", "--walls", "CONNECTOR_OPENCODE_BASE_URL", "Exit codes"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_client_that_says_nothing_and_leaves_is_no_failure() {
    let output = run(&[], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stdout.is_empty(), "nothing but protocol on standard output");
}

#[test]
fn what_is_no_protocol_is_answered_with_protocol() {
    let mut child = program(&[], &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello?\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["error"]["code"], -32700);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_log_that_is_a_file_is_written_within_the_walls() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let status = program(&["--log", "debug"], &[]).stderr(file.reopen().unwrap()).status().unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(text.contains("walls"), "{text}");
}
