//! The egress proxies of one daemon: the ways out that it has, and no others.
//!
//! Servers over listeners that the caller gives. The [model proxy](Plan::models) is a reverse
//! proxy to the model providers that were configured: its clients know a token that is good for
//! nothing else, it puts the provider's key in the token's place, and it counts what each model
//! used. The [egress proxy](Plan::network) is an HTTP forward proxy that reaches the hosts that were
//! named, at addresses that they may stand for, and keeps a record of what it refused. Ports of this
//! machine's loopback that were [named](Plan::loopback) are passed on to as they are.
//!
//! All run in a [process](process) of their own, so that a daemon's keys are neither in the daemon
//! nor, once they are handed over, needed by its host: the process lives as long as the daemon does.
//!
//! Never does: start a process, decide what is configured, follow a redirect, use a proxy, or show a
//! key in a log, an error, an argument or an environment.

mod connections;
pub mod descriptors;
mod forward;
mod loopback;
mod model;
pub mod plan;
pub mod policy;
pub mod process;
pub mod record;
mod server;

pub use plan::{ModelPlan, NetworkPlan, Plan, Provider, Secret};
pub use policy::{HostPattern, PatternError, Policy, Refusal};
pub use record::{Record, Usage};
pub use server::{Listeners, serve};
