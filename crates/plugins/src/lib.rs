//! Connectors that come as packages.
//!
//! [`package`] is everything about `plugins/NAME/` that runs nothing: what a
//! package asks for, who signed it, what it was granted, and whether the two agree.

pub mod package;
