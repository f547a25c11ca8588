//! The host's command line.

use std::process::ExitCode;

use connector_host::build::registry::STANDARD;
use connector_host::isolation;

fn main() -> ExitCode {
    // A daemon's way into its walls leads through this binary, before any thread is started.
    if let Some(code) = opencode_daemons::relaunch(std::env::args_os()) {
        return code;
    }
    // So does a connector's process, which goes on to serve that connector.
    match connector_sandbox::launch::within(std::env::args_os()) {
        Ok(None) => connector_host::cli::main(),
        Ok(Some(within)) => isolation::serve(&STANDARD, &within),
        Err(code) => code,
    }
}
