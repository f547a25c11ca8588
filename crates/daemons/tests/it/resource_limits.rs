//! What an agent may hold, with a real daemon whose agent takes more.

use opencode_daemons::pool::Surroundings;
use opencode_daemons::{Environment, Home, Pool, PoolConfig};
use serde_json::json;
use testkit::model::ScriptedModel;
use testkit::{Script, scratch};

use crate::support::prompt_at;

/// Doubles until there are five hundred, each of which waits.
const FORKS: &str = "b() { [ $1 -le 0 ] || { b $(($1-1)) & b $(($1-1)) & }; sleep 300; }; b 8; touch over";
/// Takes four gigabytes, if it can.
const HOG: &str =
    "node -e 'const a = []; while (a.length < 64) a.push(Buffer.alloc(64 << 20, 1))' && touch over";
/// Takes 250 megabytes six times.
const HOGS: &str = "for i in 1 2 3 4 5 6; do \
    node -e 'const a = Buffer.alloc(250 << 20, 1); setTimeout(() => a, 300000)' & done; wait; touch over";

/// Leaves a file of 600 megabytes, and waits.
const FILLS: &str = "fallocate -l 600M $TMPDIR/full; touch filled; sleep 300; touch over";

#[tokio::test]
async fn an_agent_that_takes_too_many_processes_or_too_much_memory_or_disk_is_stopped_and_goes_on() {
    let attempts = [
        ("FORKS", FORKS),
        ("ONE-LARGE", HOG),
        ("MANY-LARGE", HOGS),
        ("FILLS", FILLS),
        ("ORDINARY", "touch done"),
    ];
    let script = attempts.iter().fold(Script::default(), |script, (name, command)| {
        let call = json!({ "command": command, "description": "runs it" });
        script.call(name, 0, "bash", call).reply(name, "went on")
    });
    let model = ScriptedModel::start(script).unwrap();
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("app");
    scratch::repository(&directory, &[]).unwrap();
    let mut config: PoolConfig = serde_json::from_value(json!({
        "max_processes": 50, "memory_mb": 1024, "disk_mb": 512, "server_startup_timeout_secs": 120,
        "confine": "required", "permissions": { "bash": "allow" }, "extra_config": model.config(),
    }))
    .unwrap();
    config.workspaces.entry("app".into()).or_default().directory =
        connector_files::AbsolutePath::new(directory.clone()).unwrap();
    let around = Surroundings {
        program: testkit::real::opencode().await.unwrap().path,
        environment: Environment::of_this_process(),
        state: root.path().join("state"),
        launcher: Some(env!("CARGO_BIN_EXE_opencode-within-walls").into()),
        home: Home::Isolated(root.path().join("home")),
    };
    let pool = Pool::new(&config, &around).unwrap();
    let mut lease = pool.lease("app", |_| {}).await.unwrap();
    let daemon = lease.address();

    for (name, _) in attempts {
        let turn = async { prompt_at(&daemon.base_url, &daemon.password, name).await };
        let answer = tokio::select! {
            answer = turn => answer,
            () = lease.lost(&daemon) => panic!("{name}: the daemon was ended"),
        };
        assert!(answer.to_string().contains("went on"), "{name}: {answer}");
    }

    assert_eq!(lease.address(), daemon, "the daemon was left alone");
    assert!(!directory.join("over").exists(), "none came to its end");
    assert!(directory.join("done").exists(), "ordinary work goes on");
    let log = pool.logs("app", 100).unwrap().join("\n");
    assert!(log.contains("and 50 are allowed; the agent's commands are ended"), "{log}");
    assert!(log.contains("and 1024 allowed; the agent's commands are ended"), "{log}");
    assert!(
        log.contains("more than the 512 MiB that are allowed on the disk; the agent's commands"),
        "{log}"
    );
    assert!(directory.join("filled").exists() && !root.path().join("state/app.tmp/full").exists());
    drop(lease);
    pool.shutdown().await;
}
