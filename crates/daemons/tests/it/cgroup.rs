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

use crate::support::{eventually, program, prompt_at};

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
    let variables = told["variables"].as_object().into_iter().flatten();
    let environment = variables.fold(Environment::of_this_process(), |environment, (name, value)| {
        environment.with(name, value.as_str().unwrap())
    });
    let around = Surroundings {
        program: told["program"].as_str().unwrap().into(),
        environment,
        state: root.join("state"),
        launcher: Some(
            told["launcher"].as_str().unwrap_or(env!("CARGO_BIN_EXE_opencode-within-walls")).into(),
        ),
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

const IN_MACHINE: &str = "tests/vm/run.sh does it in a virtual machine";

/// A group that is delegated, as a service manager does it: made, marked, and left to who is in it.
struct Delegated(PathBuf);

impl Delegated {
    /// Beside the group of this process where that is the leaf of one that is delegated itself, so that there may be controllers. Where
    /// none can be made, that is said.
    fn new(name: &str) -> Option<Self> {
        let unseen = |why: &String| {
            testkit::unseen(&format!("{name}: no cgroup can be delegated ({why}); {IN_MACHINE}"));
        };
        Self::make(name).inspect_err(unseen).ok()
    }

    /// One whose kernel holds these limits. Where it does not, that is said.
    fn with(name: &str, controllers: &[&str]) -> Option<Self> {
        let place = Self::new(name)?;
        // Above it nobody may have enabled any yet; a host that is started beside would.
        if let Some(above) = place.0.parent() {
            for one in controllers {
                let _ = std::fs::write(above.join("cgroup.subtree_control"), format!("+{one}"));
            }
        }
        let text = std::fs::read_to_string(place.0.join("cgroup.controllers")).unwrap();
        if controllers.iter().all(|one| text.split_whitespace().any(|has| has == *one)) {
            return Some(place);
        }
        let gives = format!("the kernel gives `{}` to {}", text.trim(), place.0.display());
        testkit::unseen(&format!("{name} needs {controllers:?}, and {gives}; {IN_MACHINE}"));
        None
    }

    fn make(name: &str) -> Result<Self, String> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount =
            table.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let (mount, own) = mount.zip(own).ok_or("there is no cgroup v2")?;
        let own = Path::new(mount).join(own);
        let above = own.parent().filter(|above| own.ends_with("host") && is_delegated(above));
        let path = above.unwrap_or(&own).join(format!("connector-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let group = Self(path);
        let marked = rustix::fs::setxattr(&group.0, "user.delegate", b"1", rustix::fs::XattrFlags::empty());
        marked.map_err(|error| format!("{} takes no mark: {error}", group.0.display()))?;
        Ok(group)
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

fn is_delegated(group: &Path) -> bool {
    let mut value = [0; 2];
    rustix::fs::getxattr(group, "user.delegate", &mut value).is_ok_and(|length| value[..length] == *b"1")
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
    let why = format!("max_processes is counted: the daemon is not seen in {}/daemon-", place.0.display());
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
        (
            "ALLOWS-MORE",
            format!(
                "for f in {base}/daemon-*/*.max {base}/daemon-*/cgroup.max.depth; do echo max > $f && touch did; done"
            ),
        ),
        ("MAKES-GROUP", format!("for g in {base}/daemon-*/own {base}/own; do mkdir $g && touch did; done")),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_launcher_that_cannot_be_started_costs_the_group_and_never_the_daemon() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(place) = Delegated::new("launchers") else { return };
    for (name, mode) in
        [("gone", None), ("closed", Some(0o600)), ("directory", None), ("no-interpreter", Some(0o700))]
    {
        let mut told = Told::new(&json!({ "max_processes": 4 }));
        let launcher = told.root.path().join(name);
        match mode {
            Some(mode) => {
                std::fs::write(&launcher, "#!/gone\n").unwrap();
                std::fs::set_permissions(&launcher, std::fs::Permissions::from_mode(mode)).unwrap();
            }
            None if name == "directory" => std::fs::create_dir(&launcher).unwrap(),
            None => {}
        }
        told.told["launcher"] = launcher.display().to_string().into();
        let host = Host::start(Some(&place), &told.told);
        assert_eq!(place.daemons(), [""; 0], "{name}");
        let log = told.log();
        assert!(log.contains("max_processes is counted: ") && log.contains("launcher"), "{name}: {log}");
        told.runs("ORDINARY", "touch done").await;
        host.ends();
    }
}

/// Holds memory that no count of private memory sees: shared, and gone with its process.
const SHARES: &str = "exec python3 -c 'import mmap\nm = mmap.mmap(-1, 3 << 30)\n\
    for _ in range(3 << 10): m.write(b\"x\" * (1 << 20))'";
const HOLDS: &str = "exec python3 -c 'a = [bytearray(b\"x\" * (64 << 20)) for _ in range(48)]'";
/// Holds memory until it is ended, and says so.
const KEEPS: &str = "exec python3 -c 'import time\na = [bytearray(b\"x\" * (64 << 20)) for _ in range(24)]\n\
    open(\"kept\", \"w\"), time.sleep(3600)'";
const FORKS: &str = "b() { b | b & }; b; sleep 3600";
/// One process, so that none is counted too many.
const THREADS: &str = "exec python3 -c 'import threading, time\nthreading.stack_size(1 << 16)\n\
    def begin():\n try: threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n except RuntimeError: time.sleep(1)\n\
    while True: begin()'";
const BURNS: &str = "for i in 1 2 3 4; do timeout 4 sh -c 'while :; do :; done' & done; wait";

/// A workspace whose agent runs what it is told, with limits. The kernel's part is looked at, so no model is asked; opencode itself
/// takes minutes where a machine is emulated.
struct Told {
    root: tempfile::TempDir,
    told: Value,
}

impl Told {
    fn new(limits: &Value) -> Self {
        let root = tempfile::tempdir().unwrap();
        for below in ["app/todo", "app/begun", "app/ended"] {
            std::fs::create_dir_all(root.path().join(below)).unwrap();
        }
        let mut config = json!({
            "confine": "off", "pass": ["FAKE_RUNS"], "server_startup_timeout_secs": 120, "on_exit": "stop",
        });
        config.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        let told = json!({
            "root": root.path(), "config": config, "program": program("answers"),
            "variables": { "FAKE_RUNS": root.path().join("app") },
        });
        Self { root, told }
    }

    fn begins(&self, name: &str, script: &str) {
        let script_of = |below: &str| self.root.path().join("app").join(below).join(name);
        std::fs::write(script_of(""), script).unwrap();
        std::fs::rename(script_of(""), script_of("todo")).unwrap();
    }

    async fn runs(&self, name: &str, script: &str) {
        self.begins(name, script);
        let ended = self.root.path().join("app/ended").join(name);
        self.until(&format!("{name} ends"), || ended.exists()).await;
    }

    /// The same with what the host ends, of which it says this.
    async fn is_ended(&self, (name, script): (&str, &str), said: &str) {
        let before = self.log().matches(said).count();
        self.runs(name, script).await;
        self.until(said, || self.log().matches(said).count() > before).await;
    }

    /// An emulated machine takes its time.
    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        while !condition() {
            assert!(begun.elapsed().as_secs() < 900, "{what}: did not come true: {}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("state/app.log")).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_holds_memory_and_what_takes_more_is_ended_and_not_the_daemon() {
    let told = Told::new(&json!({ "memory_mb": 1024 }));
    let place = Delegated::with("holds", &["memory"]);
    let host = Host::start(place.as_ref(), &told.told);
    let Some(place) = place else {
        assert!(told.log().contains("memory_mb is counted: "), "{}", told.log());
        return host.ends();
    };
    let group = place.0.join(&place.daemons()[0]);
    let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap().trim().to_owned();
    assert_eq!((read("memory.high"), read("memory.max")), ((1 << 30).to_string(), (5_u64 << 28).to_string()));
    // Memory that nobody counts is the kernel's to hold; the other may be seen by either first.
    for script in [("SHARES", SHARES), ("HOLDS", HOLDS)] {
        told.is_ended(script, "and 1024 allowed; the agent's commands are ended").await;
        assert!(
            group_of(host.daemon).trim_end().ends_with(&place.daemons()[0]),
            "{} ended the daemon",
            script.0
        );
        told.until("all of it is given back", || read("cgroup.procs").lines().count() == 1).await;
    }
    told.runs("ORDINARY", "touch done").await;
    assert!(told.root.path().join("app/done").exists(), "ordinary work goes on");
    assert!(read("memory.events").contains("oom_kill 0\n"), "{}", read("memory.events"));
    assert!(!read("memory.events").contains("\nhigh 0\n"), "{}", read("memory.events"));
    host.ends();
    assert_eq!(place.daemons(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_holds_a_bomb_of_processes_and_it_is_ended_and_not_the_daemon() {
    let told = Told::new(&json!({ "max_processes": 4 }));
    let place = Delegated::with("forks", &["pids"]);
    let host = Host::start(place.as_ref(), &told.told);
    let Some(place) = place else {
        assert!(told.log().contains("max_processes is counted: "), "{}", told.log());
        return host.ends();
    };
    let group = place.0.join(&place.daemons()[0]);
    let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap().trim().to_owned();
    assert_eq!(read("pids.max"), "640");
    for (name, script, said) in [
        ("FORKS", FORKS, "allowed; the agent's commands are ended"),
        (
            "THREADS",
            THREADS,
            "more than 640 processes and threads were wanted, and no more are allowed; the agent's commands",
        ),
    ] {
        told.is_ended((name, script), said).await;
        told.until("all of it is gone", || read("cgroup.procs").lines().count() == 1).await;
    }
    assert!(!read("pids.events").contains("max 0"), "{}", read("pids.events"));
    told.runs("ORDINARY", "touch done").await;
    assert!(told.root.path().join("app/done").exists(), "ordinary work goes on");
    assert!(group_of(host.daemon).trim_end().ends_with(&place.daemons()[0]));
    host.ends();
    assert_eq!(place.daemons(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_holds_processor_time() {
    let told = Told::new(&json!({ "cpu_percent": 100 }));
    let place = Delegated::with("burns", &["cpu"]);
    let host = Host::start(place.as_ref(), &told.told);
    let Some(place) = place else {
        assert!(told.log().contains("nothing holds cpu_percent: "), "{}", told.log());
        return host.ends();
    };
    let group = place.0.join(&place.daemons()[0]);
    let stat = |name: &str| {
        let text = std::fs::read_to_string(group.join("cpu.stat")).unwrap();
        let number = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        number.unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    let before = (stat("usage_usec"), stat("nr_periods"), stat("nr_throttled"));
    told.runs("BURNS", BURNS).await;
    let (used, periods) = (stat("usage_usec") - before.0, stat("nr_periods") - before.1);
    assert!(stat("nr_throttled") > before.2, "nobody had to wait in {periods} periods");
    // Of a tenth of a second each; one that was begun before, and one that is not over.
    assert!(used <= (periods + 2) * 100_000 * 5 / 4, "{used} us were used in {periods} periods");
    host.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hides_ends_with_its_daemon_and_a_killed_host_is_followed_by_one_that_holds_its_limits() {
    let told = Told::new(&json!({ "memory_mb": 1024, "max_processes": 50, "cpu_percent": 150 }));
    let place = Delegated::with("hides", &["memory", "pids", "cpu"]);
    let mut first = Host::start(place.as_ref(), &told.told);
    let Some(place) = place else { return first.ends() };
    let left = format!("611.{}", std::process::id());
    let hides =
        format!("(env -i /usr/bin/setsid sh -c 'sleep {left} & sleep {left} & wait' >/dev/null 2>&1 &)");
    told.runs("HIDES", &hides).await;
    eventually("what hides runs", || named(&left).len() >= 2).await;
    first.is_killed();
    let mut more = told.told.clone();
    more["config"]["memory_mb"] = 2048.into();
    let second = Host::start(Some(&place), &more);
    assert_eq!(second.daemon, first.daemon);
    let group = place.0.join(&place.daemons()[0]);
    assert_eq!(std::fs::read_to_string(group.join("memory.high")).unwrap().trim(), (2_u64 << 30).to_string());
    for pid in named(&left) {
        assert!(group_of(pid).trim_end().ends_with(&place.daemons()[0]), "{}", group_of(pid));
    }
    second.ends();
    assert_eq!((place.daemons(), named(&left)), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_lowered_below_what_is_held_ends_the_commands_and_not_the_daemon() {
    let told = Told::new(&json!({ "memory_mb": 4096 }));
    let place = Delegated::with("lowers", &["memory"]);
    let mut first = Host::start(place.as_ref(), &told.told);
    let Some(place) = place else { return first.ends() };
    told.begins("KEEPS", KEEPS);
    told.until("it is held", || told.root.path().join("app/kept").exists()).await;
    first.is_killed();
    let mut less = told.told.clone();
    less["config"]["memory_mb"] = 1024.into();
    let second = Host::start(Some(&place), &less);
    assert_eq!(second.daemon, first.daemon);
    let group = place.0.join(&place.daemons()[0]);
    let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap().trim().to_owned();
    assert_eq!(read("memory.high"), (1 << 30).to_string());
    told.until("it is ended", || told.root.path().join("app/ended/KEEPS").exists()).await;
    told.until("the ceiling is lowered", || read("memory.max") == (5_u64 << 28).to_string()).await;
    let held =
        |log: &str| log.lines().filter(|line| line.ends_with("memory_mb is held by the kernel")).count();
    told.until("that is said, as it was by the first", || held(&told.log()) == 2).await;
    for said in [
        "memory_mb is held by the kernel in part: memory.max is lowered once less is held",
        "of memory are held, and 1024 allowed; the agent's commands are ended",
    ] {
        assert!(told.log().contains(said), "{}", told.log());
    }
    assert!(group_of(second.daemon).trim_end().ends_with(&place.daemons()[0]), "the daemon goes on");
    assert!(read("memory.events").contains("oom_kill 0\n"), "{}", read("memory.events"));
    second.ends();
    assert_eq!(place.daemons(), [""; 0]);
}
