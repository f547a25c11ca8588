//! Connectors as confined processes.
//!
//! A [`Confined`] connector is declared here and performed elsewhere: its actions, its manifest and
//! what a step would touch are known without anything running; a call goes to a process within
//! [walls](connector_sandbox), over two pipes, in MCP. The process is started at the first call,
//! configured over its pipe, kept for the next call, and started again when it ends: a call whose
//! effect was announced by a checkpoint goes on with that, one that announced nothing is made
//! again, and what can be neither has an unknown outcome.
//!
//! What a process is granted is what the call's context grants: the origins it may speak to are its
//! configuration, and their ports are the doors in its walls.
//!
//! A [`Packaged`] connector is a package that was admitted: declared by its manifest, performed by
//! its executable, whose digest its launcher compares once more with the one that was granted.
//!
//! [`package`] is everything about `plugins/NAME/` that runs nothing: what a
//! package asks for, who signed it, what it was granted, and whether the two agree.
//!
//! Nothing here decides what is granted or who may call, and no file is written.

mod backoff;
mod confined;
mod factory;
mod log;
pub mod package;
mod packaged;
mod process;
mod serve;

pub use confined::Confined;
pub use connector_mcp::Patience;
pub use factory::InProcesses;
pub use packaged::{NotGiven, Packaged};
pub use process::Program;
pub use serve::serve;
