//! Systems without `/proc`: a child we hold is known to be ours, nothing else can be proven.
//!
//! So a daemon of an earlier host is never adopted here, and commands that left the daemon's
//! process group are not found.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::{Signal, kill_process, test_kill_process};

use super::{Family, ProcessId, ignore_gone, pid};

pub(super) fn identify(number: u32) -> Option<ProcessId> {
    test_kill_process(pid(number)?).ok()?;
    Some(ProcessId { pid: number, started: 0, boot: format!("host-{}", std::process::id()) })
}

pub(super) fn signal(process: &ProcessId, signal: Signal) {
    if let Some(number) = pid(process.pid).filter(|_| process.is_alive()) {
        ignore_gone(kill_process(number, signal));
    }
}

pub(super) fn runs_in(_process: &ProcessId, _directory: &Path) -> bool {
    true
}

pub(super) fn members(_family: &Family) -> BTreeSet<ProcessId> {
    BTreeSet::new()
}

pub(super) fn commands(_family: &Family) -> BTreeSet<ProcessId> {
    BTreeSet::new()
}

pub(super) fn children_of_leader(_family: &Family) -> BTreeSet<ProcessId> {
    BTreeSet::new()
}

pub(super) fn memory(_process: &ProcessId) -> u64 {
    0
}

/// Cannot be told here: the caller's own child said that it listens.
pub(super) fn listens_on(_members: impl FnOnce() -> BTreeSet<ProcessId>, _port: u16) -> bool {
    true
}

/// Cannot be told here.
pub(super) fn is_taken_from(_members: impl FnOnce() -> BTreeSet<ProcessId>, _port: u16) -> bool {
    false
}
