//! Walls as Landlock rules.

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};

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
/// exist get no door.
pub(super) fn put_up(walls: &Walls) -> Result<bool, RulesetError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(&walls.read, AccessFs::from_read(NEWEST)))?
        .add_rules(path_beneath_rules(&walls.write, AccessFs::from_all(NEWEST)))?
        .restrict_self()?;
    Ok(status.ruleset == RulesetStatus::FullyEnforced && status.no_new_privs)
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
