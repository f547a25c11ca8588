//! The gate: what mutates waits for a person, who decides about exactly what
//! will run.
//!
//! Its decisions are values. [`state`] says which moves a step can make,
//! [`digest`] what an approval is bound to, [`policy`] what asks whom, [`people`] who is one person. The
//! ledger carries moves out, each as one statement with its precondition.

pub mod digest;
pub mod people;
pub mod policy;
pub mod state;
