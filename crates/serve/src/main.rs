//! The plugin as a program of its own: an MCP server over standard input and output, or over HTTP.
//!
//! In order, and each before the next: the arguments and the configuration are
//! read; the origin's name is looked up and pinned; the [walls](confine) go up
//! around this process; and only then is the first byte of input read. Started by
//! a host of ours, in an empty environment, it has no configuration of its own:
//! the host has put the walls up already, and configures it over the connection.
//!
//! What it never does: write anything but MCP to standard output, take a secret as
//! an argument, start a process, read a file after its configuration.

mod arguments;
mod confine;
mod listen;
mod long;
mod present;
mod serve;
mod settings;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use arguments::Arguments;

/// Why it does not serve, and with which exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It was called or configured wrongly: 2.
    #[error("{0}")]
    Usage(String),
    /// It could not serve, or not to the end: 1.
    #[error("{0}")]
    Failed(String),
}

fn main() -> ExitCode {
    let Err(failure) = serve::serve(&Arguments::parse()) else { return ExitCode::SUCCESS };
    // Nobody is left to tell when this cannot be written.
    let _ = writeln!(std::io::stderr(), "connector-opencode: {failure}");
    ExitCode::from(match failure {
        Failure::Usage(_) => 2,
        Failure::Failed(_) => 1,
    })
}
