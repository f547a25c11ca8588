//! What a process gives up, and what its launcher does before.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::path::Path;

use data_encoding::HEXLOWER;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, open};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getppid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use sha2::{Digest, Sha256};

use crate::walls::{Limits, WallsError};

/// Limits, capabilities, privileges, and who may look inside.
pub(super) fn give_up(limits: &Limits) -> Result<(), WallsError> {
    for (what, resource, most) in [
        ("the limit of address space", Resource::As, limits.address_space),
        ("the limit of memory", Resource::Data, limits.memory),
        ("the limit of descriptors", Resource::Nofile, limits.descriptors),
        ("the limit of tasks", Resource::Nproc, limits.tasks),
        ("the size of files", Resource::Fsize, limits.file),
        ("the size of core dumps", Resource::Core, 0),
        ("the limit of locked memory", Resource::Memlock, 0),
        ("the limit of queued messages", Resource::Msgqueue, 0),
    ] {
        limit(resource, most).map_err(process(what))?;
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(process("no capabilities"))?;
    set_no_new_privs(true).map_err(process("no new privileges"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(process("no inspection"))
}

/// Lowers a limit; one that is lower already stays.
fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let least = |old: Option<u64>| Some(old.map_or(most, |old| old.min(most)));
    let old = rustix::process::getrlimit(resource);
    setrlimit(resource, Rlimit { current: least(old.current), maximum: least(old.maximum) })
}

fn process(what: &'static str) -> impl Fn(rustix::io::Errno) -> WallsError {
    move |error| WallsError::Process { what, source: error.into() }
}

/// Closes every descriptor but standard input, output and error. Nothing may be open that this
/// process still wants: to be called first thing.
pub(crate) fn close_the_rest() -> Result<(), WallsError> {
    let failed = |source| WallsError::Process { what: "the set of descriptors", source };
    let numbers: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .map_err(failed)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // The directory's own descriptor is on the list, and closed by now.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

/// Ends this process when `parent` ends. Fails when it has ended already.
pub(crate) fn end_with_parent(parent: u32) -> Result<(), WallsError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(process("the end with its host"))?;
    let is = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if is == Some(parent) {
        return Ok(());
    }
    Err(WallsError::Process { what: "the end with its host", source: io::Error::other("it has ended") })
}

/// The longest program, in bytes.
const LONGEST: u64 = 256 << 20;

/// Copies a program into memory that nobody can change, and compares what was copied with
/// `sha256` (lower-case hexadecimal). What is executed is what was compared. A link is not followed.
///
/// The copy is asked for as one that may be executed (Linux 6.3): a system can be set to make others.
pub(crate) fn sealed_copy(program: &Path, sha256: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let source = File::from(open(program, flags, Mode::empty())?);
    if !source.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::EXEC;
    let mut copy = File::from(memfd_create("plugin", flags)?);
    if io::copy(&mut source.take(LONGEST + 1), &mut copy)? > LONGEST {
        return Err(io::Error::other(format!("it has more than {LONGEST} bytes")));
    }
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(copy.as_fd(), all)?;
    let is = digest(&mut copy)?;
    if is == sha256 {
        return Ok(copy);
    }
    Err(io::Error::other(format!("its SHA-256 is {is}, and {sha256} is granted")))
}

fn digest(file: &mut File) -> io::Result<String> {
    use std::io::Seek as _;
    file.rewind()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(HEXLOWER.encode(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}
