//! The host's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    connector_host::cli::main()
}
