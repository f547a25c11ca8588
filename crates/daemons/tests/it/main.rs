//! Finding, installing, starting, adopting and ending opencode, with stand-ins for what the real
//! one cannot be made to do, and with the real one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod adopt;
mod adversary;
mod after;
mod cgroup;
mod doors;
mod inside;
mod install;
mod keys;
mod layouts;
mod lfs;
mod network;
mod pool;
mod project;
mod push;
mod real;
mod resource_limits;
mod setup;
mod start;
mod submodules;
mod support;
mod walls;
mod worktree;
