//! A package of somebody else's, run by the host's binary in a process behind every wall.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::terminal::{Ended, Terminal, User, nothing_stays_below, processes_below};

const MANIFEST: &str = include_str!("../package/connector.toml");
const PROGRAM: &str = env!("CARGO_BIN_EXE_connector-told");

const RULE: &str = "[rule]\nname = \"told\"\n[trigger]\ntype = \"ConnectorEvent\"\n\
    connector = \"connector-telegram\"\nevent = \"message_received\"\n\
    [[actions]]\ntype = \"RunConnector\"\nconnector = \"told\"\naction = \"work\"\n\
    [actions.params]\ntask = \"${trigger.text}\"\n";

/// What a package printed a secret for, as it is told, with these settings: its user, and what the host wrote.
#[expect(clippy::disallowed_methods, reason = "what a process writes is polled for")]
pub(crate) fn leaking(room: &str, word: &str) -> (User, String) {
    let mut bench = Bench::whole();
    bench.configure(&format!("room = {room:?}"));
    bench.grant();
    let mut host = bench.host();
    if word == "hangs" {
        let step = bench.asked(&mut host, word);
        assert_eq!(bench.user.run(&["approvals", "approve", &step]).code(), 0);
        let log = bench.user.state().join("connectors/told.log");
        let until = Instant::now() + Duration::from_mins(1);
        while !std::fs::read_to_string(&log).unwrap_or_default().contains("acme-live-") {
            assert!(Instant::now() < until, "it says nothing");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(bench.user.run(&["runs", "cancel", "1"]).code(), 0);
        while !bench.step()["ended_at"].is_number() {
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    } else {
        bench.approved(&mut host, word);
    }
    host.signal(Signal::TERM);
    let (_, shown) = host.finish();
    (bench.user, shown.join("\n"))
}

/// A user with a package, and a rule that uses it.
struct Bench {
    user: User,
    runs: u32,
}

impl Bench {
    /// `plugins/connector-told` as `manifest` and `program` say, which nothing was granted.
    fn new(manifest: &str, program: &[u8]) -> Self {
        let bench = Self { user: User::new(), runs: 0 };
        bench.configure("room = \"green\"");
        bench.put("rules/told.toml", RULE.as_bytes(), 0o644);
        bench.put("plugins/connector-told/connector.toml", manifest.as_bytes(), 0o644);
        bench.put("plugins/connector-told/executable", program, 0o755);
        bench
    }

    fn whole() -> Self {
        Self::new(MANIFEST, &std::fs::read(PROGRAM).unwrap())
    }

    /// A package in another language, which takes no settings.
    fn in_c() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/package/plain.c");
        #[expect(clippy::disallowed_methods, reason = "the package is compiled here")]
        let built = std::process::Command::new("cc").arg("-o").arg(&program).arg(source).status().unwrap();
        assert!(built.success());
        let bench = Self::new(MANIFEST, &std::fs::read(&program).unwrap());
        bench.configure("");
        bench
    }

    /// A package that is looked at, and not run.
    fn shown(manifest: &str) -> Self {
        Self::new(manifest, b"\x7fELF")
    }

    fn configure(&self, settings: &str) {
        let me = whoami::username().unwrap();
        let text = format!(
            "rules = \"rules\"\n[gate]\napprovers = [\"cli:{me}\"]\n\
             [connectors.told]\nuse = \"plugin:connector-told\"\n{settings}\n"
        );
        self.put("host.toml", text.as_bytes(), 0o644);
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.user.home.path().join(relative)
    }

    fn put(&self, relative: &str, bytes: &[u8], mode: u32) {
        let path = self.path(relative);
        let directory = path.parent().unwrap();
        std::fs::create_dir_all(directory).unwrap();
        for made in [directory, directory.parent().unwrap()] {
            std::fs::set_permissions(made, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Adds a byte to a file of the package.
    fn change(&self, file: &str) {
        let path = self.path("plugins/connector-told").join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.push(b'\n');
        std::fs::write(path, bytes).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Ended {
        self.user.run(&[arguments, &["-c", self.path("host.toml").to_str().unwrap()]].concat())
    }

    fn grant(&self) {
        let granted = self.command(&["plugins", "grant", "connector-told", "--yes"]);
        assert_eq!(granted.code(), 0, "{}", granted.text());
    }

    fn host(&self) -> Terminal {
        let mut host = self.user.start(&["run", "-c", self.path("host.toml").to_str().unwrap()]);
        host.expect("host is running");
        host
    }

    /// The host does not start, and says why.
    fn refused(&self, words: &str) {
        let ended = self.command(&["run"]);
        assert_eq!(ended.code(), 2, "{}", ended.text());
        assert!(ended.text().contains(words), "no {words:?} in {}", ended.text());
    }

    /// What `doctor` says of the package's connector, and its exit code.
    fn doctor(&self) -> (String, i32) {
        let ended = self.command(&["doctor", "--json"]);
        let findings = ended.json();
        let of_package = findings.as_array().unwrap().iter().find(|it| it["what"] == "connector told");
        (of_package.unwrap()["verdict"].as_str().unwrap().to_owned(), ended.code())
    }

    /// Sends a message; its card is there when this returns.
    fn asked(&mut self, host: &mut Terminal, text: &str) -> String {
        self.runs += 1;
        assert_eq!(self.user.run(&["send", "--as", "connector-telegram", text]).code(), 0);
        host.expect("waits for approval");
        format!("{}.1", self.runs)
    }

    /// Sends a message, approves what it leads to, and waits for the step's end.
    fn approved(&mut self, host: &mut Terminal, text: &str) -> Value {
        let step = self.asked(host, text);
        let approved = self.user.run(&["approvals", "approve", &step]);
        assert_eq!(approved.code(), 0, "{}", approved.text());
        let until = Instant::now() + Duration::from_mins(2);
        loop {
            let step = self.step();
            if step["ended_at"].is_number() {
                return step;
            }
            assert!(Instant::now() < until, "it does not end: {step}");
        }
    }

    fn step(&self) -> Value {
        self.user.run(&["runs", "show", &self.runs.to_string(), "--json"]).json()["steps"][0].clone()
    }
}

fn ends(host: Terminal) -> Vec<String> {
    host.signal(Signal::TERM);
    let (code, seen) = host.finish();
    assert_eq!(code, 0, "{seen:?}");
    seen
}

#[test]
fn a_granted_package_runs_behind_every_wall_once_it_was_approved() {
    let mut bench = Bench::whole();
    bench.grant();
    let mut host = bench.host();
    let waiting = bench.asked(&mut host, "sweep");
    assert!(bench.step()["dispatched_at"].is_null(), "{}", bench.step());
    assert_eq!(bench.user.run(&["approvals", "deny", &waiting]).code(), 0);
    let step = bench.approved(&mut host, "sweep well");
    assert_eq!(step["state"], "succeeded", "{step}");
    for said in ["sweep well", "green", "\"files\":false", "\"variables\":0"] {
        assert!(step.to_string().contains(said), "no {said} in {step}");
    }
    ends(host);
}

/// A program in C, without any library of ours.
#[test]
fn a_package_may_be_written_in_any_language() {
    let mut bench = Bench::in_c();
    bench.grant();
    let mut host = bench.host();
    for _ in 0..2 {
        let step = bench.approved(&mut host, "sweep");
        assert_eq!(step["state"], "succeeded", "{step}");
        assert!(step.to_string().contains("swept in C"), "{step}");
    }
    ends(host);
}

#[test]
fn a_package_reaches_the_port_it_was_granted_and_no_other() {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [granted, other] = listeners.each_ref().map(|it| it.local_addr().unwrap().port());
    let asks = format!("[[capabilities]]\ntype = \"NetworkOutbound\"\nhost = \"127.0.0.1:{granted}\"\n");
    let mut bench = Bench::new(&format!("{MANIFEST}\n{asks}"), &std::fs::read(PROGRAM).unwrap());
    bench.grant();
    let mut host = bench.host();
    for (port, reached) in [(granted, "\"reached\":true"), (other, "\"reached\":false")] {
        let step = bench.approved(&mut host, &format!("{port} now"));
        assert_eq!(step["state"], "succeeded", "{step}");
        assert_eq!(step["target"]["origin"], format!("http://127.0.0.1:{granted}"), "{step}");
        assert!(step.to_string().contains(reached), "no {reached} in {step}");
    }
    ends(host);
}

#[test]
fn a_package_that_was_not_granted_as_it_is_does_not_start() {
    let bench = Bench::shown(MANIFEST);
    bench.refused("it was not granted anything");
    assert_eq!(bench.doctor(), ("bad".to_owned(), 1));
    bench.grant();
    assert_eq!(bench.doctor(), ("good".to_owned(), 0));
    bench.change("executable");
    bench.refused("its executable is another than the one the grant is for");
    bench.grant();
    bench.change("connector.toml");
    bench.refused("its manifest is another than the one the grant is for");
    let lint = bench.command(&["rules", "lint"]);
    assert!(lint.text().contains("its manifest is another"), "{}", lint.text());
    bench.grant();
    let lint = bench.command(&["rules", "lint"]);
    assert_eq!(lint.code(), 0, "{}", lint.text());
    ends(bench.host());
}

#[test]
fn what_no_process_of_a_package_is_given_is_refused_before_it_starts() {
    let asks = |more: &str| format!("{MANIFEST}\n[[capabilities]]\n{more}\n");
    for (manifest, settings, words) in [
        (asks("type = \"ShellExec\""), "", "asks for ShellExec, which is given to no process"),
        (asks("type = \"NetworkOutbound\"\nhost = \"example.org:443\""), "", "example.org"),
        (MANIFEST.to_owned(), "isolation = \"in-process\"", "leave `isolation` out"),
        (MANIFEST.to_owned(), "workspace = \"app\"", "leave `workspace` out"),
    ] {
        let bench = Bench::shown(&manifest);
        bench.configure(settings);
        bench.grant();
        bench.refused(words);
    }
}

#[test]
fn a_script_is_not_granted() {
    let bench = Bench::new(MANIFEST, b"#!/bin/sh\necho hello\n");
    let granted = bench.command(&["plugins", "grant", "connector-told", "--yes"]);
    assert_eq!(granted.code(), 1, "{}", granted.text());
    assert!(granted.text().contains("script for /bin/sh; only a program runs"), "{}", granted.text());
}

#[test]
fn no_package_takes_the_name_of_what_is_built_in() {
    let bench = Bench::shown(MANIFEST);
    bench.grant();
    let host = std::fs::read_to_string(bench.path("host.toml")).unwrap();
    for (from, to, words) in [
        ("plugin:connector-told", "plugin:connector-opencode", "`connector-opencode` is built in"),
        ("plugin:connector-told", "connector-nowhere", "there is no connector `connector-nowhere`"),
        ("plugin:connector-told", "plugin:../x", "`plugin:../x`: a connector's name is"),
        ("[connectors.told]", "[connectors.connector-telegram]", "name it otherwise"),
        ("[plugins.connector-told]", "[plugins.connector-opencode]", "it was not granted anything"),
    ] {
        bench.put("host.toml", host.replace(from, to).as_bytes(), 0o644);
        bench.refused(words);
    }
    let taken = host
        .replace("[plugins.connector-told]", "[plugins.connector-opencode]")
        .replace("plugin:connector-told", "connector-opencode");
    bench.put("host.toml", taken.as_bytes(), 0o644);
    bench.refused("`connector-opencode` is built in; no package takes its name");
    let passed_over = host.replace("[plugins.connector-told]", "[plugins.connector-http]");
    bench.put("host.toml", format!("{passed_over}\n[surfaces.telegrm]\n").as_bytes(), 0o644);
    bench.refused("telegrm");
    bench.put("host.toml", host.replace("plugin:connector-told", "connector-told").as_bytes(), 0o644);
    ends(bench.host());
}

#[test]
fn a_process_that_offers_more_than_its_manifest_is_not_called() {
    let (less, _) = MANIFEST.split_once("[[actions]]\nname = \"look\"").unwrap();
    let mut bench = Bench::new(less, &std::fs::read(PROGRAM).unwrap());
    bench.grant();
    let mut host = bench.host();
    let step = bench.approved(&mut host, "sweep");
    assert_eq!(step["state"], "failed", "{step}");
    assert!(step.to_string().contains("is offered and not declared"), "{step}");
    ends(host);
}

#[test]
fn a_file_that_is_changed_under_the_host_does_not_run() {
    let mut bench = Bench::whole();
    bench.grant();
    let mut host = bench.host();
    bench.change("executable");
    let step = bench.approved(&mut host, "sweep");
    assert_eq!(step["state"], "failed", "{step}");
    let said = step.to_string();
    assert!(said.contains("exit status: 71") && said.contains("is granted"), "{said}");
    ends(host);
}

/// Not because its input ends: it does not look.
#[test]
fn a_package_that_hangs_ends_with_its_host() {
    let mut bench = Bench::in_c();
    bench.grant();
    let mut host = bench.host();
    let step = bench.approved(&mut host, "sweep");
    assert_eq!(step["state"], "succeeded", "{step}");
    let below = processes_below(bench.user.home.path());
    let package = below.iter().find(|it| it.line.contains("connector-told")).unwrap();
    kill_process(package.id, Signal::STOP).unwrap();
    host.kill9();
    nothing_stays_below(bench.user.home.path());
}

#[test]
fn a_process_that_misbehaves_ends_its_run_and_no_other() {
    let mut bench = Bench::whole();
    bench.grant();
    let mut host = bench.host();
    for (told, words) in [("die", "closed"), ("flood", "more than 16777216 bytes"), ("forge", "rubbish")] {
        let step = bench.approved(&mut host, told);
        assert_eq!(step["state"], "unknown", "{told}: {step}");
        assert!(step.to_string().contains(words) && !step.to_string().contains("forged"), "{told}: {step}");
        let step = bench.approved(&mut host, "sweep");
        assert_eq!(step["state"], "succeeded", "after {told}: {step}");
    }
    ends(host);
}
