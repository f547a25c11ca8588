//! The host from outside: the engine over real ledgers, and the binary itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]

mod answers;
mod api;
mod attached;
mod attacks;
mod audience;
mod cards;
mod changes;
mod cli;
mod commands;
mod configuration;
mod conformance;
mod crash;
mod daemons;
mod database;
mod delivery;
mod followers;
mod fuzz;
mod gate;
mod groups;
mod house;
mod http;
mod isolation;
mod layers;
mod leak_table;
mod leaks;
mod ledger;
mod managed;
mod matrix;
mod mcp;
mod migrations;
mod misbehaving;
mod mistakes;
mod model;
mod outside;
mod packages;
mod people;
mod place;
mod places;
mod plugins;
mod probe;
mod prose;
mod readme;
mod recovery;
mod rules;
mod rules_in_force;
mod scripts;
mod secrets;
mod service;
mod surfaces;
mod telegram;
mod terminal;
mod turns;
mod waits;
mod walk;
mod watch;
mod webhooks;
mod wires;
mod worktrees;
mod world;

// What the plugin's own tests show of it in this process they show here of a confined one.
#[path = "../../../../tests/it/asks.rs"]
mod asks;
#[path = "../../../../tests/it/faults.rs"]
#[expect(dead_code, reason = "what exists on one wire alone is told there")]
mod faults;
#[path = "../../../../tests/it/resume.rs"]
mod resume;
#[path = "../../../../tests/it/support.rs"]
mod support;
