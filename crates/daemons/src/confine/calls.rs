//! The system calls that reach around the other walls, and are refused.
//!
//! **Sockets.** Those with a path lead outside: Landlock judges them from Linux 7.1 on only, and no filter sees where
//! a call connects to, since the address is behind a pointer; so none is made at all. Connected pairs
//! stay, by which programs talk to what they start. Pairs of datagram sockets do not, for they can be
//! sent from to any address; nor does `io_uring`, which makes sockets behind the filter's back. Of the
//! other families only those of IP stay, and the one by which programs list network interfaces.
//!
//! **Other processes and the user's session**: their limits and priorities, their memory, their keys, what
//! they share by System V's ways, and what the kernel tells of them.

use std::collections::BTreeMap;
use std::error::Error;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// The part of a socket's type that is not flags.
const KIND: u64 = 0xf;
/// The number of a call in the x32 ABI of `x86_64`, whose calls come in the same name.
const X32: libc::c_long = 0x4000_0000;

/// Whether there is a filter for this machine.
pub(super) fn known() -> bool {
    architecture().is_ok() && std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

/// What is refused otherwise and stays open.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Open {
    /// Sockets with a path.
    pub(super) unix_sockets: bool,
    /// What System V shares: it is the daemon's own, in an IPC namespace.
    pub(super) system_v: bool,
}

/// Refuses these calls with `EACCES` from now on, in this thread and what it starts.
pub(super) fn refuse(open: Open) -> Result<(), Box<dyn Error + Send + Sync>> {
    let refused = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    let filter = SeccompFilter::new(rules(open)?, SeccompAction::Allow, refused, architecture()?)?;
    Ok(apply_filter(&BpfProgram::try_from(filter)?)?)
}

fn architecture() -> Result<TargetArch, BackendError> {
    std::env::consts::ARCH.try_into()
}

/// A call and the conditions under which it is refused; always, when there are none.
type Call = (libc::c_long, Vec<SeccompRule>);

fn rules(open: Open) -> Result<BTreeMap<libc::c_long, Vec<SeccompRule>>, BackendError> {
    let mut calls = sockets(open)?;
    calls.extend(others()?);
    let always = ALWAYS.iter().chain(SYSTEM_V.iter().filter(|_| !open.system_v));
    calls.extend(always.map(|call| (*call, Vec::new())));
    if !open.unix_sockets {
        calls.push((libc::SYS_io_uring_setup, Vec::new()));
    }
    let again = |(call, rules): &Call| (call | X32, rules.clone());
    let x32: Vec<_> = calls.iter().filter(|_| cfg!(target_arch = "x86_64")).map(again).collect();
    Ok(calls.into_iter().chain(x32).collect())
}

/// Refused whatever is asked for: keyrings, which are the session's; looking into the memory of other processes and
/// comparing them; the kernel's own machinery.
const ALWAYS: &[libc::c_long] = &[
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
];

/// Memory, semaphores and queues that every process of the user shares.
const SYSTEM_V: &[libc::c_long] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

fn condition(
    index: u8,
    operator: SeccompCmpOp,
    value: libc::c_int,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, u64::from(value.unsigned_abs()))
}

fn sockets(open: Open) -> Result<Vec<Call>, BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let of_unix = || condition(0, Eq, libc::AF_UNIX);
    let pair_of = |kind| SeccompRule::new(vec![of_unix()?, condition(1, MaskedEq(KIND), kind)?]);
    let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let unknown = known.into_iter().map(|family| condition(0, Ne, family)).collect::<Result<_, _>>()?;
    let other_netlink = vec![condition(0, Eq, libc::AF_NETLINK)?, condition(2, Ne, libc::NETLINK_ROUTE)?];
    let raw = |family| {
        SeccompRule::new(vec![condition(0, Eq, family)?, condition(1, MaskedEq(KIND), libc::SOCK_RAW)?])
    };
    let mut made = vec![SeccompRule::new(unknown)?, SeccompRule::new(other_netlink)?];
    // Whoever is in the user namespace of the commands' network could ask for packet filters with one.
    made.extend([raw(libc::AF_INET)?, raw(libc::AF_INET6)?]);
    let mut calls = Vec::new();
    if !open.unix_sockets {
        made.push(SeccompRule::new(vec![of_unix()?])?);
        // The kernel takes a raw one for one of datagrams.
        calls.push((libc::SYS_socketpair, vec![pair_of(libc::SOCK_DGRAM)?, pair_of(libc::SOCK_RAW)?]));
    }
    calls.push((libc::SYS_socket, made));
    Ok(calls)
}

/// What a process may do to itself alone: its limits may be read of others, and priorities are its own.
fn others() -> Result<Vec<Call>, BackendError> {
    use SeccompCmpOp::{Eq, Ne};
    let new_limits = SeccompCondition::new(2, SeccompCmpArgLen::Qword, Ne, 0)?;
    let limits = SeccompRule::new(vec![condition(0, Ne, 0)?, new_limits])?;
    let of_other = || SeccompRule::new(vec![condition(1, Ne, 0)?]);
    let of_user = |user| SeccompRule::new(vec![condition(0, Eq, user)?]);
    Ok(vec![
        (libc::SYS_prlimit64, vec![limits]),
        (libc::SYS_setpriority, vec![of_other()?, of_user(PRIORITY_OF_USER)?]),
        (libc::SYS_ioprio_set, vec![of_other()?, of_user(IO_PRIORITY_OF_USER)?]),
    ])
}

/// The first arguments that mean all processes of a user.
const PRIORITY_OF_USER: libc::c_int = 2;
const IO_PRIORITY_OF_USER: libc::c_int = 3;

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what is refused and what is not is tried")]
    fn sockets_with_a_path_are_refused_and_pairs_and_tcp_are_not() {
        let place = tempfile::tempdir().unwrap();
        let (socket, datagrams) = (place.path().join("stream"), place.path().join("datagrams"));
        let (_listening, _receiving) =
            (UnixListener::bind(&socket).unwrap(), UnixDatagram::bind(&datagrams).unwrap());
        let tries = || {
            let bound = place.path().join(format!("{:?}", std::thread::current().id()));
            [
                UnixStream::connect(&socket).map(drop),
                UnixListener::bind(bound).map(drop),
                UnixDatagram::unbound().and_then(|own| own.send_to(b"x", &datagrams)).map(drop),
                UnixDatagram::pair().and_then(|(own, _)| own.send_to(b"x", &datagrams)).map(drop),
            ]
        };
        assert!(tries().iter().all(Result::is_ok), "all of it works without the filter");
        // The filter is the thread's, and ends with it.
        std::thread::scope(|scope| {
            let filtered = scope.spawn(|| {
                refuse(Open::default()).unwrap();
                for refused in tries() {
                    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
                }
                let (mut one, mut other) = UnixStream::pair().unwrap();
                one.write_all(b"x").unwrap();
                other.read_exact(&mut [0]).unwrap();
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            });
            filtered.join().unwrap();
        });
    }

    /// What is tried with and without the filter, each of which harms nobody.
    fn tries_on_others() -> Vec<(&'static str, std::io::Result<()>)> {
        use rustix::net::{AddressFamily, SocketType, netlink, socket};
        use rustix::process::{Pid, Resource, getpid, getrlimit, prlimit, setpriority_process};
        let parent = rustix::process::getppid().unwrap_or_else(getpid);
        let family = |number| socket(AddressFamily::from_raw(number), SocketType::DGRAM, None).map(drop);
        let audit = netlink::KOBJECT_UEVENT;
        let event = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(audit)).map(drop);
        let priority = |of: Option<Pid>| setpriority_process(of, rustix::process::getpriority_process(of)?);
        let rows: Vec<(&'static str, rustix::io::Result<()>)> = vec![
            ("another's limits", prlimit(Some(parent), Resource::Core, getrlimit(Resource::Core)).map(drop)),
            ("another's priority", priority(Some(parent))),
            ("a vsock", family(40)),
            ("events of the kernel", event),
            ("packets of its own", socket(AddressFamily::INET, SocketType::RAW, None).map(drop)),
        ];
        rows.into_iter().map(|(what, tried)| (what, tried.map_err(Into::into))).collect()
    }

    #[test]
    fn what_reaches_other_processes_is_refused_and_a_process_still_rules_itself() {
        use rustix::process::{Resource, getrlimit, setpriority_process, setrlimit};
        for (what, tried) in tries_on_others() {
            // A kernel without vsock has no such family, or no device for it.
            // An ordinary user makes no packets anyway, and root none without a protocol.
            let absent = [libc::EAFNOSUPPORT, libc::ENODEV, libc::EPERM, libc::EPROTONOSUPPORT];
            let absent = tried.as_ref().is_err_and(|error| absent.map(Some).contains(&error.raw_os_error()));
            assert!(tried.is_ok() || absent, "{what} works without the filter: {tried:?}");
        }
        std::thread::scope(|scope| {
            let filtered = scope.spawn(|| {
                refuse(Open::default()).unwrap();
                for (what, tried) in tries_on_others() {
                    assert_eq!(tried.unwrap_err().kind(), ErrorKind::PermissionDenied, "{what}");
                }
                setrlimit(Resource::Core, getrlimit(Resource::Core)).unwrap();
                setpriority_process(None, rustix::process::getpriority_process(None).unwrap()).unwrap();
                // By which programs list network interfaces.
                let family = rustix::net::AddressFamily::NETLINK;
                rustix::net::socket(family, rustix::net::SocketType::RAW, None).unwrap();
            });
            filtered.join().unwrap();
        });
    }
}
