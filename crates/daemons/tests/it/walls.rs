//! The walls, with an agent of the real daemon that tries to get out.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use opencode_daemons::confine::Confinement;
use opencode_daemons::{Daemon, Home, Spec, StartError};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::fake::Generation;
use testkit::{RealDaemon, Script, scratch};

use crate::support::{prompt, run, spec, with};

pub(crate) const LAUNCHER: &str = env!("CARGO_BIN_EXE_opencode-within-walls");

/// A real daemon within walls, whose agent runs shell scripts when told to, one after the other.
async fn confined(scripts: &[&str]) -> RealDaemon {
    confined_with(Generation::V1, scripts, |_| {}, |_| {}).await
}

/// The same of a generation, with a last word on the daemon and on its walls. What belongs to its walls
/// is beside the home of its own, if it has one.
pub(crate) async fn confined_with(
    generation: Generation,
    scripts: &[&str],
    adjust: impl FnOnce(&mut Spec),
    adjust_walls: impl FnOnce(&mut Confinement),
) -> RealDaemon {
    let model = scripts.iter().enumerate().fold(Script::default(), |model, (done, script)| {
        model.call("RUN-IT", done, "bash", json!({ "command": script, "description": "Runs it" }))
    });
    confined_by(generation, model.reply("RUN-IT", "done"), adjust, adjust_walls).await
}

/// The same with all that its model says.
pub(crate) async fn confined_by(
    generation: Generation,
    model: Script,
    adjust: impl FnOnce(&mut Spec),
    adjust_walls: impl FnOnce(&mut Confinement),
) -> RealDaemon {
    RealDaemon::with_on(generation, model, |spec| {
        adjust(spec);
        let tmp = match &spec.home {
            Home::Own(own) => own.with_extension("tmp"),
            Home::User | Home::Isolated(_) => spec.directory.with_file_name("private"),
        };
        let mut confinement = Confinement::around(spec, LAUNCHER, tmp);
        confinement.required = true;
        adjust_walls(&mut confinement);
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

/// Where a command finds its daemon's process id.
const DAEMON: &str = "daemon.pid";

/// What attempts to leave the walls are made on: all of it outside, and within reach without walls.
struct Outside {
    root: tempfile::TempDir,
    bystander: Bystander,
    terminal: OwnedFd,
    _listening: UnixListener,
}

impl Outside {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for below in [
            "home/.ssh",
            "other",
            "readable",
            "programs",
            "state/daemons/w.own/data/opencode",
            "state/daemons/w.shell",
        ] {
            std::fs::create_dir_all(root.path().join(below)).unwrap();
        }
        for file in [
            "secret",
            "victim",
            "doomed",
            "home/.ssh/id",
            "other/file",
            "state/daemons/control.key",
            "state/daemons/w.shell/bash",
        ] {
            std::fs::write(root.path().join(file), "the secret").unwrap();
        }
        let listening = UnixListener::bind(root.path().join("socket")).unwrap();
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).and_then(|()| unlockpt(&terminal)).unwrap();
        rustix::io::write(&terminal, b"typed\n").unwrap();
        Self { root, bystander: Bystander::start(), terminal, _listening: listening }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    fn attempts(&self) -> Vec<(&'static str, String)> {
        let (out, pid) = (self.root.path().display(), self.bystander.0.id());
        let terminal = ptsname(&self.terminal, Vec::new()).unwrap().into_string().unwrap();
        // Where the system gives nobody a namespace, plain reading stands in for it.
        let mount = format!("mount --bind {out} mounted && cat mounted/secret");
        // By whatever name it goes.
        let shell = format!("$(echo {out}/state/daemons/w.shell/*sh)");
        let connect = format!(
            "node -e \"require('net').connect('{out}/socket').on('connect', () => process.exit(0)).on('error', \
             () => process.exit(1))\""
        );
        vec![
            ("read a file", format!("cat {out}/secret")),
            ("list a directory", format!("ls {out}/")),
            ("write a file", format!("echo x > {out}/made")),
            ("write through a link", format!("ln -s {out}/made2 link && echo x > link")),
            ("overwrite by a rename", format!("echo x > own && mv own {out}/moved")),
            ("truncate a file", format!("truncate -s 0 {out}/victim")),
            (
                "delete a file",
                format!("test -e {out}/doomed && rm -f {out}/doomed && test ! -e {out}/doomed"),
            ),
            ("make a directory", format!("mkdir {out}/dir")),
            ("link a file in", format!("ln {out}/secret hard")),
            ("write where only reading is allowed", format!("touch {out}/readable/made")),
            ("read the user's keys", "cat ~/.ssh/id".to_owned()),
            ("read another workspace", format!("cat {out}/other/file")),
            ("read the host's key", format!("cat {out}/state/daemons/control.key")),
            ("list the daemon's own data", format!("ls {out}/state/daemons/w.own/data/opencode")),
            ("connect to a socket", connect),
            ("read from a terminal", format!("timeout 5 head -n 1 {terminal}")),
            ("write to a terminal", format!("echo x > {terminal}")),
            ("mount", format!("mkdir mounted; unshare -Urm sh -c '{mount}' || cat {out}/secret")),
            ("read a process's environment", format!("cat /proc/{pid}/environ")),
            ("read a process's memory map", format!("grep -q . /proc/{pid}/maps")),
            ("reach a file through a process", format!("cat /proc/{pid}/root{out}/secret")),
            ("read the environment of the shell's starter", "grep -qa . /proc/$PPID/environ".to_owned()),
            ("read the daemon's environment", "grep -qa . /proc/$OPENCODE_PID/environ".to_owned()),
            ("signal the daemon", "kill -0 $OPENCODE_PID".to_owned()),
            ("overwrite the shell", format!("cp /bin/sh {shell}")),
            ("replace the shell", format!("cp /bin/sh own-shell && mv own-shell {shell}")),
            ("remove the shell", format!("rm {shell}")),
            ("signal a process", format!("kill -9 {pid}")),
        ]
    }

    /// All attempts in a row, which write the number of each that succeeds into `escaped`.
    fn script(&self) -> String {
        let attempts = self.attempts().into_iter().enumerate();
        let script: Vec<_> =
            attempts.map(|(n, (_, attempt))| format!("( {attempt} ) && echo {n} >> escaped")).collect();
        // 2.x does not tell its commands who it is: there the test does.
        let daemon = format!("OPENCODE_PID=${{OPENCODE_PID:-$(cat {DAEMON})}}");
        format!(
            "env > environment; echo {{a,b}} > braces; {daemon}; {}; echo tried > tried",
            script.join("; ")
        )
    }

    /// Which attempts succeeded in `directory`.
    fn escaped(&self, directory: &Path) -> Vec<&'static str> {
        assert!(directory.join("tried").exists(), "all was tried");
        let escaped = std::fs::read_to_string(directory.join("escaped")).unwrap_or_default();
        let attempts = self.attempts();
        escaped.lines().map(|n| attempts[n.parse::<usize>().unwrap()].0).collect()
    }
}

#[tokio::test]
async fn an_agent_of_1_x_that_may_run_anything_stays_within_the_walls() {
    an_agent_stays_within_the_walls(Generation::V1).await;
}

#[tokio::test]
async fn an_agent_of_2_x_that_may_run_anything_stays_within_the_walls() {
    an_agent_stays_within_the_walls(Generation::V2).await;
}

/// The server of 2.x that can be had looks for its configuration under a name of its own, where a daemon
/// within walls finds opencode's alone and can make nothing: this program, which is within the same walls,
/// leads it there.
pub(crate) fn leads_to_opencodes_configuration(server: &Path, directory: &Path) -> PathBuf {
    let program = directory.join("opencode");
    let script = format!(
        "#!/bin/sh\n\
         if [ -n \"$XDG_CONFIG_HOME\" ] && [ -n \"$XDG_DATA_HOME\" ]; then\n\
             mkdir -p \"$XDG_DATA_HOME/config\"\n\
             ln -sfn \"$XDG_CONFIG_HOME/opencode\" \"$XDG_DATA_HOME/config/shuvcode\"\n\
             export XDG_CONFIG_HOME=\"$XDG_DATA_HOME/config\"\n\
         fi\n\
         exec '{}' \"$@\"\n",
        server.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

async fn an_agent_stays_within_the_walls(generation: Generation) {
    let mut outside = Outside::new();
    let own = outside.path("state/daemons/w.own");
    let (home, readable, programs) =
        (outside.path("home"), outside.path("readable"), outside.path("programs"));
    let server = testkit::real::opencode_of(generation).await.unwrap().path;
    let adjust = |spec: &mut Spec| {
        // A shell that settings name would have the daemon's walls alone.
        std::fs::write(spec.directory.join("opencode.json"), r#"{ "shell": "/bin/sh" }"#).unwrap();
        if generation == Generation::V2 {
            spec.program = leads_to_opencodes_configuration(&server, &programs);
        }
        spec.home = Home::Own(own);
        let environment = spec.environment.clone().with("HOME", home);
        spec.environment = environment.with("PROVIDER_KEY", "daemon").with("TOOL_HOME", "tool");
        spec.pass.extend(["PROVIDER_KEY".into(), "TOOL_HOME".into(), "PATH".into()]);
    };
    let adjust_walls = |confinement: &mut Confinement| {
        confinement.walls.read.extend([readable, server.clone()]);
        confinement.pass_to_commands.push("TOOL_HOME".into());
    };
    let daemon = confined_with(generation, &[&outside.script()], adjust, adjust_walls).await;

    std::fs::write(daemon.directory().join(DAEMON), daemon.pid().unwrap().to_string()).unwrap();
    run(&daemon, "RUN-IT").await;

    assert_eq!(outside.escaped(&daemon.directory()), [""; 0]);
    let environment = std::fs::read_to_string(daemon.directory().join("environment")).unwrap();
    assert_eq!(environment.contains("OPENCODE_PID="), generation == Generation::V1, "{environment}");
    let braces = std::fs::read_to_string(daemon.directory().join("braces")).unwrap();
    assert_eq!(braces, "a b\n", "it is bash");
    assert!(environment.contains("TOOL_HOME=tool") && !environment.contains("PROVIDER_KEY"), "{environment}");
    assert!(!environment.contains(daemon.password().expose_secret()), "{environment}");
    assert_eq!(outside.bystander.0.try_wait().unwrap(), None);
    for file in ["secret", "victim", "doomed"] {
        assert_eq!(std::fs::read_to_string(outside.path(file)).unwrap(), "the secret", "{file}");
    }
}

#[test]
fn whoever_is_within_no_walls_succeeds_with_each_attempt_to_leave_them() {
    let (outside, here, daemon) = (Outside::new(), tempfile::tempdir().unwrap(), Bystander::start());
    #[expect(clippy::disallowed_methods, reason = "what the walls are tried with, without them")]
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &outside.script()])
        .current_dir(here.path())
        .env("HOME", outside.path("home"))
        .env("OPENCODE_PID", daemon.0.id().to_string())
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let all: Vec<_> = outside.attempts().into_iter().map(|(what, _)| what).collect();
    assert_eq!(outside.escaped(here.path()), all, "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_command_does_not_choose_the_walls_of_the_next_one() {
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    let out = outside.path().display();
    let plant = "printf '#!/bin/sh\\nenv > planted\\nexec /bin/sh \"$@\"\\n' > plant; chmod +x plant; \
        for there in \"$(dirname \"$PWD\")\"/private.shell/*sh \"$TMPDIR/shell/sh\" \"$TMPDIR/sh\"; do \
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
async fn a_door_that_a_command_made_a_link_opens_nothing_for_the_next_one() {
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = outside.path().canonicalize().unwrap();
    let (open, own) = (root.join("open"), root.join("w.own"));
    std::fs::create_dir_all(open.join("inner")).unwrap();
    std::fs::write(open.join("inner/kept"), "kept").unwrap();
    let inner = open.join("inner").display().to_string();
    let own_text = own.display().to_string();
    let swap = format!(
        "cat {inner}/kept > before; mv {inner} {inner}.was && ln -s {own_text} {inner}; echo x > swapped"
    );
    let look =
        format!("find -L {inner}/ {own_text}/ -type f > found 2> errors; cat {inner}.was/kept > after");
    let adjust = |spec: &mut Spec| spec.home = Home::Own(own.clone());
    let daemon = confined_with(Generation::V1, &[&swap, &look], adjust, |confinement| {
        confinement.walls.write.push(open.clone());
        confinement.walls.read.push(open.join("inner"));
    })
    .await;

    prompt(&daemon, "RUN-IT").await;

    let read = |name: &str| std::fs::read_to_string(daemon.directory().join(name)).unwrap();
    assert_eq!(
        (read("before"), read("swapped"), read("after")),
        ("kept".into(), "x\n".into(), "kept".into())
    );
    assert_eq!(open.join("inner").read_link().unwrap(), own);
    assert!(own.read_dir().unwrap().next().is_some(), "there is something to be found");
    assert_eq!(read("found"), "", "what the daemon alone may read");
    assert!(read("errors").contains("Permission denied"), "{}", read("errors"));
}

#[tokio::test]
async fn walls_that_leave_the_state_of_the_host_open_are_not_put_up() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (state, read, why) in [
        (dir.path().join("state"), None, "where the agent can write"),
        (elsewhere.path().join("state"), Some(elsewhere.path()), "where the agent can read: open less"),
    ] {
        let mut spec = spec("answers", dir.path());
        let mut confinement = Confinement::around(&spec, LAUNCHER, state.join("w.tmp"));
        confinement.walls.read.extend(read.map(Path::to_owned));
        spec.confinement = Some(confinement);
        let error = Daemon::start(spec).await.unwrap_err();
        let StartError::System { source, .. } = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains(why), "{source}");
    }
}

#[tokio::test]
async fn a_2_x_daemon_on_which_walls_are_not_shown_is_not_started_where_they_are_required() {
    for (version, required, starts) in
        [("1.18.33", true, true), ("2.0.14", true, true), ("2.0.22", true, false), ("2.0.22", false, true)]
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
    let work = r#"set -e; test -n "$OPENCODE_PID"; echo hello > file; git add file
        git -c user.name=a -c user.email=a@localhost commit -qm work
        node -e 'console.log(1 + 1)' > node.txt; mktemp > mktemp.txt
        printf 'test("x", () => {})' | sed 's/x/y/' > sed.txt; cat /etc/hostname > /dev/null
        echo 'require("node:test").test("x", () => {})' > x.test.js; node --test > tests.txt
        echo '{ "scripts": { "hi": "node -e 0" } }' > package.json; npm run --silent hi
        echo 'int main(void) { return 0; }' > main.c; cc main.c -o main; ./main
        echo 'fn main() {}' > main.rs; rustc main.rs -o main-rs; ./main-rs
        node -e 'require("child_process").fork("/dev/null").on("exit", process.exit)'
        echo ok > ok"#;
    // The toolchains at home are the user's; no configuration is.
    let adjust = |spec: &mut Spec| {
        let own = spec.directory.with_file_name("w.own");
        spec.environment = spec.environment.clone().with("XDG_CONFIG_HOME", own.join("config"));
        spec.environment = spec.environment.clone().with("XDG_DATA_HOME", own.join("keys"));
        spec.home = Home::Own(own);
    };
    let daemon = confined_with(Generation::V1, &[work], adjust, |_| {}).await;
    prompt(&daemon, "RUN-IT").await;
    let read = |name: &str| std::fs::read_to_string(daemon.directory().join(name)).unwrap_or_default();
    assert_eq!((read("node.txt").as_str(), read("ok").as_str()), ("2\n", "ok\n"));
    assert!(read("tests.txt").contains("pass 1"), "{}", read("tests.txt"));
    assert!(Path::new(read("mktemp.txt").trim()).starts_with(daemon.home().with_file_name("w.tmp")));
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
