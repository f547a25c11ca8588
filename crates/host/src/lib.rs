//! The host: it loads connectors, and lets a rule run one only when a person
//! agreed to exactly that.
//!
//! A [surface](connector_surface) reports an event, [rules](connector_rules) turn it into a run,
//! the [gate](connector_gate) asks about each step that mutates, the [engine](connector_engine) dispatches
//! what was approved, and every step of that walk is a row in the [ledger](connector_ledger)
//! before it has an effect. The host never speaks to a daemon itself; a
//! connector [instance](connector_engine::instance) does, through the one way out it was granted.

pub mod assemble;
pub mod build;
pub mod catalog;
pub mod chat;
pub mod cli;
pub mod config;
pub mod console;
pub mod exit;
pub mod git;
pub mod isolation;
pub mod managed;
pub mod own_model;
pub mod places;
pub mod powers;
pub mod prelude;
pub mod reload;
pub mod telegram;
pub mod told;
pub mod troubles;
pub mod view;
pub mod watch;
pub mod webhook;
