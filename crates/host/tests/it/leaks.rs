//! What a program prints stays with the owner: a program that prints a secret, whatever becomes of it, and
//! everything that others see.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use testkit::scratch;

use crate::terminal::{User, processes_below};

/// Prints its secret before anything else. What then becomes of it is in `mode`.
const PROGRAM: &str = r"#!/usr/bin/env node
const fs = require('fs'), http = require('http'), home = process.env.HOME;
const secret = fs.readFileSync(home + '/secret', 'utf8'), mode = fs.readFileSync(home + '/mode', 'utf8');
const config = home + '/.config/opencode/opencode.json';
fs.writeSync(2, 'warning: ' + secret + '\n');
if (process.argv[2] === '--version') {
  if (mode === 'no version') { console.log(secret); process.exit(1); }
  if (mode === 'hidden in its version') { console.log('1.18.33-' + secret + '+' + secret); process.exit(0); }
  console.log(mode === 'another version' ? 'v' + secret : '1.18.33');
  process.exit(0);
}
console.log('listening, with ' + secret);
if (mode === 'ends') process.exit(3);
if (mode === 'crashes') process.kill(process.pid, 'SIGSEGV');
if (mode === 'bad configuration') {
  fs.writeSync(2, 'Error: Config file at ' + config + ' is not valid JSON(C): \n--- JSONC Input ---\n' + fs.readFileSync(config, 'utf8')
    + '\n--- Errors ---\nPropertyNameExpected at line 2, column 20\n   Line 2: ' + secret + '\n--- End ---\n');
  process.exit(1);
}
if (mode === 'hangs') setInterval(() => {}, 1000);
else http.createServer((request, response) => {
  fs.writeSync(1, 'request of ' + secret + '\n');
  if (request.url.startsWith('/global/health') || request.url.startsWith('/api/info')) {
    response.writeHead(200, { 'content-type': 'application/json' });
    return response.end(JSON.stringify({ healthy: true, version: '1.18.33' }));
  }
  if (mode === 'dies at work') process.exit(9);
  response.writeHead(400, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ name: mode === 'bad project' ? 'ConfigJsonError' : 'UnknownError', data: { path: config, message: 'not for all: ' + secret } }));
}).listen(Number(process.argv[process.argv.indexOf('--port') + 1]), '127.0.0.1');
";

/// What becomes of the program, and what people must still learn.
const MODES: [(&str, &str); 7] = [
    ("ends", "exit status: 3"),
    ("crashes", "signal: 11"),
    ("bad configuration", "opencode.json is not valid: line 2, column 20"),
    ("hangs", "did not answer within"),
    ("refuses", "400"),
    ("bad project", "opencode.json is not valid"),
    ("dies at work", "died"),
];

/// What the program says of its version, and what people must still learn; the host does not start.
const VERSIONS: [(&str, &str); 3] = [
    ("no version", "does not print its version"),
    ("another version", "none of opencode's"),
    ("hidden in its version", "none of opencode's"),
];

pub(crate) struct Bench {
    pub(crate) user: User,
    pub(crate) secret: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let user = User::new();
        let home = user.home.path();
        let secret = format!("acme-live-{:x}", std::process::id().wrapping_mul(2_654_435_761));
        let config = home.join(".config/opencode");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::create_dir_all(home.join("rules")).unwrap();
        scratch::repository(&home.join("app"), &[("a.txt", "a\n")]).unwrap();
        let me = whoami::username().unwrap();
        let program = home.join("opencode");
        let host = format!(
            "rules = \"rules\"\n[opencode]\npath = \"{}\"\nconfine = \"off\"\nserver_startup_timeout_secs = 3\nmax_restart_retries = 1\n\
             [gate]\napprovers = [\"cli:{me}\"]\n[workspaces.app]\ndirectory = \"app\"\n\
             [connectors.connector-opencode]\nworkspace = \"app\"\n",
            program.display()
        );
        let rule = include_str!("../../../rules/tests/fixtures/seed.toml");
        for (path, text) in [
            (home.join("secret"), secret.as_str()),
            (config.join("opencode.json"), &format!("{{\"apiKey\":\"{secret}\",,}}")),
            (home.join("rules/fix.toml"), rule),
            (home.join("host.toml"), &host),
            (program.clone(), PROGRAM),
        ] {
            std::fs::write(path, text).unwrap();
        }
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { user, secret }
    }

    pub(crate) fn set(&self, mode: &str) -> String {
        std::fs::write(self.user.home.path().join("mode"), mode).unwrap();
        self.user.home.path().join("host.toml").display().to_string()
    }

    /// The latest run, once it has ended.
    pub(crate) fn ended(&self, run: usize) -> Value {
        let until = Instant::now() + Duration::from_secs(80);
        loop {
            let shown = self.user.run(&["runs", "show", &run.to_string(), "--json"]);
            // It is there once the message was taken in.
            if shown.code() == 0 && shown.json()["steps"][0]["ended_at"].is_number() {
                return shown.json();
            }
            assert!(Instant::now() < until, "it does not end: {}", shown.text());
        }
    }

    /// Nothing that anybody but the owner is shown or may read has the secret.
    fn nothing_is_told(&self, mode: &str, log: &str) {
        nothing_is_told(&self.user, &self.secret, mode, log);
    }
}

/// Nothing of a host that ran, which wrote `log`, has the secret but what its owner alone may read.
pub(crate) fn nothing_is_told(user: &User, secret: &str, mode: &str, log: &str) {
    let mut shown = vec![vec!["daemons", "list", "--json"]];
    if user.state().join("ledger.sqlite").exists() {
        shown.extend([
            vec!["runs", "list", "--json"],
            vec!["approvals", "list", "--json"],
            vec!["audit", "export", "--jsonl"],
        ]);
        let runs = user.run(&["runs", "list", "--json"]).json();
        for run in runs.as_array().unwrap() {
            let id = run["id"].as_str().map_or_else(|| run["id"].to_string(), str::to_owned);
            for words in [vec!["runs", "show", &id], vec!["runs", "show", &id, "--json"]] {
                let text = user.run(&words).text();
                assert!(!text.contains(secret), "{mode}: {words:?}: {text}");
            }
        }
    }
    if user.state().join("daemons").exists() {
        shown.extend([vec!["daemons", "logs", "app"], vec!["daemons", "logs", "app", "--json"]]);
    }
    for words in shown {
        let text = user.run(&words).text();
        assert!(!text.contains(secret), "{mode}: {words:?}: {text}");
    }
    assert!(!log.contains(secret), "{mode}: {log}");
    for path in files(&user.state()).into_iter().chain(files(&user.home.path().join("app"))) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let has = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        let connectors = user.state().join("connectors");
        let daemons = user.state().join("daemons");
        // What is deeper there is a daemon's own data, its record of sessions among it.
        let of_daemons = path.starts_with(&daemons)
            && (path.parent() != Some(&daemons)
                || [".printed.log", ".out"].iter().any(|end| name.ends_with(end)));
        let for_the_owner = name == "install.log" || path.starts_with(&connectors) || of_daemons;
        assert!(!has || for_the_owner, "{mode}: {}", path.display());
        let closed =
            |path: &Path| path.metadata().is_ok_and(|about| about.permissions().mode().trailing_zeros() >= 6);
        let open = !path.ancestors().take_while(|it| it.starts_with(user.state())).any(closed);
        assert!(!has || !open, "{mode}: {} is open to others", path.display());
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_a_daemon_prints_reaches_its_owner_and_nobody_else() {
    let bench = Bench::new();
    let config = bench.set(MODES[0].0);
    for (n, (mode, words)) in MODES.into_iter().enumerate() {
        bench.set(mode);
        let mut host = bench.user.start(&["run", "-c", &config, "--log", "debug"]);
        let mut log = host.expect("host is running");
        assert_eq!(bench.user.run(&["send", "--as", "connector-telegram", "/fix it"]).code(), 0);
        log += &host.expect("waits for approval");
        let approved = bench.user.run(&["approvals", "approve", &format!("{}.1", n + 1)]);
        assert_eq!(approved.code(), 0, "{}", approved.text());
        let run = bench.ended(n + 1);
        assert!(run.to_string().contains(words), "{mode}: {run}");
        assert!(!run.to_string().contains(&bench.secret), "{mode}: {run}");
        host.signal(Signal::TERM);
        let (_, rest) = host.finish();
        log += &rest.join("\n");
        bench.nothing_is_told(mode, &log);
    }
    let printed = bench.user.run(&["daemons", "logs", "app", "--printed"]).text();
    assert!(printed.contains(&bench.secret), "the owner reads it: {printed}");
    assert_eq!(processes_below(bench.user.home.path()), []);
}

#[test]
fn a_missing_workspace_fails_its_own_tasks_with_that_reason_and_nothing_else() {
    let bench = Bench::new();
    let config = bench.set("refuses");
    std::fs::remove_dir_all(bench.user.home.path().join("app")).unwrap();
    let mut host = bench.user.start(&["run", "-c", &config]);
    host.expect("host is running");
    assert_eq!(bench.user.run(&["send", "--as", "connector-telegram", "/fix it"]).code(), 0);
    let run = bench.ended(1).to_string();
    assert!(run.contains("the directory of the workspace `app`") && run.contains("is not there"), "{run}");
    let doctor = bench.user.run(&["doctor", "-c", &config]).text();
    assert!(doctor.contains("app is not there"), "{doctor}");
    let lint = bench.user.run(&["rules", "lint", "-c", &config]).text();
    assert!(lint.contains("cannot work now") && lint.contains("is not there"), "{lint}");
    host.signal(Signal::TERM);
    assert_eq!(host.wait(), 0);
}

#[test]
fn what_a_program_says_in_place_of_its_version_is_told_to_nobody() {
    let bench = Bench::new();
    for (mode, words) in VERSIONS {
        let config = bench.set(mode);
        for command in [
            vec!["run", "-c", &config],
            vec!["doctor", "-c", &config],
            vec!["doctor", "-c", &config, "--json"],
        ] {
            let text = bench.user.run(&command).text();
            assert!(text.contains(words), "{mode}: {command:?}: {text}");
            assert!(!text.contains(&bench.secret), "{mode}: {command:?}: {text}");
        }
    }
    let kept = std::fs::read_to_string(bench.user.state().join("install.log")).unwrap();
    assert!(kept.contains(&bench.secret), "the owner reads it");
}
