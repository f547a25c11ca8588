//! Who answers at the origin, and what comes of it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use connector_contract::Consequence;
use serde_json::json;
use testkit::RealDaemon;
use testkit::fake::{Canned, Fake, Faults, Fixture, Generation};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::support::{Bench, impatient};

fn says(version: &str) -> Faults {
    Faults { version: Some(version.into()), ..Faults::default() }
}

/// Runs a turn; the reply, or why there is none.
async fn answer(generation: Generation, faults: Faults) -> Result<String, String> {
    let fake = Fake::start(Fixture::of(generation, "text"), faults).await.unwrap();
    let mut timing = impatient();
    timing.request = std::time::Duration::from_secs(3);
    let bench = Bench::at_with_timing(&fake, json!({}), timing).await;
    match bench.run("go").await {
        Ok(result) => Ok(result.output["reply"].as_str().unwrap().to_owned()),
        Err(error) => {
            assert_eq!((error.consequence(), fake.tasks()), (Consequence::NothingStarted, 0), "{error}");
            Err(connector_contract::chain(&error))
        }
    }
}

#[tokio::test]
async fn each_version_is_spoken_to_or_refused_with_what_to_do() {
    use Generation::{V1, V2};
    for (generation, version, refusal) in [
        (V1, "1.1.7", None),
        (V1, "1.18.33", None),
        (V2, "2.0.6", None),
        (V2, "2.0.22", None),
        (V2, "2.1.4", None),
        (V2, "2.9.0", None),
        (V1, "1.0.215", Some("CVE-2026-22812")),
        (V1, "1.1.6", Some("1.1.7")),
        (V2, "2.0.3", Some("2.0.6")),
        (V2, "2.0.5", Some("2.0.6")),
        (V2, "3.0.0", Some("2.x")),
    ] {
        match (answer(generation, says(version)).await, refusal) {
            (Ok(reply), None) => assert_eq!(reply, "Done: hello", "{version}"),
            (Err(why), Some(word)) => {
                assert!(why.contains(word) && why.contains(version), "{version}: {why}");
            }
            (other, _) => panic!("{version}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn whoever_does_not_say_who_it_is_is_used_where_configuration_says_so_and_only_there() {
    let silent = || Faults {
        canned: vec![
            ("GET /global/health".to_owned(), Canned::empty(404)),
            ("GET /api/".to_owned(), Canned::page()),
        ],
        ..Faults::default()
    };
    let fixture = || Fixture::of(Generation::V1, "text");
    let (fake, strict) = crate::support::fake(fixture(), silent(), json!({})).await;
    let error = strict.run("go").await.unwrap_err();
    let told = connector_contract::chain(&error);
    assert!(told.contains("not opencode") && told.contains("probe = \"lenient\""), "{told}");
    assert_eq!((error.consequence(), fake.tasks()), (Consequence::NothingStarted, 0));

    let (fake, lenient) = crate::support::fake(fixture(), silent(), json!({ "probe": "lenient" })).await;
    for _ in 0..2 {
        assert_eq!(lenient.run("go").await.unwrap().output["reply"], "Done: hello");
    }
    assert_eq!(fake.tasks(), 2);

    // A page in place of a session is still no daemon.
    let mut page = silent();
    page.canned.push(("POST /session".to_owned(), Canned::page()));
    let (fake, lenient) = crate::support::fake(fixture(), page, json!({ "probe": "lenient" })).await;
    let error = lenient.run("go").await.unwrap_err();
    assert_eq!((error.consequence(), fake.tasks()), (Consequence::NothingStarted, 0), "{error}");
}

#[tokio::test]
async fn a_version_that_is_newer_than_any_that_is_known_is_warned_of_once() {
    let log = Log::default();
    let writer = log.clone();
    let _guard = tracing_subscriber::fmt().with_writer(move || writer.clone()).set_default();
    for (version, warnings) in [("2.1.4", 0), ("2.9.0", 1)] {
        let fake = Fake::start(Fixture::of(Generation::V2, "text"), says(version)).await.unwrap();
        let bench = Bench::at(&fake, json!({})).await;
        for prompt in ["one", "two"] {
            assert!(bench.run(prompt).await.unwrap().success);
        }
        let told = String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
        assert_eq!(told.matches("untested version").count(), warnings, "{told}");
        assert_eq!(told.contains(version), warnings == 1, "{told}");
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_real_daemon_of_1_x_is_told_from_the_rest() {
    use secrecy::ExposeSecret as _;
    let daemon = RealDaemon::shared().await;
    daemon.model().add(testkit::Script::default().reply("PROBE", "probed"));
    let config = json!({ "password": daemon.password().expose_secret(), "directory": daemon.directory() });
    let timing = connector_opencode::Timing::default();
    let bench = Bench::with_timing(&daemon.base_url(), config, timing).await;
    assert_eq!(bench.run("PROBE").await.unwrap().output["reply"], "probed");
}

#[tokio::test]
async fn a_web_server_that_answers_everything_is_no_daemon() {
    let faults = Faults { canned: vec![(String::new(), Canned::page())], ..Faults::default() };
    let why = answer(Generation::V1, faults).await.unwrap_err();
    assert!(why.contains("not opencode"), "{why}");
}

#[tokio::test]
async fn a_password_that_is_not_accepted_is_named_with_and_without_a_body() {
    let other = || Some("another".to_owned());
    for (generation, bare_401) in [(Generation::V1, false), (Generation::V2, false), (Generation::V2, true)] {
        let faults = Faults { password: other(), bare_401, ..Faults::default() };
        let why = answer(generation, faults).await.unwrap_err();
        assert!(why.contains("password"), "{generation:?} {bare_401}: {why}");
        assert!(!why.contains("another") && !why.contains("two-needs-one"), "{why}");
    }
}

#[tokio::test]
async fn a_server_that_starts_is_waited_for_a_little() {
    let starting = |starting| Faults { starting, ..Faults::default() };
    assert_eq!(answer(Generation::V2, starting(6)).await.unwrap(), "Done: hello");
    let why = answer(Generation::V2, starting(usize::MAX)).await.unwrap_err();
    assert!(why.contains("starting"), "{why}");
}
