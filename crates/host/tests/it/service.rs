//! The host under a service manager: a stand-in for its socket, and the unit that is handed out.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use testkit::scratch;

use crate::terminal::{User, processes_below};

/// What a manager is told, up to `wanted`.
fn told(socket: &UnixDatagram, wanted: &str) -> Vec<String> {
    let (mut all, mut bytes) = (Vec::new(), [0; 1024]);
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        assert!(Instant::now() < until, "never told {wanted}: {all:?}");
        let Ok(read) = socket.recv(&mut bytes) else { continue };
        let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
        all.extend(text.lines().map(str::to_owned));
        if all.iter().any(|line| line == wanted) {
            return all;
        }
    }
}

#[test]
fn a_service_manager_is_told_that_the_host_is_ready_alive_busy_and_stopping() {
    let user = User::new();
    let home = user.home.path().to_owned();
    let socket = UnixDatagram::bind(home.join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    scratch::repository(&home.join("app"), &[("a.txt", "a\n")]).unwrap();
    std::fs::create_dir(home.join("rules")).unwrap();
    let rule = include_str!("../../../rules/tests/fixtures/seed.toml");
    std::fs::write(home.join("rules/fix.toml"), rule).unwrap();
    let host = "rules = \"rules\"\n[connectors.connector-opencode]\nbase_url = \"http://127.0.0.1:9\"\n";
    std::fs::write(home.join("host.toml"), host).unwrap();
    let user = user
        .with_variable("NOTIFY_SOCKET", home.join("notify").to_str().unwrap())
        .with_variable("WATCHDOG_USEC", "400000");
    let mut host = user.start(&["run", "-c", home.join("host.toml").to_str().unwrap()]);
    let first = told(&socket, "READY=1");
    assert_eq!(first, ["READY=1"], "nothing is told before it is ready");
    told(&socket, "STATUS=nothing to do");
    told(&socket, "WATCHDOG=1");
    assert_eq!(user.run(&["send", "--as", "connector-telegram", "/fix it"]).code(), 0);
    told(&socket, "STATUS=1 waiting for approval");
    host.signal(Signal::TERM);
    told(&socket, "STOPPING=1");
    assert_eq!(host.wait(), 0);
    assert_eq!(processes_below(&home), []);
}

/// The lines of a host's log, from the beginning, once one of them has `wanted` in it.
fn logged(log: &Path, wanted: &str) -> Vec<serde_json::Value> {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let text = std::fs::read_to_string(log).unwrap();
        if text.contains(wanted) {
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            return whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        assert!(Instant::now() < until, "never logged {wanted}: {text}");
        std::thread::yield_now();
    }
}

#[test]
fn a_hangup_reads_the_rules_again_and_ends_nothing_and_the_log_is_json_lines_without_an_environment() {
    let user = User::new();
    let home = user.home.path().to_owned();
    std::fs::create_dir(home.join("rules")).unwrap();
    let rule = include_str!("../../../rules/tests/fixtures/seed.toml");
    std::fs::write(home.join("rules/fix.toml"), rule).unwrap();
    let configuration =
        "rules = \"rules\"\n[connectors.connector-opencode]\nbase_url = \"http://127.0.0.1:9\"\n";
    std::fs::write(home.join("host.toml"), configuration).unwrap();
    let log = home.join("log");
    let mut command = user.command(&["run", "--json", "-c", home.join("host.toml").to_str().unwrap()]);
    command.env_clear().env("HOME", &home).env("CONNECTOR_HOST_STATE", user.state());
    let child = command.stderr(std::fs::File::create(&log).unwrap()).stdin(std::process::Stdio::null());
    let mut host = child.spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&host);
    logged(&log, "host is running");
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    logged(&log, "the rules were read again: 1 rule is in force");
    std::fs::write(home.join("host.toml"), configuration.replace("rules =", "rulse =")).unwrap();
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    logged(&log, "did you mean `rules`?");
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert!(host.wait().unwrap().success());
    let entries = logged(&log, "host is running");
    assert!(entries.len() >= 4, "{entries:?}");
    for entry in entries {
        assert!(entry["level"].is_string() && entry["timestamp"].is_string(), "{entry}");
        assert!(!entry.to_string().contains("\\u001b"), "{entry}");
    }
}

#[test]
fn the_unit_that_is_handed_out_is_the_one_that_the_document_shows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let unit = std::fs::read_to_string(root.join("examples/service/connector-host.service")).unwrap();
    let document = std::fs::read_to_string(root.join("docs/service.md")).unwrap();
    assert!(document.contains(unit.trim()), "docs/service.md should show the unit as it is");
    for line in ["Type=notify", "WatchdogSec=", "KillMode=mixed", "ExecStart="] {
        assert!(unit.contains(line), "{line}");
    }
}
