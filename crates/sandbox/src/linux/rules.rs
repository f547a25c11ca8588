//! Landlock.

use std::collections::BTreeSet;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use crate::held::Wall;
use crate::walls::{Walls, WallsError};

/// The newest rules asked for; an older kernel holds what it knows.
const NEWEST: ABI = ABI::V6;

/// Confines this thread and what it starts. Says which walls hold: files, ports, scope.
///
/// A path that does not exist gets no door.
pub(super) fn put_up(walls: &Walls, these: &[Wall]) -> Result<BTreeSet<Wall>, WallsError> {
    let held: BTreeSet<_> = kernel().into_iter().filter(|wall| these.contains(wall)).collect();
    if !held.is_empty() {
        restrict(walls, &held).map_err(|error| WallsError::Rules(Box::new(error)))?;
    }
    Ok(held)
}

fn restrict(walls: &Walls, held: &BTreeSet<Wall>) -> Result<(), RulesetError> {
    let mut rules = Ruleset::default();
    if held.contains(&Wall::Files) {
        rules = rules.handle_access(AccessFs::from_all(NEWEST))?;
    }
    if held.contains(&Wall::Ports) {
        rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
    }
    if held.contains(&Wall::Scope) {
        rules = rules.scope(Scope::from_all(NEWEST))?;
    }
    let mut rules = rules.create()?;
    if held.contains(&Wall::Files) {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        rules = rules
            .add_rules(path_beneath_rules(&walls.read, read))?
            .add_rules(path_beneath_rules(&walls.execute, read | AccessFs::Execute))?;
    }
    if held.contains(&Wall::Ports) {
        let ports = walls.tcp_connect.iter();
        rules = rules
            .add_rules(ports.map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp))))?;
    }
    rules.restrict_self().map(drop)
}

/// Makes rules that must be held whole, and puts them up nowhere.
pub(super) fn kernel() -> BTreeSet<Wall> {
    let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let files = strict().handle_access(AccessFs::from_all(ABI::V3)).and_then(Ruleset::create);
    let ports = strict().handle_access(AccessNet::from_all(ABI::V4)).and_then(Ruleset::create);
    let scope = strict().scope(Scope::from_all(ABI::V6)).and_then(Ruleset::create);
    let known = [(Wall::Files, files), (Wall::Ports, ports), (Wall::Scope, scope)];
    known.into_iter().filter_map(|(wall, rules)| rules.is_ok().then_some(wall)).collect()
}
