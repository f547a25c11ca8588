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
