//! Settings as they are written, to files that are named as the kernel's; and what the kernel itself says of groups.

use std::process::{Child, Command, Stdio};

use super::*;
use crate::resource_limits::{Excess, ResourceLimits};

const ALL: ResourceLimits = ResourceLimits {
    memory_mb: Some(2048),
    processes: Some(100),
    disk_mb: Some(1),
    cpu_percent: Some(150),
    io_weight: Some(50),
};

/// What each controller has in a group, and what is written there for [`ALL`].
const WRITTEN: [(&str, &str); 6] = [
    ("memory.high", "2147483648"),
    ("memory.max", "2684354560"),
    ("memory.swap.max", "0"),
    ("pids.max", "3712"),
    ("cpu.max", "150000 100000"),
    ("io.weight", "default 50"),
];

/// A group whose files are plain ones, and that holds nothing.
fn group(files: &[&str]) -> (tempfile::TempDir, Group) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("memory.current"), "0\n").unwrap();
    for file in files {
        std::fs::write(directory.path().join(file), "").unwrap();
    }
    let group = Group::at(directory.path().to_owned());
    (directory, group)
}

/// What is said of a limit that the kernel holds.
fn held(key: &str) -> String {
    match key {
        "max_processes" => "max_processes is counted, and the kernel holds a ceiling over it".to_owned(),
        key => format!("{key} is held by the kernel"),
    }
}

#[test]
fn a_limit_beyond_what_the_kernel_takes_is_the_most_that_it_takes_and_never_a_small_one() {
    for (memory_mb, processes, high, pids) in [
        (1 << 44, usize::MAX, u64::MAX, 4_194_304),
        (u64::MAX, 131_057, u64::MAX, 4_194_304),
        (2048, 131_000, 2048 << 20, 4_192_512),
    ] {
        let asked = ResourceLimits {
            memory_mb: Some(memory_mb),
            processes: Some(processes),
            ..ResourceLimits::default()
        };
        let (directory, group) = group(&["memory.high", "memory.max", "pids.max"]);
        Limits::set(asked, &group, None);
        let read = |file: &str| std::fs::read_to_string(directory.path().join(file)).unwrap();
        assert_eq!((read("memory.high"), read("pids.max")), (high.to_string(), pids.to_string()));
        assert!(read("memory.max").parse::<u64>().unwrap() >= high);
    }
}

#[test]
fn modes_that_an_agent_took_are_given_back_before_a_group_is_ended() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, group) = group(&["cgroup.procs", "cgroup.events", "cgroup.kill"]);
    let set = |file: &str, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(directory.path().join(file), mode).unwrap();
    };
    let mode =
        |file: &str| std::fs::metadata(directory.path().join(file)).unwrap().permissions().mode() & 0o777;
    set("cgroup.events", 0o444);
    for file in ["cgroup.procs", "cgroup.kill"] {
        set(file, 0);
    }
    set("", 0);
    assert!(group.kill());
    let all = ["", "cgroup.procs", "cgroup.events", "cgroup.kill"].map(mode);
    assert_eq!(all, [0o700, 0o600, 0o444, 0o200], "and what was there stays as it was");
    set("cgroup.kill", 0o600);
    assert_eq!(std::fs::read_to_string(directory.path().join("cgroup.kill")).unwrap(), "1");
}

fn groups(controllers: &[(Controller, Result<(), String>)]) -> Groups {
    Groups { base: "/base".into(), controllers: controllers.iter().cloned().collect() }
}

#[test]
fn each_limit_is_written_to_the_file_of_its_controller_and_none_where_there_is_no_limit() {
    let (directory, all) = group(&WRITTEN.map(|(file, _)| file));
    cost(directory.path(), true);
    let limits = Limits::set(ALL, &all, Some(&groups(&[])));
    for (file, value) in WRITTEN {
        assert_eq!(std::fs::read_to_string(directory.path().join(file)).unwrap(), value, "{file}");
    }
    let words = limits.words().unwrap();
    for key in ["memory_mb", "max_processes", "cpu_percent", "io_weight"] {
        assert!(words.contains(&held(key)), "{words}");
    }
}

#[test]
fn what_is_no_limit_any_more_is_taken_back_from_a_group_that_goes_on() {
    let (directory, all) = group(&WRITTEN.map(|(file, _)| file));
    cost(directory.path(), true);
    Limits::set(ALL, &all, None);
    assert_eq!(Limits::set(ResourceLimits::default(), &all, None).words(), None);
    for (file, without) in [
        ("memory.high", "max"),
        ("memory.max", "max"),
        ("memory.swap.max", "max"),
        ("pids.max", "max"),
        ("cpu.max", "max"),
        ("io.weight", "default 100"),
    ] {
        let text = std::fs::read_to_string(directory.path().join(file)).unwrap();
        // Plain files keep what was longer before.
        assert!(text.starts_with(without), "{file}: {text}");
    }
}

/// Whether the kernel has a model of what disks cost.
fn cost(directory: &Path, enabled: bool) {
    let text = format!("8:0 enable=0\n8:16 enable={} ctrl=auto\n", u8::from(enabled));
    std::fs::write(directory.join("io.cost.qos"), text).unwrap();
}

#[test]
fn a_weight_is_held_only_by_what_heeds_it() {
    let weight = |weight| ResourceLimits { io_weight: Some(weight), ..ResourceLimits::default() };
    // Whether there is a model, the files, the weight, and what is written where.
    for (model, files, asked, written) in [
        (true, &["io.weight", "io.bfq.weight"][..], 50, Some(("io.weight", "default 50"))),
        (false, &["io.weight", "io.bfq.weight"], 50, Some(("io.bfq.weight", "default 50"))),
        (false, &["io.bfq.weight"], 1, Some(("io.bfq.weight", "default 1"))),
        (false, &["io.bfq.weight"], 10_000, Some(("io.bfq.weight", "default 1000"))),
        (false, &["io.weight"], 50, None),
        (true, &[], 50, None),
    ] {
        let (directory, group) = group(files);
        cost(directory.path(), model);
        let words = Limits::set(weight(asked), &group, None).words().unwrap();
        assert_eq!(words == "io_weight is held by the kernel", written.is_some(), "{files:?}: {words}");
        for file in files {
            let text = std::fs::read_to_string(directory.path().join(file)).unwrap();
            let expected = written.filter(|(written, _)| written == file).map_or("", |(_, value)| value);
            assert_eq!(text, expected, "{file}");
        }
    }
}

#[test]
fn a_limit_whose_file_is_gone_is_held_by_nobody_any_more() {
    let (directory, group) = group(&WRITTEN.map(|(file, _)| file));
    cost(directory.path(), true);
    let mut limits = Limits::set(ALL, &group, None);
    for (file, _) in WRITTEN {
        assert_eq!(limits.exceeded(ALL, &group), None);
        std::fs::remove_file(directory.path().join(file)).unwrap();
    }
    assert_eq!(limits.exceeded(ALL, &group), None);
    let words = limits.words().unwrap();
    assert!(!words.contains("is held by the kernel"), "{words}");
    assert_eq!(words.matches("is not there any more").count(), 4, "{words}");
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
            cost(directory.path(), true);
            if let Some(target) = broken {
                symlink(target, directory.path().join(missing)).unwrap();
            }
            let words = Limits::set(ALL, &group, Some(&groups(&[]))).words().unwrap();
            assert!(words.contains(&format!("{missing} cannot be set")), "{broken:?}: {words}");
            assert!(!words.contains(&format!("{key} is held")), "{broken:?}: {words}");
            let others = ["memory_mb", "max_processes", "cpu_percent", "io_weight"];
            assert_eq!(
                others.into_iter().filter(|it| words.contains(&held(it))).count(),
                3,
                "{broken:?}: {words}"
            );
        }
    }
    // A kernel that swaps nothing.
    let (_directory, group) = group(&["memory.high", "memory.max"]);
    let memory = ResourceLimits { memory_mb: Some(2048), ..ResourceLimits::default() };
    assert_eq!(Limits::set(memory, &group, None).words().unwrap(), "memory_mb is held by the kernel");
    let refused = groups(&[(Controller::Memory, Err("it is not given".to_owned()))]);
    let limits = Limits::set(memory, &group, Some(&refused));
    assert_eq!(limits.words().unwrap(), "memory_mb is held by the kernel", "what the group has decides");
    let (_without, group) = self::group(&[]);
    let limits = Limits::set(memory, &group, Some(&refused));
    assert_eq!(limits.words().unwrap(), "memory_mb is counted: it is not given");
    assert_eq!(Limits::none(memory, "why").words().unwrap(), "memory_mb is counted: why");
}

#[test]
fn what_the_kernel_held_is_told_once_in_the_words_of_what_is_counted() {
    let (directory, group) = group(&["memory.high", "memory.max", "pids.max"]);
    let tell = |file: &str, text: &str| std::fs::write(directory.path().join(file), text).unwrap();
    tell("memory.events", "oom 1\noom_kill 1\n");
    tell("pids.events.local", "max 0\n");
    let mut limits = Limits::set(ALL, &group, None);
    assert_eq!(limits.exceeded(ALL, &group), None, "what was before is not told");
    tell("memory.events", "oom 3\noom_kill 2\n");
    assert_eq!(limits.exceeded(ALL, &group), Some(Excess::Ended { ceiling: 2560, most: 2048 }));
    assert_eq!(limits.exceeded(ALL, &group), None);
    tell("pids.events.local", "max 7\n");
    assert_eq!(limits.exceeded(ALL, &group), Some(Excess::Threads { most: 3712 }));
    assert_eq!(limits.exceeded(ALL, &group), None);
}

#[test]
fn who_is_slowed_down_is_told_only_where_nothing_can_be_given_back() {
    const MIB: u64 = 1 << 20;
    // How often somebody was slowed down, what is held, what of it is files and memory that is shared, and what is told to be kept.
    for (high, held, file, shmem, told) in [
        (1, 2048, 0, 0, Some(2048)),
        (0, 2048, 0, 0, None),
        (1, 2100, 100, 100, Some(2100)),
        (1, 2048, 1500, 0, None),
        (1, 2048, 1500, 1400, Some(1948)),
        (1, 2048, 300, 0, None),
    ] {
        let (directory, group) = group(&["memory.high", "memory.max", "pids.max"]);
        let tell = |file: &str, text: &str| std::fs::write(directory.path().join(file), text).unwrap();
        tell("memory.events.local", "low 0\nhigh 0\n");
        tell("memory.current", &format!("{}\n", held * MIB));
        tell("memory.stat", &format!("anon 1\nfile {}\nshmem {}\n", file * MIB, shmem * MIB));
        let mut limits = Limits::set(ALL, &group, None);
        assert_eq!(limits.is_slowed(ALL, &group), None, "what was before is not told");
        tell("memory.events.local", &format!("low 0\nhigh {high}\n"));
        let slowed = limits.is_slowed(ALL, &group);
        let told = told.map(|kept| Excess::Slowed { kept, most: 2048 });
        assert_eq!(slowed, told, "{high} {held} {file} {shmem}");
        assert_eq!(limits.is_slowed(ALL, &group), None, "it is told once");
    }
}

#[test]
fn a_smaller_limit_slows_down_at_once_and_ends_nothing_that_is_held() {
    const MIB: u64 = 1 << 20;
    let memory = |memory_mb| ResourceLimits { memory_mb: Some(memory_mb), ..ResourceLimits::default() };
    let (directory, group) = group(&["memory.high", "memory.max"]);
    let read = |file: &str| std::fs::read_to_string(directory.path().join(file)).unwrap();
    // As the kernel has them, which a plain file that is overwritten has not.
    let tell =
        |file: &str, bytes: u64| std::fs::write(directory.path().join(file), format!("{bytes}\n")).unwrap();
    tell("memory.high", 8192 * MIB);
    tell("memory.max", 8192 * MIB);
    tell("memory.current", 3000 * MIB);
    let mut limits = Limits::set(memory(2048), &group, None);
    let partly = "memory_mb is held by the kernel in part: memory.max is lowered once less is held";
    for held in [3000, 2561, 2560] {
        tell("memory.current", held * MIB);
        assert_eq!(limits.exceeded(memory(2048), &group), None);
        assert_eq!(limits.words().unwrap(), partly, "{held}");
        assert!(read("memory.high").starts_with(&(2048 * MIB).to_string()));
        assert!(read("memory.max").starts_with(&(8192 * MIB).to_string()), "{held}");
    }
    tell("memory.current", 2559 * MIB);
    assert_eq!(limits.exceeded(memory(2048), &group), None);
    assert!(read("memory.max").starts_with(&(2560 * MIB).to_string()));
    assert_eq!(limits.words().unwrap(), "memory_mb is held by the kernel");
}

#[test]
fn an_end_before_a_ceiling_is_lowered_is_told_with_the_one_that_there_was() {
    let memory = ResourceLimits { memory_mb: Some(2048), ..ResourceLimits::default() };
    let (directory, group) = group(&["memory.high", "memory.max"]);
    let tell = |file: &str, text: &str| std::fs::write(directory.path().join(file), text).unwrap();
    tell("memory.max", "4294967296\n");
    tell("memory.current", "4294967296\n");
    let mut limits = Limits::set(memory, &group, None);
    tell("memory.events", "oom 1\noom_kill 1\n");
    tell("memory.current", "1\n");
    assert_eq!(limits.exceeded(memory, &group), Some(Excess::Ended { ceiling: 4096, most: 2048 }));
}

#[test]
fn what_the_limits_of_others_did_is_not_told_of_this_one() {
    let memory = Some(Excess::Ended { ceiling: 2560, most: 2048 });
    let threads = Some(Excess::Threads { most: 3712 });
    let (wants, ends) = ("oom 1\noom_kill 0\n", "oom 1\noom_kill 1\n");
    // What the kernel says at two looks, and what is told at the second.
    let events = |file: &'static str, text: &'static str| (file, text);
    for (what, first, second, told) in [
        ("the machine's memory ended", vec![], vec![events("memory.events", "oom 0\noom_kill 1\n")], None),
        ("its own ended", vec![], vec![events("memory.events", ends)], memory),
        (
            "it wanted, and one was ended for it later",
            vec![events("memory.events", wants)],
            vec![events("memory.events", ends)],
            memory,
        ),
        ("it wanted, and none was ended", vec![], vec![events("memory.events", wants)], None),
        (
            "that of a group below ended",
            vec![],
            vec![events("memory.events", ends), events("memory.events.local", "oom 0\noom_kill 0\n")],
            None,
        ),
        (
            "its own ended one in a group below",
            vec![],
            vec![events("memory.events", ends), events("memory.events.local", "oom 1\noom_kill 0\n")],
            memory,
        ),
        (
            "the limit on processes of a group above",
            vec![],
            vec![events("pids.events", "max 7\n"), events("pids.events.local", "max 0\n")],
            None,
        ),
        (
            "its own",
            vec![],
            vec![events("pids.events", "max 0\n"), events("pids.events.local", "max 7\n")],
            threads,
        ),
        (
            "an older kernel, below the limit",
            vec![],
            vec![events("pids.events", "max 7\n"), events("pids.peak", "9\n")],
            None,
        ),
        (
            "an older kernel, at the limit",
            vec![],
            vec![events("pids.events", "max 7\n"), events("pids.peak", "3712")],
            threads,
        ),
        ("a kernel that tells no peak", vec![], vec![events("pids.events", "max 7\n")], None),
    ] {
        let (directory, group) = group(&["memory.high", "memory.max", "pids.max"]);
        let tell = |all: Vec<(&str, &str)>| {
            for (file, text) in all {
                std::fs::write(directory.path().join(file), text).unwrap();
            }
        };
        let mut limits = Limits::set(ALL, &group, None);
        tell(first);
        assert_eq!(limits.exceeded(ALL, &group), None, "{what}");
        tell(second);
        assert_eq!(limits.exceeded(ALL, &group), told, "{what}");
        assert_eq!(limits.exceeded(ALL, &group), None, "{what}");
    }
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
    let groups = Groups::take(&plan, Some(4711), wanted);
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
    let groups = Groups::take(&plan, Some(4711), [Controller::Memory]);
    assert!(groups.refused(Controller::Memory).unwrap().contains("the host cannot move to host in"));
}

#[test]
fn a_group_with_limits_has_its_share_of_the_processor_too_and_one_without_needs_nothing() {
    let needed = |resource_limits| Controller::needed(resource_limits).collect::<Vec<_>>();
    let (none, disk) =
        (ResourceLimits::default(), ResourceLimits { disk_mb: Some(1), ..ResourceLimits::default() });
    assert_eq!((needed(none), needed(disk)), (vec![], vec![]));
    let processes = ResourceLimits { processes: Some(1), ..ResourceLimits::default() };
    assert_eq!(needed(processes), [Controller::Pids, Controller::Cpu]);
    assert_eq!(needed(ALL), Controller::ALL);
}

#[test]
fn a_process_that_was_not_told_to_leave_its_group_stays_and_enables_nothing() {
    let base = tempfile::tempdir().unwrap();
    let file = |name: &str| base.path().join(name);
    std::fs::write(file("cgroup.controllers"), "memory\n").unwrap();
    std::fs::write(file("cgroup.subtree_control"), "").unwrap();
    let plan = Plan { base: base.path().to_owned(), leaves: true };
    let groups = Groups::take(&plan, None, [Controller::Memory]);
    assert!(groups.refused(Controller::Memory).unwrap().contains("`DelegateSubgroup=host`"));
    assert_eq!(std::fs::read_to_string(file("cgroup.subtree_control")).unwrap(), "");
    assert!(!file(LEAF).exists());
    // One that is in a leaf already has nowhere to go.
    let groups = Groups::take(&Plan { leaves: false, ..plan }, None, [Controller::Memory]);
    assert_eq!(groups.refused(Controller::Memory), None);
    assert_eq!(std::fs::read_to_string(file("cgroup.subtree_control")).unwrap(), "+memory");
}

/// A group of the kernel's own for these tests: beside that of this process where that is the leaf of a delegated one, else below it.
struct Real(Group);

impl Real {
    /// Nothing where no group can be made; that limits are counted then is proven here.
    fn new(name: &str) -> Option<Self> {
        let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mark = |group: &Path| Facts { marked: true, ..Facts::of(group) };
        let below = || plan::plan(Standing { own: &cgroup, first: "" }, &mounts, mark);
        let base = plan_of(None).or_else(|_| below()).map(|plan| plan.base);
        let group = base.map(|base| Group::at(base.join(format!("connector-{name}-{}", std::process::id()))));
        match group
            .map_err(|why| why.to_string())
            .and_then(|group| group.make().map(|()| Self(group)).map_err(|error| error.to_string()))
        {
            Ok(group) => Some(group),
            Err(why) => {
                testkit::unseen(&format!("{name}: no cgroup can be made ({why})"));
                let own = Groups::of_this_process(ALL).map(|groups| groups.group("x").make().is_ok());
                assert!(!matches!(own, Ok(true)), "{why}, and yet there can be groups here");
                let words = Limits::none(ALL, &why).words().unwrap();
                assert!(words.starts_with(&format!("memory_mb is counted: {why}")), "{words}");
                None
            }
        }
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
    until("the host is in it", || base.0.holds(host.id()));
    let has = |controller: &Controller| listed(path, "cgroup.controllers", controller.name());
    let (ours, lacking): (Vec<_>, Vec<_>) = Controller::ALL.into_iter().partition(has);
    for controller in &lacking {
        let why = enable(path, controller.name()).unwrap_err();
        assert!(why.contains(&format!("no controller `{}`", controller.name())), "{why}");
    }
    if !lacking.is_empty() {
        testkit::unseen(&format!("{lacking:?}, where the kernel gives only `{}`", controllers.trim()));
    }
    // Of what the kernel gives; the rules for enabling are the same for all.
    let all: Vec<_> = controllers.split_whitespace().collect();
    if let Some(first) = all.first() {
        let why = enable(path, first).unwrap_err();
        assert!(why.contains("only the host may be started there"), "{why}");
    }
    move_to_leaf(path, host.id()).unwrap();
    for controller in &all {
        enable(path, controller).unwrap();
        assert!(listed(path, "cgroup.subtree_control", controller), "{controller}");
    }
    let group = Groups { base: path.to_owned(), controllers: BTreeMap::new() }.group("x");
    group.make().unwrap();
    let words = Limits::set(ALL, &group, None).words().unwrap();
    for controller in ours {
        match controller.settings(ALL, group.path()) {
            Ok(settings) => {
                assert_eq!(settings.iter().try_for_each(|setting| group.has(setting)), Ok(()));
                let held = held(controller.key());
                assert!(words.contains(&held), "{words}");
            }
            Err(why) => assert!(controller == Controller::Io && words.contains(&why), "{words}"),
        }
    }
    assert!(base.0.holds(host.id()), "those below count");
    base.0.kill();
    host.wait().unwrap();
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
    until("all of them run", || group.0.processes().unwrap().len() == 11);
    assert!(!group.0.is_empty());
    group.0.kill();
    group.0.remove();
    assert!(!group.0.path().exists());
    first.wait().unwrap();
    group.0.remove();
    assert!(group.0.is_empty(), "what is gone is empty, and removed again without harm");
}
