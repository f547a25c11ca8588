//! The doors in the walls: which there are, and which are never opened.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use opencode_daemons::confine::{Confinement, Door, Opens, Walls, Whom};
use opencode_daemons::pool::Surroundings;
use opencode_daemons::{Daemon, Home, PoolConfig, Spec, StartError};
use serde_json::json;

use crate::support::{program, spec};
use crate::walls::LAUNCHER;

fn programs() -> PathBuf {
    program("answers").parent().unwrap().to_owned()
}

/// Somebody's home directory, and another name of what it is in.
struct User {
    root: tempfile::TempDir,
}

impl User {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for below in ["homes/me/bin", "ws", "state", "open", "tools"] {
            std::fs::create_dir_all(root.path().join(below)).unwrap();
        }
        symlink("homes", root.path().join("other-name")).unwrap();
        Self { root }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    fn spec(&self) -> Spec {
        let mut spec = spec("answers", &self.path("ws"));
        spec.environment = spec.environment.clone().with("HOME", self.path("homes/me"));
        spec
    }

    fn confinement(&self, spec: &Spec) -> Confinement {
        let mut confinement = Confinement::around(spec, LAUNCHER, self.path("state/w.tmp"));
        confinement.walls.read.push(programs());
        confinement
    }
}

#[tokio::test]
async fn a_daemon_that_would_be_given_its_users_home_is_not_started() {
    let user = User::new();
    for open in
        ["homes", "homes/me", "other-name", "other-name/me", "homes/me/bin/..", "open", "homes/me/bin"]
    {
        for write in [false, true] {
            let mut spec = user.spec();
            let mut confinement = user.confinement(&spec);
            let walls = &mut confinement.walls;
            if write { &mut walls.write } else { &mut walls.read }.push(user.path(open));
            spec.confinement = Some(confinement);
            let opens_home = !["open", "homes/me/bin"].contains(&open);
            match Daemon::start(spec).await {
                Ok(_) => assert!(!opens_home, "{open}"),
                Err(StartError::System { source, .. }) => {
                    assert!(
                        opens_home && source.to_string().contains("your home directory"),
                        "{open}: {source}"
                    );
                }
                Err(error) => panic!("{open}: {error}"),
            }
        }
    }
}

#[test]
fn a_home_on_path_by_another_name_or_in_a_directory_of_the_system_is_no_door() {
    let user = User::new();
    let (other, way) = (user.path("other-name/me"), user.path("homes/me/bin/.."));
    let path = std::env::join_paths([&other, &way, &user.path("homes"), &user.path("tools")]).unwrap();
    let mut spec = user.spec();
    spec.environment = spec.environment.clone().with("PATH", path);
    let read = Walls::around(&spec).read;
    assert!(read.contains(&user.path("tools")));
    assert!(
        !read
            .iter()
            .any(|door| door.starts_with(user.root.path()) && user.path("homes/me").starts_with(door))
    );
    assert!(!read.contains(&other) && !read.contains(&way));
    // As a service's may be.
    spec.environment = spec.environment.clone().with("HOME", "/usr/share/misc");
    let read = Walls::around(&spec).read;
    let beside = std::fs::read_dir("/usr/share").unwrap().flatten().map(|entry| entry.path());
    assert!(
        beside.filter(|path| !path.ends_with("misc") && !path.is_symlink()).all(|path| read.contains(&path))
    );
    assert!(read.contains(&PathBuf::from("/usr/bin")));
    assert!(
        !read.iter().any(|door| ["/usr", "/usr/share", "/usr/share/misc"].map(Path::new).contains(&&**door))
    );
}

#[test]
fn each_door_says_for_whom_it_is_open_and_why() {
    let user = User::new();
    let config =
        json!({ "read": [user.path("open")], "workspaces": { "w": { "directory": user.path("ws") } } });
    let config: PoolConfig = serde_json::from_value(config).unwrap();
    let around = Surroundings {
        program: programs().join("answers"),
        environment: user.spec().environment,
        state: user.path("state"),
        launcher: Some(LAUNCHER.into()),
        home: Home::User,
    };
    let doors = config.doors("w", &around).unwrap();
    let find = |path: PathBuf| {
        doors.iter().find(|door| door.path == path).map(|Door { opens, whom, why, .. }| (*opens, *whom, *why))
    };
    for (path, expected) in [
        (user.path("ws"), (Opens::Write, Whom::Both, "the workspace")),
        (user.path("open"), (Opens::Read, Whom::Both, "`read` or `write` in the configuration")),
        (user.path("state/w.own"), (Opens::Write, Whom::Daemon, "sessions, state and caches of the daemon")),
        (user.path("state/w.tmp"), (Opens::Write, Whom::Both, "temporary files of the agent's commands")),
        (user.path("state/w.daemon-tmp"), (Opens::Write, Whom::Daemon, "temporary files of the daemon")),
        (user.path("state/w.config"), (Opens::Read, Whom::Daemon, "opencode's configuration")),
        (user.path("state/w.shell"), (Opens::Read, Whom::Both, "the shell of the agent's commands")),
        (LAUNCHER.into(), (Opens::Read, Whom::Both, "the program that puts the walls up")),
        (programs().join("answers"), (Opens::Read, Whom::Both, "opencode itself")),
        ("/usr".into(), (Opens::Read, Whom::Both, "the system")),
        ("/dev/null".into(), (Opens::Write, Whom::Both, "a device that programs use")),
    ] {
        assert_eq!(find(path.clone()), Some(expected), "{}", path.display());
    }
    let of_configuration = doors.iter().filter(|door| door.why.starts_with('`')).count();
    assert_eq!(of_configuration, 1, "every other door has a reason of its own: {doors:#?}");
    let state = |door: &&Door| user.path("state").starts_with(&door.path);
    assert!(!doors.iter().any(|door| state(&door)), "none leads to the state");
    assert_eq!(config.doors("gone", &around).unwrap(), []);
}

#[tokio::test]
async fn what_was_left_in_the_daemons_temporary_directory_is_not_there_for_the_next_one() {
    let user = User::new();
    let mut spec = user.spec();
    spec.confinement = Some(user.confinement(&spec));
    let (left, of_commands) = (user.path("state/w.daemon-tmp/left/lib.so"), user.path("state/w.tmp/kept"));
    for file in [&left, &of_commands] {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "x").unwrap();
    }
    Daemon::start(spec).await.unwrap().stop().await;
    assert!(!left.exists() && user.path("state/w.daemon-tmp").is_dir() && of_commands.exists());
}

#[tokio::test]
async fn where_namespaces_are_refused_a_daemon_starts_unless_it_was_to_have_them() {
    let user = User::new();
    let launcher = user.path("launcher");
    let script = format!("#!/bin/sh\n[ \"$1\" = --try-namespaces ] && exit 72\nexec {LAUNCHER} \"$@\"\n");
    std::fs::write(&launcher, script).unwrap();
    std::fs::set_permissions(&launcher, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (required, network_is_asked_for, refused) in
        [(false, false, None), (true, false, Some("confine")), (false, true, Some("`network`"))]
    {
        let mut spec = user.spec();
        let mut confinement = Confinement::around(&spec, &launcher, user.path("state/w.tmp"));
        confinement.walls.read.extend([programs(), LAUNCHER.into()]);
        (confinement.required, confinement.network_is_asked_for) = (required, network_is_asked_for);
        spec.confinement = Some(confinement);
        match (Daemon::start(spec).await, refused) {
            (Ok(daemon), None) => daemon.stop().await,
            (Err(StartError::System { source, .. }), Some(refused)) => {
                let why = source.to_string();
                assert!(why.contains(refused) && why.contains("no user namespaces"), "{why}");
            }
            (started, _) => panic!("{refused:?}: {started:?}"),
        }
    }
}

/// What `script` writes, run by the launcher within namespaces where `user`'s `settings` are open, with `private` in the plan.
fn read_within(user: &User, private: &[PathBuf], script: &str) -> String {
    let read = ["/usr", "/bin", "/lib", "/lib64", "/etc", "/proc", "/sys"].map(PathBuf::from);
    let read: Vec<_> = read.into_iter().chain([user.path("settings"), LAUNCHER.into()]).collect();
    let namespaces =
        json!({ "network": false, "command_ports": [], "tmp": null, "private": private, "tried": [] });
    let walls = json!({ "read": read, "write": [user.path("ws"), "/dev/null"] });
    let plan = json!({ "walls": walls, "required": true, "namespaces": namespaces, "own_ipc": true });
    #[expect(clippy::disallowed_methods, reason = "the launcher is tried as it is")]
    let mut command = std::process::Command::new(LAUNCHER);
    command
        .args(["--launch-within-namespaces", "/bin/sh", "-c", script])
        .env("OPENCODE_DAEMONS_WALLS", plan.to_string())
        .current_dir(user.path("ws"))
        .stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_not_everybody_may_read_of_the_systems_settings_is_not_there_for_root() {
    let user = User::new();
    let modes = [("settings/open", 0o644), ("settings/closed", 0o600), ("settings/keys/key", 0o644)];
    std::fs::create_dir_all(user.path("settings/keys")).unwrap();
    for (file, mode) in modes {
        std::fs::write(user.path(file), file).unwrap();
        std::fs::set_permissions(user.path(file), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::fs::set_permissions(user.path("settings/keys"), std::fs::Permissions::from_mode(0o710)).unwrap();
    let script = format!(
        "cd {}; cat open closed keys/key 2> /dev/null; cat /proc/keys; ls /sys/kernel/debug; exit 0",
        user.path("settings").display()
    );
    assert_eq!(read_within(&user, &[], &script), "settings/opensettings/closedsettings/keys/key");
    assert_eq!(read_within(&user, &[user.path("settings")], &script), "settings/open");
}
