//! Whether a process may make groups of its own, and where: decided from what the kernel says, and nothing is done.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

/// The leaf in which the host itself is, beside the groups of its daemons: a group whose children have controllers
/// has no processes of its own.
pub(super) const LEAF: &str = "host";

/// The attributes by which systemd says that it delegated a group (`Delegate=`): who is not root reads the second alone.
const MARKS: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// Where groups of daemons are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The group that is delegated to us.
    pub(crate) base: PathBuf,
    /// Whether this process is in that group itself, and has to leave it for a leaf before controllers are enabled.
    pub(crate) leaves: bool,
}

/// Why no group is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("this system has no cgroup v2")]
    None,
    #[error("{0}")]
    Unseen(String),
    #[error("cgroup v2 is not mounted where it could be used")]
    NotMounted,
    #[error("cgroup v2 is mounted read-only")]
    ReadOnly,
    #[error("no cgroup is delegated here ({} is another's)", .0.display())]
    NotDelegated(PathBuf),
    #[error("the cgroup {} may not be written", .0.display())]
    NotWritable(PathBuf),
}

/// What is to be known of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// A service manager says that it is delegated.
    pub(crate) marked: bool,
    /// Its directory, processes and controllers can be written.
    pub(crate) writable: bool,
    /// It is that of the whole machine, or a service manager has units of its own right below it.
    pub(crate) managed: bool,
}

impl Facts {
    /// As they are now.
    pub(crate) fn of(group: &Path) -> Self {
        let marked = |name: &&str| {
            let mut value = [0; 2];
            rustix::fs::getxattr(group, *name, &mut value).is_ok_and(|length| value[..length] == *b"1")
        };
        let writable = |path: PathBuf| rustix::fs::access(&path, Access::WRITE_OK).is_ok();
        let files = ["", "cgroup.procs", "cgroup.subtree_control"];
        Self {
            marked: MARKS.iter().any(marked) && group.is_dir(),
            writable: files.iter().all(|file| writable(group.join(file))),
            // The kernel gives every group a type but the first.
            managed: !group.join("cgroup.type").exists() || has_units(group),
        }
    }
}

/// Whether systemd has made itself a place below a group: that of its own process, or one of its slices.
fn has_units(group: &Path) -> bool {
    let of_systemd =
        |name: &Path| name == "init.scope" || name.extension().is_some_and(|kind| kind == "slice");
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| of_systemd(Path::new(&entry.file_name())))
}

/// The `/proc/PID/cgroup` of two processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) own: &'a str,
    /// That of process 1. Empty where it cannot be read.
    pub(crate) first: &'a str,
}

/// The group of cgroup v2 in such a file.
fn unified(cgroup: &str) -> Option<&Path> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::")).map(Path::new)
}

/// What to do for a process that stands there, by the reader's table of mounts.
pub(crate) fn plan(
    standing: Standing<'_>,
    mounts: &str,
    facts: impl Fn(&Path) -> Facts,
) -> Result<Plan, Reason> {
    let own = unified(standing.own).ok_or(Reason::None)?;
    let mut found: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    found.retain(|mount| own.starts_with(&mount.root));
    found.sort_by_key(|mount| mount.read_only);
    let mount = found.first().ok_or(Reason::NotMounted)?;
    if mount.read_only {
        return Err(Reason::ReadOnly);
    }
    let below = own.strip_prefix(&mount.root).unwrap_or(own);
    let here = mount.at.join(below);
    let here: PathBuf = here.components().collect();
    // Where the first process is elsewhere, it or another has divided the tree, and is its one writer.
    let first = unified(standing.first);
    let undivided =
        first.is_some_and(|first| [mount.root.clone(), mount.root.join(LEAF)].contains(&first.into()));
    let base = delegated(&here, (&mount.at, undivided), &facts)?;
    if !facts(&base).writable {
        return Err(Reason::NotWritable(base));
    }
    Ok(Plan { leaves: base == here, base })
}

/// The group that is delegated to us: that of this process, or the one in whose leaf it is. What is further above was delegated to
/// somebody else, who started us there.
fn delegated(
    here: &Path,
    (top, undivided): (&Path, bool),
    facts: impl Fn(&Path) -> Facts,
) -> Result<PathBuf, Reason> {
    let above = here.parent().filter(|_| here.ends_with(LEAF) && here != top);
    let ours = |group: &&Path| {
        let known = facts(group);
        known.marked || *group == top && undivided && !known.managed
    };
    let found = std::iter::once(here).chain(above).find(ours);
    found.map(Path::to_owned).ok_or_else(|| Reason::NotDelegated(here.to_owned()))
}

/// One mount of cgroup v2.
struct Mount {
    root: PathBuf,
    at: PathBuf,
    read_only: bool,
}

impl Mount {
    /// Of a line of `/proc/self/mountinfo`: `ID PARENT DEVICE ROOT AT OPTIONS … - TYPE SOURCE OPTIONS`.
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, at, options) = (fields.next()?, fields.next()?, fields.next()?);
        let mut file_system = file_system.split(' ');
        if file_system.next()? != "cgroup2" {
            return None;
        }
        let super_options = file_system.nth(1).unwrap_or_default();
        let read_only = [options, super_options].iter().any(|all| all.split(',').any(|one| one == "ro"));
        Some(Self { root: unescaped(root), at: unescaped(at), read_only })
    }
}

/// The table of mounts writes blanks and the like as three octal digits behind a backslash.
pub(crate) fn unescaped(text: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, behind @ ..] = rest {
        let escaped = behind
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &behind[3..] } else { behind };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec shared:9 - cgroup2 cgroup2 rw,nsdelegate";
    const HYBRID: &str = "\
        40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
        39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    const V1: &str = "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids";
    const READ_ONLY: &str =
        "1040 1039 0:29 / /sys/fs/cgroup ro,nosuid,nodev,noexec - cgroup2 cgroup rw,nsdelegate";
    const READ_ONLY_FIRST: &str = "\
        1040 1039 0:29 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n\
        1041 1039 0:29 / /run/cgroup\\040of\\040mine rw,nosuid - cgroup2 cgroup rw";
    /// The host's groups, of which a container has its own alone: the root of the mount is not that of the tree.
    const PART: &str = "900 899 0:29 /docker/4f1c /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw";
    /// Made by who is in another namespace of groups.
    const OUTSIDE: &str = "900 899 0:29 /../../other /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw";

    /// What it is, the process's group, the mounts, what is marked, the group of the whole machine, what to do.
    type Situation = (&'static str, String, &'static str, Vec<String>, &'static str, Result<Plan, Reason>);

    const USERS: &str = "/user.slice/user-1000.slice/user@1000.service";
    const TOP: &str = "/sys/fs/cgroup";

    /// Groups of a machine, of which these are marked; all can be written but those in `closed`.
    fn known<'a>(marked: &'a [String], closed: &'a [String], first: &'a str) -> impl Fn(&Path) -> Facts + 'a {
        move |group| {
            let one_of = |groups: &[String]| groups.iter().any(|one| Path::new(one) == group);
            Facts { marked: one_of(marked), writable: !one_of(closed), managed: group == Path::new(first) }
        }
    }

    #[test]
    fn groups_are_made_where_one_is_delegated_and_nowhere_else() {
        let service = format!("{USERS}/app.slice/connector-host.service");
        let at = |below: &str| format!("{TOP}{below}");
        let base = |below: &str, leaves| Ok(Plan { base: PathBuf::from(at(below)), leaves });
        let others = |below: &str| Err(Reason::NotDelegated(PathBuf::from(at(below))));
        let nobody = "nowhere";
        let situations: Vec<Situation> = vec![
            ("delegated service", service.clone(), UNIFIED, vec![at(&service)], TOP, base(&service, true)),
            (
                "its subgroup (`DelegateSubgroup=`)",
                format!("{service}/{LEAF}"),
                UNIFIED,
                vec![at(&service)],
                TOP,
                base(&service, false),
            ),
            (
                "started by who has it, in a group of that one's",
                format!("{service}/a/b c"),
                UNIFIED,
                vec![at(&service)],
                TOP,
                others(&format!("{service}/a/b c")),
            ),
            (
                "leaf of a leaf",
                format!("{service}/{LEAF}/{LEAF}"),
                UNIFIED,
                vec![at(&service)],
                TOP,
                others(&format!("{service}/{LEAF}/{LEAF}")),
            ),
            ("service without", service.clone(), UNIFIED, vec![at(USERS)], TOP, others(&service)),
            (
                "scope of a terminal, below the user's delegated manager",
                format!("{USERS}/app.slice/term.scope"),
                UNIFIED,
                vec![at(USERS)],
                TOP,
                others(&format!("{USERS}/app.slice/term.scope")),
            ),
            (
                "session scope",
                "/user.slice/user-1000.slice/session-3.scope".into(),
                UNIFIED,
                vec![],
                TOP,
                others("/user.slice/user-1000.slice/session-3.scope"),
            ),
            ("root of the machine, with no manager", "/".into(), UNIFIED, vec![], TOP, others("")),
            ("the same, marked by its owner", "/".into(), UNIFIED, vec![at("")], TOP, base("", true)),
            ("below it, of nobody that says so", "/a/b".into(), UNIFIED, vec![], TOP, others("/a/b")),
            ("container with groups of its own", "/".into(), UNIFIED, vec![], nobody, base("", true)),
            ("its leaf", format!("/{LEAF}"), UNIFIED, vec![], nobody, base("", false)),
            (
                "container in which systemd runs",
                "/system.slice/x.service".into(),
                UNIFIED,
                vec![],
                nobody,
                others("/system.slice/x.service"),
            ),
            ("container, read-only", "/".into(), READ_ONLY, vec![], nobody, Err(Reason::ReadOnly)),
            (
                "mounted a second time, to be written",
                "/".into(),
                READ_ONLY_FIRST,
                vec![],
                nobody,
                Ok(Plan { base: "/run/cgroup of mine".into(), leaves: true }),
            ),
            (
                "container that sees a part of the host's",
                "/docker/4f1c/x".into(),
                PART,
                vec![at("/x")],
                nobody,
                base("/x", true),
            ),
            ("mount of other groups", "/".into(), OUTSIDE, vec![], nobody, Err(Reason::NotMounted)),
            ("hybrid, root", "/".into(), HYBRID, vec![], "/sys/fs/cgroup/unified", others("/unified")),
            (
                "hybrid, delegated",
                "/mine".into(),
                HYBRID,
                vec![at("/unified/mine")],
                "/sys/fs/cgroup/unified",
                base("/unified/mine", true),
            ),
            ("v2 not mounted", "/".into(), V1, vec![], nobody, Err(Reason::NotMounted)),
        ];
        for (what, own, mounts, marked, first, expected) in situations {
            let cgroup = format!("5:pids:/elsewhere\n0::{own}\n");
            let standing =
                Standing { own: &cgroup, first: if mounts == PART { "0::/docker/4f1c\n" } else { "0::/\n" } };
            assert_eq!(plan(standing, mounts, known(&marked, &[], first)), expected, "{what}");
        }
    }

    #[test]
    fn an_unmarked_top_is_a_containers_own_only_where_nobody_else_divides_it() {
        let top = PathBuf::from(TOP);
        let ours = |leaves| Ok(Plan { base: top.clone(), leaves });
        let anothers = || Err(Reason::NotDelegated(top.clone()));
        let beside = || Err(Reason::NotDelegated(top.join(LEAF)));
        for (own, first, managed, marked, expected) in [
            ("/", "0::/\n", false, false, ours(true)),
            ("/", "0::/host\n", false, false, ours(true)),
            ("/host", "0::/host\n", false, false, ours(false)),
            // A systemd in the container, as seen by who was started beside it.
            ("/", "0::/init.scope\n", true, false, anothers()),
            ("/", "0::/\n", true, false, anothers()),
            ("/host", "0::/host\n", true, false, beside()),
            // Another manager, one of the machine's that is seen in its table of processes, and one that is hidden.
            ("/", "0::/manager\n", false, false, anothers()),
            ("/", "0::/../../init.scope\n", false, false, anothers()),
            ("/", "", false, false, anothers()),
            ("/", "0::/init.scope\n", true, true, ours(true)),
        ] {
            let facts = |_: &Path| Facts { marked, writable: true, managed };
            let standing = Standing { own: &format!("0::{own}\n"), first };
            assert_eq!(
                plan(standing, UNIFIED, facts),
                expected,
                "{own} beside {first:?}, {managed}, {marked}"
            );
        }
    }

    #[test]
    fn units_of_a_service_manager_are_known_by_their_names() {
        let root = tempfile::tempdir().unwrap();
        assert!(Facts::of(root.path()).managed, "without a type it is the machine's");
        std::fs::write(root.path().join("cgroup.type"), "domain\n").unwrap();
        for (name, is_unit) in [
            ("host", false),
            ("daemon-1", false),
            ("x.service", false),
            ("init.scope", true),
            ("system.slice", true),
        ] {
            let below = root.path().join(name);
            std::fs::create_dir(&below).unwrap();
            assert_eq!(Facts::of(root.path()).managed, is_unit, "{name}");
            std::fs::remove_dir(&below).unwrap();
        }
    }

    #[test]
    fn a_system_without_it_and_a_group_that_cannot_be_written_are_told_apart() {
        let none = known(&[], &[], "nowhere");
        for cgroup in ["9:name=systemd:/\n8:pids:/\n", ""] {
            assert_eq!(plan(Standing { own: cgroup, first: cgroup }, V1, &none), Err(Reason::None));
        }
        let service = [format!("{TOP}/x.service")];
        let closed = known(&service, &service, TOP);
        let refused = Err(Reason::NotWritable(PathBuf::from(&service[0])));
        let standing = Standing { own: "0::/x.service\n", first: "0::/init.scope\n" };
        assert_eq!(plan(standing, UNIFIED, closed), refused);
    }

    #[test]
    fn what_is_no_group_is_neither_marked_nor_to_be_written() {
        let root = tempfile::tempdir().unwrap();
        let facts = Facts::of(&root.path().join("gone"));
        assert!(!facts.marked && !facts.writable);
        assert!(!Facts::of(root.path()).writable, "it has no processes and no controllers");
    }
}
