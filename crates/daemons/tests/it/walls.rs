//! The walls, with an agent of the real daemon that tries to get out.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use opencode_daemons::confine::Confinement;
use opencode_daemons::{Daemon, StartError};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{RealDaemon, Script, scratch};

use crate::support::{prompt, spec, with};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_opencode-within-walls");

/// A real daemon within walls, whose agent runs shell scripts when told to, one after the other.
async fn confined(scripts: &[&str]) -> RealDaemon {
    let model = scripts.iter().enumerate().fold(Script::default(), |model, (done, script)| {
        model.call("RUN-IT", done, "bash", json!({ "command": script, "description": "Runs it" }))
    });
    RealDaemon::with(model.reply("RUN-IT", "done"), |spec| {
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
        ("read the environment of the shell's starter", "cat /proc/$PPID/environ".to_owned()),
        ("overwrite the shell", "cp /bin/sh \"$SHELL\"".to_owned()),
        ("replace the shell", "cp /bin/sh own-shell && mv own-shell \"$SHELL\"".to_owned()),
        ("remove the shell", "rm \"$SHELL\"".to_owned()),
        ("read the daemon's environment", "cat /proc/$OPENCODE_PID/environ".to_owned()),
        ("signal the daemon", "kill -0 $OPENCODE_PID".to_owned()),
        ("reach a file through a process", format!("cat /proc/{pid}/root{out}/secret")),
    ];
    let script: Vec<_> = attempts
        .iter()
        .enumerate()
        .map(|(n, (_, attempt))| format!("( {attempt} ) && echo {n} >> escaped"))
        .collect();
    let daemon = confined(&[&format!("{}; env > environment; echo tried > tried", script.join("; "))]).await;

    prompt(&daemon, "RUN-IT").await;

    assert!(daemon.directory().join("tried").exists(), "the agent ran");
    let escaped = std::fs::read_to_string(daemon.directory().join("escaped")).unwrap_or_default();
    let escaped: Vec<_> = escaped.lines().map(|n| attempts[n.parse::<usize>().unwrap()].0).collect();
    assert_eq!(escaped, [""; 0]);
    let environment = std::fs::read_to_string(daemon.directory().join("environment")).unwrap();
    assert!(environment.contains("OPENCODE_PID="), "{environment}");
    assert!(!environment.contains(daemon.password().expose_secret()), "{environment}");
    assert_eq!(bystander.0.try_wait().unwrap(), None);
    assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "the secret");
}

#[tokio::test]
async fn a_command_does_not_choose_the_walls_of_the_next_one() {
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    let out = outside.path().display();
    let plant = "printf '#!/bin/sh\\nenv > planted\\nexec /bin/sh \"$@\"\\n' > plant; chmod +x plant; \
        for there in \"$SHELL\" \"$TMPDIR/shell/sh\" \"$TMPDIR/sh\"; do \
            mkdir -p \"$(dirname \"$there\")\"; cp plant \"$there\"; cp plant new; mv new \"$there\"; \
        done; echo tried > tried";
    let daemon = confined(&[plant, &format!("echo x > {out}/escaped; cat plant; echo again > again")]).await;

    prompt(&daemon, "RUN-IT").await;

    let is_there = |name: &str| daemon.directory().join(name).exists();
    assert!(is_there("tried") && is_there("again"), "both commands ran");
    assert!(!is_there("planted"), "what the first planted was run");
    assert!(!outside.path().join("escaped").exists());
}

#[tokio::test]
async fn walls_that_the_agent_could_rewrite_are_not_put_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec("answers", dir.path());
    spec.confinement = Some(Confinement::around(&spec, LAUNCHER, dir.path().join("state/w.tmp")));
    let error = Daemon::start(spec).await.unwrap_err();
    let StartError::System { source, .. } = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("where the agent can write"), "{source}");
}

#[tokio::test]
async fn a_2_x_daemon_is_not_started_where_walls_are_required() {
    for (version, required, starts) in
        [("1.18.33", true, true), ("2.0.22", true, false), ("2.0.22", false, true)]
    {
        let (dir, tmp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut spec = with(spec("answers", dir.path()), "FAKE_VERSION", version);
        let mut confinement = Confinement::around(&spec, LAUNCHER, tmp.path().join("w.tmp"));
        confinement.required = required;
        confinement.walls.read.push(spec.program.parent().unwrap().to_owned());
        spec.confinement = Some(confinement);
        match Daemon::start(spec).await {
            Ok(daemon) => assert!(starts, "{}", daemon.version()),
            Err(StartError::Version(error)) => assert!(!starts && error.to_string().contains("required")),
            Err(error) => panic!("{version}: {error}"),
        }
    }
}

#[tokio::test]
async fn ordinary_work_goes_on_within_the_walls() {
    let work = "set -e; test -n \"$OPENCODE_PID\"; echo hello > file; git add file; \
        git -c user.name=a -c user.email=a@localhost commit -qm work; \
        node -e 'console.log(1 + 1)' > node.txt; mktemp > mktemp.txt; \
        printf 'test(\"x\", () => {})' | sed 's/x/y/' > sed.txt; cat /etc/hostname > /dev/null; echo ok > ok";
    let daemon = confined(&[work]).await;
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
    let tmp = tempfile::tempdir().unwrap();
    spec.confinement = Some(Confinement::around(&spec, "/no/launcher", tmp.path().join("w.tmp")));
    let error = Daemon::start(spec).await.unwrap_err();
    assert!(matches!(error, StartError::Program { .. }), "{error:?}");
}
