//! Daemons that misbehave, as the commands of the host show them.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::model::{Answer, Script, ScriptedModel};
use testkit::scratch;

use crate::terminal::{Terminal, User, opencode, processes_below};

/// A user with one workspace, whose host runs without a terminal.
struct Bench {
    user: User,
    model: ScriptedModel,
    runs: u32,
}

impl Bench {
    fn new() -> Self {
        let script = Script::default()
            .answer("think long", Answer::Hang { text: "It is thought through.".to_owned() })
            .call("write it", 0, "write", json!({ "filePath": "new.txt", "content": "new\n" }))
            .reply("write it", "It is written.");
        let model = ScriptedModel::start(script).unwrap();
        let user = User::new().with_opencode_config(&model.config());
        let directory = user.home.path().join("app");
        std::fs::create_dir(&directory).unwrap();
        scratch::repository(&directory, &[("hello.txt", "hello\n")]).unwrap();
        Self { user, model, runs: 0 }
    }

    /// Starts the host with this binary and these further settings of `[opencode]`.
    fn host(&self, binary: &str, settings: &str) -> Terminal {
        let home = self.user.home.path();
        std::fs::create_dir_all(home.join("rules")).unwrap();
        std::fs::write(home.join("rules/fix.toml"), include_str!("../../../rules/tests/fixtures/seed.toml"))
            .unwrap();
        let me = whoami::username().unwrap();
        let config = format!(
            "rules = \"rules\"\n[opencode]\npath = \"{binary}\"\n{settings}\n[gate]\napprovers = [\"cli:{me}\"]\n\
             [workspaces.app]\ndirectory = \"app\"\n[connectors.connector-opencode]\nworkspace = \"app\"\n"
        );
        let path = home.join("host.toml");
        std::fs::write(&path, config).unwrap();
        let mut host = self.user.start(&["run", "-c", path.to_str().unwrap()]);
        host.expect("host is running");
        host
    }

    /// Sends a message and approves what it leads to.
    fn approved(&mut self, host: &mut Terminal, text: &str) {
        self.runs += 1;
        assert_eq!(self.user.run(&["send", "--as", "connector-telegram", text]).code(), 0);
        host.expect("waits for approval");
        let approved = self.user.run(&["approvals", "approve", &format!("{}.1", self.runs)]);
        assert_eq!(approved.code(), 0, "{}", approved.text());
    }

    /// The only step of the latest run, once it has ended.
    fn ended(&self) -> Value {
        let until = Instant::now() + Duration::from_mins(2);
        loop {
            let run = self.user.run(&["runs", "show", &self.runs.to_string(), "--json"]).json();
            let step = &run["steps"][0];
            if step["ended_at"].is_number() {
                return step.clone();
            }
            let log = || self.user.run(&["daemons", "logs", "app"]).text();
            assert!(Instant::now() < until, "it does not end: {run}\n{}", log());
        }
    }

    fn listed(&self) -> Value {
        self.user.run(&["daemons", "list", "--json"]).json()[0].clone()
    }

    fn pid(&self) -> Pid {
        let listed = self.listed();
        let pid = listed["pid"].as_i64().unwrap_or_else(|| panic!("{listed}"));
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }

    fn ends_clean(self, mut host: Terminal) {
        host.signal(Signal::TERM);
        assert_eq!(host.wait(), 0);
        assert_eq!(processes_below(self.user.home.path()), []);
    }
}

#[tokio::test]
async fn a_daemon_that_hangs_is_replaced_and_its_task_ends_known() {
    let mut bench = Bench::new();
    bench.model.hold();
    let mut host = bench.host(&opencode().await, "answer_timeout_secs = 10");
    bench.approved(&mut host, "/fix think long");
    let asked = |seen: &[testkit::model::Seen]| seen.iter().any(|seen| !seen.title);
    assert!(bench.model.wait_for(Duration::from_mins(1), asked).await, "the model was asked");
    let at_work = bench.pid();
    kill_process(at_work, Signal::STOP).unwrap();
    let step = bench.ended();
    assert_eq!(step["state"], "failed", "{step}");
    assert!(step.to_string().contains("the daemon stopped or restarted"), "{step}");
    let next = bench.pid();
    assert_ne!(next, at_work);

    bench.model.release();
    kill_process(next, Signal::STOP).unwrap();
    bench.approved(&mut host, "/fix write it");
    let step = bench.ended();
    assert_eq!(step["state"], "succeeded", "{step}");
    assert_ne!(bench.pid(), next);
    let log = bench.user.run(&["daemons", "logs", "app"]).text();
    assert_eq!(log.matches("does not answer").count(), 2, "{log}");
    bench.ends_clean(host);
}
