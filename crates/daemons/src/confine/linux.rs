//! Walls as Landlock rules.

use std::path::{Component, Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::{Kernel, Walls};

/// Gives up every capability that root has; without them root is an owner of files like another.
/// Some of them, such as `CAP_PERFMON`, see through the walls into other processes. Since no new
/// privileges can be gained within the walls, they do not come back with the next program.
pub(super) fn drop_capabilities() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// Limits the data that this process and each one it starts may hold, in bytes. What is reserved
/// and not used does not count, so that interpreters with large reservations run.
pub(super) fn limit_data(most: u64) -> rustix::io::Result<()> {
    let old = getrlimit(Resource::Data).maximum;
    let most = Some(old.map_or(most, |old| old.min(most)));
    setrlimit(Resource::Data, Rlimit { current: most, maximum: most })
}

/// The newest rules asked for; an older kernel holds what it knows.
const NEWEST: ABI = ABI::V6;

/// Confines this thread and what it starts. Says whether every rule is held. Paths that do not
/// exist get no door, nor does what has become a link: a command may have put it there since the plan was made.
pub(super) fn put_up(walls: &Walls) -> Result<bool, RulesetError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(doors(&walls.read, AccessFs::from_read(NEWEST)))?
        .add_rules(doors(&walls.write, AccessFs::from_all(NEWEST)))?
        .restrict_self()?;
    Ok(status.ruleset == RulesetStatus::FullyEnforced && status.no_new_privs)
}

fn doors(
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<PathBeneath<OwnedFd>, RulesetError>> {
    let door = move |path: &PathBuf| {
        let opened = straight(path).ok()?;
        let is_directory = FileType::from_raw_mode(fstat(&opened).ok()?.st_mode) == FileType::Directory;
        let access = if is_directory { access } else { access & AccessFs::from_file(NEWEST) };
        Some(Ok(PathBeneath::new(opened, access)))
    };
    paths.iter().filter_map(door)
}

/// What is at a path, on a way without links.
fn straight(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOSYS | Errno::PERM) => walked(path, flags | OFlags::NOFOLLOW),
        opened => opened,
    }
}

/// The same where a container refuses the call.
fn walked(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let mut at = openat(CWD, "/", flags, Mode::empty())?;
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => at = openat(&at, name, flags, Mode::empty())?,
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL),
        }
        if FileType::from_raw_mode(fstat(&at)?.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP);
        }
    }
    Ok(at)
}

/// Opens no file from now on. Signals stay: the kernel sends one for this process when it ends, and would ask
/// whether it may.
pub(super) fn open_nothing() -> Result<(), RulesetError> {
    Ruleset::default().handle_access(AccessFs::from_all(NEWEST))?.create()?.restrict_self().map(drop)
}

/// Makes rules that must be held whole, and puts them up nowhere.
pub(super) fn kernel() -> Kernel {
    let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let files = |abi| strict().handle_access(AccessFs::from_all(abi));
    let whole = files(NEWEST).and_then(|rules| rules.scope(Scope::from_all(NEWEST)));
    if whole.and_then(Ruleset::create).is_ok() && super::calls::known() {
        return Kernel::Whole;
    }
    if files(ABI::V1).and_then(Ruleset::create).is_ok() { Kernel::Files } else { Kernel::None }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn a_plan_has_its_doors_also_by_where_they_lead() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/state")).unwrap();
        symlink("real", root.join("link")).unwrap();
        let walls = Walls { read: vec![root.join("link/state")], write: vec![] };
        let plan: super::super::Plan = serde_json::from_str(&super::super::plan_of(walls)).unwrap();
        assert_eq!(plan.walls.read, [root.join("link/state"), root.join("real/state")]);
    }

    #[test]
    fn a_way_with_a_link_leads_nowhere_by_either_call() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/file"), "x").unwrap();
        symlink("a", root.join("link")).unwrap();
        symlink("file", root.join("a/to-file")).unwrap();
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        for (below, is_open) in [
            ("", true),
            ("a/b", true),
            ("a/file", true),
            ("link", false),
            ("link/b", false),
            ("a/to-file", false),
            ("gone", false),
        ] {
            let path = root.join(below);
            for opened in [straight(&path), walked(&path, flags)] {
                let number = opened.ok().map(|opened| fstat(&opened).unwrap().st_ino);
                let expected = is_open.then(|| path.symlink_metadata().unwrap().ino());
                assert_eq!(number, expected, "{below}");
            }
        }
    }
}
