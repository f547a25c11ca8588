//! The host from outside: the engine over real ledgers, and the binary itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]

mod attacks;
mod cards;
mod cli;
mod commands;
mod crash;
mod daemons;
mod delivery;
mod gate;
mod isolation;
mod ledger;
mod misbehaving;
mod mistakes;
mod model;
mod packages;
mod plugins;
mod probe;
mod readme;
mod recovery;
mod rules;
mod rules_in_force;
mod secrets;
mod telegram;
mod terminal;
mod walk;
mod worktrees;
mod world;
