//! Daemons of an earlier host.

use std::path::Path;

use opencode_daemons::daemon::Unfit;
use opencode_daemons::{Adopted, Daemon, Port, Spec, StartError};
use serde_json::{Value, json};

use crate::support::{Stranger, eventually, processes_with, spec, with};

async fn adopt(spec: &Spec, record: &Path) -> (Daemon, Adopted) {
    Daemon::adopt_or_start(spec.clone(), record).await.unwrap()
}

fn edit(record: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(record, value.to_string()).unwrap();
}

#[tokio::test]
async fn a_daemon_left_behind_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("state/app.json");
    let spec = spec("answers", dir.path());
    let (first, how) = adopt(&spec, &record).await;
    assert_eq!(how, Adopted::Fresh);
    let (pid, port) = (first.pid(), first.port());
    first.leave();

    let (mut second, how) = adopt(&spec, &record).await;
    assert_eq!(how, Adopted::Same);
    assert_eq!((second.pid(), second.port()), (pid, port));
    assert_eq!(second.health().await.unwrap(), "1.18.33");
    assert_eq!(second.try_exit(), None);
    second.stop().await;
    assert!(!record.exists(), "a daemon that was ended is not recorded");
}

#[tokio::test]
async fn a_second_host_is_refused_while_the_first_has_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("app.json");
    let spec = spec("answers", dir.path());
    let (_daemon, _) = adopt(&spec, &record).await;
    let error = Daemon::adopt_or_start(spec, &record).await.unwrap_err();
    assert!(matches!(error, StartError::InUse { .. }), "{error:?}");
}

#[tokio::test]
async fn a_daemon_started_from_another_terminal_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("app.json");
    let mut spec = spec("answers", dir.path());
    spec.environment = spec.environment.with("TERM", "xterm").with("XDG_SESSION_ID", "1");
    let (first, _) = adopt(&spec, &record).await;
    let pid = first.pid();
    first.leave();
    spec.environment = spec.environment.with("TERM", "dumb").with("XDG_SESSION_ID", "2").with("LC_ALL", "C");
    let (second, how) = adopt(&spec, &record).await;
    assert_eq!((how, second.pid()), (Adopted::Same, pid));
}

#[tokio::test]
async fn a_daemon_with_another_configuration_is_ended_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("app.json");
    let mark = format!("reconfigured-{}", std::process::id());
    let mut spec = with(spec("answers", dir.path()), "FAKE_CHILD", &mark);
    let (first, _) = adopt(&spec, &record).await;
    let old = first.pid();
    eventually("the child of the daemon", || processes_with("FAKE_CHILD", &mark).len() == 2).await;
    first.leave();

    spec.config = json!({ "model": "other/model" });
    let (second, how) = adopt(&spec, &record).await;
    assert_eq!(how, Adopted::Replaced(Unfit::OtherConfiguration));
    assert_ne!(second.pid(), old);
    drop(second);
    assert!(processes_with("FAKE_CHILD", &mark).is_empty(), "the old one's child is gone as well");
}

#[tokio::test]
async fn a_recorded_number_that_another_process_has_now_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("app.json");
    let mark = format!("bystander-{}", std::process::id());
    let bystander = Daemon::start(with(spec("answers", dir.path()), "FAKE_BYSTANDER", &mark)).await.unwrap();
    let spec = spec("answers", dir.path());
    let (mut first, _) = adopt(&spec, &record).await;
    first.kill9().await;
    first.leave();
    edit(&record, |record| record["process"]["pid"] = json!(bystander.pid().unwrap()));

    let (_second, how) = adopt(&spec, &record).await;
    assert_eq!(how, Adopted::Replaced(Unfit::Gone));
    assert_eq!(bystander.health().await.unwrap(), "1.18.33");
}

#[tokio::test]
async fn a_stranger_on_the_recorded_port_is_not_sent_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("app.json");
    let mut spec = spec("answers", dir.path());
    let (first, _) = adopt(&spec, &record).await;
    first.leave();
    let stranger = Stranger::on(0).await;
    edit(&record, |record| record["port"] = json!(stranger.port));

    spec.port = Port::Free;
    let (second, how) = adopt(&spec, &record).await;
    assert_eq!(how, Adopted::Replaced(Unfit::Silent));
    assert_ne!(second.port(), stranger.port);
    assert_eq!(stranger.heard(), "");
}

#[tokio::test]
async fn a_host_killed_before_its_daemon_was_named_leaves_nothing_that_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let record = dir.path().join("app.json");
    let mark = format!("unnamed-{}", std::process::id());
    let spec = with(spec("answers", dir.path()), "FAKE_UNNAMED", &mark);
    let (first, _) = adopt(&spec, &record).await;
    first.leave();
    edit(&record, |record| record["process"] = Value::Null);
    let before = processes_with("FAKE_UNNAMED", &mark);

    let (_second, how) = adopt(&spec, &record).await;
    assert_eq!(how, Adopted::Replaced(Unfit::Gone));
    let after = processes_with("FAKE_UNNAMED", &mark);
    assert_eq!(after.len(), 1);
    assert_ne!(before, after);
}
