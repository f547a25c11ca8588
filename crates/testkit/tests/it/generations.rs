//! The host's own way of starting daemons, with programs of both generations.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use opencode_daemons::{Daemon, Environment, Spec, StartError};

/// A program in `directory` that does as opencode `version` would.
fn program(directory: &Path, version: &str) -> PathBuf {
    let path = directory.join("opencode");
    let fake = env!("CARGO_BIN_EXE_fake-opencode");
    std::fs::write(&path, format!("#!/bin/sh\nexec '{fake}' --says {version} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn start(version: &str) -> Result<Daemon, StartError> {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path(), version);
    let mut spec = Spec::new(program, directory.path(), Environment::of_this_process());
    spec.startup_limit = Duration::from_mins(1);
    Daemon::start(spec).await
}

#[tokio::test]
async fn daemons_of_both_generations_start_and_take_the_password_they_are_given() {
    for version in ["1.18.33", "2.0.6", "2.0.22", "2.1.4"] {
        let daemon = start(version).await.unwrap();
        assert_eq!(daemon.version(), version);
    }
}

#[tokio::test]
async fn versions_that_are_not_spoken_to_are_refused_by_what_to_do() {
    for (version, words) in
        [("2.0.3", "update to 2.0.6"), ("2.0.5", "update to 2.0.6"), ("3.0.0", "use a 1.x release")]
    {
        let error = start(version).await.err().unwrap();
        let text = chain(&error);
        assert!(text.contains(version) && text.contains(words), "{text}");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
