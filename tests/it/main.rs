//! The plugin against daemons: a fake one for faults, the real one for truth.

mod asks;
mod bad_input;
mod cuts;
mod faults;
mod manifest;
mod real;
mod resume;
mod support;
mod walls;
