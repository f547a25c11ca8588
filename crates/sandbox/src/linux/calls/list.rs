//! The list: what a program that computes, waits and speaks through its pipes and TCP asks of the
//! kernel.

use libc::{c_int, c_long, c_ulong};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};

use super::{Allowed, Conditions};
use crate::walls::Body;

/// Without conditions.
const ALWAYS: &[c_long] = &[
    // Descriptors, once open.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_fstat,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Waiting for its own threads.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getcpu,
    // Its own signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    // Clocks.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_setitimer,
    // Itself.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Sockets, once open; `connect` is Landlock's to judge.
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
];

/// The same by their older names.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_pause,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// What a program needs besides while it is loaded.
const LOADING: &[c_long] = &[libc::SYS_execve, libc::SYS_mprotect];

/// What it takes to find and read files. Which ones is Landlock's to judge; no call is here whose
/// effect on a file Landlock does not see.
const READING: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fadvise64,
];

#[cfg(target_arch = "x86_64")]
const READING_OLDER: &[c_long] =
    &[libc::SYS_open, libc::SYS_access, libc::SYS_stat, libc::SYS_lstat, libc::SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
const READING_OLDER: &[c_long] = &[];

/// `reads` says whether there is a file that may be read: without one no path can be named.
pub(super) fn allowed(body: Body, reads: bool) -> Vec<Allowed> {
    let mut list: Vec<Allowed> =
        ALWAYS.iter().chain(OLDER).map(|call| (*call, Vec::new())).chain(conditional()).collect();
    match body {
        Body::Rest => list.extend(without_new_code()),
        Body::Threads => list.extend(without_new_code().into_iter().chain([threads()])),
        Body::Server => {
            list.extend(without_new_code().into_iter().chain([threads()]));
            list.push((libc::SYS_accept4, Vec::new()));
        }
        Body::Program => {
            list.extend(LOADING.iter().map(|call| (*call, Vec::new())));
            list.push((libc::SYS_mmap, vec![vec![unshared()]]));
            list.push(threads());
        }
    }
    if reads || body == Body::Program {
        list.extend(READING.iter().chain(READING_OLDER).map(|call| (*call, Vec::new())));
    }
    list
}

fn conditional() -> Vec<Allowed> {
    let any = |index: u8, values: &[c_int]| -> Vec<Conditions> {
        values.iter().map(|value| vec![(index, Eq, bits(*value))]).collect()
    };
    // Data with a connection request inside would go where `connect` may not.
    let no_fast_open = |flags: u8| vec![vec![(flags, MaskedEq(bits(libc::MSG_FASTOPEN)), 0)]];
    vec![
        (libc::SYS_socket, tcp()),
        (libc::SYS_socketpair, vec![connected_pair()]),
        (libc::SYS_sendto, no_fast_open(3)),
        (libc::SYS_sendmsg, no_fast_open(2)),
        // Not who is signalled when something is there to be read: that could be anybody.
        (
            libc::SYS_fcntl,
            any(1, &[libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD])
                .into_iter()
                .chain(any(1, &[libc::F_GETFL, libc::F_SETFL]))
                .collect(),
        ),
        (libc::SYS_ioctl, requests(&[libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX, libc::TCGETS])),
        (libc::SYS_prctl, any(0, &[libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA])),
        (libc::SYS_tgkill, vec![vec![(0, Eq, own_id())]]),
        (libc::SYS_prlimit64, vec![vec![(0, Eq, 0)], vec![(0, Eq, own_id())]]),
    ]
}

/// TCP over IP and nothing that only looks like it: MPTCP and SCTP are streams too, and connect
/// without asking Landlock.
fn tcp() -> Vec<Conditions> {
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for protocol in [0, libc::IPPROTO_TCP] {
            sockets.push(vec![(0, Eq, bits(family)), stream(), (2, Eq, bits(protocol))]);
        }
    }
    sockets
}

/// How runtimes wake themselves. Not datagrams: those could be sent to any Unix socket.
fn connected_pair() -> Conditions {
    vec![(0, Eq, bits(libc::AF_UNIX)), stream()]
}

fn stream() -> (u8, seccompiler::SeccompCmpOp, u64) {
    const TYPE: u64 = 0xf;
    (1, MaskedEq(TYPE), bits(libc::SOCK_STREAM))
}

/// A thread of this process, in its own namespaces.
fn threads() -> Allowed {
    let new = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    let thread = bits(libc::CLONE_THREAD);
    (libc::SYS_clone, vec![vec![(0, MaskedEq(thread | bits(new)), thread)]])
}

/// Memory, but none that becomes executable.
fn without_new_code() -> [Allowed; 2] {
    let data = || (2, MaskedEq(bits(libc::PROT_EXEC)), 0);
    [(libc::SYS_mmap, vec![vec![data(), unshared()]]), (libc::SYS_mprotect, vec![vec![data()]])]
}

/// A mapping of this process alone, that does not grow by itself. Only that is counted by the limit
/// of memory; what is mapped as shared is not, not even when it is only read, and what grows counts
/// as stack. The stacks of threads do not grow.
fn unshared() -> (u8, seccompiler::SeccompCmpOp, u64) {
    (3, MaskedEq(bits(libc::MAP_SHARED | libc::MAP_GROWSDOWN)), 0)
}

fn requests(requests: &[c_ulong]) -> Vec<Conditions> {
    requests.iter().map(|request| vec![(1, Eq, *request)]).collect()
}

fn own_id() -> u64 {
    u64::from(std::process::id())
}

/// An argument as the kernel sees it: 32 bits, not extended.
fn bits(value: c_int) -> u64 {
    u64::from(u32::from_ne_bytes(value.to_ne_bytes()))
}
