//! Daemons that are killed, suspended, started again, or run as a service.

use std::time::Duration;

use connector_contract::ConnectorError;
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::fake::Generation;
use testkit::real::RealService;
use testkit::{RealDaemon, Script};
use tokio::time::Instant;

use super::{bash, bench, patient, reply};
use crate::support::eventually;
use crate::wires::on_wires;

on_wires! {
    threaded {
        a_daemon_killed_during_a_turn_and_started_again_fails_the_turn_and_keeps_the_session,
        a_daemon_killed_for_good_leaves_the_outcome_unknown,
        a_daemon_that_is_suspended_for_a_while_goes_on,
    }
    only V2 because "1.x has no background service" {
        a_background_service_goes_on_with_the_turn_it_was_killed_in,
    }
}

async fn a_daemon_killed_during_a_turn_and_started_again_fails_the_turn_and_keeps_the_session(
    generation: Generation,
) {
    let script = bash("SLEEP-12", "touch running; sleep 600").reply("AFTER-12", "back again");
    let mut daemon = RealDaemon::start_on(generation, script).await.unwrap();
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    // On a machine with much to do, a daemon takes long for its first answers.
    let config = json!({ "password": daemon.password().expose_secret(), "directory": directory });
    let give_up = match generation {
        Generation::V1 => Duration::from_mins(3),
        // One that is back is given so long to take the turn up again by itself.
        Generation::V2 => Duration::from_secs(15),
    };
    let mut bench = patient(&daemon.base_url(), config, give_up).await;
    bench.deadline = Duration::from_mins(5);
    let running = directory.join("running");
    let (result, ()) = tokio::join!(bench.run("SLEEP-12"), async {
        eventually("the command runs", || running.exists()).await;
        daemon.kill9().await;
        daemon.restart().await.unwrap();
    });
    let error = result.unwrap_err();
    let ConnectorError::Failed { reason, reference } = error else { panic!("{error:?}") };
    assert!(reason.contains("nothing runs any more"), "{reason}");
    let input = json!({ "session_id": reference.session_id, "prompt": "AFTER-12" });
    assert_eq!(reply(&bench.execute("continue_session", input).await.unwrap()), "back again");
}

async fn a_daemon_killed_for_good_leaves_the_outcome_unknown(generation: Generation) {
    let script = bash("SLEEP-13", "touch running; sleep 600");
    let mut daemon = RealDaemon::start_on(generation, script).await.unwrap();
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let bench = bench(&daemon, &directory, json!({})).await;
    let running = directory.join("running");
    let began = Instant::now();
    let (result, ()) = tokio::join!(bench.run("SLEEP-13"), async {
        eventually("the command runs", || running.exists()).await;
        daemon.kill9().await;
    });
    let error = result.unwrap_err();
    assert!(matches!(error, ConnectorError::OutcomeUnknown { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_mins(1));
}

async fn a_daemon_that_is_suspended_for_a_while_goes_on(generation: Generation) {
    let script = bash("SUSPENDED-18", "touch running; while [ ! -e go ]; do sleep 0.1; done");
    let daemon = RealDaemon::start_on(generation, script).await.unwrap();
    let directory = daemon.workspace(&[("a.txt", "a\n")]).unwrap();
    let bench = bench(&daemon, &directory, json!({})).await;
    let running = directory.join("running");
    let (result, ()) = tokio::join!(bench.run("SUSPENDED-18"), async {
        eventually("the command runs", || running.exists()).await;
        daemon.suspend();
        std::fs::write(directory.join("go"), "").unwrap();
        // Shorter than what gives a daemon up.
        tokio::time::sleep(Duration::from_secs(6)).await;
        daemon.resume();
    });
    assert_eq!(reply(&result.unwrap()), "ran SUSPENDED-18");
}

async fn a_background_service_goes_on_with_the_turn_it_was_killed_in(_: Generation) {
    let bash = json!({ "command": "touch begun; sleep 2", "description": "a command" });
    // A step that has begun is gone on with in these words, which are a prompt of the server's own.
    let script = Script::default()
        .call("SERVICE-19", 0, "bash", bash)
        .reply("SERVICE-19", "served")
        .reply("The server restarted while you were working", "served");
    let mut service = RealService::start(script).await.unwrap();
    let directory = service.workspace(&[("a.txt", "a\n")]).unwrap();
    let config = json!({ "password": service.password().unwrap(), "directory": directory });
    let mut bench = patient(&service.base_url().unwrap(), config, Duration::from_mins(1)).await;
    bench.deadline = Duration::from_mins(3);
    let begun = directory.join("begun");
    let (result, password) = tokio::join!(bench.run("SERVICE-19"), async {
        eventually("the command runs", || begun.exists()).await;
        let password = service.password().unwrap();
        service.crash_and_restart().await.unwrap();
        (password, service.password().unwrap())
    });
    let (before, after) = password;
    assert_eq!(before, after, "it keeps its password");
    assert_eq!(reply(&result.unwrap()), "served");
}
