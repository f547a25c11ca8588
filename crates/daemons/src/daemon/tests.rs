//! What a daemon does by what its group says, with processes that run and a group whose files are plain ones.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use super::*;
use crate::cgroup::Group;
use crate::environment::Environment;
use crate::process::MARK;
use crate::resource_limits::Row;

const RESOURCE_LIMITS: ResourceLimits = ResourceLimits {
    memory_mb: Some(1024),
    processes: None,
    disk_mb: None,
    cpu_percent: None,
    io_weight: None,
};

/// A group that allows that, and what it says.
struct Told(tempfile::TempDir);

impl Told {
    fn new() -> Self {
        let told = Self(tempfile::tempdir().unwrap());
        for file in ["memory.high", "memory.max", "cgroup.procs", "cgroup.kill"] {
            told.says(file, "");
        }
        told.says("memory.current", "0\n");
        told.says("memory.stat", "file 0\n");
        told.says("cgroup.events", "populated 0\n");
        told
    }

    fn says(&self, file: &str, text: &str) {
        std::fs::write(self.0.path().join(file), text).unwrap();
    }

    fn group(&self) -> Group {
        Group::at(self.0.path().to_owned())
    }

    fn slows_down(&self, times: u32, kept_mb: u64) {
        self.says("memory.current", &format!("{}\n", kept_mb << 20));
        self.says("memory.events.local", &format!("high {times}\n"));
    }
}

/// A process with this mark, which leads a process group of its own as a daemon and its commands do.
fn process(mark: &str) -> Child {
    #[expect(clippy::disallowed_methods, reason = "tests start what stands for a daemon")]
    let child = Command::new("sleep").arg("600").env(MARK, mark).process_group(0).spawn();
    child.unwrap()
}

/// A daemon that does nothing, in this group.
fn daemon(mark: &str, group: Group) -> Daemon {
    let child = process(mark);
    let limits = Limits::set(RESOURCE_LIMITS, &group, None);
    Daemon {
        family: Family { leader: ProcessId::of(child.id()), mark: mark.to_owned(), group: Some(group) },
        leader: Leader::Child(child),
        port: 0,
        password: "none".into(),
        directory: "/".into(),
        version: String::new(),
        output_log: OutputLog::unnamed(connector_files::Redactor::default()).unwrap(),
        grace: Duration::ZERO,
        record: None,
        ends_on_drop: true,
        limits,
        asked: BTreeMap::new(),
        egress: None,
        logins: None,
    }
}

#[tokio::test]
async fn being_slowed_down_ends_the_daemon_only_where_it_goes_on_or_the_whole_limit_is_kept() {
    // What is kept, each how many looks somebody is slowed down, how many looks at once find that, and which of 45 ends the daemon.
    for (kept, every, told, ends) in [
        (1023, 1, 45, Some(20)),
        (922, 1, 45, Some(20)),
        (921, 1, 0, None),
        (1023, 2, 23, None),
        (1023, 45, 1, None),
        (1024, 1, 45, Some(1)),
        (1024, 45, 1, Some(1)),
    ] {
        let group = Told::new();
        let mut daemon = daemon(&format!("slowed-{}-{kept}-{every}", std::process::id()), group.group());
        let (mut row, mut found, mut ended) = (Row::default(), 0, None);
        for look in 0..45 {
            group.slows_down(1 + look / every, kept);
            let overrun = daemon.keep_to(RESOURCE_LIMITS).await;
            found += u32::from(overrun.is_some());
            if row.ends_daemon(overrun) {
                ended = ended.or(Some(look + 1));
            }
        }
        assert_eq!((found, ended), (told, ends), "{kept} MiB, each {every}");
        assert_eq!(daemon.try_exit(), None, "a look does not end it");
    }
}

#[tokio::test]
async fn a_command_is_ended_for_being_slowed_down_and_not_the_daemon_that_keeps_the_whole_limit() {
    let (group, mark) = (Told::new(), format!("command-{}", std::process::id()));
    let mut daemon = daemon(&mark, group.group());
    let mut command = process(&mark);
    group.slows_down(1, 1024);
    let overrun = daemon.keep_to(RESOURCE_LIMITS).await;
    assert_eq!(overrun, Some(Overrun { excess: Excess::Slowed { kept: 1024, most: 1024 }, any: true }));
    assert!(!Row::default().ends_daemon(overrun));
    assert!(!command.wait().unwrap().success(), "the command is ended");
    assert_eq!(daemon.try_exit(), None);
}

#[tokio::test]
async fn a_group_in_which_the_daemon_is_not_seen_is_given_up_only_where_it_is_empty() {
    let mut spec = Spec::new("/bin/sh", "/", Environment::of_this_process());
    spec.contained = Some(Contained { launcher: None, resource_limits: RESOURCE_LIMITS });
    let own = std::process::id();
    // What it lists, where that can be read, whether something runs in it, and whether it is kept.
    for (what, listed, populated, kept) in [
        ("nobody entered it", Some(String::new()), Some("populated 0\n"), false),
        ("who is in it is not listed", Some(String::new()), Some("populated 1\n"), true),
        ("who is in it has no number here", Some("0\n".to_owned()), Some("populated 1\n"), true),
        ("another is in it", Some("2147483647\n".to_owned()), Some("populated 1\n"), true),
        ("the host is in it", Some(format!("{own}\n")), Some("populated 1\n"), true),
        ("its list cannot be read", None, Some("populated 1\n"), true),
        ("nothing of it can be read", None, None, true),
    ] {
        let group = Told::new();
        let tell = |file: &str, text: Option<&str>| {
            if let Some(text) = text {
                return group.says(file, text);
            }
            std::fs::remove_file(group.0.path().join(file)).unwrap();
            std::fs::create_dir(group.0.path().join(file)).unwrap();
        };
        tell("cgroup.procs", listed.as_deref());
        tell("cgroup.events", populated);
        let mut daemon = daemon(&format!("proven-{own}"), group.group());
        contain::prove(&mut daemon, &spec);
        assert_eq!(daemon.group().is_some(), kept, "{what}");
        let why = format!("memory_mb is counted: the daemon is not seen in {}", group.0.path().display());
        assert_eq!(daemon.limits(), Some(why), "{what}");
    }
    let group = Told::new();
    let mut daemon = daemon(&format!("proven-{own}"), group.group());
    group.says("cgroup.procs", &format!("{}\n", daemon.pid().unwrap()));
    contain::prove(&mut daemon, &spec);
    assert_eq!(daemon.limits().unwrap(), "memory_mb is held by the kernel");
    assert!(daemon.group().is_some());
}
