//! The pool with stand-ins for opencode: places, waiting, deaths, hosts.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use connector_files::AbsolutePath;
use opencode_daemons::pool::{Others, Phase, Refusal, Surroundings, Wait};
use opencode_daemons::{Environment, Home, Lease, Pool, PoolConfig, PoolError, StartError};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::{Stranger, eventually, processes_with, program};

/// A pool over workspaces `a`, `b` and `c` below `root`, whose processes carry `mark`.
struct Bench {
    pool: Pool,
    mark: String,
}

impl Bench {
    fn new(root: &Path, name: &str, settings: Value) -> Self {
        Self::running(root, name, "answers", settings)
    }

    fn running(root: &Path, name: &str, binary: &str, settings: Value) -> Self {
        Self::launched(root, name, binary, settings, None)
    }

    fn launched(root: &Path, name: &str, binary: &str, settings: Value, launcher: Option<&str>) -> Self {
        let mark = format!("{name}-{}", std::process::id());
        let mut config: PoolConfig = serde_json::from_value(settings).unwrap();
        config.pass.push("POOL_TEST".into());
        for workspace in ["a", "b", "c"] {
            let directory = root.join(workspace);
            std::fs::create_dir_all(&directory).unwrap();
            config.workspaces.entry(workspace.into()).or_default().directory =
                AbsolutePath::new(directory).unwrap();
        }
        let environment = Environment::of_this_process().with("POOL_TEST", &mark).with("FAKE_STUBBORN", "1");
        let around = Surroundings {
            program: program(binary),
            environment,
            state: root.join("state"),
            launcher: launcher.map(Into::into),
            home: Home::User,
        };
        Self { pool: Pool::new(&config, &around).unwrap(), mark }
    }

    async fn lease(&self, workspace: &str) -> Lease {
        self.pool.lease(workspace, |_| {}).await.unwrap()
    }

    async fn phase(&self, workspace: &str) -> Phase {
        self.pool
            .list()
            .await
            .unwrap()
            .into_iter()
            .find(|status| status.workspace == workspace)
            .unwrap()
            .phase
    }

    fn processes(&self) -> usize {
        processes_with("POOL_TEST", &self.mark).len()
    }

    async fn ends_clean(&self) {
        self.pool.shutdown().await;
        assert_eq!(self.processes(), 0);
    }
}

#[tokio::test]
async fn a_command_that_does_not_heed_is_killed_and_the_daemon_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let settings = json!({ "max_processes": 1, "pass": ["FAKE_STUBBORN"] });
    let bench = Bench::new(root.path(), "stubborn", settings);
    let lease = bench.lease("a").await;
    let daemon = lease.address();
    eventually("the end of the command", || bench.processes() == 1).await;
    assert_eq!(lease.address(), daemon);
    drop(lease);
    bench.ends_clean().await;
}

fn kill(lease: &Lease) {
    signal(lease, Signal::KILL);
}

fn signal(lease: &Lease, signal: Signal) {
    let pid = i32::try_from(lease.address().pid.unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn leases_of_one_workspace_share_a_daemon_on_the_directorys_own_port() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "share", json!({}));
    let (one, two) = tokio::join!(bench.lease("a"), bench.lease("a"));
    assert_eq!(one.address(), two.address());
    let port = one.address().base_url;
    assert_eq!(bench.processes(), 1);
    bench.pool.stop("a", true).await.unwrap();
    assert_eq!(bench.lease("a").await.address().base_url, port, "the port is the directory's");
    bench.ends_clean().await;
}

#[tokio::test]
async fn three_workspaces_take_turns_in_two_places() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "turns", json!({ "max_servers": 2 }));
    let (a, b) = tokio::join!(bench.lease("a"), bench.lease("b"));
    let (told, heard) = mpsc::channel();
    let third = bench.pool.lease("c", move |wait| told.send(wait).unwrap());
    tokio::pin!(third);
    tokio::select! {
        lease = &mut third => panic!("a third place: {lease:?}"),
        () = eventually("the wait", || heard.try_recv() == Ok(Wait::Full)) => {}
    }
    drop(a);
    let c = third.await.unwrap();
    assert_eq!(bench.phase("a").await, Phase::Cold);
    assert_eq!(bench.phase("b").await, Phase::Ready, "the one at work was left alone");
    assert_eq!(bench.processes(), 2);
    drop((b, c));
    bench.ends_clean().await;
}

#[tokio::test]
async fn a_full_pool_is_a_clear_error_when_waiting_has_been_long_enough() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "full", json!({ "max_servers": 1, "wait_timeout_secs": 1 }));
    let _a = bench.lease("a").await;
    let error = bench.pool.lease("b", |_| {}).await.unwrap_err();
    let PoolError::Refused { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(source, Refusal::Full(1)), "{source:?}");
    bench.ends_clean().await;
}

#[tokio::test]
async fn a_daemon_killed_at_work_comes_back_where_it_was() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "killed", json!({}));
    let mut lease = bench.lease("a").await;
    let before = lease.address();
    kill(&lease);
    eventually("the death", || bench.processes() == 0 || lease.address().pid != before.pid).await;
    let mut after = lease.running().await.unwrap();
    while after.pid == before.pid {
        tokio::time::sleep(Duration::from_millis(10)).await;
        after = lease.running().await.unwrap();
    }
    assert_eq!(after.base_url, before.base_url);
    assert_ne!(after.password.expose_secret(), before.password.expose_secret());
    drop(lease);
    bench.ends_clean().await;
}

#[tokio::test]
async fn a_start_that_fails_is_told_with_its_reason_and_kept_in_the_log() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::running(root.path(), "fails", "ends", json!({}));
    let error = bench.pool.lease("a", |_| {}).await.unwrap_err();
    let PoolError::Refused { source: Refusal::Start(reason), .. } = &error else { panic!("{error:?}") };
    assert!(reason.to_string().contains("a provider or a model that it does not know"), "{reason}");
    let log = bench.pool.logs("a", 50).unwrap().join("\n");
    assert!(log.contains("no daemon") && !log.contains("no such provider"), "{log}");
    let printed = opencode_daemons::pool::printed_in(&root.path().join("state"), "a");
    assert!(printed.tail(9).unwrap().join("\n").contains("no such provider"));
    bench.ends_clean().await;
}

#[tokio::test]
async fn one_that_hangs_delays_nobody_else() {
    let root = tempfile::tempdir().unwrap();
    let settings = json!({ "workspaces": { "a": { "directory": "/", "pass": ["FAKE_HANGS"] } } });
    let mut config: PoolConfig = serde_json::from_value(settings).unwrap();
    let mark = format!("slow-{}", std::process::id());
    config.pass.push("POOL_TEST".into());
    for workspace in ["a", "b"] {
        let directory = root.path().join(workspace);
        std::fs::create_dir_all(&directory).unwrap();
        config.workspaces.entry(workspace.into()).or_default().directory =
            AbsolutePath::new(directory).unwrap();
    }
    let environment =
        Environment::of_this_process().with("POOL_TEST", &mark).with("FAKE_HANGS", "before listening");
    let state = root.path().join("state");
    let around =
        Surroundings { program: program("answers"), environment, state, launcher: None, home: Home::User };
    let pool = Pool::new(&config, &around).unwrap();

    pool.warm("a");
    let lease = pool.lease("b", |_| {}).await.unwrap();
    let phases: Vec<_> = pool.list().await.unwrap().iter().map(|status| status.phase).collect();
    assert_eq!(phases, [Phase::Starting, Phase::Ready]);
    drop(lease);
    pool.shutdown().await;
    assert!(processes_with("POOL_TEST", &mark).is_empty());
}

#[tokio::test]
async fn an_idle_daemon_that_hangs_is_replaced_before_it_is_used_again() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "hung-idle", json!({}));
    let lease = bench.lease("a").await;
    let before = lease.address();
    signal(&lease, Signal::STOP);
    drop(lease);
    // One that answered less than a second ago is not asked.
    let replaced = async {
        loop {
            let lease = bench.lease("a").await;
            if lease.address().pid != before.pid {
                return lease;
            }
        }
    };
    let lease = tokio::time::timeout(Duration::from_mins(1), replaced).await.expect("it is replaced");
    assert_eq!(bench.processes(), 1, "the one that hung is gone");
    let log = bench.pool.logs("a", 10).unwrap().join("\n");
    assert!(log.contains("does not answer"), "{log}");
    drop(lease);
    bench.ends_clean().await;
}

#[tokio::test]
async fn a_daemon_that_hangs_at_work_is_replaced_after_its_time() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "hung-at-work", json!({ "answer_timeout_secs": 2 }));
    let mut lease = bench.lease("a").await;
    let before = lease.address();
    signal(&lease, Signal::STOP);
    lease.lost(&before).await;
    assert_ne!(lease.running().await.unwrap().pid, before.pid);
    assert_eq!(bench.processes(), 1, "the one that hung is gone");
    drop(lease);
    bench.ends_clean().await;
}

#[tokio::test]
async fn a_stranger_on_the_directorys_port_is_passed_by() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "stranger", json!({}));
    let lease = bench.lease("a").await;
    let port: u16 = lease.address().base_url.rsplit(':').next().unwrap().parse().unwrap();
    drop(lease);
    bench.pool.stop("a", false).await.unwrap();
    let stranger = Stranger::on(port).await;
    let lease = bench.lease("a").await;
    assert!(!lease.address().base_url.ends_with(&port.to_string()));
    assert_eq!(stranger.heard(), "");
    let record = std::fs::read_to_string(root.path().join("state/a.json")).unwrap();
    assert!(!record.contains(&format!("\"port\": {port}")), "{record}");
    drop(lease);
    bench.ends_clean().await;
}

#[tokio::test]
async fn daemons_kept_on_exit_are_found_by_the_next_host() {
    let root = tempfile::tempdir().unwrap();
    let keep = json!({ "on_exit": "keep" });
    let first = Bench::new(root.path(), "keep", keep);
    let before = first.lease("a").await.address();
    first.pool.shutdown().await;
    assert_eq!(first.processes(), 1);

    let second = Bench::new(root.path(), "keep", json!({ "on_exit": "stop" }));
    assert_eq!(second.lease("a").await.address(), before);
    second.ends_clean().await;
}

#[tokio::test]
async fn what_an_earlier_host_left_is_taken_over_and_ended_where_no_workspace_is_left() {
    let root = tempfile::tempdir().unwrap();
    let first = Bench::new(root.path(), "left", json!({ "on_exit": "keep" }));
    let before = first.lease("a").await.address();
    for workspace in ["b", "c"] {
        drop(first.lease(workspace).await);
    }
    first.pool.shutdown().await;
    // As if `c` had been called otherwise in the configuration of that host.
    std::fs::rename(root.path().join("state/c.json"), root.path().join("state/gone.json")).unwrap();

    let second = Bench::new(root.path(), "left", json!({}));
    second.pool.take_over(Others::Leave);
    for workspace in ["a", "b"] {
        let ready = async {
            while second.phase(workspace).await != Phase::Ready {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ready).await.expect("it is taken over");
    }
    assert_eq!(second.processes(), 3, "that of no workspace is left alone");
    second.pool.take_over(Others::End);
    eventually("the end of the one of no workspace", || second.processes() == 2).await;
    assert_eq!(second.lease("a").await.address(), before);
    second.pool.stop("b", false).await.unwrap();
    assert_eq!(second.processes(), 1, "what is stopped has ended");
    second.ends_clean().await;
}

#[tokio::test]
async fn a_daemon_of_another_configuration_finishes_what_was_begun_on_it() {
    let root = tempfile::tempdir().unwrap();
    let first = Bench::new(root.path(), "outdated", json!({ "on_exit": "keep" }));
    let before = first.lease("a").await.address();
    first.pool.shutdown().await;

    let second = Bench::new(root.path(), "outdated", json!({ "model": "another/model" }));
    let lease = second.pool.lease_to_finish("a", |_| {}).await.unwrap();
    assert_eq!(lease.address(), before);
    let (told, heard) = mpsc::channel();
    let next = second.pool.lease("a", move |wait| told.send(wait).unwrap());
    tokio::pin!(next);
    tokio::select! {
        lease = &mut next => panic!("the old configuration for a new task: {lease:?}"),
        () = eventually("the wait", || heard.try_recv() == Ok(Wait::Outdated)) => {}
    }
    drop(lease);
    assert_ne!(next.await.unwrap().address().pid, before.pid);
    second.ends_clean().await;
}

#[tokio::test]
async fn one_that_is_told_to_stop_while_it_is_taken_over_is_ended() {
    let root = tempfile::tempdir().unwrap();
    let first = Bench::new(root.path(), "stopped-early", json!({ "on_exit": "keep" }));
    let lease = first.lease("a").await;
    let pid = lease.address().pid.unwrap();
    signal(&lease, Signal::STOP);
    drop(lease);
    first.pool.shutdown().await;

    let second = Bench::new(root.path(), "stopped-early", json!({}));
    second.pool.take_over(Others::End);
    let starting = async {
        while second.phase("a").await != Phase::Starting {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), starting).await.expect("it is looked for");
    let pending = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap_or("0").trim();
        u64::from_str_radix(pending, 16).unwrap_or(0) != 0
    };
    let go_on = async {
        eventually("the order to end", pending).await;
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::CONT).unwrap();
    };
    let (stopped, ()) = tokio::join!(second.pool.stop("a", false), go_on);
    stopped.unwrap();
    assert_eq!(second.processes(), 0);
    second.ends_clean().await;
}

#[tokio::test]
async fn a_lease_that_is_given_to_somebody_who_has_just_gone_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "gone", json!({}));
    drop(bench.lease("a").await);
    let leases = async || bench.pool.list().await.unwrap()[0].leases;
    {
        let mut asks = std::pin::pin!(bench.pool.lease("a", |_| {}));
        tokio::select! {
            biased;
            lease = &mut asks => panic!("granted before the pool has run: {lease:?}"),
            () = std::future::ready(()) => {}
        }
        // Granted, and never looked at.
        let granted = async {
            while leases().await == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), granted).await.expect("it is granted");
    }
    let begun = std::time::Instant::now();
    while leases().await > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the lease is lost");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.ends_clean().await;
}

#[tokio::test]
async fn an_idle_daemon_is_ended_and_a_working_one_is_only_stopped_by_force() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "idle", json!({ "idle_timeout_secs": 1 }));
    let lease = bench.lease("a").await;
    let error = bench.pool.stop("a", false).await.unwrap_err();
    assert!(matches!(error, PoolError::Working(_)));
    drop(lease);
    eventually("the end of the idle daemon", || bench.processes() == 0).await;
    bench.ends_clean().await;
}

#[tokio::test]
async fn a_directory_that_is_moved_deleted_or_replaced_by_a_link_has_no_daemon_any_more() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "moved", json!({}));
    for workspace in ["a", "b", "c"] {
        drop(bench.lease(workspace).await);
        let path = root.path().join(workspace);
        match workspace {
            "a" => std::fs::rename(&path, path.with_extension("moved")).unwrap(),
            "b" => std::fs::remove_dir(&path).unwrap(),
            _ => {
                std::fs::rename(&path, path.with_extension("moved")).unwrap();
                std::os::unix::fs::symlink(root.path(), &path).unwrap();
            }
        }
        eventually("the end", || bench.processes() == 0).await;
    }
    for workspace in ["a", "b"] {
        let error = bench.pool.lease(workspace, |_| {}).await.unwrap_err();
        let PoolError::Refused { source: Refusal::Start(reason), .. } = &error else { panic!("{error:?}") };
        assert!(matches!(&**reason, StartError::Directory { .. }), "{reason:?}");
    }
    bench.ends_clean().await;
}

#[tokio::test]
async fn one_killed_while_it_starts_is_told_at_once_and_started_again_when_asked() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "starting", json!({ "server_startup_timeout_secs": 600 }));
    bench.pool.warm("a");
    eventually("the process", || bench.processes() == 1).await;
    for pid in processes_with("POOL_TEST", &bench.mark) {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        // It may be up by now; then it is killed idle.
        kill_process(pid, Signal::KILL).unwrap();
    }
    let told = async {
        while bench.phase("a").await != Phase::Cold {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("its end is told at once");
    let lease = bench.lease("a").await;
    assert_eq!(bench.phase("a").await, Phase::Ready);
    drop(lease);
    bench.ends_clean().await;
}

#[tokio::test]
async fn two_hosts_with_one_workspace_have_a_daemon_each_unless_they_share_their_state() {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Bench::new(root.path(), "first", json!({}));
    let second = Bench::new(root.path(), "second", json!({}));
    let apart = Bench::new(other.path(), "apart", json!({}));
    let lease = first.lease("a").await;
    let error = second.pool.lease("a", |_| {}).await.unwrap_err();
    let PoolError::Refused { source: Refusal::Start(reason), .. } = &error else { panic!("{error:?}") };
    assert!(matches!(&**reason, StartError::InUse { .. }), "{reason:?}");
    assert_ne!(apart.lease("a").await.address(), lease.address());
    assert_eq!(first.processes(), 1, "the first host's daemon was left alone");
    drop(lease);
    for bench in [first, second, apart] {
        bench.ends_clean().await;
    }
}

#[tokio::test]
async fn an_unknown_workspace_is_named() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "unknown", json!({}));
    let error = bench.pool.lease("nowhere", |_| {}).await.unwrap_err();
    assert!(matches!(&error, PoolError::Unknown(name) if name == "nowhere"));
    bench.ends_clean().await;
}

#[tokio::test]
async fn a_pool_whose_last_handle_goes_ends_its_daemons() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(root.path(), "dropped", json!({}));
    let Bench { pool, mark } = bench;
    let lease = pool.lease("a", |_| {}).await.unwrap();
    drop(pool);
    assert_eq!(processes_with("POOL_TEST", &mark).len(), 1, "a lease keeps the pool");
    drop(lease);
    eventually("the end", || processes_with("POOL_TEST", &mark).is_empty()).await;
}

#[tokio::test]
async fn a_daemon_of_the_pool_runs_within_walls_and_without_privileges() {
    let root = tempfile::tempdir().unwrap();
    let launcher = env!("CARGO_BIN_EXE_opencode-within-walls");
    let settings = json!({ "confine": "required" });
    let bench = Bench::launched(root.path(), "walls", "answers", settings, Some(launcher));
    let lease = bench.lease("a").await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", lease.address().pid.unwrap())).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert_eq!(field("NoNewPrivs:"), Some("1"));
    assert_eq!(field("CapEff:"), Some("0000000000000000"));
    drop(lease);
    bench.ends_clean().await;
}
