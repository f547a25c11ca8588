//! The answers of Linux, read from `/proc`, and signals by process descriptor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Family, MARK, ProcessId, ignore_gone, pid};

/// `st` of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

pub(super) fn identify(number: u32) -> Option<ProcessId> {
    Row::read(number, &boot()?).map(|row| row.id)
}

pub(super) fn signal(process: &ProcessId, signal: Signal) {
    let Some(number) = pid(process.pid) else { return };
    // The descriptor is opened first and the identity compared after, so the signal cannot reach
    // a process that took the number over in between.
    let Ok(descriptor) = pidfd_open(number, PidfdFlags::empty()) else { return };
    if process.is_alive() {
        ignore_gone(pidfd_send_signal(descriptor, signal));
    }
}

/// A directory that was renamed, deleted or mounted over under the process no longer matches.
pub(super) fn runs_in(process: &ProcessId, directory: &Path) -> bool {
    let own = PathBuf::from(format!("/proc/{}/cwd", process.pid));
    let same = |one: &Path, other: &Path| {
        let (one, other) = (fs::metadata(one).ok()?, fs::metadata(other).ok()?);
        Some((one.dev(), one.ino()) == (other.dev(), other.ino()))
    };
    fs::read_link(&own).is_ok_and(|cwd| cwd == directory) && same(&own, directory) == Some(true)
}

pub(super) fn members(family: &Family) -> BTreeSet<ProcessId> {
    member_rows(family).into_iter().map(|row| row.id).collect()
}

pub(super) fn commands(family: &Family) -> BTreeSet<ProcessId> {
    let Some(leader) = &family.leader else { return BTreeSet::new() };
    member_rows(family).into_iter().filter(|row| row.group != leader.pid).map(|row| row.id).collect()
}

/// Commands whose parent is the daemon.
pub(super) fn children_of_leader(family: &Family) -> BTreeSet<ProcessId> {
    let Some(leader) = &family.leader else { return BTreeSet::new() };
    let rows = member_rows(family);
    let own: BTreeSet<u32> =
        rows.iter().filter(|row| row.group == leader.pid).map(|row| row.id.pid).collect();
    let child = |row: &Row| row.group != leader.pid && own.contains(&row.parent);
    rows.into_iter().filter(child).map(|row| row.id).collect()
}

/// The second and third number are the pages held and those of them that are shared or of a file.
pub(super) fn memory(process: &ProcessId) -> u64 {
    let Ok(pages) = fs::read_to_string(format!("/proc/{}/statm", process.pid)) else { return 0 };
    let pages: Vec<u64> = pages.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let own = pages.get(1).zip(pages.get(2)).map_or(0, |(held, shared)| held.saturating_sub(*shared));
    own * rustix::param::page_size() as u64
}

fn member_rows(family: &Family) -> Vec<Row> {
    let mut rows = all_rows();
    let leader = family
        .leader
        .as_ref()
        .filter(|leader| rows.get(&leader.pid).is_some_and(|row| row.id == **leader))
        .map(|leader| leader.pid);
    let mark = format!("{MARK}={}", family.mark);
    let grouped = family.group.iter().flat_map(|group| group.processes().unwrap_or_default());
    // A number may have been taken over since the table was read.
    let same = |row: &Row| Row::read(row.id.pid, &row.id.boot).is_some_and(|now| now.id == row.id);
    let mut found: BTreeSet<u32> = grouped.filter(|number| rows.get(number).is_some_and(same)).collect();
    // An environment is read where nothing else tells: who wants it waits for what the process itself waits for, in a bomb for long.
    let told = |row: &Row| leader.is_some_and(|leader| row.group == leader) || carries(row.id.pid, &mark);
    let others: Vec<_> = rows.values().filter(|row| !found.contains(&row.id.pid) && told(row)).collect();
    found.extend(others.into_iter().map(|row| row.id.pid));
    with_descendants(&rows, &mut found, std::process::id());
    found.iter().filter_map(|number| rows.remove(number)).collect()
}

/// Adds what was started by what was found. That is never the kernel, the first process or `own`, nor by them: 0 is the parent of
/// whose parent is in no table here, and 1 of whose parent has ended.
fn with_descendants(rows: &BTreeMap<u32, Row>, found: &mut BTreeSet<u32>, own: u32) {
    let strange = |number: &u32| *number <= 1 || *number == own;
    found.retain(|number| !strange(number));
    loop {
        let children = rows.values().filter(|row| found.contains(&row.parent)).map(|row| row.id.pid);
        let children: Vec<_> = children.filter(|child| !strange(child) && !found.contains(child)).collect();
        if children.is_empty() {
            return;
        }
        found.extend(children);
    }
}

/// Members are looked for when somebody listens there at all.
pub(super) fn listens_on(members: impl FnOnce() -> BTreeSet<ProcessId>, port: u16) -> bool {
    let sockets = sockets(port, |_| true);
    !sockets.is_empty() && hold(&members(), &sockets)
}

/// Whether somebody else listens where 127.0.0.1 would have to.
pub(super) fn is_taken_from(members: impl FnOnce() -> BTreeSet<ProcessId>, port: u16) -> bool {
    let in_the_way =
        |address: &str| address == "0100007F" || !address.is_empty() && address.bytes().all(|b| b == b'0');
    let sockets = sockets(port, in_the_way);
    !sockets.is_empty() && !hold(&members(), &sockets)
}

/// The sockets that listen on `port`, of those addresses.
fn sockets(port: u16, address: impl Fn(&str) -> bool) -> Vec<String> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, port, &address))
        .map(|inode| format!("socket:[{inode}]"))
        .collect()
}

/// Inodes of the sockets that listen on `port` in a table of `/proc/net`, of those addresses.
fn listening(table: &str, port: u16, address: impl Fn(&str) -> bool) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let local = fields.get(1)?.strip_suffix(&suffix)?;
        let matches = address(local) && *fields.get(3)? == LISTEN;
        matches.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn hold(members: &BTreeSet<ProcessId>, sockets: &[String]) -> bool {
    members.iter().any(|member| holds(member.pid, sockets))
}

fn holds(number: u32, sockets: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{number}/fd")) else { return false };
    descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| target.to_str().is_some_and(|target| sockets.iter().any(|socket| socket == target)))
}

fn carries(number: u32, mark: &str) -> bool {
    fs::read(format!("/proc/{number}/environ"))
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes()))
}

/// One line of the process table, without zombies. One whose threads are still ending is none yet: it
/// has its memory, its files and its port.
struct Row {
    id: ProcessId,
    parent: u32,
    group: u32,
}

impl Row {
    fn read(number: u32, boot: &str) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        Self::parse(number, &stat, boot)
    }

    /// The program's name is in parentheses and may hold anything, so fields are counted after the
    /// last closing one: state, parent, group, … and the start time as the twentieth.
    fn parse(number: u32, stat: &str, boot: &str) -> Option<Self> {
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let threads: usize = fields.get(17)?.parse().ok()?;
        if *fields.first()? == "X" || *fields.first()? == "Z" && threads <= 1 {
            return None;
        }
        Some(Self {
            id: ProcessId { pid: number, started: fields.get(19)?.parse().ok()?, boot: boot.to_owned() },
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
        })
    }
}

fn all_rows() -> BTreeMap<u32, Row> {
    let (Some(boot), Ok(entries)) = (boot(), fs::read_dir("/proc")) else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|number| Some((number, Row::read(number, &boot)?)))
        .collect()
}

fn boot() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use rustix::net::{AddressFamily, SocketType};

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let stat = "42 (a) R (b) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1";
        let row = Row::parse(42, stat, "boot").unwrap();
        assert_eq!((row.parent, row.group, row.id.started), (7, 42, 98765));
    }

    #[test]
    fn a_zombie_is_no_process_once_its_threads_have_ended() {
        let zombie = |threads| format!("42 (x) Z 7 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 9 1");
        assert!(Row::parse(42, &zombie(1), "boot").is_none());
        assert!(Row::parse(42, &zombie(3), "boot").is_some());
    }

    #[test]
    fn descendants_are_never_those_of_the_kernel_of_the_first_process_or_of_this_one() {
        // Its number, and its parent's: two of the kernel's, the first process with two of its own, and ours with a child.
        let table = [(1, 0), (2, 0), (10, 1), (11, 1), (20, 10), (21, 20), (30, 20), (31, 30)];
        let row = |(number, parent): (u32, u32)| {
            let stat = format!("{number} (x) S {parent} 9 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 7 1");
            (number, Row::parse(number, &stat, "boot").unwrap())
        };
        let rows = table.map(row).into();
        let own = 30;
        for (found, expected) in [
            (vec![], vec![]),
            (vec![0], vec![]),
            (vec![1], vec![]),
            (vec![own], vec![]),
            (vec![0, 1, own, 11], vec![11]),
            (vec![10], vec![10, 20, 21]),
            (vec![0, 21], vec![21]),
            (vec![31], vec![31]),
        ] {
            let mut all: BTreeSet<u32> = found.iter().copied().collect();
            with_descendants(&rows, &mut all, own);
            assert_eq!(all, expected.into_iter().collect(), "{found:?}");
        }
    }

    #[test]
    fn a_group_that_lists_what_no_daemon_can_be_has_no_members() {
        let directory = tempfile::tempdir().unwrap();
        let own = std::process::id();
        for (listed, why) in [
            ("0\n".to_owned(), "in no table here"),
            ("1\n".to_owned(), "the first process"),
            (format!("{own}\n"), "this process"),
            (format!("0\n1\n{own}\n"), "all of them"),
        ] {
            fs::write(directory.path().join("cgroup.procs"), listed).unwrap();
            let group = Some(crate::cgroup::Group::at(directory.path().to_owned()));
            let family = Family { leader: None, mark: "of nobody".into(), group };
            assert_eq!(family.members(), BTreeSet::new(), "{why}");
            family.end_now();
        }
        assert!(ProcessId::of(own).unwrap().is_alive());
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address\n\
            0: 0100007F:B3A8 00000000:0000 0A 0:0 0:0 0 0 0 16148 1 x\n\
            1: 0100007F:B3A8 0100007F:1234 01 0:0 0:0 0 0 0 16149 1 x\n\
            2: 0100007F:B3A9 00000000:0000 0A 0:0 0:0 0 0 0 16150 1 x\n";
        assert_eq!(listening(table, 0xB3A8, |_| true), ["16148"]);
        assert!(listening(table, 0xB3A8, |address| address == "00000000").is_empty());
    }

    #[test]
    fn this_process_is_alive_and_its_number_with_another_start_is_not() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { started: me.started + 1, ..me.clone() }.is_alive());
        assert!(!ProcessId { boot: "earlier".into(), ..me }.is_alive());
    }

    #[test]
    fn touched_memory_counts() {
        let me = ProcessId::of(std::process::id()).unwrap();
        let before = memory(&me);
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(memory(&me) >= before + (48 << 20), "{before} and {}", memory(&me));
        drop(held);
    }

    #[test]
    fn a_listener_of_this_process_is_found_and_a_closed_port_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let me = || BTreeSet::from([ProcessId::of(std::process::id()).unwrap()]);
        assert!(listens_on(me, port));
        assert!(!listens_on(BTreeSet::new, port));
        assert!(is_taken_from(BTreeSet::new, port) && !is_taken_from(me, port));
        drop(listener);
        // Held, so that nobody else can listen there meanwhile.
        let held = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&held, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = SocketAddrV4::try_from(rustix::net::getsockname(&held).unwrap()).unwrap().port();
        let unlooked = || panic!("nobody listens, so nobody need be looked for");
        assert!(!listens_on(unlooked, port));
        assert!(!is_taken_from(unlooked, port));
    }
}
