//! Walls around one program of the host's own that works on what an agent may have written: git.
//!
//! Narrower than those around a daemon. Within them the program reads and writes what it was named,
//! becomes no other program and starts none but its own parts, and opens no socket. So whatever a
//! repository's settings, attributes or hooks name to be run, nothing of it is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The first argument that makes our binary the launcher of such a program.
pub(crate) const LAUNCH_TOOL: &str = "--launch-tool-within-walls";
/// The variable with its plan; taken out before the program starts.
pub(crate) const TOOL_PLAN: &str = "OPENCODE_DAEMONS_TOOL_WALLS";

/// What programs read to be loaded and to find their way.
const SYSTEM: [&str; 9] =
    ["/usr", "/bin", "/lib", "/lib32", "/lib64", "/opt", "/etc", "/nix/store", "/run/current-system"];
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];
/// Where the loader of dynamically linked programs may be.
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// What the program may open. A relative path begins where it is started, whatever that is called by then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tool {
    /// Read, with everything below.
    pub(crate) read: Vec<PathBuf>,
    /// Read and written, with everything below.
    pub(crate) write: Vec<PathBuf>,
    /// What it may become or start.
    pub(crate) run: Vec<PathBuf>,
}

impl Tool {
    /// `program`, which starts itself also by the paths in `parts`.
    pub(crate) fn of(program: &Path, parts: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut run: Vec<PathBuf> = std::iter::once(program.to_owned()).chain(parts).collect();
        // Where each program has a loader of its own, as in `/nix/store`, nothing else there is run.
        run.extend(run.clone().iter().filter_map(|program| loader(program)));
        run.extend(loaders());
        let beside = program.canonicalize().ok().and_then(|real| Some(real.parent()?.parent()?.to_owned()));
        let libraries = ["lib", "lib64", "libexec", "share"].into_iter();
        let libraries = libraries.filter_map(|name| beside.as_ref().map(|beside| beside.join(name)));
        let read =
            SYSTEM.map(PathBuf::from).into_iter().chain(libraries).chain(run.iter().cloned()).collect();
        Self { read, write: DEVICES.map(PathBuf::from).to_vec(), run }
    }

    pub(crate) fn plan(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The loaders of this system: a program that cannot run its own does not start.
fn loaders() -> Vec<PathBuf> {
    let entries = |directory: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let below = LIBRARIES.into_iter().flat_map(|library| {
        let inner = entries(Path::new(library));
        let triplets = inner.iter().filter(|path| named(path, |name| name.contains("-linux-"))).cloned();
        let deeper: Vec<_> = triplets.flat_map(|directory| entries(&directory)).collect();
        inner.into_iter().chain(deeper)
    });
    let mut found: Vec<_> = below
        .filter(|path| {
            named(path, |name| {
                name.starts_with("ld-") || name.starts_with("ld64") || name.starts_with("ld.so")
            })
        })
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The loader that a program of 64 bits names (ELF, `PT_INTERP`).
fn loader(program: &Path) -> Option<PathBuf> {
    use std::io::Read as _;

    let mut head = Vec::new();
    std::fs::File::open(program).ok()?.take(1 << 16).read_to_end(&mut head).ok()?;
    loader_named_in(&head)
}

fn loader_named_in(head: &[u8]) -> Option<PathBuf> {
    const INTERP: usize = 3;

    let number = |at: usize, length: usize| {
        let bytes = head.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |number: usize, byte| (number << 8) | usize::from(*byte)))
    };
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    (0..count).find_map(|index| {
        let entry = table.checked_add(index * size)?;
        if number(entry, 4)? != INTERP {
            return None;
        }
        let (from, length) = (number(entry.checked_add(8)?, 8)?, number(entry.checked_add(32)?, 8)?);
        let name = head.get(from..from.checked_add(length)?)?.strip_suffix(b"\0")?;
        Some(PathBuf::from(OsStr::from_bytes(name)))
    })
}

fn named(path: &Path, is_it: impl Fn(&str) -> bool) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(is_it)
}

/// Puts up the walls that the environment names around this process, which becomes the program. Returns
/// the reason when it does not.
pub(super) fn launch(mut arguments: impl Iterator<Item = OsString>) -> String {
    let Some(program) = arguments.next() else { return "no program is named".to_owned() };
    #[expect(clippy::disallowed_methods, reason = "the launcher's plan comes in its environment")]
    let plan = std::env::var(TOOL_PLAN).ok().and_then(|plan| serde_json::from_str::<Tool>(&plan).ok());
    let Some(plan) = plan else { return "there is no plan of them".to_owned() };
    if let Err(reason) = put_up(&plan) {
        return reason;
    }
    #[expect(clippy::disallowed_methods, reason = "the launcher becomes the program")]
    let mut command = std::process::Command::new(&program);
    let error = std::os::unix::process::CommandExt::exec(command.args(arguments).env_remove(TOOL_PLAN));
    format!("{}: {error}", program.display())
}

#[cfg(target_os = "linux")]
fn put_up(plan: &Tool) -> Result<(), String> {
    held::files(plan).map_err(|error| error.to_string())?;
    if super::calls::known() {
        held::no_sockets().map_err(|error| format!("sockets are not refused: {error}"))?;
    }
    super::linux::drop_capabilities().map_err(|error| format!("capabilities stay: {error}"))
}

#[cfg(not(target_os = "linux"))]
fn put_up(_plan: &Tool) -> Result<(), String> {
    Ok(())
}

#[cfg(target_os = "linux")]
mod held {
    use std::collections::BTreeMap;
    use std::error::Error;

    use landlock::{
        ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
        path_beneath_rules,
    };
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    use super::Tool;

    const NEWEST: ABI = ABI::V6;

    /// What the kernel cannot hold is left out, as around daemons.
    pub(super) fn files(plan: &Tool) -> Result<(), RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let special = AccessFs::Execute
            | AccessFs::MakeChar
            | AccessFs::MakeBlock
            | AccessFs::MakeSock
            | AccessFs::MakeFifo
            | AccessFs::IoctlDev;
        let write = AccessFs::from_all(NEWEST) & !special;
        Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(path_beneath_rules(&plan.read, read))?
            .add_rules(path_beneath_rules(&plan.write, write))?
            .add_rules(path_beneath_rules(&plan.run, read | AccessFs::Execute))?
            .restrict_self()
            .map(drop)
    }

    /// The number of a call in the x32 ABI of `x86_64`, whose calls come in the same name.
    const X32: libc::c_long = 0x4000_0000;

    /// Makes no socket of any kind from now on, and mounts, traces and changes the limits of nothing.
    pub(super) fn no_sockets() -> Result<(), Box<dyn Error + Send + Sync>> {
        let calls = [
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_io_uring_setup,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
        ];
        let x32 = |call: libc::c_long| cfg!(target_arch = "x86_64").then_some(call | X32);
        let rules: BTreeMap<_, _> = calls
            .into_iter()
            .flat_map(|call| [Some(call), x32(call)])
            .flatten()
            .map(|call| (call, Vec::new()))
            .collect();
        let refused = SeccompAction::Errno(libc::EACCES.unsigned_abs());
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, refused, std::env::consts::ARCH.try_into()?)?;
        Ok(apply_filter(&BpfProgram::try_from(filter)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a program whose second entry names this loader.
    fn program(loader: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 64 + 2 * 56];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (head[32], head[54], head[56]) = (64, 56, 2);
        let entry = 64 + 56;
        (head[entry], head[entry + 8], head[entry + 32]) = (3, 176, u8::try_from(loader.len()).unwrap());
        head.extend_from_slice(loader);
        head
    }

    #[test]
    fn the_loader_of_a_program_is_the_one_that_it_names() {
        let named = program(b"/nix/store/x/ld.so\0");
        assert_eq!(loader_named_in(&named), Some("/nix/store/x/ld.so".into()));
        for cut in 0..named.len() {
            assert_eq!(loader_named_in(&named[..cut]), None, "{cut}");
        }
        for none in [&b"#!/bin/sh\n"[..], b"", &program(b"no end"), &[0xff; 200]] {
            assert_eq!(loader_named_in(none), None);
        }
        let mut far = named.clone();
        far[32..40].fill(0xff);
        assert_eq!(loader_named_in(&far), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nothing_is_run_but_a_program_its_parts_and_loaders() {
        let git = Path::new("/usr/bin/git");
        let tool = Tool::of(git, ["/usr/lib/git-core/git".into()]);
        for run in tool.run.iter().filter(|run| !run.ends_with("git")) {
            let name = run.file_name().unwrap().to_string_lossy();
            assert!(name.starts_with("ld") && !run.is_dir(), "{}", run.display());
        }
    }
}
