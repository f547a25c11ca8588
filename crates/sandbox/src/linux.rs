//! The walls on Linux: in order, because each step takes away what the next does not need.

mod calls;
mod process;
mod rules;

use std::collections::BTreeSet;

use crate::held::Wall;
use crate::walls::{Walls, WallsError};

pub(crate) use process::{close_the_rest, end_with_parent, sealed_copy};

pub(crate) fn put_up(walls: &Walls, these: &[Wall]) -> Result<BTreeSet<Wall>, WallsError> {
    process::give_up(&walls.limits)?;
    let mut held = rules::put_up(walls, these)?;
    // Last: it lets nobody put up walls.
    if these.contains(&Wall::Calls) {
        calls::put_up(walls.body, !walls.read.is_empty())?;
        held.insert(Wall::Calls);
    }
    Ok(held)
}

pub(crate) fn kernel() -> BTreeSet<Wall> {
    let mut walls = rules::kernel();
    walls.extend(calls::known().then_some(Wall::Calls));
    walls
}
