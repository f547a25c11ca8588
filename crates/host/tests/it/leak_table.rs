//! Every other text path: npm, git, a package's process and a model's provider print a secret, whatever
//! becomes of them, and everything that others see is searched for it.

#![expect(
    clippy::disallowed_methods,
    reason = "what a process writes is polled for, and its PATH is extended"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use testkit::fake::Generation;
use testkit::model::Script;

use crate::leaks::{Bench, nothing_is_told};
use crate::packages;
use crate::telegram::world::{ANNA, CHAT, World};
use crate::terminal::{User, processes_below};

/// A program that prints the secret on both ways out, and then does what `mode` says.
const PROGRAM: &str = "#!/bin/sh
secret=$(cat \"$HOME/secret\"); mode=$(cat \"$HOME/mode\")
echo \"$secret\"; echo \"error: $secret\" >&2
case \"$mode\" in
    fails) exit 1 ;;
    'bad configuration') echo \"fatal: bad config line 1 in file /tmp/$secret\" >&2; exit 128 ;;
    crashes) kill -SEGV $$ ;;
    hangs) : > \"$HOME/hangs\"; exec sleep 600 ;;
esac
";

const MODES: [&str; 5] = ["succeeds", "fails", "bad configuration", "crashes", "hangs"];

/// Puts the program where `name` is looked for first.
fn put(user: &User, name: &str) -> String {
    let bin = user.home.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join(name), PROGRAM).unwrap();
    std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    bin.display().to_string()
}

fn has(path: &Path, secret: &str) -> bool {
    std::fs::read_to_string(path).unwrap_or_default().contains(secret)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_npm_prints_reaches_its_owner_and_nobody_else() {
    for mode in MODES {
        let mut bench = Bench::new();
        let path = format!("{}:/usr/bin:/bin", put(&bench.user, "npm"));
        bench.user = bench.user.with_variable("PATH", &path);
        let config = bench.set(mode);
        let without = std::fs::read_to_string(&config).unwrap();
        let without: String =
            without.lines().filter(|it| !it.starts_with("path =")).collect::<Vec<_>>().join("\n");
        std::fs::write(&config, without).unwrap();
        let log = bench.user.state().join("install.log");
        let mut host = bench.user.start(&["run", "-c", &config, "--log", "debug"]);
        if mode == "hangs" {
            let hangs = bench.user.home.path().join("hangs");
            until(mode, || hangs.exists());
            host.signal(Signal::TERM);
        }
        host.wait();
        let (_, shown) = host.finish();
        // The words of an npm that did what it should make room for those of what it installed, and those
        // of one that was ended with the host are kept by nobody.
        let kept = !["succeeds", "hangs"].contains(&mode);
        assert!(!kept || has(&log, &bench.secret), "{mode}: the owner reads it");
        nothing_is_told(&bench.user, &bench.secret, &format!("npm {mode}"), &shown.join("\n"));
        assert!(mode == "hangs" || shown.iter().any(|line| line.contains("npm")), "{mode}: {shown:#?}");
        for left in processes_below(bench.user.home.path()) {
            let _ = rustix::process::kill_process(left.id, Signal::KILL);
        }
    }
}

#[test]
fn what_git_prints_reaches_nobody() {
    for mode in MODES {
        let mut bench = Bench::new();
        let config = bench.set("refuses");
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text.replace("directory = \"app\"\n", "directory = \"app\"\nisolation = \"worktree\"\n");
        std::fs::write(&config, text).unwrap();
        let path = format!("{}:{}", put(&bench.user, "git"), std::env::var("PATH").unwrap());
        bench.user = bench.user.with_variable("PATH", &path);
        bench.set(mode);
        for words in [vec!["doctor", "-c", &config], vec!["doctor", "-c", &config, "--json"]] {
            let text = bench.user.run(&words).text();
            assert!(text.contains("git") && !text.contains(&bench.secret), "{mode}: {text}");
        }
        let mut host = bench.user.start(&["run", "-c", &config, "--log", "debug"]);
        host.expect("host is running");
        assert_eq!(bench.user.run(&["send", "--as", "connector-telegram", "/fix it"]).code(), 0);
        host.expect("waits for approval");
        assert_eq!(bench.user.run(&["approvals", "approve", "1.1"]).code(), 0);
        if mode == "hangs" {
            until(mode, || {
                bench.user.run(&["runs", "show", "1", "--json"]).json()["steps"][0]["state"] == "dispatched"
            });
            assert_eq!(bench.user.run(&["runs", "cancel", "1"]).code(), 0);
        }
        let run = bench.ended(1).to_string();
        assert!(mode == "hangs" || run.contains("git"), "{mode}: {run}");
        host.signal(Signal::TERM);
        let (_, shown) = host.finish();
        nothing_is_told(&bench.user, &bench.secret, &format!("git {mode}"), &shown.join("\n"));
    }
}

#[test]
fn what_a_packages_process_prints_reaches_its_owner_and_nobody_else() {
    for (room, word) in [
        ("green", "leaks"),
        ("green", "fails"),
        ("none", "is not configured"),
        ("green", "crashes"),
        ("green", "hangs"),
    ] {
        let (user, shown) = packages::leaking(room, word);
        let log = user.state().join("connectors/told.log");
        let kept = std::fs::read_to_string(&log).unwrap();
        let (_, secret) = kept.split_once("acme-live-").unwrap_or_else(|| panic!("{word}: {kept}"));
        let secret = format!("acme-live-{}", &secret[..16]);
        nothing_is_told(&user, &secret, &format!("package {word}"), &shown);
    }
}

async fn what_a_provider_says_reaches_nobody(generation: Generation) {
    let secret =
        format!("acme-live-{:016x}", u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut script = Script::default();
    let statuses = [400, 401, 403, 404];
    for status in statuses {
        script = script.answer(&format!("LEAK-{status}"), testkit::model::Answer::error(status, &secret));
    }
    let mut world = match generation {
        Generation::V1 => World::start(script).await,
        Generation::V2 => World::newer(script).await,
    };
    for (n, status) in (1..).zip(statuses) {
        world.telegram.write(ANNA, CHAT, &format!("/fix LEAK-{status}"));
        let card = world.card(CHAT, &format!("{n}.1")).await;
        world.telegram.tap(ANNA, CHAT, card.id, "Approve");
        world.telegram.wait_for(CHAT, &format!("{n}.1 failed")).await;
        world.telegram.wait_for(CHAT, &format!("it answered {status}")).await;
    }
    let screen = format!("{:?}", world.telegram.screen(CHAT));
    world.stop();
    nothing_is_told(&world.user, &secret, "provider", &format!("{screen}\n{}", world.output.join("\n")));
}

#[tokio::test]
async fn what_a_provider_says_of_an_error_reaches_no_chat_log_or_row_on_1_x() {
    what_a_provider_says_reaches_nobody(Generation::V1).await;
}

#[tokio::test]
async fn what_a_provider_says_of_an_error_reaches_no_chat_log_or_row_on_2_x() {
    what_a_provider_says_reaches_nobody(Generation::V2).await;
}
