//! The same attempts by an ordinary user's daemon: with a working tree for each task, and where the kernel lacks
//! Landlock. The daemon is a program of ours that starts them as itself and, by the shell it is told to use, as
//! commands.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use opencode_daemons::confine::{Access, Confinement, Network};
use opencode_daemons::{Daemon, Environment, Home, Spec};

use super::{LAUNCHER, Outside, program, tool, tried_by};
use crate::support::{eventually, with};

/// A user whom root's files are closed to.
const USER: u32 = 4242;
/// Where the user who a test is run again as finds what it is made of.
const PLACE: &str = "ADVERSARY_PLACE";

/// What of this is at `PLACE`, if it runs there.
fn at_place(name: &str) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test's own way to tell what it runs again where it is")]
    std::env::var_os(PLACE).map(|place| Path::new(&place).join(name))
}

/// The launcher, where whoever runs this may start it.
pub(super) fn launcher() -> PathBuf {
    at_place("launcher").unwrap_or_else(|| LAUNCHER.into())
}

fn daemon() -> PathBuf {
    at_place("answers").unwrap_or_else(|| crate::support::program("answers"))
}

/// Whether this process is an ordinary user's. Otherwise the test of this name was run again in one that is.
fn is_ordinary(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let place = tempfile::tempdir().unwrap();
    let own = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        chown(path, Some(USER), Some(USER)).unwrap();
    };
    let copy = |from: &Path, name: &str| {
        let to = place.path().join(name);
        std::fs::copy(from, &to).unwrap();
        own(&to, 0o755);
        to
    };
    own(place.path(), 0o755);
    let test_program = copy(&std::env::current_exe().unwrap(), "tests");
    copy(Path::new(LAUNCHER), "launcher");
    copy(&crate::support::program("answers"), "answers");
    let tmp = place.path().join("tmp");
    std::fs::create_dir(&tmp).unwrap();
    own(&tmp, 0o700);
    let mut again = program(test_program.to_str().unwrap());
    again.args(["--exact", test, "--nocapture"]).current_dir(&tmp).uid(USER).gid(USER);
    let output = again.env("HOME", &tmp).env("TMPDIR", &tmp).env(PLACE, place.path()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// What a command of one task tries on the others, which succeeds without walls.
const ON_OTHER_TREES: [&str; 8] = [
    "cat ../../../two/kept",
    "ls ../../../two",
    "echo x >> ../../../two/kept",
    "echo x > ../../../two/made",
    "mkdir ../../../three",
    "mv ../../../two ../../../moved",
    "echo x >> $WORKSPACE/file",
    "echo x > $WORKSPACE/.git/hooks/pre-commit",
];

/// A workspace with two tasks' trees beside it.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        testkit::scratch::repository(&place.workspace(), &[("file", "a\n")]).unwrap();
        std::fs::create_dir_all(place.workspace().join(".git/hooks")).unwrap();
        for tree in ["one", "two"] {
            std::fs::create_dir_all(place.trees().join(tree)).unwrap();
            std::fs::write(place.trees().join(tree).join("kept"), "kept").unwrap();
        }
        place
    }

    fn workspace(&self) -> PathBuf {
        self.directory.path().join("workspace")
    }

    fn trees(&self) -> PathBuf {
        self.directory.path().join("trees")
    }

    fn on_other_trees(&self) -> String {
        let workspace = self.workspace();
        let tried = ON_OTHER_TREES.map(|it| {
            format!(
                "( {} ) > /dev/null 2>&1 && echo '{it}' >> ../others",
                it.replace("$WORKSPACE", workspace.to_str().unwrap())
            )
        });
        format!("{}\necho tried > ../tried-others\n", tried.join("\n"))
    }
}

/// What a daemon and its commands achieve of all that is tried: as itself, as a command, and of a command on other trees.
async fn achieved(
    outside: &Outside,
    place: &Place,
    adjust: impl FnOnce(Confinement) -> Confinement,
) -> [Vec<String>; 3] {
    let (workspace, one) = (place.workspace(), place.trees().join("one"));
    let at = |level: &str| one.join(level);
    let (by_daemon, by_command) = (at("by-daemon.sh"), at("by-command.sh"));
    std::fs::write(&by_daemon, outside.script(&at("by-daemon"))).unwrap();
    let script = outside.script(&at("by-command"));
    std::fs::write(&by_command, format!("{script}\n{}", place.on_other_trees())).unwrap();
    let tool = tool(outside);
    let environment = Environment::of_this_process().with("HOME", outside.path("home")).with("TOOL", &tool);
    let mut spec = Spec::new(daemon(), &workspace, environment);
    spec.home = Home::Own(place.directory.path().join("state/w.own"));
    spec.startup_limit = std::time::Duration::from_mins(1);
    spec.pass.push("TOOL".into());
    spec = with(
        with(spec, "FAKE_TRIES", by_daemon.to_str().unwrap()),
        "FAKE_COMMAND",
        by_command.to_str().unwrap(),
    );
    let mut confinement = Confinement::around(&spec, launcher(), place.directory.path().join("state/w.tmp"));
    confinement.network = Network { access: Access::Limited, ..Network::default() };
    confinement.required = true;
    confinement.pass_to_commands.extend(["TOOL".into()]);
    confinement.walls.read.extend([tool.parent().unwrap().to_owned(), daemon()]);
    spec.confinement = Some(adjust(confinement));
    let daemon = Daemon::start(spec).await.unwrap();
    for level in ["by-daemon", "by-command"] {
        eventually(level, || at(level).join("tried").exists()).await;
    }
    eventually("what is tried on other trees", || at("by-command").join("tried-others").exists()).await;
    daemon.stop().await;
    let others = std::fs::read_to_string(at("by-command").join("others")).unwrap_or_default();
    let others = others.lines().map(str::to_owned).collect();
    [outside.escaped(&at("by-daemon")), outside.escaped(&at("by-command")), others]
}

#[tokio::test]
async fn an_ordinary_user_without_walls_succeeds_in_each_of_these_attempts_too() {
    if !is_ordinary(
        "adversary::ordinary::an_ordinary_user_without_walls_succeeds_in_each_of_these_attempts_too",
    ) {
        return;
    }
    let (outside, place) = (Outside::new(), Place::new());
    let here = place.trees().join("one/by-command");
    std::fs::create_dir(&here).unwrap();
    let mut command = program("/bin/sh");
    command.arg("-c");
    tried_by(&outside, command, &here);
    let escaped = outside.escaped(&here);
    let failed: Vec<_> = outside.rows(|_| true).into_iter().filter(|row| !escaped.contains(row)).collect();
    assert_eq!(failed, [""; 0]);
    let others =
        program("/bin/sh").args(["-c", &place.on_other_trees()]).current_dir(here.join("w")).status();
    assert!(others.unwrap().success());
    let others = std::fs::read_to_string(here.join("others")).unwrap();
    assert_eq!(others.lines().collect::<Vec<_>>(), ON_OTHER_TREES);
}

#[tokio::test]
async fn nothing_gets_out_of_an_ordinary_users_daemon_nor_from_one_task_to_another() {
    if !is_ordinary(
        "adversary::ordinary::nothing_gets_out_of_an_ordinary_users_daemon_nor_from_one_task_to_another",
    ) {
        return;
    }
    let (outside, place) = (Outside::new(), Place::new());
    let achieved = achieved(&outside, &place, |confinement| confinement.with_trees(place.trees())).await;
    assert_eq!(achieved, [const { Vec::<String>::new() }; 3]);
}

/// Has the kernel say, to this thread and whatever it starts, that it knows no Landlock.
fn forget_landlock() {
    use seccompiler::{SeccompAction, SeccompFilter};
    let calls =
        [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule, libc::SYS_landlock_restrict_self];
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let calls = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, missing, architecture).unwrap();
    seccompiler::apply_filter(&seccompiler::BpfProgram::try_from(filter).unwrap()).unwrap();
}

#[tokio::test]
async fn where_there_is_no_landlock_namespaces_and_the_filter_hold_all_of_it() {
    if !is_ordinary(
        "adversary::ordinary::where_there_is_no_landlock_namespaces_and_the_filter_hold_all_of_it",
    ) {
        return;
    }
    forget_landlock();
    let (outside, place) = (Outside::new(), Place::new());
    let [by_daemon, by_command, _] = achieved(&outside, &place, |mut confinement| {
        confinement.required = false;
        confinement.with_trees(place.trees())
    })
    .await;
    // Of what is on the way to something open, that way is there, and nothing else.
    assert_eq!([by_daemon, by_command], [["list a directory"]; 2]);
}
