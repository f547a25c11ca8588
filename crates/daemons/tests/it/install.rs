//! Finding and installing, with stand-ins for npm.

use std::path::Path;
use std::sync::Mutex;

use connector_files::Log;
use opencode_daemons::install::locate;
use opencode_daemons::{Environment, InstallError, Locate, Progress, Source};

use crate::support::{eventually, program};

/// A search that finds nothing on `PATH` but the stand-in for npm and the system's tools.
fn with_npm(npm: Option<&str>, cache: &Path) -> Locate {
    let stand_in = npm.map(|npm| format!("{}:/usr/bin:/bin", program(npm).display()));
    let environment = Environment::default()
        .with("PATH", stand_in.unwrap_or_else(|| cache.display().to_string()))
        .with("HOME", cache.parent().unwrap());
    Locate { search_path: false, cache: Some(cache.to_owned()), ..Locate::new(environment) }
}

#[tokio::test]
async fn a_given_path_is_taken_by_path_by_name_and_by_variable() {
    let programs = program("answers").parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::join_paths([programs.as_str()]).unwrap().display());
    let environment = Environment::of_this_process();
    let whole = format!("{path}:{}", environment.get("PATH").unwrap().display());
    let environment = environment.with("PATH", whole).with("MY_OPENCODE", program("answers"));
    for given in [program("answers").display().to_string(), "answers".into(), "env:MY_OPENCODE".into()] {
        let from = Locate { path: Some(given.clone()), ..Locate::new(environment.clone()) };
        let found = locate(&from, |_| {}).await.unwrap();
        assert_eq!((found.path, found.source), (program("answers"), Source::Given), "{given}");
    }
}

#[tokio::test]
async fn what_is_given_and_unusable_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let given = |path: &str| Locate { path: Some(path.into()), ..with_npm(Some("npm-installs"), dir.path()) };
    let error = locate(&given("env:UNSET_VARIABLE"), |_| {}).await.unwrap_err();
    assert!(matches!(&error, InstallError::Unset { name } if name == "UNSET_VARIABLE"));
    let error = locate(&given("/no/such/opencode"), |_| {}).await.unwrap_err();
    assert!(matches!(error, InstallError::Missing { .. }));
    let error = locate(&given(&program("ends").display().to_string()), |_| {}).await.unwrap_err();
    assert!(matches!(error, InstallError::Unusable { .. }));
    assert!(error.to_string().contains("a provider or a model that it does not know"), "{error}");
}

#[tokio::test]
async fn without_npm_the_error_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let error = locate(&with_npm(None, &dir.path().join("cache")), |_| {}).await.unwrap_err();
    assert!(matches!(error, InstallError::NoNpm { .. }));
    assert!(error.to_string().contains("install Node.js"));
}

#[tokio::test]
async fn a_failed_install_tells_a_known_cause_and_leaves_nothing_but_npms_words_for_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let printed = Log::at(dir.path().join("state/install.log"));
    let from = Locate { printed: Some(printed.clone()), ..with_npm(Some("npm-fails"), &cache) };
    let error = locate(&from, |_| {}).await.unwrap_err();
    assert!(matches!(error, InstallError::Npm { .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("may not use a file") && told.contains("state/install.log"), "{told}");
    assert!(!told.contains("root-owned files"), "{told}");
    assert!(printed.tail(9).unwrap().join(" ").contains("root-owned files"));
    assert_eq!(left_in(&cache), ["install.lock"]);
}

#[tokio::test]
async fn an_install_of_another_version_than_asked_for_is_refused_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let error = locate(&with_npm(Some("npm-lies"), &cache), |_| {}).await.unwrap_err();
    assert!(matches!(error, InstallError::Version { .. }), "{error:?}");
    assert_eq!(left_in(&cache), ["install.lock"]);
}

#[tokio::test]
async fn of_many_that_want_it_at_once_one_installs() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let from = with_npm(Some("npm-installs"), &cache);
    let said = Mutex::new(Vec::new());
    let say = |progress| said.lock().unwrap().push(progress);
    let (a, b, c) = tokio::join!(locate(&from, say), locate(&from, say), locate(&from, say));
    let sources = [a, b, c].map(|found| found.unwrap().source);
    assert_eq!(sources.iter().filter(|source| **source == Source::Installed).count(), 1, "{sources:?}");
    assert_eq!(std::fs::read_to_string(dir.path().join("runs")).unwrap(), "run\n");
    let said = said.into_inner().unwrap();
    assert_eq!(said.iter().filter(|said| matches!(said, Progress::Waiting)).count(), 2, "{said:?}");
    assert!(matches!(said.last().unwrap(), Progress::Installed { .. }), "{said:?}");
}

#[tokio::test]
async fn a_dropped_install_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let from = with_npm(Some("npm-hangs"), &cache);
    let runs = dir.path().join("runs");
    tokio::select! {
        found = locate(&from, |_| {}) => panic!("{found:?}"),
        () = eventually("npm", || runs.exists()) => {}
    }
    assert_eq!(left_in(&cache), ["install.lock"]);
    assert!(crate::support::processes_with("HOME", &dir.path().display().to_string()).is_empty());
}

#[tokio::test]
async fn a_leftover_of_a_killed_install_is_cleared_and_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    std::fs::create_dir_all(cache.join(".installing-x/node_modules/.bin")).unwrap();
    std::fs::create_dir_all(cache.join("opencode-1.18.33/node_modules/half-deleted")).unwrap();
    let found = locate(&with_npm(Some("npm-installs"), &cache), |_| {}).await.unwrap();
    assert_eq!(found.source, Source::Installed);
    assert_eq!(left_in(&cache), ["install.lock", "opencode-1.18.33"]);
    let again = locate(&with_npm(None, &cache), |_| {}).await.unwrap();
    assert_eq!((again.source, again.path), (Source::Cache, found.path));
}

fn left_in(cache: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(cache).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
