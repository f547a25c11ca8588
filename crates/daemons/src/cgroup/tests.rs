//! Settings as they are written, to files that are named as the kernel's; and what the kernel itself says of groups.

use std::process::{Child, Command, Stdio};

use super::*;
use crate::allowance::{Allowance, Excess};

const ALL: Allowance = Allowance {
    memory_mb: Some(2048),
    processes: Some(100),
    disk_mb: Some(1),
    cpu_percent: Some(150),
    io_weight: Some(50),
};

/// What each controller has in a group, and what is written there for [`ALL`].
const WRITTEN: [(&str, &str); 5] = [
    ("memory.max", "2147483648"),
    ("memory.swap.max", "0"),
    ("pids.max", "3712"),
    ("cpu.max", "150000 100000"),
    ("io.weight", "default 50"),
];

/// A group whose files are plain ones.
fn group(files: &[&str]) -> (tempfile::TempDir, Group) {
    let directory = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::write(directory.path().join(file), "").unwrap();
    }
    let group = Group::at(directory.path().to_owned());
    (directory, group)
}

fn groups(controllers: &[(Controller, Result<(), String>)]) -> Groups {
    Groups { base: "/base".into(), controllers: controllers.iter().cloned().collect() }
}

#[test]
fn each_limit_is_written_to_the_file_of_its_controller_and_none_where_there_is_no_limit() {
    let (directory, all) = group(&WRITTEN.map(|(file, _)| file));
    let limits = Limits::set(ALL, &all, Some(&groups(&[])));
    for (file, value) in WRITTEN {
        assert_eq!(std::fs::read_to_string(directory.path().join(file)).unwrap(), value, "{file}");
    }
    let words = limits.words().unwrap();
    for key in ["memory_mb", "max_processes", "cpu_percent", "io_weight"] {
        assert!(words.contains(&format!("{key} is held by the kernel")), "{words}");
    }
    assert_eq!(limits.counted(ALL), Allowance { memory_mb: None, ..ALL });

    let (directory, none) = group(&WRITTEN.map(|(file, _)| file));
    let limits = Limits::set(Allowance::default(), &none, Some(&groups(&[])));
    assert_eq!(limits.words(), None);
    for (file, _) in WRITTEN {
        assert_eq!(std::fs::read_to_string(directory.path().join(file)).unwrap(), "", "{file}");
    }
}

#[test]
fn a_limit_that_cannot_be_set_is_counted_for_a_reason_and_the_others_hold() {
    use std::os::unix::fs::symlink;
    // What is not there, what is no file, and what nobody gives: ENOENT, EISDIR, and a refusal of the place.
    for (missing, key) in [
        ("memory.max", "memory_mb"),
        ("pids.max", "max_processes"),
        ("cpu.max", "cpu_percent"),
        ("io.weight", "io_weight"),
    ] {
        let files: Vec<_> = WRITTEN.iter().map(|(file, _)| *file).filter(|file| *file != missing).collect();
        for broken in [None, Some("/"), Some("/dev/full")] {
            let (directory, group) = group(&files);
            if let Some(target) = broken {
                symlink(target, directory.path().join(missing)).unwrap();
            }
            let words = Limits::set(ALL, &group, Some(&groups(&[]))).words().unwrap();
            assert!(words.contains(&format!("{missing} cannot be set")), "{broken:?}: {words}");
            assert!(!words.contains(&format!("{key} is held")), "{broken:?}: {words}");
            assert_eq!(words.matches("is held by the kernel").count(), 3, "{broken:?}: {words}");
        }
    }
    // A kernel that swaps nothing.
    let (_directory, group) = group(&["memory.max"]);
    let memory = Allowance { memory_mb: Some(2048), ..Allowance::default() };
    assert_eq!(Limits::set(memory, &group, None).words().unwrap(), "memory_mb is held by the kernel");
    let refused = groups(&[(Controller::Memory, Err("it is not given".to_owned()))]);
    let limits = Limits::set(memory, &group, Some(&refused));
    assert_eq!(limits.words().unwrap(), "memory_mb is counted: it is not given");
    assert_eq!(limits.counted(memory), memory);
    assert_eq!(Limits::none(memory, "why").words().unwrap(), "memory_mb is counted: why");
}

#[test]
fn what_the_kernel_held_is_told_once_in_the_words_of_what_is_counted() {
    let (directory, group) = group(&["memory.max", "pids.max"]);
    let tell = |file: &str, text: &str| std::fs::write(directory.path().join(file), text).unwrap();
    tell("memory.events", "oom 1\noom_kill 1\n");
    tell("pids.events", "max 0\n");
    let mut limits = Limits::set(ALL, &group, None);
    assert_eq!(limits.exceeded(ALL, &group), None, "what was before is not told");
    tell("memory.events", "oom 3\noom_kill 2\n");
    assert_eq!(limits.exceeded(ALL, &group), Some(Excess::Memory { held: 2048, most: 2048 }));
    assert_eq!(limits.exceeded(ALL, &group), None);
    tell("pids.events", "max 7\n");
    assert_eq!(limits.exceeded(ALL, &group), Some(Excess::Threads { most: 3712 }));
    assert_eq!(limits.exceeded(ALL, &group), None);
}

#[test]
fn a_controller_is_enabled_once_and_only_where_it_is_to_be_had() {
    let base = tempfile::tempdir().unwrap();
    let file = |name: &str| base.path().join(name);
    std::fs::write(file("cgroup.controllers"), "cpu memory\n").unwrap();
    std::fs::write(file("cgroup.subtree_control"), "cpu\n").unwrap();
    std::fs::create_dir(file(LEAF)).unwrap();
    std::fs::write(file("host/cgroup.procs"), "").unwrap();
    let plan = Plan { base: base.path().to_owned(), leaves: true };
    let wanted = [Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Io];
    let groups = Groups::take(&plan, 4711, &wanted);
    assert_eq!(std::fs::read_to_string(file("host/cgroup.procs")).unwrap(), "4711");
    assert_eq!(
        std::fs::read_to_string(file("cgroup.subtree_control")).unwrap(),
        "+memory",
        "and not cpu again"
    );
    for controller in [Controller::Memory, Controller::Cpu] {
        assert_eq!(groups.refused(controller), None);
    }
    for controller in [Controller::Pids, Controller::Io] {
        let why = groups.refused(controller).unwrap();
        assert!(why.contains(&format!("no controller `{}`", controller.name())), "{why}");
    }
    // One that could not move enables nothing, and says so once for each.
    std::fs::remove_file(file("host/cgroup.procs")).unwrap();
    let groups = Groups::take(&plan, 4711, &[Controller::Memory]);
    assert!(groups.refused(Controller::Memory).unwrap().contains("the host cannot move to host in"));
}

/// A group of the kernel's own for these tests, below that of this process.
struct Real(Group);

impl Real {
    /// Nothing where no group can be made: there the plan says the same.
    fn new(name: &str) -> Option<Self> {
        let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mark = |group: &Path| Facts { marked: true, ..Facts::of(group) };
        let plan = match plan::plan(&cgroup, &mounts, mark) {
            Ok(plan) => plan,
            Err(why) => {
                let own = plan_of("self").map(|plan| plan.base);
                assert!(own.is_err(), "{why}, and yet {own:?}");
                return None;
            }
        };
        let group = Group::at(plan.base.join(format!("connector-{name}-{}", std::process::id())));
        group.make().unwrap();
        Some(Self(group))
    }

    fn runs(&self, script: &str) -> Child {
        let script = format!("echo $$ > '{}/cgroup.procs' && {script}", self.0.path().display());
        #[expect(clippy::disallowed_methods, reason = "tests start what is in their groups")]
        let child =
            Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        child.unwrap()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.0.kill();
        self.0.remove();
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed().as_secs() < 30, "{what} did not come true");
        std::thread::yield_now();
    }
}

#[test]
fn controllers_are_enabled_once_the_host_has_moved_to_a_leaf() {
    let Some(base) = Real::new("leaf") else { return };
    let path = base.0.path();
    let controllers = std::fs::read_to_string(path.join("cgroup.controllers")).unwrap();
    let mut host = base.runs("exec cat");
    until("the host is in it", || base.0.processes() == [host.id()]);
    let Some(controller) = controllers.split_whitespace().next() else {
        let why = enable(path, "memory").unwrap_err();
        assert!(why.contains("no controller `memory`"), "{why}");
        base.0.kill();
        host.wait().unwrap();
        return;
    };
    let why = enable(path, controller).unwrap_err();
    assert!(why.contains("only the host may be started there"), "{why}");
    move_to_leaf(path, host.id()).unwrap();
    enable(path, controller).unwrap();
    let enabled = std::fs::read_to_string(path.join("cgroup.subtree_control")).unwrap();
    assert_eq!(enabled.trim(), controller);
    let groups = Groups { base: path.to_owned(), controllers: BTreeMap::new() };
    let group = groups.group("x");
    group.make().unwrap();
    let set = std::fs::read_dir(group.path()).unwrap().flatten().find_map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name.starts_with(controller) && name.rsplit('.').next() == Some("max")).then_some(name)
    });
    if let Some(file) = set {
        write(&group.path().join(&file), "0");
        assert_eq!(std::fs::read_to_string(group.path().join(&file)).unwrap().trim(), "0", "{file}");
    }
    assert_eq!(base.0.processes(), [host.id()], "those below count");
    base.0.kill();
    host.wait().unwrap();
}

fn write(file: &Path, text: &str) {
    super::group::write(file, text).unwrap();
}

#[test]
fn all_in_a_group_ends_at_once_and_the_group_goes() {
    let Some(group) = Real::new("ends") else { return };
    // In sessions of their own, without an environment, of nobody's, and in a group that they made themselves.
    let own = group.0.path().join("own");
    let away = format!(
        "for i in 1 2 3; do (env -i setsid sh -c 'sleep 600 & sleep 600' &); done; \
         mkdir '{own}' && (sh -c \"echo \\$\\$ > '{own}/cgroup.procs'; exec sleep 600\" &); echo; exec sleep 600",
        own = own.display()
    );
    let mut first = group.runs(&away);
    until("all of them run", || group.0.processes().len() == 11);
    assert!(!group.0.is_empty());
    group.0.kill();
    group.0.remove();
    assert!(!group.0.path().exists());
    first.wait().unwrap();
    group.0.remove();
    assert!(group.0.is_empty(), "what is gone is empty, and removed again without harm");
}
