//! The host from scripts: the examples as they are, and the exit codes that they rest on.

#![expect(clippy::disallowed_methods, reason = "the scripts are started here")]

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;
use testkit::model::{Script, ScriptedModel};
use testkit::scratch;

use crate::terminal::{Terminal, User, opencode, processes_below};

const RULE: &str = r#"
[rule]
name = "fix"
[trigger]
type = "ConnectorEvent"
connector = "connector-console"
event = "message_received"
[[conditions]]
type = "FieldMatches"
field = "trigger.text"
pattern = '^/fix\s+\S'
[[actions]]
type = "RunConnector"
connector = "connector-opencode"
action = "run_task"
params = { prompt = '${trigger.text | strip_prefix("/fix") | trim}' }
"#;

/// A user whose host runs, with one rule that fires on `/fix` from the console's connector.
pub(crate) struct Office {
    pub(crate) user: User,
    pub(crate) host: Terminal,
    _model: ScriptedModel,
}

impl Office {
    async fn open() -> Self {
        Self::with_approver(&format!("cli:{}", whoami::username().unwrap())).await
    }

    /// Where this account alone approves.
    pub(crate) async fn with_approver(approver: &str) -> Self {
        let script = Script::default().reply("write it", "It is written.");
        Self::with(User::new(), approver, script, "").await
    }

    /// The office of `user`, whose model follows `script` and may run a command once it was asked for, with `more` in
    /// its configuration, which begins within that of its workspace.
    pub(crate) async fn with(user: User, approver: &str, script: Script, more: &str) -> Self {
        let model = ScriptedModel::start(script).unwrap();
        let mut own = model.config();
        own["permission"] = json!({ "bash": "ask" });
        let user = user.with_opencode_config(&own);
        let home = user.home.path();
        scratch::repository(&home.join("app"), &[("a.txt", "a\n")]).unwrap();
        std::fs::create_dir(home.join("rules")).unwrap();
        std::fs::write(home.join("rules/fix.toml"), RULE).unwrap();
        let opencode = opencode().await;
        let config = format!(
            "rules = \"rules\"\nopencode = \"{opencode}\"\n[gate]\napprovers = [\"{approver}\"]\n\
             [connectors.connector-opencode]\nworkspace = \"app\"\n\
             [workspaces.app]\ndirectory = \"app\"\n{more}"
        );
        std::fs::write(home.join("host.toml"), config).unwrap();
        let mut host = user.start(&["run", "-c", home.join("host.toml").to_str().unwrap()]);
        host.expect("host is running");
        Self { user, host, _model: model }
    }

    /// Runs one of the examples; how it ended, and what it said.
    fn script(&self, program: &str, name: &str, message: &str) -> (i32, String) {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/scripts").join(name);
        let mut script = Command::new(program);
        script.arg(example).arg(message);
        script.env("CONNECTOR_HOST", env!("CARGO_BIN_EXE_connector-host"));
        script.env("CONNECTOR_HOST_STATE", self.user.state());
        let ended = script.output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
    }

    pub(crate) fn close(mut self) {
        self.host.signal(Signal::TERM);
        assert_eq!(self.host.wait(), 0);
        assert_eq!(processes_below(self.user.home.path()), []);
    }
}

#[tokio::test]
async fn the_example_scripts_submit_approve_follow_and_read_a_result() {
    let office = Office::open().await;
    for (program, name) in [("sh", "fix.sh"), ("python3", "fix.py"), ("python3", "api.py")] {
        let (code, said) = office.script(program, name, "/fix write it");
        assert!(code == 0 && said.contains("It is written."), "{name}: {code}: {said}");
        let (code, said) = office.script(program, name, "good morning");
        assert_eq!(code, 4, "{name}: nothing fires: {said}");
        let lines = std::fs::read_to_string(
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/scripts").join(name),
        );
        assert!(lines.unwrap().lines().count() < 30, "{name}");
    }
    office.close();
}

#[tokio::test]
async fn a_sender_who_waits_learns_by_the_exit_code_what_came_of_it() {
    let office = Office::open().await;
    let user = &office.user;
    let sent = |id: &str, text: &str, more: &[&str]| {
        user.run(&[&["send", "--wait", "--json", "--id", id, text], more].concat())
    };
    let nothing = sent("m1", "good morning", &[]);
    assert_eq!((nothing.code(), nothing.json()["runs"].clone()), (4, json!([])));
    // Not decided yet: the sender stops waiting, the run does not.
    let running = sent("m2", "/fix write it", &["--timeout", "0"]);
    assert_eq!(running.code(), 5, "{}", running.text());
    let waiting = user.run(&["approvals", "wait", "--timeout", "60", "--json"]).json();
    let step = waiting[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(user.run(&["approvals", "deny", &step]).code(), 0);
    let denied = sent("m2", "/fix write it", &[]);
    assert_eq!((denied.code(), denied.json()["runs"][0]["state"].clone()), (3, json!("denied")));
    let events = user.run(&["events", "list", "--json"]).json();
    assert_eq!(events.as_array().map(Vec::len), Some(2), "the same id is the same message: {events}");
    // Nothing of it will wait any more: the end of what it fired is the answer.
    let event = denied.json()["event"]["id"].to_string();
    let over = user.run(&["approvals", "wait", "--event", &event, "--json"]);
    assert_eq!((over.code(), over.json()), (3, json!([])));
    let gone = user.run(&["events", "show", "99"]);
    assert!(gone.code() == 2 && gone.text().contains("`events list`"), "{}", gone.text());
    assert_eq!(user.run(&["approvals", "wait", "--timeout", "0"]).code(), 5);
    let none = user.run(&["approvals", "wait", "--event", "999"]);
    assert!(none.code() == 2 && none.text().contains("no event 999; `events list`"), "{}", none.text());
    office.close();
}
