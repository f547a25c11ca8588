//! The walls, with an agent of the real daemon that tries to get out.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use opencode_daemons::confine::Confinement;
use opencode_daemons::{Daemon, StartError};
use serde_json::{Value, json};
use testkit::{RealDaemon, Script, scratch};

use crate::support::{prompt, spec};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_opencode-within-walls");

/// A real daemon within walls, whose agent runs one shell script when told to.
async fn confined(script: &str) -> RealDaemon {
    let call = json!({ "command": script, "description": "Runs it" });
    let model = Script::default().call("RUN-IT", 0, "bash", call).reply("RUN-IT", "done");
    RealDaemon::with(model, |spec| {
        let tmp = spec.directory.with_file_name("private");
        let mut confinement = Confinement::around(spec, LAUNCHER, tmp);
        confinement.required = true;
        spec.confinement = Some(confinement);
        lay(&mut spec.config, "permission", json!({ "bash": "allow", "external_directory": "allow" }));
    })
    .await
    .unwrap()
}

/// A process outside the walls, with a secret in its environment.
struct Bystander(Child);

impl Bystander {
    fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a bystander to be signalled and read")]
        let mut command = Command::new("sleep");
        command
            .arg("600")
            .env("KEY", "secret")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn lay(config: &mut Value, key: &str, value: Value) {
    config[key] = value;
}

#[tokio::test]
async fn an_agent_that_may_run_anything_stays_within_the_walls() {
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    let out = outside.path().display();
    std::fs::write(outside.path().join("secret"), "the secret").unwrap();
    let mut bystander = Bystander::start();
    let pid = bystander.0.id();
    let attempts = [
        ("read a file", format!("cat {out}/secret")),
        ("list a directory", format!("ls {out}/")),
        ("write a file", format!("echo x > {out}/made")),
        ("write through a link", format!("ln -s {out}/made2 link && echo x > link")),
        ("overwrite by a rename", format!("echo x > own && mv own {out}/moved")),
        ("truncate a file", format!("truncate -s 0 {out}/secret")),
        ("delete a file", format!("rm -f {out}/secret && test ! -e {out}/secret")),
        ("make a directory", format!("mkdir {out}/dir")),
        ("link a file in", format!("ln {out}/secret hard")),
        ("read the user's keys", "ls ~root/.ssh/".to_owned()),
        ("write to the system", "touch /usr/escaped".to_owned()),
        ("write to shared temporary files", "touch /tmp/escaped-from-walls".to_owned()),
        ("signal a process", format!("kill -9 {pid}")),
        ("read a process's environment", format!("cat /proc/{pid}/environ")),
        ("see the daemon's password", "test -n \"$OPENCODE_SERVER_PASSWORD\"".to_owned()),
        ("read the daemon's environment", "cat /proc/$OPENCODE_PID/environ".to_owned()),
        ("signal the daemon", "kill -0 $OPENCODE_PID".to_owned()),
        ("reach a file through a process", format!("cat /proc/{pid}/root{out}/secret")),
    ];
    let script: Vec<_> = attempts
        .iter()
        .enumerate()
        .map(|(n, (_, attempt))| format!("( {attempt} ) && echo {n} >> escaped"))
        .collect();
    let daemon = confined(&format!("{}; echo tried > tried", script.join("; "))).await;

    prompt(&daemon, "RUN-IT").await;

    assert!(daemon.directory().join("tried").exists(), "the agent ran");
    let escaped = std::fs::read_to_string(daemon.directory().join("escaped")).unwrap_or_default();
    let escaped: Vec<_> = escaped.lines().map(|n| attempts[n.parse::<usize>().unwrap()].0).collect();
    assert_eq!(escaped, [""; 0]);
    assert_eq!(bystander.0.try_wait().unwrap(), None);
    assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "the secret");
}

#[tokio::test]
async fn ordinary_work_goes_on_within_the_walls() {
    let work = "set -e; test -n \"$OPENCODE_PID\"; echo hello > file; git add file; \
        git -c user.name=a -c user.email=a@localhost commit -qm work; \
        node -e 'console.log(1 + 1)' > node.txt; mktemp > mktemp.txt; \
        printf 'test(\"x\", () => {})' | sed 's/x/y/' > sed.txt; cat /etc/hostname > /dev/null; echo ok > ok";
    let daemon = confined(work).await;
    prompt(&daemon, "RUN-IT").await;
    let read = |name: &str| std::fs::read_to_string(daemon.directory().join(name)).unwrap_or_default();
    assert_eq!((read("node.txt").as_str(), read("ok").as_str()), ("2\n", "ok\n"));
    assert!(Path::new(read("mktemp.txt").trim()).starts_with(daemon.home().with_file_name("private")));
    assert!(scratch::git(&daemon.directory(), &["log", "--oneline"]).unwrap().contains("work"));
}

#[tokio::test]
async fn a_launcher_that_is_none_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec("answers", dir.path());
    spec.confinement = Some(Confinement::around(&spec, "/no/launcher", dir.path().join("tmp")));
    let error = Daemon::start(spec).await.unwrap_err();
    assert!(matches!(error, StartError::Program { .. }), "{error:?}");
}
