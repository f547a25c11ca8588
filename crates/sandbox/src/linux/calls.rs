//! The filter of system calls: what is not on the list is refused.
//!
//! Refused means `EPERM`, never the end of the process: an honest plugin that asks for too much
//! fails at that call, with a reason in its log. `clone3` is `ENOSYS` instead, since its flags are
//! behind a pointer where no filter sees them: the C library then falls back to `clone`.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};

use crate::walls::{Body, WallsError};

mod list;

/// Conditions on a call's arguments that must all be met.
type Conditions = Vec<(u8, SeccompCmpOp, u64)>;
/// A call and the alternatives of conditions under which it is allowed.
type Allowed = (c_long, Vec<Conditions>);

pub(super) fn put_up(body: Body, reads: bool) -> Result<(), WallsError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| WallsError::Calls(error);
    let clone3 = || vec![(libc::SYS_clone3, Vec::new())];
    let absent = program(clone3(), SeccompAction::Allow, SeccompAction::Errno(errno(libc::ENOSYS)));
    // What the first refuses, the second need not: one refusal is enough, and the newer would win.
    let allowed = list::allowed(body, reads).into_iter().chain(clone3()).collect();
    let allowed = program(allowed, SeccompAction::Errno(errno(libc::EPERM)), SeccompAction::Allow);
    for filter in [absent.map_err(failed)?, allowed.map_err(failed)?] {
        apply_filter_all_threads(&filter).map_err(|error| WallsError::Calls(Box::new(error)))?;
    }
    Ok(())
}

/// Whether there is a filter for this machine.
pub(super) fn known() -> bool {
    architecture().is_ok() && std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

fn architecture() -> Result<TargetArch, seccompiler::BackendError> {
    std::env::consts::ARCH.try_into()
}

fn errno(number: c_int) -> u32 {
    number.unsigned_abs()
}

fn program(
    calls: Vec<Allowed>,
    otherwise: SeccompAction,
    then: SeccompAction,
) -> Result<BpfProgram, Box<dyn std::error::Error + Send + Sync>> {
    let rules = calls
        .into_iter()
        .map(|(call, alternatives)| {
            let rules = alternatives.into_iter().map(rule).collect::<Result<Vec<_>, _>>()?;
            Ok((call, rules))
        })
        .collect::<Result<BTreeMap<_, _>, seccompiler::BackendError>>()?;
    Ok(SeccompFilter::new(rules, otherwise, then, architecture()?)?.try_into()?)
}

fn rule(conditions: Conditions) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions
        .into_iter()
        .map(|(index, operator, value)| {
            SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
        })
        .collect::<Result<Vec<_>, _>>()?;
    SeccompRule::new(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_filter_for_every_body() {
        for body in [Body::Rest, Body::Threads, Body::Server, Body::Program] {
            let list = list::allowed(body, true);
            let filter = program(list, SeccompAction::Errno(1), SeccompAction::Allow).unwrap();
            assert!(filter.len() < 4096, "the kernel takes at most 4096 instructions: {}", filter.len());
        }
    }

    #[test]
    fn a_server_takes_connections_and_can_do_nothing_else_that_a_client_cannot() {
        let calls = |body| list::allowed(body, false).into_iter().map(|(call, _)| call).collect::<Vec<_>>();
        let (client, server) = (calls(Body::Threads), calls(Body::Server));
        let more: Vec<_> = server.into_iter().filter(|call| !client.contains(call)).collect();
        assert_eq!(more, [libc::SYS_accept4]);
    }

    #[test]
    fn what_is_dangerous_is_on_no_list() {
        let never = [
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_memfd_create,
            libc::SYS_io_uring_setup,
            libc::SYS_bpf,
            libc::SYS_userfaultfd,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_keyctl,
            libc::SYS_perf_event_open,
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_getfd,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept4,
            libc::SYS_clone3,
            libc::SYS_fchmodat,
            libc::SYS_fchownat,
            libc::SYS_setxattr,
            libc::SYS_utimensat,
            libc::SYS_unlinkat,
            libc::SYS_shmget,
            libc::SYS_personality,
        ];
        for body in [Body::Rest, Body::Threads, Body::Program] {
            let list: Vec<_> = list::allowed(body, true).into_iter().map(|(call, _)| call).collect();
            for call in never {
                assert!(!list.contains(&call), "{call} for {body:?}");
            }
        }
    }
}
