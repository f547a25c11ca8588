//! The walls of one plugin process, held by the kernel (Linux).
//!
//! A plugin is a process that is given two pipes and a port, and nothing else. Before it reads its
//! first byte of input it, or its [launcher](launch), puts up [`Walls`]:
//!
//! - **Landlock**: no file can be opened but those listed, none written; TCP connections go to the
//!   listed ports and no port is bound; processes outside the walls can be neither signalled nor
//!   inspected, and abstract sockets outside are out of reach.
//! - **A filter of system calls** (seccomp) that is a list of what *is* allowed: no programs, no
//!   child processes, no inspection, no sockets but TCP over IP, no listening, no path that a
//!   Landlock rule does not cover (modes, owners, times), no door that opens behind Landlock's back
//!   (MPTCP and TCP Fast Open connect without asking it, anonymous files can be executed).
//! - **Limits**: memory, descriptors, size of files (none), core dumps (none); no capabilities, no
//!   way to gain privileges, and no process of the same user may inspect it, until it becomes a
//!   program of somebody else's, which the kernel lets be inspected again.
//!
//! Every wall is useful alone, and each is tried alone by the tests. What a kernel cannot hold is
//! said ([`Held::missing`]), and a [`Plan`] that requires all walls refuses to start without them.
//!
//! Not held by these walls: which *address* a connection to a granted port goes to, how much
//! processor time is used, what is sent through the granted port, and which of the system's own
//! programs a program of somebody else's becomes by way of the loader. Nothing here starts a
//! process, decides what is granted, or speaks a protocol.

mod held;
pub mod launch;
mod walls;

pub use held::{Held, Wall, kernel};
pub use launch::{Plan, Start, Within};
pub use walls::{Body, Limits, Walls, WallsError};

#[cfg(target_os = "linux")]
mod linux;
