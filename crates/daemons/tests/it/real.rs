//! The real opencode.

use std::time::Duration;

use opencode_daemons::{Adopted, Daemon, Environment, Home, Port, Spec, StartError};
use serde_json::json;

use crate::support::processes_with;

async fn spec(root: &std::path::Path) -> Spec {
    let opencode = testkit::real::opencode().await.unwrap();
    let workspace = root.join("workspace");
    testkit::scratch::repository(&workspace, &[]).unwrap();
    let mut spec = Spec::new(opencode.path, workspace, Environment::of_this_process());
    spec.home = Home::Isolated(root.join("home"));
    spec.startup_limit = Duration::from_mins(2);
    spec
}

#[tokio::test]
async fn a_busy_port_a_restart_of_the_host_and_a_new_configuration() {
    let root = tempfile::tempdir().unwrap();
    let record = root.path().join("state.json");
    let mut spec = spec(root.path()).await;
    let (first, how) = Daemon::adopt_or_start(spec.clone(), &record).await.unwrap();
    assert_eq!(how, Adopted::Fresh);

    let mut second = spec.clone();
    second.port = Port::Fixed(first.port());
    let error = Daemon::start(second).await.unwrap_err();
    assert!(matches!(error, StartError::PortTaken { .. }), "{error:?}");

    let pid = first.pid();
    first.leave();
    let (found, how) = Daemon::adopt_or_start(spec.clone(), &record).await.unwrap();
    assert_eq!((how, found.pid()), (Adopted::Same, pid));
    found.leave();

    spec.config = json!({ "permission": { "bash": "deny" } });
    let (replaced, how) = Daemon::adopt_or_start(spec, &record).await.unwrap();
    assert!(matches!(how, Adopted::Replaced(_)));
    replaced.stop().await;
    let home = root.path().join("home").display().to_string();
    assert!(processes_with("HOME", &home).is_empty());
}
