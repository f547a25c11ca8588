//! The groups of daemons (cgroup v2), with hosts that are processes of their own in a group that is delegated to them, and a real
//! daemon whose agent leaves processes that nothing else finds.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use opencode_daemons::pool::{OnExit, Surroundings};
use opencode_daemons::{Environment, Home, Pool, PoolConfig};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use testkit::model::ScriptedModel;
use testkit::{Script, scratch};

use crate::support::{eventually, prompt_at};

/// The variable with what a host is to be.
const HOST: &str = "CGROUP_TEST_HOST";

/// A host: says where its daemon is, and goes on until its input ends.
#[tokio::test]
#[ignore = "is started by the tests below, as a process of its own"]
async fn host() {
    #[expect(clippy::disallowed_methods, reason = "what the host is to be is in its environment")]
    let told: Value =
        serde_json::from_str(&std::env::var(HOST).expect("is started by another test")).unwrap();
    let root = PathBuf::from(told["root"].as_str().unwrap());
    let mut config: PoolConfig = serde_json::from_value(told["config"].clone()).unwrap();
    config.workspaces.entry("app".into()).or_default().directory =
        connector_files::AbsolutePath::new(root.join("app")).unwrap();
    let around = Surroundings {
        program: told["program"].as_str().unwrap().into(),
        environment: Environment::of_this_process(),
        state: root.join("state"),
        launcher: Some(env!("CARGO_BIN_EXE_opencode-within-walls").into()),
        home: Home::Isolated(root.join("home")),
    };
    if config.on_exit == OnExit::Stop {
        opencode_daemons::leave_for_leaf();
    }
    let pool = Pool::new(&config, &around).unwrap();
    let lease = pool.lease("app", |_| {}).await.unwrap();
    let address = lease.address();
    println!(
        "\n{}",
        json!({ "base_url": address.base_url, "pid": address.pid, "password": address.password.expose_secret() })
    );
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await.unwrap();
    drop(lease);
    pool.shutdown().await;
}

/// A group that is delegated, as a service manager does it: made, marked, and left to who is in it.
struct Delegated(PathBuf);

impl Delegated {
    /// Nothing where no group can be made.
    fn new(name: &str) -> Option<Self> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount = table.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?.to_owned();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
        let path = Path::new(&mount).join(own).join(format!("connector-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        let group = Self(path);
        rustix::fs::setxattr(&group.0, "user.delegate", b"1", rustix::fs::XattrFlags::empty()).ok()?;
        Some(group)
    }

    /// The groups in it, by name.
    fn groups(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap().flatten().filter(|entry| entry.path().is_dir());
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    fn daemons(&self) -> Vec<String> {
        self.groups().into_iter().filter(|name| name.starts_with("daemon-")).collect()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while self.0.exists() && std::time::Instant::now() < deadline {
            for group in self.groups() {
                let _ = std::fs::remove_dir(self.0.join(group));
            }
            let _ = std::fs::remove_dir(&self.0);
        }
    }
}

/// A host that runs, and where its daemon is.
struct Host {
    process: Child,
    base_url: String,
    password: SecretString,
    daemon: u32,
}

impl Host {
    /// Begins in this group, or where this process is. Once there are groups of daemons in it, nothing may begin in it but in
    /// the leaf of hosts.
    fn start(group: Option<&Delegated>, told: &Value) -> Self {
        let place = group.map(|group| {
            let leaf = group.0.join("host");
            if leaf.is_dir() { leaf } else { group.0.clone() }
        });
        let enter =
            place.map_or_else(String::new, |place| format!("echo $$ > {}/cgroup.procs && ", place.display()));
        #[expect(clippy::disallowed_methods, reason = "tests start what they test")]
        let mut process = Command::new("sh")
            .args([
                "-c",
                &format!("{enter}exec \"$0\" \"$@\""),
                &std::env::current_exe().unwrap().display().to_string(),
            ])
            .args(["--ignored", "--exact", "cgroup::host", "--nocapture"])
            .env(HOST, told.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = lines.find(|line| line.starts_with('{')).unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        std::thread::spawn(move || lines.count());
        Self {
            process,
            base_url: said["base_url"].as_str().unwrap().to_owned(),
            password: said["password"].as_str().unwrap().into(),
            daemon: u32::try_from(said["pid"].as_u64().unwrap()).unwrap(),
        }
    }

    async fn asks(&self, name: &str) {
        let answer = prompt_at(&self.base_url, &self.password, name).await;
        assert!(answer.to_string().contains("went on"), "{name}: {answer}");
    }

    fn ends(mut self) {
        let mut stdin = self.process.stdin.take().unwrap();
        stdin.flush().unwrap();
        drop(stdin);
        assert!(self.process.wait().unwrap().success());
    }

    fn is_killed(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait().map(drop));
    }
}

/// The processes that were started with this argument.
fn named(argument: &str) -> Vec<u32> {
    let has = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|part| part == argument.as_bytes()))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(has).collect()
}

fn group_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// A workspace whose agent, asked for `LEAVES`, leaves two processes behind: without an environment, in a session of its own,
/// and of no parent of the family.
struct Bench {
    root: tempfile::TempDir,
    _model: ScriptedModel,
    told: Value,
    left: String,
}

impl Bench {
    async fn new(confine: &str, seconds: u32, attempts: &[(&str, String)]) -> Self {
        // Its argument, by which it is found.
        let left = format!("{seconds}.{}", std::process::id());
        let leaves = format!(
            "(env -i setsid sh -c 'sleep {left} & sleep {left} & wait' >/dev/null 2>&1 </dev/null &)"
        );
        let attempts = std::iter::once(("LEAVES", leaves)).chain(attempts.iter().cloned());
        let script = attempts.fold(Script::default(), |script, (name, command)| {
            let call = json!({ "command": command, "description": "runs it" });
            script.call(name, 0, "bash", call).reply(name, "went on")
        });
        let model = ScriptedModel::start(script).unwrap();
        let root = tempfile::tempdir().unwrap();
        scratch::repository(&root.path().join("app"), &[]).unwrap();
        let config = json!({
            "confine": confine, "permissions": { "bash": "allow", "external_directory": "allow" }, "extra_config": model.config(),
            "server_startup_timeout_secs": 120, "max_processes": 50, "on_exit": "stop",
        });
        let told = json!({
            "root": root.path(), "config": config, "program": testkit::real::opencode().await.unwrap().path,
        });
        Self { root, _model: model, told, left }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("state/app.log")).unwrap()
    }

    async fn leaves(&self, host: &Host) {
        host.asks("LEAVES").await;
        eventually("what is left runs", || named(&self.left).len() >= 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_an_agent_started_outlives_its_daemon_where_a_group_is_delegated() {
    for (confine, seconds) in [("off", 601), ("required", 602)] {
        let bench = Bench::new(confine, seconds, &[]).await;
        let Some(place) = Delegated::new(confine) else { return without_a_group(&bench).await };
        let host = Host::start(Some(&place), &bench.told);
        assert!(group_of(host.process.id()).trim_end().ends_with("/host"), "the host is in a leaf");
        let daemons = place.daemons();
        assert_eq!(daemons.len(), 1, "{daemons:?}");
        bench.leaves(&host).await;
        for pid in named(&bench.left).into_iter().chain([host.daemon]) {
            assert!(group_of(pid).trim_end().ends_with(&daemons[0]), "{confine}: {}", group_of(pid));
        }
        host.ends();
        assert_eq!(named(&bench.left), [0; 0], "{confine}");
        assert_eq!(place.daemons(), [""; 0], "{confine}");
    }
}

/// What holds where nothing can be delegated: limits are counted, and the daemon runs.
async fn without_a_group(bench: &Bench) {
    let host = Host::start(None, &bench.told);
    host.asks("LEAVES").await;
    host.ends();
    assert!(bench.log().contains("max_processes is counted: "), "{}", bench.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_host_left_is_taken_over_with_its_group_or_ended_with_it() {
    for (daemon_lives, seconds) in [(true, 603), (false, 604)] {
        let bench = Bench::new("off", seconds, &[]).await;
        let Some(place) = Delegated::new("killed") else { return without_a_group(&bench).await };
        let mut first = Host::start(Some(&place), &bench.told);
        bench.leaves(&first).await;
        let before = place.daemons();
        first.is_killed();
        if !daemon_lives {
            let daemon = rustix::process::Pid::from_raw(i32::try_from(first.daemon).unwrap()).unwrap();
            rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
        }
        assert!(named(&bench.left).len() >= 2 && place.daemons() == before, "it goes on without a host");
        let second = Host::start(Some(&place), &bench.told);
        assert_eq!(second.daemon == first.daemon, daemon_lives);
        assert_eq!(place.daemons() == before, daemon_lives, "{before:?}");
        assert_eq!((place.daemons().len(), named(&bench.left).is_empty()), (1, !daemon_lives));
        second.ends();
        assert_eq!((place.daemons(), named(&bench.left)), (Vec::new(), Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_left_its_group_is_taken_over_counted_and_ended_with_what_is_in_the_group() {
    let bench = Bench::new("off", 608, &[]).await;
    let Some(place) = Delegated::new("left") else { return without_a_group(&bench).await };
    let mut first = Host::start(Some(&place), &bench.told);
    bench.leaves(&first).await;
    first.is_killed();
    std::fs::write(place.0.join("host/cgroup.procs"), first.daemon.to_string()).unwrap();
    let second = Host::start(Some(&place), &bench.told);
    assert_eq!(second.daemon, first.daemon);
    let why = format!("max_processes is counted: the daemon is not in {}/daemon-", place.0.display());
    assert!(bench.log().contains(&why), "{}", bench.log());
    second.ends();
    assert_eq!((place.daemons(), named(&bench.left)), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_within_walls_changes_no_group_and_leaves_its_own_for_none() {
    let Some(place) = Delegated::new("walls") else {
        let bench = Bench::new("required", 605, &[]).await;
        return without_a_group(&bench).await;
    };
    let base = place.0.display();
    let attempts = [
        ("LEAVES-GROUP", format!("echo $$ > {base}/cgroup.procs && touch did")),
        ("ENDS-HOST", format!("echo 1 > {base}/host/cgroup.kill && touch did")),
        ("ALLOWS-MORE", format!("for f in {base}/daemon-*/*.max; do echo max > $f && touch did; done")),
        ("MAKES-GROUP", format!("mkdir {base}/daemon-*/own {base}/own && touch did")),
        ("REMOVES-GROUP", format!("rmdir {base}/host; chmod 777 {base} {base}/cgroup.procs && touch did")),
        ("MOUNTS", "mkdir m; mount -t cgroup2 none m && touch did; unshare -rC true && touch did".to_owned()),
        ("READS", format!("cat {base}/cgroup.procs && touch read")),
    ];
    let bench = Bench::new("required", 606, &attempts).await;
    let host = Host::start(Some(&place), &bench.told);
    let before = place.groups();
    for (name, _) in &attempts {
        host.asks(name).await;
        assert!(!bench.root.path().join("app/did").exists(), "{name}");
    }
    assert!(bench.root.path().join("app/read").exists(), "programs find out what they may hold");
    assert_eq!(place.groups(), before);
    assert!(group_of(host.daemon).trim_end().ends_with(&place.daemons()[0]));
    host.ends();
    assert_eq!(place.daemons(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_cannot_be_made_or_entered_keeps_no_daemon_from_starting() {
    let bench = Bench::new("required", 607, &[]).await;
    let Some(place) = Delegated::new("full") else { return without_a_group(&bench).await };
    // The host's own leaf is the last group that may be made.
    for most in ["1", "0"] {
        std::fs::write(place.0.join("cgroup.max.descendants"), most).unwrap();
        let host = Host::start(Some(&place), &bench.told);
        assert_eq!(place.daemons(), [""; 0], "{most}");
        host.asks("LEAVES").await;
        host.ends();
        let told = bench.log().matches("max_processes is counted: ").count();
        assert_eq!(told, bench.log().matches(" cannot be made: ").count(), "{}", bench.log());
        assert!(told > 0);
        let _ = std::fs::remove_dir(place.0.join("host"));
    }
}
