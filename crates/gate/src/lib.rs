//! The gate: what mutates waits for a person, who decides about exactly what will run.
//!
//! Its decisions are values: nothing here waits, stores, calls anybody, or knows a database, a surface or a connector. Time is
//! an argument; the [`clock`] is what others are given it by. [`state`] says which moves a step can make, [`digest`] what
//! an approval is bound to, [`policy`] what asks whom, [`people`] who is one person, [`ask`] what an agent may be told
//! while it works. The ledger carries moves out, each as one statement with its precondition.

pub mod ask;
pub mod clock;
pub mod decision;
pub mod digest;
pub mod ids;
pub mod people;
pub mod policy;
pub mod state;
