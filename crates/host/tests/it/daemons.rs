//! What becomes of tasks when daemons and hosts die, with the real opencode daemon in its walls.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opencode_daemons::pool::preferred_port;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::model::{Answer, Script, ScriptedModel};
use testkit::scratch;

use crate::terminal::{Terminal, User, opencode, processes_below};

/// A user with a repository, and a model that works for as long as it is held.
struct Bench {
    user: User,
    model: ScriptedModel,
    workspace: String,
    opencode: String,
    /// The port that a stranger of this test has.
    stranger: Mutex<Option<u16>>,
}

impl Bench {
    async fn new() -> Self {
        let hang = Answer::Hang { text: "It is thought through.".to_owned() };
        let peek = "cat $HOME/.ssh/id > key.txt; env > password.txt; \
                    cat /proc/$OPENCODE_PID/environ > environ.txt; echo x > $HOME/escaped; git status > git.txt";
        let script = Script::default()
            .answer("think long", hang)
            .call("look around", 0, "bash", json!({ "command": peek, "description": "looks" }))
            .reply("look around", "I looked.")
            .reply("now the docs", "The docs too.");
        let model = ScriptedModel::start(script).unwrap();
        model.hold();
        let user = User::new().with_opencode_config(&model.config());
        let workspace = repository(&user, "app");
        Self { user, model, workspace, opencode: opencode().await, stranger: Mutex::default() }
    }

    fn chat(&self) -> Terminal {
        self.user.start(&["chat", "--workspace", &self.workspace, "--opencode", &self.opencode])
    }

    /// A chat whose agent is in the middle of a turn, and the agent's daemon.
    async fn at_work(&self) -> (Terminal, u32) {
        let mut chat = self.chat();
        chat.type_line("/fix think long");
        chat.expect("└─");
        chat.type_line("y");
        chat.expect("▶ session");
        let asked = |seen: &[testkit::model::Seen]| seen.iter().any(|seen| !seen.title);
        assert!(self.model.wait_for(Duration::from_mins(1), asked).await, "the model was asked");
        (chat, self.pid())
    }

    fn pid(&self) -> u32 {
        let listed = self.user.run(&["daemons", "list", "--json"]).json();
        u32::try_from(listed[0]["pid"].as_u64().unwrap_or_else(|| panic!("{listed}"))).unwrap()
    }

    /// What the host keeps of its one daemon.
    fn record(&self) -> PathBuf {
        let records = std::fs::read_dir(self.user.state().join("daemons")).unwrap().flatten();
        let mut records = records.map(|entry| entry.path());
        records.find(|path| path.extension().is_some_and(|it| it == "json")).unwrap()
    }

    /// No process of anything below the home, by its environment or its group, and no record, lock,
    /// port or socket that is held.
    fn nothing_is_left(&self) {
        assert_eq!(processes_below(self.user.home.path()), []);
        let state = self.user.state();
        for log in files(&state.join("daemons"), "log") {
            let log = std::fs::read_to_string(log).unwrap();
            // `-- daemon Some(PID) on port PORT (…)`
            for started in log.lines().filter_map(|line| line.strip_prefix("-- daemon Some(")) {
                let (pid, rest) = started.split_once(") on port ").unwrap();
                assert_eq!(of_group(pid), Vec::<String>::new(), "of group {pid} something runs");
                let port: u16 = rest.split_once(' ').unwrap().0.parse().unwrap();
                let stranger = *self.stranger.lock().unwrap() == Some(port);
                assert!(stranger || !is_listened_on(port), "port {port} is held");
            }
        }
        assert_eq!(files(&state.join("daemons"), "json"), Vec::<PathBuf>::new());
        assert_eq!(files(&state.join("daemons"), "sock"), Vec::<PathBuf>::new());
        for lock in files(&state, "lock").iter().chain(&files(&state.join("daemons"), "lock")) {
            std::fs::File::open(lock)
                .unwrap()
                .try_lock()
                .unwrap_or_else(|_| panic!("{} is held", lock.display()));
        }
    }
}

/// The processes of a group, as lines of the kernel's table. One that waits to be reaped runs no more.
fn of_group(group: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let of_group = |line: &String| {
        let fields: Vec<&str> = line.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.get(2) == Some(&group) && fields[0] != "Z"
    };
    lines.filter(of_group).collect()
}

/// What is left of connections that have ended does not count.
fn is_listened_on(port: u16) -> bool {
    let address = format!("0100007F:{port:04X}");
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    sockets.lines().any(|line| line.contains(&format!("{address} 00000000:0000 0A")))
}

/// The files with this extension in a directory, if it is there.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|it| it == extension)).collect()
}

fn repository(user: &User, name: &str) -> String {
    let directory = user.home.path().join(name);
    std::fs::create_dir(&directory).unwrap();
    scratch::repository(&directory, &[("hello.txt", "hello\n")]).unwrap();
    directory.display().to_string()
}

fn kill9(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Takes a port as soon as it is free, answers 200 to everything, and remembers what it heard.
fn stranger(port: u16) -> Arc<Mutex<Vec<u8>>> {
    let until = Instant::now() + Duration::from_secs(30);
    let listener = loop {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => break listener,
            Err(error) => assert!(Instant::now() < until, "port {port}: {error}"),
        }
    };
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let memory = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0; 8192];
            let read = stream.read(&mut buffer).unwrap_or(0);
            memory.lock().unwrap().extend_from_slice(&buffer[..read]);
            let body = r#"{"healthy":true,"version":"1.18.33"}"#;
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    heard
}

fn password(record: &Path) -> String {
    let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    record["password"].as_str().unwrap().to_owned()
}

/// What a daemon's password looks like on the wire.
fn credential(record: &Path) -> String {
    data_encoding::BASE64.encode(format!("opencode:{}", password(record)).as_bytes())
}

#[tokio::test]
async fn a_daemon_that_dies_at_work_comes_back_and_its_session_goes_on() {
    let bench = Bench::new().await;
    let (mut chat, pid) = bench.at_work().await;
    let port = bench.user.run(&["daemons", "list", "--json"]).json()[0]["port"].as_u64().unwrap();
    kill9(pid);
    let port = u16::try_from(port).unwrap();
    let heard = stranger(port);
    *bench.stranger.lock().unwrap() = Some(port);
    let failed = chat.expect("✘ 1.1 failed");
    assert!(failed.contains("the daemon stopped or restarted"), "{failed}");
    let session = chat.expect("session ses_");

    bench.model.release();
    chat.type_line("/continue now the docs");
    chat.expect("continue_session");
    chat.type_line("y");
    chat.expect("The docs too.");
    assert_eq!(chat.expect("session ses_"), session, "it went on in the same session");

    assert_ne!(bench.pid(), pid);
    let record = bench.record();
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    assert!(!heard.contains(&credential(&record)), "the stranger can use what it heard: {heard}");
    chat.type_line("/quit");
    assert_eq!(chat.finish().0, 0);
    bench.nothing_is_left();
}

#[tokio::test]
async fn a_host_that_is_killed_finds_its_daemon_and_the_turn_again() {
    let bench = Bench::new().await;
    let (chat, pid) = bench.at_work().await;
    chat.kill9();
    let alone = bench.user.run(&["daemons", "list", "--json"]).json();
    assert_eq!((alone[0]["phase"].as_str(), alone[0]["pid"].as_u64()), (Some("alone"), Some(pid.into())));

    let mut again = bench.chat();
    again.expect("▶ session");
    assert_eq!(bench.pid(), pid, "the daemon is the same");
    bench.model.release();
    again.expect("✔ 1.1 done");
    again.expect("It is thought through.");
    let session = again.expect("session ses_");
    again.type_line("/continue now the docs");
    again.expect("└─");
    again.type_line("y");
    again.expect("The docs too.");
    assert_eq!(again.expect("session ses_"), session);
    again.type_line("/quit");
    assert_eq!(again.finish().0, 0);
    let asked =
        bench.model.seen().iter().filter(|seen| seen.prompt.contains("think long") && !seen.title).count();
    assert_eq!(asked, 1, "the agent was given the task once");
    bench.nothing_is_left();
}

#[tokio::test]
async fn when_host_and_daemon_are_killed_the_step_ends_known_and_nothing_is_left() {
    let bench = Bench::new().await;
    let (chat, pid) = bench.at_work().await;
    chat.kill9();
    kill9(pid);
    let mut again = bench.chat();
    let failed = again.expect("✘ 1.1 failed");
    assert!(failed.contains("the daemon stopped or restarted"), "{failed}");
    again.type_line("/quit");
    assert_eq!(again.finish().0, 0);
    bench.nothing_is_left();
}

#[tokio::test]
async fn an_agent_in_a_chat_sees_neither_the_home_nor_the_daemons_password() {
    let bench = Bench::new().await;
    let home = bench.user.home.path();
    std::fs::create_dir(home.join(".ssh")).unwrap();
    std::fs::write(home.join(".ssh/id"), "the key").unwrap();
    let mut chat = bench.chat();
    chat.type_line("/fix look around");
    let confined = chat.expect("confine");
    assert!(confined.contains("on"), "{confined}");
    chat.expect("└─");
    chat.type_line("y");
    chat.expect("I looked.");
    let read = |name: &str| std::fs::read_to_string(format!("{}/{name}", bench.workspace)).unwrap();
    assert_eq!((read("key.txt"), read("environ.txt")), (String::new(), String::new()));
    let environment = read("password.txt");
    assert!(environment.contains("OPENCODE_PID="), "{environment}");
    assert!(!environment.contains(&password(&bench.record())), "{environment}");
    assert!(read("git.txt").contains("On branch"));
    assert!(!home.join("escaped").exists());
    chat.type_line("/quit");
    assert_eq!(chat.finish().0, 0);
    bench.nothing_is_left();
}

/// A host configuration with three workspaces and two places.
fn host_toml(bench: &Bench) -> String {
    let mut config = format!(
        "rules = \"rules\"\n[opencode]\npath = \"{}\"\nmax_servers = 2\nserver_startup_timeout_secs = 120\n[routing]\nmodel = \"scripted/scripted\"\n",
        bench.opencode
    );
    for name in ["a", "b", "c"] {
        let directory = repository(&bench.user, name);
        config.push_str(&format!("[workspaces.{name}]\ndirectory = \"{directory}\"\n"));
    }
    config.push_str("[connectors.connector-opencode]\nworkspace = \"a\"\n");
    let home = bench.user.home.path();
    std::fs::create_dir(home.join("rules")).unwrap();
    std::fs::write(home.join("rules/fix.toml"), include_str!("../../../rules/tests/fixtures/seed.toml"))
        .unwrap();
    let path = home.join("host.toml");
    std::fs::write(&path, config).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn doctor_says_where_a_system_lets_daemons_have_no_namespaces() {
    let bench = Bench::new().await;
    let config = host_toml(&bench);
    let doctor = || {
        let doctor = bench.user.command(&["doctor", "-c", &config]);
        // In a user namespace that may have none below it.
        #[expect(clippy::disallowed_methods, reason = "the host is started by another program")]
        let mut refused = Command::new("unshare");
        refused
            .args(["-Ur", "sh", "-c", "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"", "sh"])
            .arg(doctor.get_program())
            .args(doctor.get_args())
            .env_clear()
            .envs(doctor.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = refused.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = doctor();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("! walls of a ") && text.contains("user.max_user_namespaces"), "{text}");
    let required =
        std::fs::read_to_string(&config).unwrap().replace("[opencode]", "[opencode]\nconfine = \"required\"");
    std::fs::write(&config, required).unwrap();
    let (code, text) = doctor();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("✘ walls of a ") && text.contains("user.max_user_namespaces"), "{text}");
}

fn phases(listed: &Value) -> Vec<&str> {
    listed.as_array().unwrap().iter().map(|standing| standing["phase"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn daemons_are_managed_beside_a_running_host() {
    let bench = Bench::new().await;
    let config = host_toml(&bench);
    let list = || bench.user.run(&["daemons", "list", "--json"]).json();
    let mut host = bench.user.start(&["run", "-c", &config]);
    host.expect("host is running");
    assert_eq!(phases(&list()), ["cold", "cold", "cold"]);
    let start = |name| bench.user.run(&["daemons", "start", name, "--json"]).json();
    start("a");
    start("b");
    assert_eq!(phases(&start("c")), ["cold", "ready", "ready"], "the one idle for longest made room");

    kill9(u32::try_from(list()[1]["pid"].as_u64().unwrap()).unwrap());
    let until = Instant::now() + Duration::from_secs(30);
    while phases(&list())[1] != "cold" {
        assert!(Instant::now() < until, "{}", list());
    }
    let refused = bench.user.run(&["daemons", "start", "nowhere"]);
    assert_eq!(refused.code(), 1);
    assert!(refused.text().contains("no workspace `nowhere`"), "{}", refused.text());
    let before = list()[2]["pid"].clone();
    let restarted = bench.user.run(&["daemons", "restart", "c", "--json"]).json();
    assert_eq!(phases(&restarted)[2], "ready");
    assert_ne!(restarted[2]["pid"], before, "another process answers");
    let stopped = bench.user.run(&["daemons", "stop", "c", "--json"]).json();
    assert_eq!(phases(&stopped), ["cold", "cold", "cold"]);
    let log = bench.user.run(&["daemons", "logs", "b"]).text();
    assert!(log.contains("daemon ended"), "{log}");
    host.signal(Signal::TERM);
    assert_eq!(host.wait(), 0);
    bench.nothing_is_left();
}

#[tokio::test]
async fn daemons_are_managed_without_a_host_and_strangers_are_passed_by() {
    let bench = Bench::new().await;
    let config = host_toml(&bench);
    let directory = bench.user.home.path().join("a").canonicalize().unwrap();
    let port = preferred_port(&directory);
    let heard = stranger(port);
    let started = bench.user.run(&["daemons", "start", "a", "-c", &config]);
    assert_eq!(started.code(), 0, "{}", started.text());
    let listed = bench.user.run(&["daemons", "list", "--json"]).json();
    assert_eq!(listed[0]["phase"], "alone");
    assert_ne!(listed[0]["port"], port);
    assert_eq!(String::from_utf8_lossy(&heard.lock().unwrap()), "");

    let findings = bench.user.run(&["doctor", "-c", &config, "--json"]);
    assert_eq!(findings.code(), 0, "{}", findings.text());
    let findings = findings.json();
    let find =
        |what: &str| findings.as_array().unwrap().iter().find(|finding| finding["what"] == what).unwrap();
    for what in ["opencode", "walls of a", "git", "model of a", "workspace a", "port of a"] {
        assert_eq!(find(what)["verdict"], "good", "{findings}");
    }
    let open = std::fs::read_to_string(&config)
        .unwrap()
        .replace("[workspaces.b]", "[workspaces.b]\nunix_sockets = true");
    std::fs::write(&config, open).unwrap();
    let findings = bench.user.run(&["doctor", "-c", &config]).text();
    assert!(
        findings.contains("of b             this kernel holds them, but `unix_sockets` opens every socket"),
        "{findings}"
    );
    let doors = bench.user.run(&["doctor", "--doors", "-c", &config, "--json"]).json();
    let door = |path: &Path| {
        let mut rows = doors.as_array().unwrap().iter();
        rows.find(|row| row["workspace"] == "a" && row["path"] == json!(path)).unwrap().clone()
    };
    let workspace = door(&bench.user.home.path().join("a"));
    assert_eq!((&workspace["opens"], &workspace["for"]), (&json!("write"), &json!("both")), "{workspace}");
    let own = door(&bench.user.state().join("daemons/a.own"));
    assert_eq!((&own["opens"], &own["for"]), (&json!("write"), &json!("daemon")), "{own}");
    let text = bench.user.run(&["doctor", "--doors", "-c", &config]).text();
    assert!(text.contains("  read   both      /usr  (the system)"), "{text}");
    let wide = std::fs::read_to_string(&config)
        .unwrap()
        .replace("[workspaces.c]", "[workspaces.c]\nread = [\"~/\"]");
    std::fs::write(&config, wide).unwrap();
    let findings = bench.user.run(&["doctor", "-c", &config]);
    assert_eq!(findings.code(), 1, "{}", findings.text());
    assert!(findings.text().contains("✘ doors of c"), "{}", findings.text());
    let stopped = bench.user.run(&["daemons", "stop", "a"]);
    assert_eq!(stopped.code(), 0, "{}", stopped.text());
    assert_eq!(bench.user.run(&["daemons", "stop", "nothing"]).code(), 2);
    bench.nothing_is_left();
}
