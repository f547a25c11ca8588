//! Starting and ending.

use std::error::Error;
use std::time::{Duration, Instant};

use opencode_daemons::confine::Confinement;
use opencode_daemons::daemon::Exit;
use opencode_daemons::{Daemon, Port, StartError};
use secrecy::{ExposeSecret, SecretString};

use crate::support::{Stranger, eventually, processes_with, spec, with};

#[tokio::test]
async fn a_started_daemon_answers_to_its_own_password() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(spec("answers", dir.path())).await.unwrap();
    assert_eq!(daemon.health().await.unwrap(), "1.18.33");
    assert_eq!(daemon.version(), "1.18.33");
    assert_eq!(daemon.directory(), dir.path().canonicalize().unwrap());
    assert!(daemon.password().expose_secret().len() >= 32);
    assert_eq!(daemon.try_exit(), None);
    assert!(daemon.output_tail()[0].contains("listening"));
}

#[tokio::test]
async fn the_password_is_not_in_the_process_list_or_in_debug() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(spec("answers", dir.path())).await.unwrap();
    let line = std::fs::read(format!("/proc/{}/cmdline", daemon.pid().unwrap())).unwrap();
    let secret = daemon.password().expose_secret();
    assert!(!String::from_utf8_lossy(&line).contains(secret));
    assert!(!format!("{daemon:?}").contains(secret));
}

#[tokio::test]
async fn the_environment_is_an_allow_list() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec("answers", dir.path());
    spec.environment = spec.environment.with("AWS_SECRET_ACCESS_KEY", "not-for-agents");
    let daemon = Daemon::start(spec).await.unwrap();
    let environ = std::fs::read(format!("/proc/{}/environ", daemon.pid().unwrap())).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    assert!(!environ.contains("not-for-agents"));
    assert!(!environ.contains("CARGO_MANIFEST_DIR"), "what cargo set for this test stays here");
    assert!(environ.contains("PATH=") && environ.contains("OPENCODE_CONFIG_CONTENT="));
}

#[tokio::test]
async fn stop_and_drop_end_what_the_daemon_started_in_other_sessions() {
    for (mark, by_stop) in [("ended-by-stop", true), ("ended-by-drop", false)] {
        let dir = tempfile::tempdir().unwrap();
        let mark = format!("{mark}-{}", std::process::id());
        let daemon = Daemon::start(with(spec("answers", dir.path()), "FAKE_CHILD", &mark)).await.unwrap();
        eventually("the child of the daemon", || processes_with("FAKE_CHILD", &mark).len() == 2).await;
        if by_stop {
            daemon.stop().await;
        } else {
            drop(daemon);
        }
        assert!(processes_with("FAKE_CHILD", &mark).is_empty());
    }
}

#[tokio::test]
async fn what_a_crashed_daemon_left_is_ended_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("crashed-{}", std::process::id());
    let mut daemon = Daemon::start(with(spec("answers", dir.path()), "FAKE_CHILD", &mark)).await.unwrap();
    eventually("the child of the daemon", || processes_with("FAKE_CHILD", &mark).len() == 2).await;
    daemon.kill9().await;
    assert!(matches!(daemon.try_exit(), Some(Exit::Status(status)) if !status.success()));
    assert_eq!(processes_with("FAKE_CHILD", &mark).len(), 1);
    drop(daemon);
    assert!(processes_with("FAKE_CHILD", &mark).is_empty());
}

#[tokio::test]
async fn a_daemon_that_ignores_sigterm_is_killed_after_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("ignores-{}", std::process::id());
    let mut spec = with(spec("answers", dir.path()), "FAKE_IGNORES_TERM", &mark);
    spec.stop_grace = Duration::from_millis(200);
    let daemon = Daemon::start(spec).await.unwrap();
    let begun = Instant::now();
    daemon.stop().await;
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert!(processes_with("FAKE_IGNORES_TERM", &mark).is_empty());
}

#[tokio::test]
async fn an_end_during_the_start_is_reported_at_once_with_its_known_cause_and_none_of_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec("ends", dir.path());
    spec.password = Some(SecretString::from("do-not-print-me"));
    let begun = Instant::now();
    let error = Daemon::start(spec).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20), "the limit is a minute");
    let StartError::Ended { status, .. } = &error else { panic!("{error:?}") };
    assert_eq!(status.code(), Some(3));
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("a provider or a model that it does not know"), "{shown}");
    assert!(!shown.contains("do-not-print-me") && !shown.contains("reading configuration"), "{shown}");
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_at_the_start_up_limit() {
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("hangs-{}", std::process::id());
    let mut spec = with(spec("hangs", dir.path()), "FAKE_HANGS", &mark);
    spec.startup_limit = Duration::from_millis(300);
    let error = Daemon::start(spec).await.unwrap_err();
    assert!(matches!(&error, StartError::TimedOut { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("thinking"), "{error:?}");
    assert!(processes_with("FAKE_HANGS", &mark).is_empty());
}

#[tokio::test]
async fn a_start_that_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("dropped-{}", std::process::id());
    let starting = Daemon::start(with(spec("hangs", dir.path()), "FAKE_HANGS", &mark));
    tokio::select! {
        started = starting => panic!("{started:?}"),
        () = eventually("the process", || !processes_with("FAKE_HANGS", &mark).is_empty()) => {}
    }
    assert!(processes_with("FAKE_HANGS", &mark).is_empty());
}

#[tokio::test]
async fn a_hundred_megabytes_of_output_do_not_stay() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("output");
    let mut spec = spec("floods", dir.path());
    spec.output = Some(output.clone());
    let error = Daemon::start(spec).await.unwrap_err();
    assert!(matches!(error, StartError::Ended { .. }), "{error:?}");
    assert!(std::fs::metadata(output).unwrap().len() <= 1024 * 1024);
}

#[tokio::test]
async fn another_major_version_and_one_with_the_hole_are_refused_and_ended() {
    for (version, reason) in [("3.0.0", "another API"), ("2.0.5", "2.0.6"), ("1.0.215", "CVE-2026-22812")] {
        let dir = tempfile::tempdir().unwrap();
        let error =
            Daemon::start(with(spec("answers", dir.path()), "FAKE_VERSION", version)).await.unwrap_err();
        assert!(matches!(error, StartError::Version(_)), "{error:?}");
        assert!(error.source().unwrap().to_string().contains(reason));
    }
}

#[tokio::test]
async fn a_missing_program_and_a_missing_directory_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Daemon::start(spec("no-such-program", dir.path())).await.unwrap_err();
    assert!(matches!(&error, StartError::Program { path, .. } if path.ends_with("no-such-program")));
    let (mut walled, private) = (spec("answers", dir.path()), tempfile::tempdir().unwrap());
    let confinement = Confinement::around(&walled, "/no/launcher", private.path().join("w.tmp"));
    walled.confinement = Some(confinement);
    let error = Daemon::start(walled).await.unwrap_err();
    assert!(matches!(&error, StartError::Program { path, .. } if path.ends_with("launcher")), "{error:?}");
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [dir.path().join("gone"), file] {
        let error = Daemon::start(spec("answers", &path)).await.unwrap_err();
        assert!(matches!(&error, StartError::Directory { path: named, .. } if *named == path), "{error:?}");
    }
}

#[tokio::test]
async fn a_stranger_on_the_port_is_named_and_not_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let stranger = Stranger::on(0).await;
    let mut spec = spec("answers", dir.path());
    spec.port = Port::Fixed(stranger.port);
    let error = Daemon::start(spec).await.unwrap_err();
    assert!(matches!(error, StartError::PortTaken { port } if port == stranger.port), "{error:?}");
    assert_eq!(stranger.heard(), "");
}

#[tokio::test]
async fn a_daemon_that_moves_on_from_a_taken_port_is_given_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("moves-on-{}", std::process::id());
    let held: Vec<_> = (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = held.iter().map(|held| held.local_addr().unwrap().port()).collect();
    drop(held);
    let mut spec = with(spec("answers", dir.path()), "FAKE_TAKEN", &ports[0].to_string());
    spec = with(with(spec, "FAKE_VERSION", "2.0.22"), "FAKE_MOVES_ON", &mark);
    spec.port = Port::FirstFree(ports.clone());
    let taken = async {
        eventually("the process", || !processes_with("FAKE_MOVES_ON", &mark).is_empty()).await;
        Stranger::on(ports[0]).await
    };
    let (daemon, stranger) = tokio::join!(Daemon::start(spec), taken);
    assert_eq!(daemon.unwrap().port(), ports[1]);
    assert_eq!(stranger.heard(), "");
}

#[tokio::test]
async fn a_daemon_of_2_x_is_known_though_the_question_of_1_x_is_never_answered() {
    let dir = tempfile::tempdir().unwrap();
    let spec = with(with(spec("answers", dir.path()), "FAKE_2", "1"), "FAKE_VERSION", "2.0.22");
    let begun = Instant::now();
    let daemon = Daemon::start(spec).await.unwrap();
    assert_eq!(daemon.version(), "2.0.22");
    assert_eq!(daemon.health().await.unwrap(), "2.0.22");
    assert!(begun.elapsed() < Duration::from_secs(30), "it was waited for in vain");
}
