//! The host from outside: the engine over real ledgers, and the binary itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]

mod attacks;
mod cards;
mod cli;
mod crash;
mod daemons;
mod delivery;
mod model;
mod commands;
mod gate;
mod ledger;
mod mistakes;
mod probe;
mod recovery;
mod rules;
mod rules_in_force;
mod terminal;
mod telegram;
mod walk;
mod world;
